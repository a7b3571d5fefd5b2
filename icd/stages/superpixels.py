"""The stage of superpixels: raw ones of every photograph, merged by deep features where pretrained weights are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from icd.data.images import image_path, read_bounded
from icd.files import superpixels_path, write_superpixels
from icd.provenance import file_sha256
from icd.refine.superpixels import segment
from icd.stages.base import Stage, ids_without_file, run_pool, setting


@dataclass(frozen=True)
class Superpixels(Stage):
    """See the module's docstring. Files that lie in the folder already, such as the authors', are kept and used."""

    kind: ClassVar[str] = "superpixels"
    k: float = setting("threshold constant of the segmentation; its integer part is the least size", 75.0)
    limit: int = setting("regions left by merging at most", 64)
    backbone: str = setting("whose features merge regions; none: they stay raw", None)
    pretrained: Path = setting("its weights", None)

    def products(self):
        """The superpixels, and the raw ones where they are merged."""
        if self.pretrained is None:
            return {"": self.folder}
        return {"raw": self.folder.with_name(self.folder.name + "_raw"), "": self.folder}

    def ids(self):
        """The images to train on."""
        return self.job.data.ids

    def facts(self, label=""):
        """The settings of the segmentation and of merging."""
        facts = {"k": self.k}
        if label == "" and self.pretrained is not None:
            facts["merged"] = {
                "limit": self.limit, "backbone": self.backbone, "weights": file_sha256(self.pretrained),
            }  # fmt: skip
        return facts

    def refuse_unrecorded(self, folder):
        """Never: what lies there is taken as it is."""

    def left(self):
        """The ids without superpixels."""
        return ids_without_file(self.share(), [self.folder], ".png")

    @cached_property
    def network(self):
        """The backbone whose features merge regions."""
        from icd.engine.build import build_backbone

        return build_backbone(self.backbone, [self.job.devices[0][0]], pretrained=self.pretrained)

    def work(self, ids):
        """Segment, then merge."""
        products = self.products()
        raw = products.get("raw", self.folder)
        data = self.job.data
        job = SegmentImage(data.images, raw, self.k, data.max_side)
        run_pool(job, ids_without_file(ids, [raw], ".png"), self.job.workers, self.name)
        if "raw" in products:
            from icd.engine.merge import merged_superpixels

            context = self.job.devices[0][0]
            merged_superpixels(
                ids, data.images, raw, self.folder, self.network, context, self.limit, data.max_side
            )


@dataclass(frozen=True)
class SegmentImage:
    """Segments the photograph of an id and writes its superpixels, both at its working size."""

    images: Path
    target: Path
    k: float
    max_side: int = None

    def __call__(self, image_id):
        image, _ = read_bounded(image_path(self.images, image_id), self.max_side)
        write_superpixels(superpixels_path(self.target, image_id), segment(image, self.k))
