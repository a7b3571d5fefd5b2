"""Boundary IoU: IoU of the inner bands along the borders of truth and prediction.

B. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021. In: two label maps of
one image. Out: pixels in the intersection and in the union of the bands, per class, to be summed over images.
"""

from __future__ import annotations

import cv2
import numpy as np

from icd.classes import IGNORE
from icd.evaluate.confusion import count_values

BAND = 0.02
"""Width of the band as a share of the image's diagonal, as in the paper."""


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, classes: int, policy: str) -> np.ndarray:
    """Count the pixels of both bands in one image.

    Pixels that the truth ignores are taken out of both maps before their borders are found; so a perfect prediction
    scores 1 also where the truth has a ring of 255 around its objects. The image's rim counts as a border. Numbers above
    C in the truth count as 255.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, shape (H, W), uint8
    classes : int
        C, the number of foreground classes.
    policy : {"drop", "background", "error", "refuse"}
        What pixels predicted 255, or any other number above C, are: left out of both maps, background, or nothing.

    Returns
    -------
    numpy.ndarray, shape (2, C + 1), int64
        Pixels in the intersection and in the union of the bands, per class.
    """
    if policy == "background":
        prediction = np.where(prediction > classes, np.uint8(0), prediction)
    elif policy == "drop":
        truth = _without(truth, prediction > classes)
    prediction = _without(prediction, truth > classes)
    width = max(1, int(round(BAND * float(np.hypot(*truth.shape)))))
    truth_band, prediction_band = _band(truth, width), _band(prediction, width)
    both = truth_band & prediction_band & (truth == prediction)
    in_both, in_truth, in_prediction = (
        count_values(_without(labels, ~region), 256)[: classes + 1]
        for labels, region in ((truth, both), (truth, truth_band), (prediction, prediction_band))
    )
    return np.stack([in_both, in_truth + in_prediction - in_both])


def _without(labels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A copy of labels, uint8, that is 255 in a region, bool."""
    return labels | np.negative(region.view(np.uint8))


def _band(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels, (H, W) bool, that have another label, or the outside, within `width` (in the maximum norm).

    That is the band of every class at once: a window holds one label alone where its minimum and maximum are the pixel.
    """
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    least = cv2.erode(labels, window)
    most = cv2.dilate(labels, window, borderType=cv2.BORDER_CONSTANT, borderValue=IGNORE)
    return (least != labels) | (most != labels)
