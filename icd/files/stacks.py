"""Label stacks, `<id>.npz`: what a CRF or a walk gives for an image before argmax (PSA's and PPC's "la" and "ha").

`labels` int16 (L), 0 = background, then the foreground classes, ascending; `planes` float16 (L, H, W), a score of every label
at every pixel, larger means more likely.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError
from icd.files.arrays import read_arrays
from icd.files.atomic import write_atomic

MOST = float(np.finfo(np.float16).max)  # a background (1 - v)^alpha of scores below 0 may be larger
_WANTED = "a label stack with the arrays labels and planes"


@dataclass(frozen=True)
class LabelStack:
    """Scores of the background and some classes at every pixel of an image.

    Attributes
    ----------
    labels : numpy.ndarray, shape (L,), int16
        0 first, then foreground classes, ascending.
    planes : numpy.ndarray, shape (L, H, W), float16 or float32
    """

    labels: np.ndarray
    planes: np.ndarray

    def mask(self) -> np.ndarray:
        """The label of the largest plane at every pixel, uint8 (H, W)."""
        return self.labels[self.planes.argmax(0)].astype(np.uint8)


def write_label_stack(path, stack: LabelStack) -> None:
    """Write a label stack as `.npz` without pickles, float16, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        labels=np.asarray(stack.labels, np.int16),
        planes=np.clip(stack.planes, -MOST, MOST).astype(np.float16),
    )
    write_atomic(path, buffer.getvalue())


def read_label_stack(path, num_classes=None, size=None) -> LabelStack:
    """Read and check a label stack.

    Parameters
    ----------
    num_classes : int, optional
        Foreground classes that there are.
    size : tuple of int, optional
        The height and width it must have.

    Raises
    ------
    InputError
        The file is missing or damaged, has no background, or does not fit the classes or the image.
    """
    content = read_arrays(path, _WANTED, ("labels", "planes").__contains__)
    if len(content) < 2:
        raise InputError(path, _WANTED, f"the arrays {', '.join(content) or 'of other names'}")
    labels, planes = content["labels"], content["planes"]
    return checked_label_stack(path, LabelStack(labels, planes), num_classes, size)


def checked_label_stack(path, stack: LabelStack, num_classes=None, size=None) -> LabelStack:
    """Return a label stack of any program, or raise `InputError`; arguments as of `read_label_stack`."""
    labels, planes = stack.labels, stack.planes
    if planes.ndim != 3 or labels.shape != planes.shape[:1] or planes.dtype.kind != "f":
        found = f"labels {labels.shape}, planes {planes.shape} of {planes.dtype}"
        raise InputError(path, "a float plane (H, W) for every label", found)
    numbers = labels.tolist() if labels.dtype.kind in "iu" and labels.ndim == 1 else []
    if not numbers or numbers[0] != 0 or any(b <= a for a, b in zip(numbers, numbers[1:])):
        raise InputError(
            path, "labels 0 (the background), then classes, ascending", f"{labels.tolist()}"[:80],
            "A stack without background cannot say where nothing is.",
        )  # fmt: skip
    last = IGNORE - 1 if num_classes is None else num_classes
    if numbers[-1] > last:
        raise InputError(path, f"labels 0 to {last}", f"{numbers[-1]}", "See --classes.")
    if 0 in planes.shape:
        raise InputError(path, "planes with pixels", f"the shape {planes.shape}")
    if not np.isfinite(planes).all():
        raise InputError(path, "finite numbers", "NaN or infinity")
    if size is not None and planes.shape[1:] != tuple(size):
        expected = f"{size[0]} x {size[1]} (height x width, as the image)"
        raise InputError(path, expected, f"{planes.shape[1]} x {planes.shape[2]}")
    return stack
