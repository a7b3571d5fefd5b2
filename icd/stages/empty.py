"""Masks without any class. In: what a stage wrote. Out: a line that counts the empty ones, with advice where they are many.

A run whose masks are all empty ends like any other, and nobody looks at every mask.
"""

from __future__ import annotations

import numpy as np

from icd.classes import IGNORE

_ADVICE = (
    "Look at the pictures of report.html, train longer (--num-epoch), or take a lower background threshold (--threshold, "
    "for rules that have one)."
)
_BY_CRF = "The CRF took them all, as it does where seeds are small: take the masks without CRF, or another --crf-preset."


def is_empty(mask: np.ndarray) -> bool:
    """Whether a mask holds background and 255 alone."""
    return not ((mask > 0) & (mask < IGNORE)).any()


def remarks(name: str, empty: dict, images: int) -> list:
    """What there is to say of the masks that a stage has just made.

    Parameters
    ----------
    name : str
        Of the stage, and of the kind of its masks.
    empty : dict of int
        How many are empty, by variant, such as "crf"; no variant: "".
    images : int
        How many were made of each.

    Returns
    -------
    list of str
        A line for each variant with empty masks; the last one says what to try where half of a variant's or more are.
    """
    lines = []
    for variant, count in empty.items():
        if count:
            sign = "WARNING " if 2 * count >= images else ""
            lines.append(
                f"{sign}{f'{name} {variant}'.strip()}: {count} of {images} masks are empty (no class anywhere)."
            )
    if any(2 * count >= images for count in empty.values() if count):
        few = 2 * empty.get("nocrf", images) < images  # without CRF most have a class
        lines[-1] += f" {_BY_CRF if few and 2 * empty.get('crf', 0) >= images else _ADVICE}"
    return lines


def say(name: str, empty: dict, images: int) -> None:
    """Print the remarks; arguments as of `remarks`."""
    for line in remarks(name, empty, images):
        print(line)
