"""Masks and saliency maps, `<id>.png`: one 8-bit channel. In: a path. Out: class numbers (255 = undefined), or 0..255."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from icd.classes import IGNORE, voc_palette
from icd.errors import InputError
from icd.files.atomic import write_atomic

_PALETTE = voc_palette().tobytes()


def mask_path(folder, image_id) -> Path:
    """Where the mask of an image lies."""
    return Path(folder) / f"{image_id}.png"


def encode_mask(mask: np.ndarray) -> bytes:
    """A mask as the bytes of an 8-bit palette PNG in VOC's colours.

    Parameters
    ----------
    mask : numpy.ndarray, shape (H, W), uint8
        Class numbers, 255 = ignore.
    """
    image = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    image.putpalette(_PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_mask(path, mask: np.ndarray) -> None:
    """Write a mask as `encode_mask` encodes it, atomically."""
    write_atomic(path, encode_mask(mask))


def read_mask(path, size=None) -> np.ndarray:
    """Read a mask: a palette PNG (its indices) or a gray PNG (its values).

    Parameters
    ----------
    size : tuple of int, optional
        The height and width it must have.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8

    Raises
    ------
    InputError
        The file is missing, truncated, coloured, deeper than 8 bits, or of another size.
    """
    return _read_single_channel(path, "a mask (palette or 8-bit gray PNG)", size)


def read_class_mask(path, num_classes: int, size=None) -> np.ndarray:
    """Read a mask whose values are class numbers: 0 to `num_classes`, and 255. Arguments and errors as of `read_mask`.

    Raises
    ------
    InputError
        Also where it holds other values.
    """
    mask = read_mask(path, size)
    values = np.unique(mask)
    strange = values[(values > num_classes) & (values != IGNORE)]
    if len(strange):
        expected = f"class numbers 0 to {num_classes}, and {IGNORE} for ignored pixels"
        raise InputError(
            path, expected, ", ".join(map(str, strange[:5])), "Write indices, not colours or gray levels."
        )
    return mask


def read_saliency(path, size=None) -> np.ndarray:
    """Read a saliency map: 8-bit gray, 0..255. Arguments and errors as `read_mask`."""
    return _read_single_channel(path, "a saliency map (8-bit gray PNG)", size)


def _read_single_channel(path, wanted: str, size) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise InputError(
                    path, wanted, f"an image of mode {image.mode}", "Write class numbers, not colours."
                )
            values = np.array(image if image.mode != "1" else image.convert("L"), np.uint8)
    except FileNotFoundError:
        raise InputError(path, wanted, "nothing there") from None
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, wanted, f"a damaged file ({error})", "Restore it from its source.") from None
    check_size(path, values, size)
    return values


def check_size(path, values: np.ndarray, size) -> None:
    if size is not None and values.shape[:2] != tuple(size):
        found = f"{values.shape[0]} x {values.shape[1]}"
        raise InputError(path, f"{size[0]} x {size[1]} (height x width, as the image)", found)
