"""The stage of seeds: masks from score maps by the rule of the method, without CRF, with CRF, and with saliency."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from icd.bounded import bounded_maps, enlarge_mask, read_at, shrink_values
from icd.data.images import image_path, read_bounded, read_image_size
from icd.files import mask_path, read_saliency, write_mask
from icd.foreign.layouts import find_score_maps, read_layout
from icd.refine.seeds import SeedRule, crf_seed
from icd.stages import record
from icd.stages.base import GivenMaps, Stage, ids_without_file, run_pool, setting
from icd.stages.empty import is_empty, say

VARIANTS = ("nocrf", "crf", "sal")


@dataclass(frozen=True)
class Seeds(Stage):
    """See the module's docstring; a product for each kind of score maps and each variant, "icd/crf"."""

    kind: ClassVar[str] = "seeds"
    source: Stage = None
    variants: tuple = setting("some of " + ", ".join(VARIANTS), ("nocrf", "crf"))
    threshold: float = setting("background threshold, a share of the maximum, for rules that have one", None)
    crf_preset: str = setting("parameters of the CRF", "icd")
    crf_backend: str = setting("whose CRF", "native", choices=("native", "pydensecrf"))
    plane: str = setting("the variant that a segmentation network learns from", "crf", choices=VARIANTS)
    flat: bool = setting("put the variants straight into the folder", False)

    def products(self):
        """`seeds/<variant>` for the method's own kind, `seeds_<kind>/<variant>` for others."""
        kinds = list(self.source.rules)
        names = {kind: "seeds" if kind == kinds[-1] else f"seeds_{kind}" for kind in kinds}
        folders = {kind: self.folder if self.flat else self.folder / names[kind] for kind in kinds}
        return {f"{kind}/{variant}": folders[kind] / variant for kind in kinds for variant in self.variants}

    def label_for(self, what):
        """The method's own masks in the variant `plane`; without that, the first variant."""
        kind = list(self.source.rules)[-1]
        return f"{kind}/{self.plane if self.plane in self.variants else self.variants[0]}"

    def facts(self, label=""):
        """The rule, the classes, the score maps, and the parameters of the variant."""
        kind, variant = label.split("/")
        rule = self.source.rules[kind]
        facts = {"rule": rule.name, "classes": list(self.job.data.classes), "maps": self.source.record(kind)}
        if rule.threshold is not None:
            facts["threshold"] = rule.threshold if self.threshold is None else self.threshold
        if variant == "crf":
            facts["crf"] = [self.crf_preset, self.crf_backend]
        return facts

    def fingerprints(self, noted, label=""):
        """Given score maps, and with saliency its files, count too."""
        marks = super().fingerprints(noted, label)
        if isinstance(self.source, GivenMaps):
            marks = {i: record.fingerprint([], mark, self.source.marks(i)) for i, mark in marks.items()}
        if not label.endswith("/sal"):
            return marks
        folder = self.job.data.saliency
        return {i: record.fingerprint([mask_path(folder, i)], mark) for i, mark in marks.items()}

    def needs(self):
        """Saliency for the variant with saliency."""
        return {"saliency": self.ids()} if "sal" in self.variants else {}

    def supervision(self, label=""):
        """Saliency, where a variant uses it."""
        saliency = "sal" in self.variants if not label else label.endswith("/sal")
        return tuple(dict.fromkeys((*(("saliency",) if saliency else ()), *super().supervision())))

    def policy(self) -> str:
        """How the masks come by their background threshold, in words."""
        return "; ".join(
            f"{kind}: {rule.policy_at(self.threshold)}" for kind, rule in self.source.rules.items()
        )

    def left(self):
        """The ids that lack a mask of some kind and variant."""
        return ids_without_file(self.share(), self.products().values(), ".png")

    def work(self, ids):
        """Make the masks, image by image on all cores."""
        products, maps, job = self.products(), self.source.products(), self.job
        for kind, rule in self.source.rules.items():
            targets = {variant: products[f"{kind}/{variant}"] for variant in self.variants}
            seed_image = SeedImage(
                rule, maps[kind], targets, len(job.data.classes), maps.get(rule.companion), job.data.images, job.tags,
                job.data.saliency, job.data.max_side, self.threshold, self.crf_preset, self.crf_backend,
            )  # fmt: skip
            left = ids_without_file(ids, targets.values(), ".png")
            found = run_pool(seed_image, left, job.workers, f"{self.name} {kind}")
            empty = {variant: sum(one.get(variant, False) for one in found) for variant in self.variants}
            say(f"{self.name} {kind}", empty, len(left))


@dataclass(frozen=True)
class SeedImage:
    """Makes the missing seeds of an id; returns by variant whether the new ones are empty.

    Attributes
    ----------
    rule : SeedRule
    maps, companion : pathlib.Path
        Folders of score maps in any layout of `icd.foreign.layouts`; the second where the rule reads another kind too.
    targets : dict of pathlib.Path
        The folder of every variant.
    images, tags, saliency
        Photographs for `crf`, and with tags for the layout that says neither size nor classes; saliency maps for `sal`.
    max_side : int or None
        Masks of larger photographs are made at their working size and enlarged; see `icd.bounded`.
    """

    rule: SeedRule
    maps: Path
    targets: dict
    num_classes: int
    companion: Path
    images: Path
    tags: object
    saliency: Path
    max_side: int
    threshold: float
    crf_preset: str
    crf_backend: str

    def __call__(self, image_id):
        paths = {variant: mask_path(folder, image_id) for variant, folder in self.targets.items()}
        wanted = {variant for variant, path in paths.items() if not path.is_file()}
        stored = self._read(self.maps, image_id)
        maps, size = bounded_maps(stored, self.max_side), stored.size
        companion = None
        if self.companion is not None:
            companion = bounded_maps(self._read(self.companion, image_id), self.max_side)

        empty = {}

        def write(variant, mask):
            empty[variant] = is_empty(mask)
            write_mask(paths[variant], enlarge_mask(mask, size))

        def seed_with(saliency):
            return self.rule.seed(maps, saliency, companion, self.threshold)

        if wanted & {"nocrf", "crf"}:
            seed = seed_with(None)
            if "nocrf" in wanted:
                write("nocrf", seed)
            if "crf" in wanted:
                image, _ = read_bounded(image_path(self.images, image_id), self.max_side)
                options = {"preset": self.crf_preset, "backend": self.crf_backend, "threads": 1}
                write("crf", crf_seed(seed, image, self.num_classes, **options))
        if "sal" in wanted:
            read = partial(read_saliency, mask_path(self.saliency, image_id))
            write("sal", seed_with(read_at(read, size, maps.size, shrink_values)))
        return empty

    def _read(self, folder, image_id):
        path = find_score_maps(folder, image_id)
        tags = None if self.tags is None else self.tags.read(image_id)
        size = None if self.images is None else read_image_size(image_path(self.images, image_id))
        return read_layout(path, tags=tags, size=size, num_classes=self.num_classes)
