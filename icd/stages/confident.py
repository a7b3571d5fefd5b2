"""The stage of confident seeds: what IRN learns from, masks of pixels that a CRF finds surely of a class or surely background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from icd.bounded import bounded_maps, enlarge_mask
from icd.data.images import image_path, read_bounded
from icd.files import mask_path, write_mask
from icd.foreign.layouts import find_score_maps, read_layout
from icd.refine.confident_seeds import BACKGROUND, FOREGROUND, confident_seed
from icd.stages.base import Stage, ids_without_file, run_pool, setting


@dataclass(frozen=True)
class ConfidentSeeds(Stage):
    """See the module's docstring; spec irn 4.2."""

    kind: ClassVar[str] = "confident_seeds"
    source: Stage = None
    foreground: float = setting("share of a map's maximum below which nothing is surely a class", FOREGROUND)
    background: float = setting(
        "share of a map's maximum above which nothing is surely background", BACKGROUND
    )
    crf: str = setting("parameters of the CRF", "irn")

    def facts(self, label=""):
        """The settings, and the facts of the score maps."""
        facts = {name: getattr(self, name) for name in ("foreground", "background", "crf")}
        return {**facts, "maps": self.source.record(self.source.label_for("maps"))}

    def left(self):
        """The ids without a mask."""
        return ids_without_file(self.share(), [self.folder], ".png")

    def work(self, ids):
        """Make the masks, image by image on all cores."""
        maps = self.source.products()[self.source.label_for("maps")]
        settings = (self.foreground, self.background, self.crf)
        job = ConfidentImage(maps, self.folder, self.job.data.images, self.job.data.max_side, *settings)
        run_pool(job, ids, self.job.workers, self.name)


@dataclass(frozen=True)
class ConfidentImage:
    """Makes the confident seed of an id; attributes as of `ConfidentSeeds`."""

    maps: Path
    target: Path
    images: Path
    max_side: int
    foreground: float
    background: float
    crf: str

    def __call__(self, image_id):
        image, size = read_bounded(image_path(self.images, image_id), self.max_side)
        scores = bounded_maps(read_layout(find_score_maps(self.maps, image_id), size=size), self.max_side)
        seed = confident_seed(scores, image, self.foreground, self.background, self.crf, threads=1)
        write_mask(mask_path(self.target, image_id), enlarge_mask(seed, size))
