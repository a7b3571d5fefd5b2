"""Logits of a segmentation network, `<id>.npz`: what it gives for the views of one image, on its own grids.

`logits_0`, `logits_1`, ... float16 (m, 1 + C, h, w), one array a scale, m = 2 with the mirror image; `views` int32 (scales, 2),
the views' heights and widths; `size` int32 (2), the image's. No pickles.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from icd.errors import InputError
from icd.files.atomic import write_atomic

_WANTED = "logits with the arrays logits_0, views, size"


@dataclass(frozen=True)
class ImageLogits:
    """Logits of the views of one image.

    Attributes
    ----------
    grids : tuple of numpy.ndarray, shape (m, 1 + C, h, w), float16 or float32
        One a scale; the second of two is of the mirror image and is mirrored itself.
    views : tuple of tuple of int
        Height and width of the views of every scale.
    size : tuple of int
        Height and width of the image.
    """

    grids: tuple
    views: tuple
    size: tuple


def write_logits(path, logits: ImageLogits) -> None:
    """Write logits as compressed `.npz`, float16, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        views=np.asarray(logits.views, np.int32),
        size=np.asarray(logits.size, np.int32),
        **{f"logits_{index}": grid.astype(np.float16) for index, grid in enumerate(logits.grids)},
    )
    write_atomic(path, buffer.getvalue())


def read_logits(path) -> ImageLogits:
    """Read and check logits.

    Raises
    ------
    InputError
        The file is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            views = tuple(tuple(int(n) for n in view) for view in file["views"])
            grids = tuple(file[f"logits_{index}"] for index in range(len(views)))
            height, width = (int(n) for n in file["size"])
    except FileNotFoundError:
        raise InputError(path, _WANTED, "nothing there") from None
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, _WANTED, f"a damaged or other file ({error})") from None
    wrong = [grid for grid in grids if grid.ndim != 4 or grid.dtype.kind != "f" or len(grid) not in (1, 2)]
    if wrong or not grids or len({grid.shape[1] for grid in grids}) > 1:
        found = ", ".join(f"{grid.shape} of {grid.dtype}" for grid in grids) or "none"
        raise InputError(path, "logits (m, 1 + C, h, w), m 1 or 2, of one C", found)
    if not all(np.isfinite(grid).all() for grid in grids):
        raise InputError(path, "finite numbers", "NaN or infinity")
    return ImageLogits(grids, views, (height, width))
