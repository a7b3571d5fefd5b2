"""The result of scoring masks: counts, and every number that follows from them.

In: counts of pixels by class, summed over images. Out: `Scores`, which prints, compares and serializes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from icd.evaluate.findings import Findings
from icd.evaluate.policies import POLICIES, Convention, apply_policy, class_scores, mean_iou
from icd.provenance import plain


@dataclass(frozen=True)
class Scores:
    """Scores of a folder of masks.

    Attributes
    ----------
    names : tuple of str
        Class names, background first; C + 1 of them.
    counts : numpy.ndarray, shape (C + 1, C + 2), int64
        Pixels by truth (row) and prediction (column); the last column counts predictions of 255.
    convention : Convention
        How the numbers below are counted.
    evaluated : tuple of int
        The classes whose truth was counted; mIoU is their mean.
    images : int
        Images that were scored.
    missing : tuple of str
        Ids without a prediction; they are in no number below.
    boundary : numpy.ndarray, shape (2, C + 1), int64, or None
        Pixels in the intersection and the union of the boundary bands.
    per_image : dict of str to float
        mIoU of every image alone, over the classes in its truth or its prediction.
    findings : icd.evaluate.findings.Findings or None
        What makes the numbers doubtful: ignored truth, empty predictions, palettes.
    """

    names: tuple
    counts: np.ndarray
    convention: Convention
    evaluated: tuple
    images: int
    missing: tuple = ()
    boundary: np.ndarray = None
    per_image: dict = field(default_factory=dict, repr=False)
    findings: Findings = None

    @property
    def confusion(self) -> np.ndarray:
        """Pixels by truth and prediction under the convention, (C + 1, C + 1) int64."""
        return apply_policy(self.counts, self.convention.undefined)[0]

    @property
    def per_class(self) -> dict:
        """`iou`, `precision` and `recall`, each (C + 1,) float64; NaN for classes that are not judged."""
        return self._per_class(self.convention)

    @property
    def iou(self) -> np.ndarray:
        """IoU of every class, (C + 1,) float64, 0..1."""
        return self.per_class["iou"]

    @property
    def miou(self) -> float:
        """Mean IoU under the convention, 0..1."""
        return self._miou(self.convention)

    @property
    def per_policy(self) -> dict:
        """mIoU with 255 in a prediction dropped, taken as background, and counted as an error."""
        return {policy: self._miou(replace(self.convention, undefined=policy)) for policy in POLICIES}

    @property
    def coverage(self) -> float:
        """Share of the pixels with a known truth whose prediction is a class, 0..1."""
        return _ratio(self.counts[:, :-1].sum(), self.counts.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that have the right class, 0..1."""
        confusion, missed = apply_policy(self.counts, self.convention.undefined)
        return _ratio(np.trace(confusion), confusion.sum() + missed.sum())

    @property
    def foreground_precision(self) -> float:
        """Of the pixels that a prediction calls an object, the share that has the right class, 0..1."""
        confusion = self.confusion
        return _ratio(np.trace(confusion[1:, 1:]), confusion[:, 1:].sum())

    @property
    def foreground_recall(self) -> float:
        """Of the objects' pixels, the share that was given the right class, 0..1."""
        confusion, missed = apply_policy(self.counts, self.convention.undefined)
        return _ratio(np.trace(confusion[1:, 1:]), confusion[1:].sum() + missed[1:].sum())

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of the IoUs, weighted with the classes' share of the truth, 0..1."""
        confusion, missed = apply_policy(self.counts, self.convention.undefined)
        share = confusion.sum(1) + missed
        return _ratio(np.nansum(share * np.nan_to_num(self.iou)), share.sum())

    @property
    def boundary_iou(self):
        """Boundary IoU of every class, (C + 1,) float64, or None where it was not counted."""
        if self.boundary is None:
            return None
        with np.errstate(invalid="ignore"):
            return self._only_evaluated(self.boundary[0] / self.boundary[1])

    def mean(self, values: np.ndarray) -> float:
        """Mean of a (C + 1,) array over its numbers; NaN where there is none."""
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    def as_dict(self, per_image: bool = False) -> dict:
        """Everything as plain numbers for JSON; NaN becomes None. Fractions, not percent.

        Parameters
        ----------
        per_image : bool
            With the mIoU of every image.
        """
        per_class = self.per_class
        if self.boundary is not None:
            per_class["boundary_iou"] = self.boundary_iou
        content = {
            "convention": self.convention.name,
            "undefined": self.convention.undefined,
            "images": self.images,
            "missing": list(self.missing),
            "evaluated_classes": list(self.evaluated),
            "miou": self.miou,
            "miou_per_policy": self.per_policy,
            "coverage": self.coverage,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_precision": self.mean(per_class["precision"]),
            "mean_recall": self.mean(per_class["recall"]),
            "foreground_precision": self.foreground_precision,
            "foreground_recall": self.foreground_recall,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "boundary_iou": None if self.boundary is None else self.mean(self.boundary_iou),
            "classes": [
                {"number": number, "name": name, **{key: values[number] for key, values in per_class.items()}}
                for number, name in enumerate(self.names)
            ],
            "counts": self.counts.tolist(),
        }
        if self.findings is not None:
            content.update(self.findings.as_dict())
        if per_image:
            content["per_image"] = self.per_image
        return plain(content)

    def _per_class(self, convention: Convention) -> dict:
        confusion, missed = apply_policy(self.counts, convention.undefined)
        scores = class_scores(confusion, missed, convention.epsilon)
        return {name: self._only_evaluated(values) for name, values in scores.items()}

    def _miou(self, convention: Convention) -> float:
        return mean_iou(
            self._per_class(convention)["iou"], self.counts.sum(1), self.evaluated, convention.mean
        )

    def _only_evaluated(self, values: np.ndarray) -> np.ndarray:
        kept = np.full(len(values), np.nan)
        kept[list(self.evaluated)] = values[list(self.evaluated)]
        return kept


def _ratio(part, whole) -> float:
    return float(part / whole) if whole else float("nan")
