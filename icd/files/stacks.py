"""Label stacks, `<id>.npz`: what a CRF or a walk gives for an image before argmax (PSA's and PPC's "la" and "ha").

`labels` int16 (L), 0 = background, then the foreground classes, ascending; `planes` float16 (L, H, W), a score of every label
at every pixel, larger means more likely.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from icd.errors import InputError
from icd.files.atomic import write_atomic

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
        buffer, labels=np.asarray(stack.labels, np.int16), planes=stack.planes.astype(np.float16)
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
    try:
        with np.load(path, allow_pickle=False) as file:
            labels, planes = file["labels"], file["planes"]
    except FileNotFoundError:
        raise InputError(path, _WANTED, "nothing there") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, _WANTED, f"a damaged or other file ({error})") from None
    return checked_label_stack(path, LabelStack(labels, planes), num_classes, size)


def checked_label_stack(path, stack: LabelStack, num_classes=None, size=None) -> LabelStack:
    """Return a label stack of any program, or raise `InputError`; arguments as of `read_label_stack`."""
    labels, planes = stack.labels, stack.planes
    if planes.ndim != 3 or labels.shape != planes.shape[:1] or planes.dtype.kind != "f":
        found = f"labels {labels.shape}, planes {planes.shape} of {planes.dtype}"
        raise InputError(path, "a float plane (H, W) for every label", found)
    if labels.dtype.kind not in "iu" or not len(labels) or labels[0] != 0 or (np.diff(labels) <= 0).any():
        raise InputError(
            path, "labels 0 (the background), then classes, ascending", f"{labels.tolist()}"[:80],
            "A stack without background cannot say where nothing is.",
        )  # fmt: skip
    if num_classes is not None and labels[-1] > num_classes:
        raise InputError(path, f"labels 0 to {num_classes}", f"{labels[-1]}", "See --classes.")
    if not np.isfinite(planes).all():
        raise InputError(path, "finite numbers", "NaN or infinity")
    if size is not None and planes.shape[1:] != tuple(size):
        expected = f"{size[0]} x {size[1]} (height x width, as the image)"
        raise InputError(path, expected, f"{planes.shape[1]} x {planes.shape[2]}")
    return stack
