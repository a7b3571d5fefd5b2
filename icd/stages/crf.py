"""The stage of dense CRFs: label stacks or masks from score maps or label stacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from icd.bounded import bounded_maps, enlarge_mask, read_at, shrink_stack
from icd.data.images import image_path, read_bounded
from icd.files import mask_path, score_maps_path, write_label_stack, write_mask
from icd.foreign.label_stacks import find_label_stack, read_any_label_stack
from icd.foreign.layouts import find_score_maps, read_layout
from icd.refine.stack_crf import crf_of_stack, stack_of_scores
from icd.stages.base import Stage, ids_without_file, run_pool, setting
from icd.stages.empty import is_empty, say


@dataclass(frozen=True)
class Crf(Stage):
    """See the module's docstring."""

    kind: ClassVar[str] = "crf"
    source: Stage = None
    background: object = setting("of score maps: a constant, or {power: alpha}", 0.2)
    hard: bool = setting("whether the strongest label is taken for certain, as in PPC", False)
    rows_first: bool = setting("whether the lattice lies along the rows first, as in PPC", False)
    preset: str = setting("parameters of the CRF", "psa")
    iterations: int = setting("of mean field", 10)
    makes: str = setting("what is kept", "stack", choices=("stack", "masks"))

    def products(self):
        """The stacks; or the masks, as a product that can be scored."""
        return {"": self.folder} if self.makes == "stack" else {f"{self.name}/": self.folder}

    def facts(self, label=""):
        """All settings, and the facts of what is read."""
        facts = {
            name: getattr(self, name) for name in ("hard", "rows_first", "preset", "iterations", "makes")
        }
        read = self.source.label_for("maps")
        if not self._reads_stacks():
            facts["background"] = self.background
        return {**facts, "source": self.source.record(read)}

    def _reads_stacks(self) -> bool:
        return getattr(self.source, "makes", None) == "stack"

    def policy(self) -> str:
        """How the masks come by their background, in words."""
        return (
            f"{self.name}: background {self.background}" if not self._reads_stacks() else self.source.policy()
        )

    def left(self):
        """The ids without a file."""
        return ids_without_file(self.share(), [self.folder], ".npz" if self.makes == "stack" else ".png")

    def work(self, ids):
        """Run the CRF, image by image on all cores."""
        folder = self.source.products()[self.source.label_for("maps")]
        settings = (self.background, self.hard, self.rows_first, self.preset, self.iterations, self.makes)
        data = self.job.data
        crf_image = CrfImage(folder, self._reads_stacks(), self.folder, data.images, data.max_side,
                             len(data.classes), *settings)  # fmt: skip
        empty = run_pool(crf_image, ids, self.job.workers, self.name)
        say(self.name, {"": sum(empty)}, len(ids))


@dataclass(frozen=True)
class CrfImage:
    """Runs the CRF of an id, and returns whether it made an empty mask; attributes as of `Crf`."""

    source: Path
    reads_stacks: bool
    target: Path
    images: Path
    max_side: int
    num_classes: int
    background: object
    hard: bool
    rows_first: bool
    preset: str
    iterations: int
    makes: str

    def __call__(self, image_id):
        image, size = read_bounded(image_path(self.images, image_id), self.max_side)
        if self.reads_stacks:
            read = partial(read_any_label_stack, find_label_stack(self.source, image_id), self.num_classes)
            stack = read_at(read, size, image.shape[:2], shrink_stack)
        else:
            stack = stack_of_scores(self._maps(image_id, size), self.background)
        options = {"hard": self.hard, "rows_first": self.rows_first, "iterations": self.iterations}
        refined = crf_of_stack(stack, image, self.preset, num_classes=self.num_classes, threads=1, **options)
        return self._write(image_id, refined, size)

    def _maps(self, image_id, size):
        path = find_score_maps(self.source, image_id)
        return bounded_maps(read_layout(path, size=size, num_classes=self.num_classes), self.max_side)

    def _write(self, image_id, refined, size):
        if self.makes == "stack":
            write_label_stack(score_maps_path(self.target, image_id), refined)
            return False
        mask = refined.mask()
        write_mask(mask_path(self.target, image_id), enlarge_mask(mask, size))
        return is_empty(mask)
