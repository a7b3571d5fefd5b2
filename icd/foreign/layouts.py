"""Score maps in the layouts of the originals, in and out.

In: a folder of score maps of any program below. Out: `icd.files.ScoreMaps`; and back.

=======  ============================================================  =================================================
layout   one file an image                                             written by
=======  ============================================================  =================================================
`npz`    `<id>.npz` as in `icd.files`                                  this package
`psa`    `<id>.npy`, dict {class 0..C-1: float32 (H, W)}               PSA, SEAM, EPS, PPC (spec psa 1, ppc 1)
`crf`    `<id>.npy`, dict {0 background, class 1..C: float32 (H, W)}   the CRF steps of PSA, SEAM, PPC (spec psa 1)
`irn`    `<id>.npy`, dict {keys (L), cam (L, h, w), high_res           IRN (torch tensors), VWE and VWL (arrays)
         (L, H, W)}, keys 0..C-1, `cam` at stride 4                    (spec vwe 1.2, irn 1.3)
`icd`    `<id>.npy`, float32 (L, 65, 65), L classes of the tags,       ICD (spec icd 1.3); the image, unscaled, lies in
         ascending                                                     the upper left of a 513 x 513 frame
=======  ============================================================  =================================================
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icd.errors import InputError
from icd.files import ScoreMaps, read_score_maps, write_score_maps
from icd.foreign.numpy_files import read_npy, write_npy
from icd.grid import maps_on_image

LAYOUTS = ("npz", "psa", "crf", "irn", "icd")
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


def read_layout(path, layout=None, tags=None, size=None) -> ScoreMaps:
    """Read score maps of any layout.

    Parameters
    ----------
    path : str or os.PathLike
    layout : str, optional
        One of `LAYOUTS`; by default told from the content. `crf` cannot be told from `psa` and must be named.
    tags : sequence of int, optional
        Classes 1..C of the image, ascending; layout `icd` needs them.
    size : tuple of int, optional
        Height and width of the image; layout `icd` needs it, the others are checked against it.

    Returns
    -------
    ScoreMaps

    Raises
    ------
    InputError
        The file is missing, damaged, unsafe, of another layout or another size.
    """
    path = Path(path)
    if layout == "npz" or path.suffix == ".npz":
        scores = read_score_maps(path)
    else:
        content = read_npy(path)
        layout = layout or _layout_of(content, path)
        if layout not in LAYOUTS:
            raise InputError("layout", f"one of {', '.join(LAYOUTS)}", repr(layout))
        scores = _READERS[layout](content, path, tags, size)
    if size is not None and tuple(scores.size) != tuple(size):
        found = f"{scores.size[0]} x {scores.size[1]}"
        raise InputError(path, f"score maps for {size[0]} x {size[1]} (height x width)", found)
    return scores


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
        height, width = ((side - 1) // 4 + 1 for side in scores.size)
        small = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes]
        small = np.array(small, np.float32).reshape(-1, height, width)
        write_npy(path, {"keys": keys, "cam": small, "high_res": planes})
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
    if isinstance(content, dict) and all(isinstance(key, (int, np.integer)) for key in content):
        return "psa"
    raise InputError(
        path, "score maps of PSA, SEAM, EPS, PPC, IRN, VWE or ICD", f"a {type(content).__name__}"
    )


def _read_psa(content, path, tags, size) -> ScoreMaps:
    return _read_dictionary(content, path, 1, size)


def _read_crf(content, path, tags, size) -> ScoreMaps:
    if not isinstance(content, dict) or 0 not in content:
        raise InputError(path, "a dictionary with the background under key 0", f"a {type(content).__name__}")
    size = np.shape(content[0])
    return _read_dictionary({key: plane for key, plane in content.items() if key != 0}, path, 0, size)


def _read_dictionary(content, path, shift: int, size) -> ScoreMaps:
    if not isinstance(content, dict) or not all(isinstance(key, (int, np.integer)) for key in content):
        raise InputError(path, "a dictionary of class numbers and maps", "something else")
    keys = sorted(content)
    return _full_size(np.asarray(keys) + shift, [content[key] for key in keys], path, size)


def _read_irn(content, path, tags, size) -> ScoreMaps:
    if not isinstance(content, dict) or not {"keys", "high_res"} <= set(content):
        raise InputError(path, "a dictionary with keys, cam and high_res", "something else")
    keys = np.asarray(content["keys"]).astype(np.int64).ravel()
    planes = np.asarray(content["high_res"])
    if planes.ndim == 3 and len(keys) == len(planes):
        order = np.argsort(keys)
        return _full_size(keys[order] + 1, planes[order], path, size)
    raise InputError(path, "one map for every key", f"{len(keys)} keys and maps of shape {planes.shape}")


def _full_size(classes, planes, path, size) -> ScoreMaps:
    if not len(classes) and size is not None:  # an image without a tag
        return ScoreMaps(np.zeros(0, np.int16), np.zeros((0, *size), np.float32), size, (*size, *size))
    shapes = {np.shape(plane) for plane in planes}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(path, "maps of one size, (H, W)", f"the shapes {sorted(shapes)}")
    if (np.diff(classes) <= 0).any() or (np.asarray(classes) < 1).any():
        raise InputError(
            path, "every class once, numbered as its layout says", f"{np.asarray(classes).tolist()}"
        )
    size = next(iter(shapes))
    return ScoreMaps(np.asarray(classes, np.int16), np.asarray(planes, np.float32), size, (*size, *size))


def _read_icd(content, path, tags, size) -> ScoreMaps:
    if tags is None or size is None:
        remedy = "Give the annotations and the truth or images (--tags)."
        raise InputError(
            path, "the image's tags and size beside ICD's bare array", "no tags or no size", remedy
        )
    if not isinstance(content, np.ndarray) or content.ndim != 3 or len(content) != len(tags):
        found = f"{getattr(content, 'shape', type(content).__name__)} for {len(tags)} tags"
        raise InputError(path, "an array (L, h, w) with one map for every tag", found)
    if max(size) > _ICD_FRAME:
        raise InputError(path, f"an image of at most {_ICD_FRAME} pixels a side", f"{size[0]} x {size[1]}")
    maps = np.asarray(content, np.float32)
    return ScoreMaps(np.asarray(tags, np.int16), maps, tuple(size), (_ICD_FRAME, _ICD_FRAME, *size))


_READERS = {"psa": _read_psa, "crf": _read_crf, "irn": _read_irn, "icd": _read_icd}
