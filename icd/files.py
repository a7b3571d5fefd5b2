"""The files between two stages: read, check, write atomically. Works with numpy, Pillow and OpenCV alone.

In: paths. Out: arrays that have been checked. One small file per image and stage, so that every stage can be resumed,
sharded, looked at, or replaced by somebody else's files.

==================  =====================================================================================
score maps .npz     `classes` int16 (L), `maps` (L, h, w), `size` int32 (H, W), `frame` int32 (4), and for several grids
                    `maps_1`, `maps_2`, ..., `fusion`, `alignment`: see ScoreMaps
masks .png          8-bit palette PNG in VOC's colours, values are class numbers, 255 = ignore
superpixels .png    3-channel PNG, id = B + 256 G + 65536 R
run.json            how a result came about
==================  =====================================================================================
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from icd.classes import CLASS_LISTS, IGNORE, VOC_CLASSES, voc_palette
from icd.errors import InputError


def _read_umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


UMASK = _read_umask()
"""What new files and folders may not allow. Read once: to read it means to change it, for all threads."""

_PALETTE = voc_palette().tobytes()
FUSIONS, ALIGNMENTS = ("sum", "max"), ("centres", "corners")


@dataclass(frozen=True)
class ScoreMaps:
    """Per-class localization maps of one image.

    Attributes
    ----------
    classes : numpy.ndarray, shape (L,), int16
        Foreground class numbers 1..C, ascending.
    maps : numpy.ndarray, shape (L, h, w), float32, float16 or uint8
        Scores on the network's grid; larger means more likely. uint8 means shares of 1 in steps of 1/255.
    size : tuple of int
        Height and width of the image.
    frame : tuple of int
        How the grid lies on the image, `(frame_height, frame_width, content_height, content_width)`: the grid spans a
        frame of the first two; the image, scaled to the last two, lies in the frame's upper left corner. An image that
        was padded to 513 and not scaled has `(513, 513, H, W)`; maps of the whole image have `(H, W, H, W)`.
    further : tuple of numpy.ndarray
        The maps of the same classes at further scales: (L, h', w') over the same frame.
    fusion : {"sum", "max"}
        How the scales become one, on the image.
    alignment : {"centres", "corners"}
        Which points of the grid and of the frame lie on each other: the centres of the first and last cells and pixels as
        parts of areas ("centres", OpenCV's way), or the outermost cells on the outermost pixels ("corners").
    """

    classes: np.ndarray
    maps: np.ndarray
    size: tuple
    frame: tuple
    further: tuple = ()
    fusion: str = "sum"
    alignment: str = "centres"

    @property
    def grids(self) -> tuple:
        """The maps at all scales."""
        return (self.maps, *self.further)


@contextlib.contextmanager
def atomic_path(path):
    """Name a file to write that takes the place of `path` whole or not at all, also when the process or the machine dies.

    Yields
    ------
    temporary : pathlib.Path
        It takes its name at the end of the `with` block, unless the block raised; then no rest is left.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written; the old file, if any, is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(temporary)
        flush(temporary)
        os.chmod(temporary, 0o666 & ~UMASK)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def open_atomic(path):
    """Open a file for writing, io.BufferedRandom, that appears as with `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "w+b") as file:
        yield file


def flush(path) -> None:
    """Wait until a file or folder is on the disk."""
    with contextlib.suppress(PermissionError):  # some systems cannot open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomic(path, content: bytes) -> None:
    """Write a whole file as `open_atomic` does."""
    with open_atomic(path) as file:
        file.write(content)


def write_json(path, value) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, sort_keys=False) + "\n").encode())


def read_json(path):
    """Read JSON; `InputError` where the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "a JSON file", "nothing there") from None
    except ValueError as error:
        raise InputError(path, "a JSON file", f"damaged content ({error})") from None


def read_list(path, of: str = "id") -> list:
    """Read a list of ids, or of what `of` calls them: one a line, CRLF and a missing last newline allowed.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        The file is missing or empty, has a blank line inside, or repeats an entry.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, f"a text file with one {of} a line", "nothing there")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise InputError(path, f"a UTF-8 text file with one {of} a line", "other bytes") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(path, f"a text file with one {of} a line", "an empty list")
    seen = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(path, f"one {of} a line", f"a blank line {number}", "Remove it.")
        if line in seen:
            raise InputError(
                path, f"every {of} once", f"{line!r} in lines {seen[line]} and {number}", "Remove one."
            )
        seen[line] = number
    return lines


def read_classes(path) -> tuple:
    """Read foreground class names, one a line, in the order of their numbers 1..C.

    Parameters
    ----------
    path : str or os.PathLike or None
        A file, or `voc` or `coco` for their own names; None gives VOC's twenty.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        The file is missing, empty, repeats a name, or holds more than 254 names (255 is the ignore value).
    """
    if path is None:
        return VOC_CLASSES
    if str(path) in CLASS_LISTS:
        return CLASS_LISTS[str(path)]
    if not Path(path).is_file():
        wanted = f"{', '.join(CLASS_LISTS)}, or a text file with one class name a line"
        raise InputError(path, wanted, "nothing there")
    names = tuple(read_list(path, "class name"))
    if len(names) >= IGNORE:
        raise InputError(
            path, f"at most {IGNORE - 1} class names", f"{len(names)}", "255 marks ignored pixels."
        )
    return names


def score_maps_path(folder, image_id) -> Path:
    """Where the score maps of an image lie."""
    return Path(folder) / f"{image_id}.npz"


def write_score_maps(path, scores: ScoreMaps) -> None:
    """Write score maps as compressed `.npz` without pickles, atomically."""
    buffer = io.BytesIO()
    grids = {_grid_name(index): grid for index, grid in enumerate(scores.grids)}
    np.savez_compressed(
        buffer,
        classes=np.asarray(scores.classes, np.int16),
        size=np.asarray(scores.size, np.int32),
        frame=np.asarray(scores.frame, np.int32),
        fusion=scores.fusion,
        alignment=scores.alignment,
        **grids,
    )
    write_atomic(path, buffer.getvalue())


def _grid_name(index: int) -> str:
    return f"maps_{index}" if index else "maps"


def read_score_maps(path) -> ScoreMaps:
    """Read and check score maps.

    Raises
    ------
    InputError
        The file is missing, damaged, or its arrays do not fit each other.
    """
    with _open_score_maps(path) as file:
        scores = _score_maps_from({name: file[name] for name in file.files})
    classes = scores.classes
    if any(grid.ndim != 3 or classes.shape != grid.shape[:1] for grid in scores.grids):
        found = ", ".join(str(grid.shape) for grid in scores.grids)
        raise InputError(path, "a map (h, w) for every class", f"classes {classes.shape}, maps {found}")
    if any(grid.dtype.kind != "f" and grid.dtype != np.uint8 for grid in scores.grids):
        raise InputError(path, "maps of float32, float16 or uint8", f"{scores.maps.dtype}")
    if (np.diff(classes) <= 0).any() or (classes < 1).any():
        raise InputError(path, "class numbers from 1, ascending", f"{classes.tolist()}")
    return scores


def read_mapped_classes(path) -> np.ndarray:
    """The numbers of the classes that score maps are of, without reading the maps; errors as of `read_score_maps`."""
    with _open_score_maps(path) as file:
        return file["classes"]


@contextlib.contextmanager
def _open_score_maps(path):
    wanted = "score maps with the arrays classes, maps, size, frame"
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except FileNotFoundError:
        raise InputError(
            path, wanted, "nothing there", "Run the localization stage for this image."
        ) from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            path, wanted, f"a damaged or other file ({error})", "Delete it and localize again."
        ) from None


def _score_maps_from(content: dict) -> ScoreMaps:
    height, width = (int(n) for n in content["size"])
    frame = tuple(int(n) for n in content["frame"])
    if len(frame) != 4:
        raise ValueError(f"{len(frame)} numbers in frame")
    further = []
    while _grid_name(len(further) + 1) in content:
        further.append(content[_grid_name(len(further) + 1)])
    fusion, alignment = str(content.get("fusion", "sum")), str(content.get("alignment", "centres"))
    if fusion not in FUSIONS or alignment not in ALIGNMENTS:
        raise ValueError(f"fusion {fusion!r}, alignment {alignment!r}")
    return ScoreMaps(
        content["classes"], content["maps"], (height, width), frame, tuple(further), fusion, alignment
    )


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
    _check_size(path, values, size)
    return values


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
    wanted = "superpixels (3-channel 8-bit PNG)"
    try:
        with Image.open(path) as image:
            if image.mode != "RGB":
                raise InputError(
                    path, wanted, f"an image of mode {image.mode}", "Make it with `icd superpixels`."
                )
            planes = np.array(image).astype(np.int32)
    except FileNotFoundError:
        raise InputError(path, wanted, "nothing there", "Make it with `icd superpixels`.") from None
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path, wanted, f"a damaged file ({error})", "Delete it and run `icd superpixels`."
        ) from None
    _check_size(path, planes, size)
    return combine_superpixel_bytes(planes[..., ::-1])


def combine_superpixel_bytes(planes: np.ndarray) -> np.ndarray:
    """Turn the three bytes of superpixel ids, (H, W, 3) in the order B, G, R, into int32 ids (H, W)."""
    planes = planes.astype(np.int32)
    return planes[..., 0] + 256 * planes[..., 1] + 65536 * planes[..., 2]


def _check_size(path, values: np.ndarray, size) -> None:
    if size is not None and values.shape[:2] != tuple(size):
        found = f"{values.shape[0]} x {values.shape[1]}"
        raise InputError(path, f"{size[0]} x {size[1]} (height x width, as the image)", found)
