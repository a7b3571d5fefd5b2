"""Boundary IoU: IoU of the inner bands along the borders of truth and prediction.

B. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021. In: two label maps of
one image. Out: pixels in the intersection and in the union of the bands, per class, to be summed over images.
"""

from __future__ import annotations

import cv2
import numpy as np

from icd.classes import IGNORE

BAND = 0.02
"""Width of the band as a share of the image's diagonal, as in the paper."""


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, classes: int, policy: str) -> np.ndarray:
    """Count the pixels of both bands in one image.

    Pixels that the truth ignores are taken out of both maps before their borders are found; so a perfect prediction
    scores 1 also where the truth has a ring of 255 around its objects. The image's rim counts as a border.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, shape (H, W), uint8
    classes : int
        C, the number of foreground classes.
    policy : {"drop", "background", "error", "refuse"}
        What pixels predicted 255 are: left out of both maps, background, or nothing.

    Returns
    -------
    numpy.ndarray, shape (2, C + 1), int64
        Pixels in the intersection and in the union of the bands, per class.
    """
    if policy == "background":
        prediction = np.where(prediction == IGNORE, np.uint8(0), prediction)
    elif policy == "drop":
        truth = np.where(prediction == IGNORE, np.uint8(IGNORE), truth)
    prediction = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
    present = np.bincount(truth.ravel(), minlength=256) + np.bincount(prediction.ravel(), minlength=256)
    width = max(1, int(round(BAND * float(np.hypot(*truth.shape)))))
    counts = np.zeros((2, classes + 1), np.int64)
    for number in np.flatnonzero(present[: classes + 1]):
        one, other = _band(truth == number, width), _band(prediction == number, width)
        counts[:, number] = np.count_nonzero(one & other), np.count_nonzero(one | other)
    return counts


def _band(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a region, (H, W) bool, that lie within `width` of its border (in the maximum norm)."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(region.view(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return region & (inner == 0)
