"""Class names and colours: VOC's twenty by default, or the lines of a user's `classes.txt`.

Class numbers everywhere in the package: 0 background, 1..C foreground, 255 ignore.
"""

from __future__ import annotations

import numpy as np

from icd.errors import InputError

IGNORE = 255

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def read_classes(path) -> tuple:
    """Read foreground class names, one a line, in the order of their numbers 1..C.

    Parameters
    ----------
    path : str or os.PathLike or None
        None gives VOC's twenty names.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        The file is missing, empty, repeats a name, or holds more than 254 names (255 is the ignore value).
    """
    if path is None:
        return VOC_CLASSES
    from icd.files import read_list

    names = tuple(read_list(path))
    if len(names) >= IGNORE:
        raise InputError(
            path, f"at most {IGNORE - 1} class names", f"{len(names)}", "255 marks ignored pixels."
        )
    return names


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
