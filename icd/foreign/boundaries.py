"""Boundary maps of any program: `<id>.npy`, an array, or `<id>.png`, gray. In: a folder and an id. Out: shares, 0..1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icd.errors import InputError
from icd.files import read_saliency
from icd.foreign.numpy_files import read_npy

_WANTED = "a boundary map: an array (h, w) of numbers from 0 to 1"


def boundary_path(folder, image_id) -> Path:
    """The boundary map of an id: `<id>.npy` if it is there, else `<id>.png`."""
    array = Path(folder) / f"{image_id}.npy"
    return array if array.is_file() else Path(folder) / f"{image_id}.png"


def read_boundary(path) -> np.ndarray:
    """Read a boundary map.

    Parameters
    ----------
    path : str or os.PathLike
        From `boundary_path`. A picture's black is 0, its white 1.

    Returns
    -------
    numpy.ndarray, shape (h, w), float32, 0..1
        Of the image's size, or at every k-th pixel; `icd.refine.boundary_walk.walk_to_boundaries` finds k.

    Raises
    ------
    InputError
        The file is missing or damaged, or holds something else.
    """
    if Path(path).suffix == ".png":
        return read_saliency(path, wanted="a boundary map (8-bit gray PNG)").astype(np.float32) / np.float32(
            255
        )
    content = read_npy(path)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "fiu":
        raise InputError(path, _WANTED, type(content).__name__)
    if content.ndim < 2 or not content.size or any(side != 1 for side in content.shape[:-2]):
        raise InputError(path, _WANTED, f"the shape {content.shape}")
    boundary = content.reshape(content.shape[-2:]).astype(np.float32)
    if not (boundary.min() >= 0 and boundary.max() <= 1):  # so NaN is refused too
        raise InputError(path, _WANTED, "numbers outside", "Write probabilities, or a gray picture.")
    return boundary
