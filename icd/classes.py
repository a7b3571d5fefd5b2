"""Class names and colours: VOC's twenty, COCO's eighty; `icd.files.read_classes` reads a user's own.

Class numbers everywhere in the package: 0 background, 1..C foreground, 255 ignore.
"""

from __future__ import annotations

import difflib
from collections import Counter

import numpy as np

from icd.errors import InputError

IGNORE = 255

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# The things of COCO in the order of their category ids, which run from 1 to 90 with gaps (spec eps 1.1).
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
CLASS_LISTS = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}
"""Class names that go by a name of their own in `--classes`."""


class KnownClasses(tuple):
    """Class names beside which there may be others, which count for nothing.

    Attributes
    ----------
    unknown : collections.Counter
        How often each other name came up in this process.
    """

    def __new__(cls, names):
        """Make it of the names."""
        classes = super().__new__(cls, names)
        classes.unknown = Counter()
        return classes


def class_number(name: str, classes, where) -> int:
    """The number 1..C of a class name; 0 for an unknown one beside `KnownClasses`.

    Parameters
    ----------
    name : str
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.
    where : str or os.PathLike
        For the message.

    Raises
    ------
    InputError
        The name is not among the classes; the nearest one is named.
    """
    if name in classes:
        return classes.index(name) + 1
    if isinstance(classes, KnownClasses):
        classes.unknown[name] += 1
        return 0
    close = difflib.get_close_matches(name, classes, 1)
    lists = [key for key, names in CLASS_LISTS.items() if name in names]
    remedy = f"Did you mean {close[0]!r}? " if close else ""
    remedy += f"Name your own classes with --classes {' or '.join([*lists, 'FILE'])}"
    remedy += ", or leave these tags out with --ignore-unknown-tags."
    given = ", ".join(classes) if len(classes) <= 10 else f"the {len(classes)} given"
    raise InputError(where, f"class names among {given}", f"{name!r}", remedy)


def evaluated_numbers(text: str, classes, where) -> tuple:
    """The numbers 0..C of the classes to score, ascending.

    Parameters
    ----------
    text : str
        Names, `background` too, or numbers, with commas between.
    classes, where
        As for `class_number`, and its error.
    """
    words = [word.strip() for word in text.split(",")]
    words = ["0" if word == "background" else word for word in words]
    beyond = [word for word in words if word.isdigit() and int(word) > len(classes)]
    if beyond:
        raise InputError(where, f"class numbers from 0 to {len(classes)}", ", ".join(beyond))
    numbers = {int(word) if word.isdigit() else class_number(word, classes, where) for word in words}
    return tuple(sorted(numbers))


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
