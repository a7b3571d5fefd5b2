"""The stage of saliency: a map of every photograph by an ONNX model; for methods that need saliency, where only tags are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from icd.data.images import image_path, read_bounded
from icd.files import mask_path, write_saliency
from icd.provenance import file_sha256
from icd.stages.base import Stage, ids_without_file, setting


@dataclass(frozen=True)
class Saliency(Stage):
    """See the module's docstring."""

    kind: ClassVar[str] = "saliency"
    model: Path = setting("ONNX file of a network as U^2-Net", None)

    def facts(self, label=""):
        """The network."""
        return {"model": file_sha256(self.model)}

    def supervision(self, label=""):
        """The network was trained on masks of salient objects."""
        return ("saliency",)

    def left(self):
        """The ids without a map."""
        return ids_without_file(self.share(), [self.folder], ".png")

    def work(self, ids):
        """Compute the maps, one after the other: the runtime uses all cores."""
        from icd.engine.saliency import SaliencyModel

        model, data = SaliencyModel(self.model), self.job.data
        for image_id in tqdm(ids, unit="image", desc=self.name, dynamic_ncols=True, disable=None):
            image, size = read_bounded(image_path(data.images, image_id), data.max_side)
            write_saliency(mask_path(self.folder, image_id), model(image, size))
