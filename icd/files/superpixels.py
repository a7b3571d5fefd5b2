"""Superpixels, `<id>.png`: three 8-bit channels, id = B + 256 G + 65536 R, as the original has them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icd.errors import InputError
from icd.files.atomic import write_atomic
from icd.files.masks import check_size
from icd.files.pictures import damaged_picture, open_picture

_WANTED, _MAKE = "superpixels (3-channel 8-bit PNG)", "Make it with `icd superpixels`."


def superpixels_path(folder, image_id) -> Path:
    """Where the superpixels of an image lie."""
    return Path(folder) / f"{image_id}.png"


def write_superpixels(path, ids: np.ndarray) -> None:
    """Write superpixel ids as a 3-channel PNG, id = B + 256 G + 65536 R, atomically.

    Parameters
    ----------
    ids : numpy.ndarray, shape (H, W), integer, 0..2^24 - 1
    """
    planes = np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], -1).astype(np.uint8)
    _, content = cv2.imencode(".png", planes)
    write_atomic(path, content.tobytes())


def read_superpixels(path, size=None) -> np.ndarray:
    """Read superpixel ids.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32

    Raises
    ------
    InputError
        The file is missing, damaged, not a 3-channel 8-bit PNG, or of another size than `size`.
    """
    picture = open_picture(path, _WANTED, _MAKE, f"Delete it. {_MAKE}")
    if picture.format != "PNG" or picture.bits != 8 or picture.image.mode != "RGB":
        found = f"a {picture.format} of mode {picture.image.mode}, {picture.bits} bits a channel"
        raise InputError(path, _WANTED, found, _MAKE)
    check_size(path, picture.size, size)
    try:
        planes = np.array(picture.image)
    except Exception as error:  # whatever damaged data provoke in the decoder
        raise damaged_picture(path, _WANTED, error, f"Delete it. {_MAKE}") from None
    return combine_superpixel_bytes(planes[..., ::-1])


def combine_superpixel_bytes(planes: np.ndarray) -> np.ndarray:
    """Turn the three bytes of superpixel ids, (H, W, 3) in the order B, G, R, into int32 ids (H, W)."""
    planes = planes.astype(np.int32)
    return planes[..., 0] + 256 * planes[..., 1] + 65536 * planes[..., 2]
