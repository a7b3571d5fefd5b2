"""What makes a score doubtful although it can be counted: ignored truth, empty masks, palettes that contradict the numbers.

In: truths and predictions, one image at a time. Out: counts that add up over images, and sentences about them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.classes import IGNORE, VOC_CLASSES
from icd.files import contradictions

_COUNTS = 5  # pixels of truth, ignored ones, truths that ignore all objects, predictions without a class, of these wrongly
_COLOURS = len(VOC_CLASSES) + 1


def count_findings(truth, truth_palette, prediction, prediction_palette, classes: int) -> tuple:
    """Count in one image.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, shape (H, W), uint8
        As stored.
    truth_palette, prediction_palette : numpy.ndarray or None
        From `icd.files.read_mask_and_palette`.
    classes : int
        C, the number of foreground classes.

    Returns
    -------
    counts : numpy.ndarray, shape (5,), int64
    colours : numpy.ndarray, shape (2, C + 1, 21), int64
        Images of truth and of predictions whose value (row) has the colour of another VOC class (column).
    """
    of_truth, of_prediction = (np.bincount(mask.ravel(), minlength=256) for mask in (truth, prediction))
    object_there, class_found = of_truth[1:IGNORE].any(), of_prediction[1:IGNORE].any()
    ignores_all = of_truth[IGNORE] > 0 and not object_there
    counts = [truth.size, of_truth[IGNORE], ignores_all, not class_found, object_there and not class_found]
    colours = np.zeros((2, classes + 1, _COLOURS), np.int64)
    for table, mask, palette in (
        (colours[0], truth, truth_palette),
        (colours[1], prediction, prediction_palette),
    ):
        for value, other in contradictions(mask, palette, classes):
            table[value, other] += 1
    return np.array(counts, np.int64), colours


def no_findings(classes: int) -> tuple:
    """The two arrays of `count_findings` before the first image."""
    return np.zeros(_COUNTS, np.int64), np.zeros((2, classes + 1, _COLOURS), np.int64)


@dataclass(frozen=True)
class Findings:
    """Sums of `count_findings` over images.

    Attributes
    ----------
    images : int
    counts, colours : numpy.ndarray
    """

    images: int
    counts: np.ndarray
    colours: np.ndarray

    @property
    def ignored(self) -> float:
        """Share of the truth's pixels that are 255 and not scored, 0..1."""
        return float(self.counts[1] / max(self.counts[0], 1))

    @property
    def truths_without_object(self) -> int:
        """Truths that have ignored pixels and no pixel of a class but the background."""
        return int(self.counts[2])

    @property
    def empty(self) -> int:
        """Predictions without any class: background and 255 alone."""
        return int(self.counts[3])

    @property
    def empty_for_objects(self) -> int:
        """Those of `empty` whose truth has an object."""
        return int(self.counts[4])

    def as_dict(self) -> dict:
        """Plain numbers for JSON."""
        return {
            "ignored_truth": self.ignored,
            "truths_without_object": self.truths_without_object,
            "empty_predictions": self.empty,
            "empty_predictions_for_objects": self.empty_for_objects,
        }

    def sentences(self) -> list:
        """What there is to say, in the order of its weight."""
        lines = []
        if self.truths_without_object:
            lines.append(
                f"WARNING {self.truths_without_object} of {self.images} truths have ignored pixels (255) and no object. "
                "If 255 is meant to be an object, write class numbers instead: nothing of it is scored."
            )
        for what, table in zip(("truths", "predictions"), self.colours):
            lines += [_of_colours(what, table, value, other) for value, other in np.argwhere(table)[:3]]
        if self.empty_for_objects:
            lines.append(
                f"WARNING {self.empty} of {self.images} predictions are empty (background and 255 alone); "
                f"{self.empty_for_objects} of their truths have an object."
            )
        if self.ignored:
            lines.append(f"{100 * self.ignored:.2f} % of the truth's pixels are 255 and not scored.")
        return lines


def _of_colours(what: str, table, value: int, other: int) -> str:
    return (
        f"WARNING {table[value, other]} {what} paint the value {value} in the colour that VOC gives to {other} "
        f"({VOC_CLASSES[other - 1]}). The values count, not the palette: are the class numbers right?"
    )
