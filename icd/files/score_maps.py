"""Score maps, `<id>.npz`: per-class localization maps of one image on the network's grids.

`classes` int16 (L), `maps` (L, h, w), `size` int32 (H, W), `frame` int32 (4), and for several grids `maps_1`, `maps_2`, ...,
`fusion`, `alignment`, `views`, `normalization`: see `ScoreMaps`. No pickles.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icd.errors import InputError
from icd.files.atomic import write_atomic

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
    normalization = str(content.get("normalization", "maximum"))
    if fusion not in FUSIONS or alignment not in ALIGNMENTS or normalization not in NORMALIZATIONS:
        raise ValueError(f"fusion {fusion!r}, alignment {alignment!r}, normalization {normalization!r}")
    views = tuple((int(h), int(w)) for h, w in content.get("views", ()))
    if len(views) != (1 + len(further) if alignment == "views" else 0):
        raise ValueError(f"{len(views)} views for {1 + len(further)} grids")
    return ScoreMaps(
        content["classes"],
        content["maps"],
        (height, width),
        frame,
        tuple(further),
        fusion,
        alignment,
        views,
        normalization,
    )
