"""Class names and colours: VOC's twenty; `icd.files.read_classes` reads a user's own.

Class numbers everywhere in the package: 0 background, 1..C foreground, 255 ignore.
"""

from __future__ import annotations

import numpy as np

IGNORE = 255

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_palette() -> np.ndarray:
    """The colours of VOC's masks.

    Returns
    -------
    numpy.ndarray, shape (256, 3), uint8
        RGB; the bits of the class number, spread over the high bits of the three channels (VOC devkit's colour map).
    """
    number = np.arange(256)
    palette = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
    return palette.astype(np.uint8)
