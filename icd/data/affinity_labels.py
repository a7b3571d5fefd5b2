"""What AffinityNet learns from: where two score stacks agree. In: a low-alpha and a high-alpha stack. Out: a small label map.

The low alpha makes much of an image background, the high one little. Foreground in the first is sure, and so is background in
the second. Source: Ahn & Kwak, CVPR 2018 (PSA), section 3.2; spec psa 3.3. Works without MXNet.
"""

from __future__ import annotations

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError

OUTSIDE = 1e-5  # where no score reaches this, there is no image
SWAPPED = 0.05  # share of the image by which the background of the low stack may be smaller than that of the high one


def affinity_labels(low: np.ndarray, high: np.ndarray, cell: int = 8) -> np.ndarray:
    """Label every cell of a grid with a plane of the stacks, or with 255.

    Parameters
    ----------
    low, high : numpy.ndarray, shape (K, S, S), float32
        The background first, then the same classes in both; 0 outside of the image.
    cell : int
        Side of a cell in pixels; what is left at the bottom and right is not looked at.

    Returns
    -------
    numpy.ndarray, shape (S // cell, S // cell), uint8
        0: surely background; k: surely of the k-th plane; 255: neither, or outside of the image.

    Raises
    ------
    InputError
        The stacks have different planes, or were given in each other's place.
    """
    if low.shape != high.shape:
        found = f"{len(low)} and {len(high)} planes, {low.shape[1:]} and {high.shape[1:]} pixels"
        raise InputError("label stacks low and high", "the same labels and size in both", found)
    low, high = _block_means(low, cell), _block_means(high, cell)
    label = low.argmax(0).astype(np.uint8)
    label[label == 0] = IGNORE
    background = high.argmax(0) == 0
    inside = np.maximum(low.max(0), high.max(0)) >= OUTSIDE
    _refuse_swapped((low.argmax(0) == 0) & inside, background & inside)
    label[background] = 0
    label[~inside] = IGNORE
    return label


def _block_means(planes, cell):
    count, height, width = planes.shape
    rows, columns = height // cell, width // cell
    planes = planes[:, : rows * cell, : columns * cell]
    return planes.reshape(count, rows, cell, columns, cell).mean((2, 4), dtype=np.float32)


def _refuse_swapped(in_low, in_high):
    difference = in_high.mean() - in_low.mean() if in_low.size else 0
    if difference > SWAPPED:
        raise InputError(
            "label stacks low and high",
            "more background in low (low alpha) than in high",
            f"{100 * difference:.0f} % of the picture less",
            "Give each the other's folder.",
        )
