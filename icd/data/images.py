"""Read a photograph strictly. In: a path. Out: its pixels as OpenCV's `imread` gives them, in RGB order, or
an error.

OpenCV and Pillow both decode with libjpeg-turbo and its default (accurate integer) DCT and agree to the last
bit; Pillow is used because it refuses a truncated file, where OpenCV fills the missing part with gray and
goes on. What neither sees is damage inside the data that still decodes.

============  ==============================================================================================
gray          becomes three equal channels, as in OpenCV
EXIF turned   is turned upright, as in OpenCV; masks, superpixels and saliency maps must have the upright size. Other
              metadata are not looked at
a tail        behind a JPEG's end (motion photos) is not looked at
camera size   is shrunk to its working size where a bound is given (`icd.bounded`); a JPEG's decoder begins with it
CMYK          refused: its conversion needs a colour profile, and programs disagree about it
16 bits       refused: the way down to 8 bits (shift, scale, tone curve) is the owner's to choose
transparent,  refused: photographs have neither alpha channel nor palette, so this is probably a mask
palette
============  ==============================================================================================
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from icd.bounded import shrink_values, working_size
from icd.errors import InputError
from icd.files.pictures import Picture, damaged_picture, open_picture

SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")
"""Of photographs, in the order in which they are looked for."""
_WANTED = "an 8-bit RGB or gray photograph (JPEG)"
_MISSING = "Check the image folder and the list of ids."
_CONVERT = "Convert it to 8-bit RGB or leave it out of the list."
# How the pixels as stored become those of EXIF's orientation 1.
_UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a[::-1].swapaxes(0, 1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}  # fmt: skip


def image_path(folder, image_id) -> Path:
    """The photograph of an id: the first of `SUFFIXES` that is there, its letters in either Unicode form.

    Returns
    -------
    pathlib.Path
        `<folder>/<id>.jpg` where there is none.
    """
    usual = Path(folder) / f"{image_id}.jpg"
    if _is_file(usual):
        return usual
    spellings = dict.fromkeys(unicodedata.normalize(form, str(image_id)) for form in ("NFC", "NFD"))
    for name in dict.fromkeys((str(image_id), *spellings)):
        for suffix in SUFFIXES:
            path = Path(folder) / f"{name}{suffix}"
            if _is_file(path):
                return path
    return usual


def photograph_ids(folder) -> list:
    """The ids of all photographs in a folder, sorted; names that begin with a dot, such as a Mac's `._` files, are none.

    Raises
    ------
    InputError
        There is no such folder, or two photographs of one name: nobody says which of them is meant.
    """
    if not Path(folder).is_dir():
        raise InputError(folder, "a folder of photographs", "nothing there", _MISSING)
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in SUFFIXES and not path.name.startswith("."):
            other = found.setdefault(unicodedata.normalize("NFC", path.stem), path)
            if other != path:
                shown = f"{other.name} and {path.name}"
                raise InputError(folder, f"one photograph {path.stem}", shown, "Remove or rename one.")
    return sorted(path.stem for path in found.values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long or has a zero byte
        return False


def read_image(path) -> np.ndarray:
    """Read a photograph.

    Parameters
    ----------
    path : str or os.PathLike
        A JPEG or PNG file, whatever its suffix, as for OpenCV.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        RGB, upright.

    Raises
    ------
    InputError
        The file is missing, empty, truncated, no image, CMYK, deeper than 8 bits, transparent or a palette
        image, or has more than 268 megapixels.
    """
    return read_bounded(path, None)[0]


def read_bounded(path, max_side) -> tuple:
    """Read a photograph at its working size; errors as of `read_image`.

    Parameters
    ----------
    path : str or os.PathLike
    max_side : int or None
        A longer side is shrunk to this: by a JPEG's decoder to a half, quarter or eighth, as far as that is not too small,
        then by the mean over areas.

    Returns
    -------
    image : numpy.ndarray, shape (h, w, 3), uint8
        As `read_image` gives it where no side is longer.
    size : tuple of int
        Height and width of the photograph, upright.
    """
    picture = _open(path)
    size, small = _upright_size(picture), working_size(picture.size, max_side)
    try:
        if small != picture.size:
            picture.image.draft("RGB", small[::-1])
        pixels = np.array(picture.image.convert("RGB"))
    except Exception as error:  # whatever damaged data provoke in the decoders
        raise damaged_picture(path, _WANTED, error, "Restore it from its source.") from None
    if pixels.shape[:2] != small:
        pixels = shrink_values(pixels, small)
    return np.ascontiguousarray(_UPRIGHT[picture.orientation](pixels)), size


def read_image_size(path) -> tuple:
    """Read the height and width that `read_image` would give, from the file's header alone, with its checks
    of the header and of the end of the file.

    Returns
    -------
    tuple of int
    """
    return _upright_size(_open(path))


def _upright_size(picture: Picture) -> tuple:
    return picture.size[::-1] if picture.orientation >= 5 else tuple(picture.size)


def _open(path) -> Picture:
    picture = open_picture(path, _WANTED, _MISSING)
    if picture.format not in ("JPEG", "MPO", "PNG"):
        raise InputError(path, _WANTED, f"a {picture.format} file", "Convert it to JPEG.")
    if picture.bits == 16 or picture.image.mode not in ("RGB", "L"):
        deep = picture.bits == 16 or picture.image.mode.startswith("I")
        kind = "16 bits a channel" if deep else f"mode {picture.image.mode}"
        raise InputError(path, _WANTED, f"an image of {kind}", _CONVERT)
    if not picture.complete:
        found = "a truncated JPEG without end marker"
        raise InputError(path, _WANTED, found, "Restore the file from its source.")
    return picture
