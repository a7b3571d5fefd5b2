"""The stage that predicts: the masks of a trained segmentation network for whole images without tags, with and without CRF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from icd.bounded import enlarge_mask, working_size
from icd.data.images import image_path, read_bounded
from icd.files import mask_path, read_logits, score_maps_path, write_logits, write_mask
from icd.fusion import Fusion, crf_probabilities, logits_on_image, mask_of
from icd.provenance import file_sha256
from icd.stages.base import Stage, ids_without_file, run_pool, setting
from icd.stages.empty import is_empty, say
from icd.stages.train import Train


@dataclass(frozen=True)
class Predict(Stage):
    """See the module's docstring. The logits lie on the network's grids, float16, so that masks can be made of them again."""

    kind: ClassVar[str] = "predict"
    tagged: ClassVar[bool] = False
    source: Train = None
    list: str = setting(
        "whose images: val, or infer for those that get pseudo masks", "val", choices=("val", "infer")
    )
    scales: tuple = setting("of the images [the recipe's]", ())
    mirror: bool = setting("whether mirror images are seen too [the recipe's]", None)
    crf: bool = setting("whether masks are made with CRF too", True)
    keep_logits: bool = setting("whether the logits are kept when the masks are there", False)

    def products(self):
        """`masks`, the strongest class of every pixel, and `crf`."""
        folders = {f"{self.name}/nocrf": self.folder / "masks"}
        return {**folders, f"{self.name}/crf": self.folder / "crf"} if self.crf else folders

    @property
    def logits(self) -> Path:
        """Where the logits lie until the masks are made."""
        return self.folder / "logits"

    @property
    def recipe(self):
        """The segmenter's recipe with the scales of this stage."""
        changes = {"infer_scales": tuple(self.scales)} if self.scales else {}
        if self.mirror is not None:
            changes["infer_mirror"] = self.mirror
        return replace(self.source.recipe, **changes)

    def ids(self):
        """The images of the list."""
        return self.job.data.val_ids if self.list == "val" else self.job.data.infer_ids

    def scored_ids(self):
        """All of them, where there is a truth."""
        return self.ids() if self.job.data.truth is not None else []

    def facts(self, label=""):
        """The weights, how images are shown, and the CRF."""
        recipe = self.recipe
        facts = {
            "weights": file_sha256(self.source.weights),
            "scales": recipe.infer_scales,
            "mirror": recipe.infer_mirror,
        }
        return {**facts, "crf": [recipe.crf, recipe.crf_picture]} if label.endswith("/crf") else facts

    def left(self):
        """The ids that lack a mask."""
        return ids_without_file(self.share(), self.products().values(), ".png")

    @cached_property
    def network(self):
        """The trained segmenter, with the recipe of this stage."""
        segmenter = self.source.load()
        segmenter.recipe = self.recipe
        return segmenter

    def work(self, ids):
        """Compute the logits, then the masks on all cores."""
        from icd.data.batches import InferenceBatches
        from icd.engine.predict import predict

        data, segmenter = self.job.data, self.network
        without = ids_without_file(ids, [self.logits], ".npz")
        if without:
            batches = InferenceBatches(
                self.job.dataset(without, tagged=False),
                1,
                segmenter.presentation(self.recipe),
                workers=self.job.workers,
            )
            predict(segmenter, batches, self.job.devices[0], self._write)
        targets = {label.rpartition("/")[2]: folder for label, folder in self.products().items()}
        options = {"preset": self.recipe.crf, "picture": self.recipe.crf_picture}
        job = MaskImage(
            self.logits, data.images, data.max_side, targets, segmenter.fusion, options, self.keep_logits
        )
        found = run_pool(job, ids, self.job.workers, self.name)
        say(self.name, {v: sum(one[v] for one in found) for v in targets}, len(ids))

    def _write(self, image_id, logits):
        write_logits(score_maps_path(self.logits, image_id), logits)


@dataclass(frozen=True)
class MaskImage:
    """Makes the masks of an id from its logits; returns by variant whether they are empty."""

    logits: Path
    images: Path
    max_side: int
    targets: dict
    fusion: Fusion
    crf: dict
    keep: bool

    def __call__(self, image_id):
        path = score_maps_path(self.logits, image_id)
        stored = read_logits(path)
        size = stored.size
        logits = logits_on_image(replace(stored, size=working_size(size, self.max_side)), self.fusion)
        masks = {"nocrf": mask_of(logits)}
        if "crf" in self.targets:
            image, _ = read_bounded(image_path(self.images, image_id), self.max_side)
            masks["crf"] = mask_of(crf_probabilities(image, logits, **self.crf, threads=1))
        for variant, mask in masks.items():
            write_mask(mask_path(self.targets[variant], image_id), enlarge_mask(mask, size))
        if not self.keep:
            path.unlink()
        return {variant: is_empty(mask) for variant, mask in masks.items()}
