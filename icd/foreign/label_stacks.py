"""What the CRF steps of other programs leave before argmax, as `icd.files.LabelStack`. In: a file. Out: labels and planes.

===========  ========================================================  =================================================
file         content                                                   written by
===========  ========================================================  =================================================
`<id>.npz`   `labels`, `planes`                                        this package
`<id>.npy`   dict {0 background, class 1..C: float32 (H, W)}           PSA, SEAM, PPC: la, ha, crf (spec psa 1, ppc 1)
`<id>.npy`   float32 (C + 1, H, W), background first                   PPC's 21 planes
===========  ========================================================  =================================================
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icd.errors import InputError
from icd.files import LabelStack, checked_label_stack, read_label_stack
from icd.foreign.layouts import check_planes, described, find_score_maps
from icd.foreign.numpy_files import read_npy

_WANTED = "a dictionary of planes with the background under key 0, or an array of the background's plane and one a class"


def find_label_stack(folder, image_id) -> Path:
    """The file with the label stack of an id, `.npz` or `.npy`; errors as of `icd.foreign.layouts.find_score_maps`."""
    return find_score_maps(folder, image_id)


def read_any_label_stack(path, num_classes=None, size=None) -> LabelStack:
    """Read a label stack of this package or of an original.

    Parameters
    ----------
    path : str or os.PathLike
    num_classes : int, optional
        C, the foreground classes that there are. An array of planes must have C + 1; planes of classes that are nowhere
        above 0 are left out.
    size : tuple of int, optional
        The height and width of the photograph.

    Returns
    -------
    LabelStack

    Raises
    ------
    InputError
        The file is missing, damaged, unsafe, or holds something else, such as class activation maps; or as
        `icd.files.checked_label_stack`.
    """
    if Path(path).suffix == ".npz":
        return read_label_stack(path, num_classes, size)
    content = read_npy(path)
    stack = (
        _of_array(content, path, num_classes)
        if isinstance(content, np.ndarray)
        else _of_dictionary(content, path)
    )
    return checked_label_stack(path, stack, num_classes, size)


def _of_dictionary(content, path) -> LabelStack:
    if not isinstance(content, dict) or 0 not in content:
        raise InputError(path, _WANTED, described(content), "Class activation maps have no background.")
    planes = check_planes(content, path)
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the rest of its kind
        return LabelStack(np.array(list(planes), np.int16), np.array(list(planes.values()), np.float32))


def _of_array(content, path, num_classes) -> LabelStack:
    wrong = num_classes is not None and content.shape[:1] != (num_classes + 1,)
    if (
        content.ndim != 3
        or content.dtype.kind != "f"
        or 0 in content.shape
        or not 2 <= len(content) <= 255
        or wrong
    ):
        planes = "C + 1" if num_classes is None else num_classes + 1
        raise InputError(
            path, f"{planes} planes (H, W), the background's first", described(content), "See --classes."
        )
    kept = [number for number, plane in enumerate(content) if number == 0 or not (plane <= 0).all()]
    return LabelStack(np.array(kept, np.int16), np.asarray(content[kept], np.float32))
