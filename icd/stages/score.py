"""The stage that scores masks against the truth: `scores.json`, an entry for every product of the stage that made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.evaluate import score_masks
from icd.files import write_json
from icd.stages.base import Stage, setting

TITLES = {"nocrf": "no CRF", "crf": "CRF", "sal": "saliency"}


@dataclass(frozen=True)
class Score(Stage):
    """See the module's docstring; it is quick and done anew in every call, and skipped where there is no truth."""

    kind: ClassVar[str] = "score"
    source: Stage = None
    eval_classes: tuple = setting("class numbers to score; others count as ignored", None)
    name_of_file: str = setting("of the scores", "scores.json")

    def products(self):
        """None that has a record: the scores name what they are of."""
        return {}

    @property
    def file(self):
        """Where the scores go."""
        return self.folder / self.name_of_file

    def writes(self):
        """The file of scores."""
        return [self.file]

    def ids(self):
        """The images to score."""
        return self.source.scored_ids()

    def facts(self, label=""):
        """None, as it has no product."""
        return {}

    def needs(self):
        """The truth of every image."""
        return {"truth": self.ids()} if self.ids() else {}

    def left(self):
        """All images, where there is a truth."""
        return self.ids()

    def run(self):
        """Score."""
        if self.ids() and self.job.shard == (1, 1) and self.job.world.leads:
            self.work(self.ids())

    def work(self, ids):
        """Score every product, write the entries, print their table."""
        data, entries = self.job.data, []
        products = self.source.products()
        masks = {label: folder for label, folder in products.items() if "/" in label} or products
        for label, folder in masks.items():
            kind, _, variant = label.partition("/")
            scores = score_masks(
                folder, data.truth, ids, data.classes, evaluated_classes=self.eval_classes,
                workers=self.job.cluster or max(self.job.workers, 1),
            )  # fmt: skip
            named = {
                "kind": kind,
                "variant": variant,
                "name": f"{kind} {variant}".strip(),
                "extra_supervision": list(self.source.supervision(label)),
            }
            entries.append({**named, **scores.as_dict(per_image=True)})
        write_json(self.file, entries)
        print(score_table(entries))


def score_table(entries: list) -> str:
    """The mIoU of every kind of masks and variant, in per cent, as text, and how much of the images is decided."""
    variants = list(dict.fromkeys(entry["variant"] for entry in entries))
    lines = ["mIoU in %".ljust(14) + "".join(TITLES.get(v, v or "masks").rjust(10) for v in variants)]
    for kind in dict.fromkeys(entry["kind"] for entry in entries):
        of_kind = {entry["variant"]: entry for entry in entries if entry["kind"] == kind}
        for title, key in ((kind.upper(), "miou"), ("  decided", "coverage")):
            values = (100 * of_kind[v][key] if v in of_kind else float("nan") for v in variants)
            lines.append(title.ljust(14) + "".join(f"{value:10.2f}" for value in values))
    return "\n".join(lines)
