"""What two evaluators of the same masks can differ in, by name, and the scores that follow from the counts.

In: counts of pixels by truth and prediction. Out: IoU, mIoU, accuracy, precision, recall under a named convention.

====================  ==========================  =======================  =======================  ==============
convention            255 in a prediction         mean IoU over            unknown predictions      source
====================  ==========================  =======================  =======================  ==============
`drop`                pixel not counted           classes seen             refused                  ours
`background`          counted as class 0          classes seen             refused                  ours
`error`               truth's class loses it      classes seen             refused                  ours
`icd`                 pixel not counted           all                      not counted              spec icd 6
`eps`                 pixel not counted           classes seen             not counted              spec eps 6
`vwe`, `deeplab`      refused                     classes in the truth     refused                  vwe 6, deeplab B6
`drs`                 refused                     classes seen             refused                  spec drs 6
`ppc`, `seam`         truth's class loses it      all                      truth's class loses it   ppc 10, seam 6
`irn`                 counted as class 0          classes seen             refused                  spec irn 6
====================  ==========================  =======================  =======================  ==============

"Seen" means: at least one pixel in the truth or in the predictions. "Refused" stands where the original's counter breaks
or writes into another class's cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from icd.errors import InputError

POLICIES = ("drop", "background", "error")


@dataclass(frozen=True)
class Convention:
    """How one evaluator counts.

    Attributes
    ----------
    undefined : {"drop", "background", "error", "refuse"}
        What happens to a pixel predicted 255.
    mean : {"all", "seen", "truth"}
        The classes that mIoU is the mean of.
    epsilon : float
        Added to the union.
    unknown_prediction : {"undefined", "refuse"}
        Predicted numbers from C + 1 to 254: counted like 255, or an error.
    unknown_truth : {"ignore", "refuse"}
        Numbers from C + 1 to 254 in the truth: counted like 255, or an error.
    crops : bool
        A prediction larger than the truth is cut at its lower and right side.
    """

    name: str
    undefined: str
    mean: str = "seen"
    epsilon: float = 0.0
    unknown_prediction: str = "refuse"
    unknown_truth: str = "refuse"
    crops: bool = False


_PPC = Convention("ppc", "error", "all", 1e-10, unknown_prediction="undefined")
_DEEPLAB = Convention("deeplab", "refuse", "truth", unknown_truth="ignore")
CONVENTIONS = {
    **{policy: Convention(policy, policy) for policy in POLICIES},
    "icd": Convention("icd", "drop", "all", 1e-10, "undefined", "ignore"),
    "eps": Convention("eps", "drop", "seen", 0.0, "undefined", "ignore", crops=True),
    "vwe": replace(_DEEPLAB, name="vwe"),
    "ppc": _PPC,
    "seam": replace(_PPC, name="seam"),
    "drs": Convention("drs", "refuse", "seen", unknown_truth="ignore"),
    "irn": Convention("irn", "background"),
    "deeplab": _DEEPLAB,
}


def convention_of(name: str) -> Convention:
    """The convention of that name; `InputError` lists the known ones."""
    if name not in CONVENTIONS:
        raise InputError("policy", f"one of {', '.join(CONVENTIONS)}", repr(name))
    return CONVENTIONS[name]


def apply_policy(counts: np.ndarray, policy: str):
    """Decide what the pixels predicted 255 count as.

    Parameters
    ----------
    counts : numpy.ndarray, shape (C + 1, C + 2), int64
        Pixels by truth (row) and prediction (column); the last column counts 255.
    policy : {"drop", "background", "error", "refuse"}
        "refuse": there are none, see `icd.evaluate.confusion.class_counts`.

    Returns
    -------
    confusion : numpy.ndarray, shape (C + 1, C + 1), int64
        Pixels by truth and prediction.
    missed : numpy.ndarray, shape (C + 1,), int64
        Pixels of the truth that belong to no prediction but still to the union.
    """
    confusion, undefined = counts[:, :-1].copy(), counts[:, -1]
    missed = np.zeros_like(undefined)
    if policy == "background":
        confusion[:, 0] += undefined
    elif policy == "error":
        missed = undefined.copy()
    return confusion, missed


def class_scores(confusion: np.ndarray, missed: np.ndarray, epsilon: float = 0.0) -> dict:
    """IoU, precision and recall of every class; NaN where a class has no pixel to judge by.

    Returns
    -------
    dict of str to numpy.ndarray, shape (C + 1,), float64
        `iou` = TP / (truth + predicted - TP + epsilon), `precision` = TP / predicted, `recall` = TP / truth.
    """
    hit, truth, predicted = np.diag(confusion), confusion.sum(1) + missed, confusion.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "iou": hit / (truth + predicted - hit + epsilon),
            "precision": hit / predicted,
            "recall": hit / truth,
        }


def mean_iou(iou: np.ndarray, truth: np.ndarray, evaluated, mean: str) -> float:
    """Mean of `iou` over those of the `evaluated` classes that the convention's `mean` asks for.

    Parameters
    ----------
    truth : numpy.ndarray, shape (C + 1,)
        Pixels of every class in the truth.
    mean : {"all", "seen", "truth"}
    """
    chosen = np.zeros(len(iou), bool)
    chosen[list(evaluated)] = True
    if mean == "truth":
        chosen &= truth > 0
    elif mean == "seen":
        chosen &= ~np.isnan(iou)
    return float(np.mean(iou[chosen])) if chosen.any() else float("nan")
