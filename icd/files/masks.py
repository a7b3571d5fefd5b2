"""Masks and saliency maps, `<id>.png`: one channel. In: a path. Out: class numbers (255 = undefined), or 0..255.

A mask's values are names, not brightness: they are read as they are stored, whatever the file's bit depth or palette.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from icd.classes import IGNORE, VOC_CLASSES, voc_palette
from icd.errors import InputError
from icd.files.atomic import write_atomic
from icd.files.pictures import damaged_picture, open_picture

_PALETTE = voc_palette().tobytes()
_MASK = "a mask (palette or gray PNG of at most 8 bits)"
_SALIENCY = "a saliency map (8-bit gray PNG)"
_REPAIR = "Restore it from its source."
# Pillow spreads gray levels of fewer bits over 0 to 255.
_SPREAD = {1: 255, 2: 85, 4: 17, 8: 1}


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
    """Read a mask: a palette PNG (its indices) or a gray PNG (its values), of 1, 2, 4 or 8 bits.

    Parameters
    ----------
    size : tuple of int, optional
        The height and width it must have.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
        The stored values.

    Raises
    ------
    InputError
        The file is missing, truncated, coloured, deeper than 8 bits, compressed with losses, or of another size.
    """
    return read_mask_and_palette(path, size)[0]


def read_mask_and_palette(path, size=None) -> tuple:
    """Read a mask and the colours that its file gives to its values; arguments and errors as of `read_mask`.

    Returns
    -------
    mask : numpy.ndarray, shape (H, W), uint8
    palette : numpy.ndarray, shape (N, 3), uint8, or None
        RGB of the values 0..N - 1; None for a gray file.
    """
    picture = _single_channel(path, _MASK, size)
    values = _decode(picture, path, _MASK)
    colours = picture.image.getpalette() if picture.image.mode == "P" else None
    return values, None if not colours else np.array(colours, np.uint8).reshape(-1, 3)


def contradictions(mask: np.ndarray, palette, num_classes: int) -> list:
    """Values of a mask whose colour is the one that VOC's masks give to another class.

    Parameters
    ----------
    mask, palette
        From `read_mask_and_palette`.
    num_classes : int
        C; other values are not looked at.

    Returns
    -------
    list of (int, int)
        A value that is in the mask, and the number of the class whose colour it has.
    """
    if palette is None:
        return []
    numbers = {
        tuple(colour): number for number, colour in enumerate(voc_palette()[: len(VOC_CLASSES) + 1].tolist())
    }
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    found = (
        (int(v), numbers.get(tuple(palette[v].tolist())))
        for v in present
        if v <= num_classes and v < len(palette)
    )
    return [
        (value, other) for value, other in found if other is not None and other != value and value and other
    ]


def read_class_mask(path, num_classes: int, size=None) -> np.ndarray:
    """Read a mask whose values are class numbers: 0 to `num_classes`, and 255. Arguments and errors as of `read_mask`.

    Raises
    ------
    InputError
        Also where it holds other values.
    """
    mask = read_mask(path, size)
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    strange = values[(values > num_classes) & (values != IGNORE)]
    if len(strange):
        expected = f"class numbers 0 to {num_classes}, and {IGNORE} for ignored pixels"
        remedy = "Write indices, not colours or gray levels."
        raise InputError(path, expected, ", ".join(map(str, strange[:5])), remedy)
    return mask


def write_saliency(path, values: np.ndarray) -> None:
    """Write a saliency map, (H, W) uint8, as an 8-bit gray PNG, atomically."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values, np.uint8)).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())


def read_saliency(path, size=None, wanted=_SALIENCY) -> np.ndarray:
    """Read a saliency map, or what else `wanted` calls it: gray of at most 8 bits, as brightness 0..255.

    Arguments and errors as of `read_mask`.
    """
    picture = _single_channel(path, wanted, size)
    values = _decode(picture, path, wanted)
    if picture.image.mode != "P":
        return values * np.uint8(_SPREAD[picture.bits])
    colours = np.array(picture.image.getpalette(), np.uint8).reshape(-1, 3)
    if (colours != colours[:, :1]).any() or values.max() >= len(colours):
        raise InputError(path, wanted, "a palette of colours", "Write gray levels: black 0 to white 255.")
    return colours[values, 0]


def _single_channel(path, wanted: str, size):
    """Open a picture of one channel of at most 8 bits, and see that its header claims the right size."""
    picture = open_picture(path, wanted, damaged=_REPAIR)
    if picture.format not in ("PNG", "BMP", "TIFF", "GIF"):
        remedy = "Write it as PNG: compression with losses changes the values."
        raise InputError(path, wanted, f"a {picture.format} file", remedy)
    if picture.image.mode not in ("P", "L", "1") or picture.bits > 8 or _inverted(picture.image):
        kind = f"mode {picture.image.mode}" + (f" with {picture.bits} bits" if picture.bits > 8 else "")
        raise InputError(path, wanted, f"an image of {kind}", "Write class numbers, not colours.")
    check_size(path, picture.size, size)
    return picture


def _inverted(image) -> bool:
    """Whether the file stores white as 0, so that Pillow turns its values round (TIFF)."""
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


def _decode(picture, path, wanted: str) -> np.ndarray:
    """The stored values."""
    image = picture.image
    bits = picture.bits if picture.format == "PNG" else _bits_of(image)
    try:
        values = np.array(image, np.uint8)
    except Exception as error:  # whatever damaged data provoke in the decoders
        raise damaged_picture(path, wanted, error, _REPAIR) from None
    return values // np.uint8(_SPREAD[bits]) if image.mode == "L" and bits < 8 else values


def _bits_of(image) -> int:
    """Bits of a gray level in a file that is no PNG."""
    stored = image.tag_v2.get(258, (8,)) if image.format == "TIFF" else (8,)
    return stored[0] if stored and stored[0] in _SPREAD else 8


def check_size(path, found, size) -> None:
    """Raise `InputError` where a height and width, or the first two sides of an array, are not `size`."""
    found = getattr(found, "shape", found)[:2]
    if size is not None and tuple(found) != tuple(size):
        expected = f"{size[0]} x {size[1]} (height x width, as the image)"
        raise InputError(path, expected, f"{found[0]} x {found[1]}")
