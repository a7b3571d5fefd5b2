"""Score maps, `<id>.npz`: per-class localization maps of one image on the network's grids.

`classes` int16 (L), `maps` (L, h, w), `size` int32 (H, W), `frame` int32 (4), and for several grids `maps_1`, `maps_2`, ...,
`fusion`, `alignment`, `views`, `normalization`: see `ScoreMaps`. No pickles.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError, printable
from icd.files.arrays import read_arrays
from icd.files.atomic import write_atomic
from icd.files.pictures import MOST_PIXELS

_WANTED = "score maps with the arrays classes, maps, size, frame"
_LOCALIZE = "Run the localization stage for this image."
FUSIONS, ALIGNMENTS = ("sum", "max"), ("centres", "corners", "views")
NORMALIZATIONS = ("maximum", "range")


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
    alignment : {"centres", "corners", "views"}
        Which points of the grid and of the frame lie on each other: the centres of the first and last cells and pixels as
        parts of areas ("centres", OpenCV's way), or the outermost cells on the outermost pixels ("corners"), or first the
        outermost cells on the outermost pixels of the grid's view, and then the view on the frame by centres ("views").
    views : tuple of tuple of int
        With the alignment "views", height and width of the view that each grid belongs to.
    normalization : {"maximum", "range"}
        What makes shares of the fused scores: see `icd.grid.shares_on_image`.
    """

    classes: np.ndarray
    maps: np.ndarray
    size: tuple
    frame: tuple
    further: tuple = ()
    fusion: str = "sum"
    alignment: str = "centres"
    views: tuple = ()
    normalization: str = "maximum"

    @property
    def grids(self) -> tuple:
        """The maps at all scales."""
        return (self.maps, *self.further)


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
        views=np.asarray(scores.views, np.int32).reshape(-1, 2),
        normalization=scores.normalization,
        **grids,
    )
    write_atomic(path, buffer.getvalue())


def _grid_name(index: int) -> str:
    return f"maps_{index}" if index else "maps"


def read_score_maps(path, num_classes=None, size=None) -> ScoreMaps:
    """Read and check score maps.

    Parameters
    ----------
    num_classes : int, optional
        C, the foreground classes that there are.
    size : tuple of int, optional
        The height and width of the photograph.

    Raises
    ------
    InputError
        The file is missing, damaged, or claims more than it holds; or as `check_score_maps`.
    """
    content = read_arrays(path, _WANTED, _is_part, _LOCALIZE, "Delete it and localize again.")
    return check_score_maps(path, _score_maps_from(content, path), num_classes, size)


def read_mapped_classes(path) -> np.ndarray:
    """The numbers of the classes that score maps are of, without reading the maps; errors as of `read_score_maps`."""
    content = read_arrays(path, _WANTED, "classes".__eq__, _LOCALIZE, "Delete it and localize again.")
    if "classes" not in content:
        raise InputError(path, _WANTED, "none with the name classes")
    _check_classes(path, content["classes"], None)
    return content["classes"]


def check_score_maps(path, scores: ScoreMaps, num_classes=None, size=None) -> ScoreMaps:
    """Return score maps of any program, or raise; every reader of score maps ends here.

    Parameters
    ----------
    path : str or os.PathLike
        For the message.
    num_classes, size : optional
        As of `read_score_maps`.

    Raises
    ------
    InputError
        Class numbers are not ascending from 1, or beyond `num_classes` or 254; sizes are not positive, absurd, or not the
        photograph's; the frame is smaller than what lies in it; the maps are none, or hold NaN or infinity.
    """
    _check_classes(path, scores.classes, num_classes)
    _check_sides(path, scores)
    if size is not None and tuple(scores.size) != tuple(size):
        found = f"score maps for {scores.size[0]} x {scores.size[1]}"
        raise InputError(path, f"{size[0]} x {size[1]} (height x width), as the photograph", found, _LOCALIZE)
    for grid in scores.grids:
        if grid.ndim != 3 or scores.classes.shape != grid.shape[:1] or (len(grid) and 0 in grid.shape):
            found = ", ".join(str(grid.shape) for grid in scores.grids)
            expected = "a map (h, w) of at least one cell for every class"
            raise InputError(path, expected, f"classes {scores.classes.shape}, maps {found}")
        if grid.dtype.kind != "f" and grid.dtype != np.uint8:
            raise InputError(path, "maps of float32, float16 or uint8", f"{grid.dtype}")
        if grid.dtype.kind == "f" and not np.isfinite(grid).all():
            raise InputError(path, "finite scores", "NaN or infinity", "Localize this image again.")
    return scores


def _check_classes(path, classes: np.ndarray, num_classes) -> None:
    last = IGNORE - 1 if num_classes is None else num_classes
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise InputError(path, "class numbers", f"an array {classes.shape} of {classes.dtype}")
    numbers = [int(number) for number in classes[:IGNORE]]
    if (
        len(classes) >= IGNORE
        or any(b <= a for a, b in zip(numbers, numbers[1:]))
        or (numbers and numbers[0] < 1)
    ):
        raise InputError(path, "class numbers from 1, ascending", str(numbers[:20]))
    if numbers and numbers[-1] > last:
        remedy = "Name the classes that the maps were made for (--classes)."
        raise InputError(path, f"class numbers from 1 to {last}", f"class {numbers[-1]}", remedy)


def _check_sides(path, scores: ScoreMaps) -> None:
    for name, sides in (("size", scores.size), ("frame", scores.frame)):
        if min(sides) < 1 or sides[0] * sides[1] > MOST_PIXELS:
            raise InputError(path, f"a {name} of 1 to {MOST_PIXELS} pixels", " x ".join(map(str, sides[:4])))
    height, width, inner_height, inner_width = scores.frame
    if inner_height > height or inner_width > width:
        found = f"{inner_height} x {inner_width} in {height} x {width}"
        raise InputError(path, "a frame that holds the image's content", found)


def _is_part(name: str) -> bool:
    words = ("fusion", "alignment", "normalization")
    return name in ("classes", "size", "frame", "views", *words) or name.startswith("maps")


def _score_maps_from(content: dict, path) -> ScoreMaps:
    missing = [name for name in ("classes", "maps", "size", "frame") if name not in content]
    if missing:
        raise InputError(path, _WANTED, f"no array {missing[0]}", "Delete it and localize again.")
    size, frame = (
        _whole_numbers(path, name, content[name], count) for name, count in (("size", 2), ("frame", 4))
    )
    further = []
    while _grid_name(len(further) + 1) in content:
        further.append(content[_grid_name(len(further) + 1)])
    words = {
        name: _word(content.get(name)) or known[0]
        for name, known in (("fusion", FUSIONS), ("alignment", ALIGNMENTS), ("normalization", NORMALIZATIONS))
    }
    if not (
        words["fusion"] in FUSIONS
        and words["alignment"] in ALIGNMENTS
        and words["normalization"] in NORMALIZATIONS
    ):
        expected = (
            f"a fusion among {', '.join(FUSIONS)}, an alignment among {', '.join(ALIGNMENTS)} and a normalization among "
            f"{', '.join(NORMALIZATIONS)}"
        )
        raise InputError(path, expected, ", ".join(repr(printable(word, 40)) for word in words.values()))
    views = _views(path, content.get("views"), 1 + len(further) if words["alignment"] == "views" else 0)
    return ScoreMaps(
        content["classes"], content["maps"], size, frame, tuple(further), words["fusion"], words["alignment"], views,
        words["normalization"],
    )  # fmt: skip


def _views(path, array, count: int) -> tuple:
    """The height and width of every view; `InputError` unless there are `count`."""
    if array is None:
        array = np.zeros((0, 2), np.int32)
    if array.shape != (count, 2) or array.dtype.kind not in "iu" or (array < 1).any():
        raise InputError(path, f"views of {count} grids", f"an array {array.shape} of {array.dtype}")
    return tuple((int(height), int(width)) for height, width in array)


def _whole_numbers(path, name: str, array: np.ndarray, count: int) -> tuple:
    if array.shape != (count,) or array.dtype.kind not in "iu":
        found = f"an array {array.shape} of {array.dtype}"
        raise InputError(path, f"{count} whole numbers in {name}", found)
    return tuple(int(number) for number in array)


def _word(array) -> str:
    """The text in an array without dimensions; empty where there is none."""
    return str(array) if array is not None and array.shape == () and array.dtype.kind == "U" else ""
