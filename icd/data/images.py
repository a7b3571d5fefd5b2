"""Read a photograph strictly. In: a path. Out: its pixels as OpenCV's `imread` gives them, in RGB order, or
an error.

OpenCV and Pillow both decode with libjpeg-turbo and its default (accurate integer) DCT and agree to the last
bit; Pillow is used because it refuses a truncated file, where OpenCV fills the missing part with gray and
goes on. What neither sees is damage inside the data that still decodes.

============  ==============================================================================================
gray          becomes three equal channels, as in OpenCV
EXIF turned   is turned upright, as in OpenCV; masks, superpixels and saliency maps must have the upright size
CMYK          refused: its conversion needs a colour profile, and programs disagree about it
16 bits       refused: the way down to 8 bits (shift, scale, tone curve) is the owner's to choose
transparent,  refused: photographs have neither alpha channel nor palette, so this is probably a mask
palette
============  ==============================================================================================
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from icd.errors import InputError

_WANTED = "an 8-bit RGB or gray photograph (JPEG)"
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def image_path(folder, image_id) -> Path:
    """Where the photograph of an id lies."""
    return Path(folder) / f"{image_id}.jpg"


def read_image(path) -> np.ndarray:
    """Read a photograph.

    Parameters
    ----------
    path : str or os.PathLike
        A JPEG file (a PNG under the same name is read too, as OpenCV does).

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        RGB, upright.

    Raises
    ------
    InputError
        The file is missing, empty, truncated, no image, CMYK, deeper than 8 bits, transparent or a palette
        image.
    """
    with _open(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged(path, error) from None


def read_image_size(path) -> tuple:
    """Read the height and width that `read_image` would give, from the file's header alone, with its checks
    of the header and of the end of the file.

    Returns
    -------
    tuple of int
    """
    with _open(path) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the sides
    return (width, height) if turned else (height, width)


def _open(path) -> Image.Image:
    content = _read_bytes(path)
    try:
        image = Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from None
    if image.format not in ("JPEG", "MPO", "PNG"):
        raise InputError(path, _WANTED, f"a {image.format} file", "Convert it to JPEG.")
    deep = image.format == "PNG" and content[24] == 16  # the bit depth stands in byte 24 of a PNG
    if deep or image.mode not in ("RGB", "L"):
        kind = "16 bits a channel" if deep or image.mode.startswith("I") else f"mode {image.mode}"
        raise InputError(
            path, _WANTED, f"an image of {kind}", "Convert it to 8-bit RGB or leave it out of the list."
        )
    if image.format != "PNG" and content.rfind(_END_OF_IMAGE) < content.rfind(_START_OF_SCAN):
        raise InputError(
            path, _WANTED, "a truncated JPEG without end marker", "Restore the file from its source."
        )
    return image


def _read_bytes(path) -> bytes:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(
            path, _WANTED, "nothing there", "Check the image folder and the list of ids."
        ) from None
    except OSError as error:
        raise InputError(path, _WANTED, f"a file that cannot be read ({error.strerror})") from None
    if not content:
        raise InputError(path, _WANTED, "an empty file", "Restore the file from its source.")
    return content


def _damaged(path, error) -> InputError:
    reason = "no known image format" if "cannot identify" in str(error) else str(error)
    return InputError(
        path, _WANTED, f"a damaged or other file ({reason})", "Restore the file from its source."
    )
