"""The stage of random walks: a trained refiner lets the score maps of every image spread; label stacks and masks come out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from tqdm import tqdm

from icd.data.images import image_path, read_image
from icd.files import mask_path, score_maps_path, write_label_stack, write_mask
from icd.foreign.layouts import find_score_maps, read_layout
from icd.provenance import file_sha256
from icd.stages.base import Stage, ids_without_file, setting
from icd.stages.train import Train


@dataclass(frozen=True)
class Walk(Stage):
    """See the module's docstring."""

    kind: ClassVar[str] = "walk"
    makes: ClassVar[str] = "stack"
    source: Stage = None
    by: Train = None
    background: object = setting("of the score maps: a constant, or {power: alpha}", None)
    beta: float = setting("exponent of the affinities", None)
    steps: int = setting("of the walk", None)

    def products(self):
        """The label stacks, and the masks of their strongest labels."""
        return {f"{self.name}/": self.folder / "masks", "stacks": self.folder / "stacks"}

    def label_for(self, what):
        """The masks for who learns from masks, else the stacks."""
        return f"{self.name}/" if what == "mask" else "stacks"

    def settings(self) -> dict:
        """What the chain or the user says of the walk; the refiner knows the rest."""
        names = ("background", "beta", "steps")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def facts(self, label=""):
        """The settings, the refiner's weights and the score maps."""
        return {
            **self.settings(),
            "by": file_sha256(self.by.weights),
            "maps": self.source.record(self.source.label_for("maps")),
        }

    def policy(self) -> str:
        """How the masks come by their background, in words."""
        return f"{self.name}: background {self.background if self.background is not None else 'as published'}"

    def left(self):
        """The ids that lack a stack or a mask."""
        masks, stacks = self.products().values()
        both = set(ids_without_file(self.share(), [masks], ".png"))
        both.update(ids_without_file(self.share(), [stacks], ".npz"))
        return [image_id for image_id in self.share() if image_id in both]

    @cached_property
    def network(self):
        """The trained refiner."""
        return self.by.load()

    def work(self, ids):
        """Let the maps spread, one image after the other: the network and the walk use all cores."""
        refiner, job = self.network, self.job
        maps = self.source.products()[self.source.label_for("maps")]
        masks, stacks = self.products().values()
        for image_id in tqdm(ids, unit="image", desc=self.name, dynamic_ncols=True, disable=None):
            image = read_image(image_path(job.data.images, image_id))
            stack = refiner.spread(image, self._read(maps, image_id, image), **self.settings())
            write_label_stack(score_maps_path(stacks, image_id), stack)
            write_mask(mask_path(masks, image_id), stack.mask())

    def _read(self, maps, image_id, image):
        path = find_score_maps(maps, image_id)
        return read_layout(path, size=image.shape[:2], num_classes=len(self.job.data.classes))
