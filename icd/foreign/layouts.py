"""Score maps in the layouts of the originals, in and out.

In: a folder of score maps of any program below. Out: `icd.files.ScoreMaps`; and back.

======  =======================================================  ======  =============================================
layout  one file an image                                        keys    written by
======  =======================================================  ======  =============================================
`npz`   `<id>.npz` as in `icd.files`                             from 1  this package
`psa`   `<id>.npy`, dict {class: float32 (H, W)}                 from 0  PSA, SEAM, EPS, PPC (spec psa 1, ppc 1)
`crf`   `<id>.npy`, dict {0 background, class: float32 (H, W)}   from 1  CRF steps of PSA, SEAM, PPC (spec psa 1); the
                                                                         background too in `icd.foreign.label_stacks`
`irn`   `<id>.npy`, dict {keys (L), cam (L, h, w), high_res      from 0  IRN (torch tensors), VWE and VWL (arrays)
        (L, H, W)}, `cam` at stride 4                                    (spec vwe 1.2, irn 1.3)
`icd`   `<id>.npy`, float32 (L, 65, 65), L classes of the tags,  none    ICD (spec icd 1.3); the image, unscaled, lies
        ascending                                                        in the upper left of a 513 x 513 frame
======  =======================================================  ======  =============================================

Keys: the number by which a file calls the first class, which is always class 1 here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError, printable
from icd.files import ScoreMaps, check_score_maps, read_score_maps, write_score_maps
from icd.foreign import LAYOUTS
from icd.foreign.numpy_files import read_npy, write_npy
from icd.grid import maps_on_image, strided_maps

_ICD_FRAME = 513


def find_score_maps(folder, image_id) -> Path:
    """The file with the score maps of an id; `<folder>/<id>.npz` where there is none.

    Raises
    ------
    InputError
        Both `<id>.npz` and `<id>.npy` are there.
    """
    native, foreign = Path(folder) / f"{image_id}.npz", Path(folder) / f"{image_id}.npy"
    if native.is_file() and foreign.is_file():
        raise InputError(
            folder, f"one file for {image_id}", f"{native.name} and {foreign.name}", "Remove one of them."
        )
    return foreign if foreign.is_file() else native


def read_layout(path, layout=None, tags=None, size=None, num_classes=None) -> ScoreMaps:
    """Read score maps of any layout.

    Parameters
    ----------
    path : str or os.PathLike
    layout : str, optional
        One of `LAYOUTS`; by default told from the content. `crf` must be named: without it, planes that sum to 1 as
        probabilities do are refused.
    tags : sequence of int, optional
        Classes 1..C of the image, ascending; layout `icd` needs them.
    size : tuple of int, optional
        Height and width of the image; layout `icd` needs it, the others are checked against it.
    num_classes : int, optional
        C, the foreground classes that there are.

    Returns
    -------
    ScoreMaps

    Raises
    ------
    InputError
        The file is missing, damaged, unsafe, of another layout or another size; see `icd.files.check_score_maps`.
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise InputError("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
    if layout == "npz" or path.suffix == ".npz":
        scores = read_score_maps(path)
    else:
        content = read_npy(path)
        scores = _READERS[layout or _layout_of(content, path)](content, path, tags, size)
    return check_score_maps(path, scores, num_classes, size)


def write_layout(folder, image_id, scores: ScoreMaps, layout: str) -> Path:
    """Write score maps in a layout; all but `npz` and `icd` hold them at the image's size.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        The layout cannot hold these maps: `icd` only holds maps of a 513 x 513 frame with the image unscaled in it.
    """
    path = Path(folder) / f"{image_id}.{'npz' if layout == 'npz' else 'npy'}"
    if layout == "npz":
        write_score_maps(path, scores)
        return path
    if layout == "icd":
        if scores.frame != (_ICD_FRAME, _ICD_FRAME, *scores.size):
            found = f"the frame {scores.frame} for an image of {scores.size}"
            raise InputError(
                path,
                "maps of an unscaled image in a 513 x 513 frame",
                found,
                "Localize with --infer-size 513.",
            )
        write_npy(path, scores.maps.astype(np.float32))
        return path
    planes = maps_on_image(scores)
    keys = scores.classes.astype(np.int64) - 1
    if layout == "irn":
        write_npy(path, {"keys": keys, "cam": strided_maps(scores), "high_res": planes})
    elif layout == "psa":
        write_npy(path, {int(key): plane for key, plane in zip(keys, planes)})
    elif layout == "crf":
        raise InputError(
            path, "score maps", "the layout crf, which holds a CRF's probabilities", "Take psa or irn."
        )
    else:
        raise InputError("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
    return path


def _layout_of(content, path) -> str:
    if isinstance(content, np.ndarray):
        return "icd"
    if isinstance(content, dict) and {"keys", "high_res"} <= set(content):
        return "irn"
    if isinstance(content, dict) and all(map(is_class_key, content)):
        if is_distribution(content):
            expected = "class activation maps under keys from 0, or the name of another layout"
            found = "planes that sum to 1 at every pixel, as a CRF's probabilities with the background under key 0 do"
            remedy = "Make them score maps with `icd export maps --from crf --to npz`."
            raise InputError(path, expected, found, remedy)
        return "psa"
    raise InputError(path, "score maps of PSA, SEAM, EPS, PPC, IRN, VWE or ICD", described(content))


def described(content) -> str:
    """What a file holds, in a few words."""
    if isinstance(content, np.ndarray):
        return f"an array of shape {content.shape} of {content.dtype}"
    if isinstance(content, dict):
        keys = ", ".join(
            printable(key, 30) if isinstance(key, (str, int)) else "other" for key in [*content][:5]
        )
        return f"a dictionary with the keys {keys}" if content else "an empty dictionary"
    return f"a {type(content).__name__}"


def is_class_key(key) -> bool:
    """Whether a key of a dictionary of planes can be a class number."""
    return isinstance(key, (int, np.integer)) and not isinstance(key, bool) and 0 <= key < IGNORE


def is_plane(value) -> bool:
    """Whether a value is a plane of numbers with at least one pixel."""
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 2
        and value.dtype.kind in "fiu"
        and 0 not in value.shape
    )


def is_distribution(content: dict) -> bool:
    """Whether planes sum to 1 at every pixel: a CRF's probabilities, whose key 0 is the background."""
    planes = list(content.values())
    if (
        len(planes) < 2
        or 0 not in content
        or not all(map(is_plane, planes))
        or len({p.shape for p in planes}) > 1
    ):
        return False
    if any(plane.dtype.kind != "f" or not (plane >= 0).all() for plane in planes):
        return False
    return bool(np.abs(sum(plane.astype(np.float64) for plane in planes) - 1).max() < 5e-3)


def _read_psa(content, path, tags, size) -> ScoreMaps:
    return _full_size(check_planes(content, path), path, 1, size)


def _read_crf(content, path, tags, size) -> ScoreMaps:
    if not isinstance(content, dict) or 0 not in content:
        raise InputError(path, "a dictionary with the background under key 0", described(content))
    planes = check_planes(content, path)
    size = planes.pop(0).shape
    return _full_size(planes, path, 0, size)


def check_planes(content, path) -> dict:
    """Return a dictionary of class numbers and planes of one size in the order of its keys, or raise `InputError`."""
    if not isinstance(content, dict) or not all(map(is_class_key, content)):
        raise InputError(path, f"a dictionary of class numbers below {IGNORE} and maps", described(content))
    planes = {int(key): content[key] for key in sorted(content)}
    strange = [key for key, plane in planes.items() if not is_plane(plane)]
    if strange:
        found = f"{described(planes[strange[0]])} under {strange[0]}"
        raise InputError(path, "maps (H, W) of numbers, at least one pixel", found)
    shapes = sorted({plane.shape for plane in planes.values()})
    if len(shapes) > 1 or len(planes) < len(content):
        raise InputError(path, "maps of one size, (H, W), each class once", f"the shapes {shapes[:5]}")
    return planes


def _read_irn(content, path, tags, size) -> ScoreMaps:
    if not isinstance(content, dict) or not {"keys", "high_res"} <= set(content):
        raise InputError(path, "a dictionary with keys, cam and high_res", described(content))
    keys, planes = (_flat_array(content[name]) for name in ("keys", "high_res"))
    if keys is None or planes is None or len(keys) != len(planes) or (len(keys) and planes.ndim != 3):
        found = f"keys: {described(content['keys'])}; high_res: {described(content['high_res'])}"
        raise InputError(path, "one map for every key", found)
    keys = keys.ravel().tolist()
    if not all(isinstance(key, (int, float)) and 0 <= key < IGNORE and key == int(key) for key in keys):
        raise InputError(path, f"keys that are class numbers below {IGNORE}", str(keys[:20]))
    if len(set(keys)) < len(keys):
        raise InputError(path, "every class once", str(keys[:20]))
    return _full_size(
        check_planes({int(key): plane for key, plane in zip(keys, planes)}, path), path, 1, size
    )


def _flat_array(value):
    """An array of numbers, or an empty one for an empty list, which an image without tags has; else None."""
    if isinstance(value, (list, tuple)) and all(isinstance(entry, (int, float)) for entry in value):
        return np.array(value)
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.ndim else None


def _full_size(planes: dict, path, shift: int, size) -> ScoreMaps:
    """Score maps of planes at the image's size; class = key + shift."""
    if not planes:  # an image without a tag
        if size is None:
            raise InputError(
                path, "at least one map, or the photograph's size", "none", "Name the photographs too."
            )
        return ScoreMaps(np.zeros(0, np.int16), np.zeros((0, *size), np.float32), tuple(size), (*size, *size))
    size = next(iter(planes.values())).shape
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the rest of its kind
        maps = np.array(list(planes.values()), np.float32)
    return ScoreMaps(np.array([key + shift for key in planes], np.int16), maps, size, (*size, *size))


def _read_icd(content, path, tags, size) -> ScoreMaps:
    if tags is None or size is None:
        remedy = "Give the annotations and the truth or images (--tags)."
        raise InputError(
            path, "the image's tags and size beside ICD's bare array", "no tags or no size", remedy
        )
    if (
        not isinstance(content, np.ndarray)
        or content.dtype.kind != "f"
        or content.ndim != 3
        or len(content) != len(tags)
    ):
        found = f"{described(content)} for {len(tags)} tags"
        raise InputError(path, "an array (L, h, w) with one map for every tag", found)
    if max(size) > _ICD_FRAME:
        raise InputError(path, f"an image of at most {_ICD_FRAME} pixels a side", f"{size[0]} x {size[1]}")
    maps = np.asarray(content, np.float32)
    return ScoreMaps(np.asarray(tags, np.int16), maps, tuple(size), (_ICD_FRAME, _ICD_FRAME, *size))


_READERS = {"psa": _read_psa, "crf": _read_crf, "irn": _read_irn, "icd": _read_icd}
