"""The stages of random walks: the score maps of every image spread; label stacks and masks come out.

`Walk`              as far as a trained refiner, AffinityNet or IRN, lets them
`WalkToBoundaries`  up to boundary maps of any program, which lie in a folder
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from icd.bounded import bounded_maps, enlarge_mask
from icd.data.images import image_path, read_bounded
from icd.errors import InputError
from icd.files import mask_path, score_maps_path, write_label_stack, write_mask
from icd.foreign.boundaries import boundary_path, read_boundary
from icd.foreign.layouts import find_score_maps, read_layout
from icd.provenance import file_sha256
from icd.refine.boundary_walk import walk_to_boundaries
from icd.stages import record
from icd.stages.base import Stage, ids_without_file, run_pool, setting
from icd.stages.empty import is_empty, say
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
        empty = 0
        for image_id in tqdm(ids, unit="image", desc=self.name, dynamic_ncols=True, disable=None):
            image, size = read_bounded(image_path(job.data.images, image_id), job.data.max_side)
            stack = refiner.spread(image, self._read(maps, image_id, size), **self.settings())
            empty += write_walked(stack, masks, stacks, image_id, size)
        say(self.name, {"": empty}, len(ids))

    def _read(self, maps, image_id, size):
        data = self.job.data
        scores = read_layout(find_score_maps(maps, image_id), size=size, num_classes=len(data.classes))
        return bounded_maps(scores, data.max_side)


def write_walked(stack, masks, stacks, image_id, size) -> bool:
    """Write a label stack, and the mask of its strongest labels at the photograph's size; return whether it is empty."""
    mask = stack.mask()
    write_label_stack(score_maps_path(stacks, image_id), stack)
    write_mask(mask_path(masks, image_id), enlarge_mask(mask, size))
    return is_empty(mask)


@dataclass(frozen=True)
class WalkToBoundaries(Walk):
    """See the module's docstring; neither photographs nor a network are needed."""

    kind: ClassVar[str] = "walk_to_boundaries"
    boundaries: Path = setting("folder of boundary maps <id>.npy or <id>.png", None)
    radius: int = setting("pixels nearer than this, on the grid of the boundary maps, are neighbours", None)
    layout: str = setting("of the score maps [told from the content]", None)

    def settings(self):
        """What the user says of the walk."""
        return {**super().settings(), **({"radius": self.radius} if self.radius is not None else {})}

    def facts(self, label=""):
        """The settings, and where the boundary maps and the score maps lie; `fingerprints` tells them from others."""
        maps = self.source.record(self.source.label_for("maps"))
        return {**self.settings(), "boundaries": str(self.boundaries.resolve()), "maps": maps}

    def fingerprints(self, noted, label=""):
        """Of the score maps and the boundary maps."""
        marks = super().fingerprints(noted, label)
        return {
            i: record.fingerprint([self._boundary(i)], mark, self.source.marks(i))
            for i, mark in marks.items()
        }

    def check(self):
        """Every image must have a boundary map."""
        missing = [image_id for image_id in self.share() if not self._boundary(image_id).is_file()]
        if missing:
            expected = f"a boundary map <id>.npy or <id>.png for each of {len(self.share())} ids"
            raise InputError(self.boundaries, expected, f"{len(missing)} missing, such as {missing[0]}")

    def work(self, ids):
        """Let the maps of the images spread, on several processes."""
        maps = self.source.products()[self.source.label_for("maps")]
        classes = len(self.job.data.classes)
        walk = WalkImage(
            maps, self.layout, classes, self.boundaries, tuple(self.products().values()), self.settings()
        )
        say(self.name, {"": sum(run_pool(walk, ids, self.job.workers, self.name))}, len(ids))

    def _boundary(self, image_id) -> Path:
        return boundary_path(self.boundaries, image_id)


@dataclass(frozen=True)
class WalkImage:
    """Lets the score maps of an id spread up to its boundary map; returns whether the mask is empty."""

    maps: Path
    layout: str
    num_classes: int
    boundaries: Path
    targets: tuple
    settings: dict

    def __call__(self, image_id):
        path = boundary_path(self.boundaries, image_id)
        scores = read_layout(find_score_maps(self.maps, image_id), self.layout, num_classes=self.num_classes)
        try:
            stack = walk_to_boundaries(read_boundary(path), scores, threads=1, **self.settings)
        except InputError as error:
            if error.where != "boundary":
                raise
            raise InputError(path, error.expected, error.found) from None
        return write_walked(stack, *self.targets, image_id, stack.planes.shape[1:])
