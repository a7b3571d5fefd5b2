"""From a network's grid to an image's pixels. In: score maps. Out: one value a pixel and class, raw or as a share."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from icd.files import ScoreMaps


def maps_on_image(scores: ScoreMaps) -> np.ndarray:
    """Resize score maps to their image bilinearly and fuse their scales.

    With the alignment "centres" as OpenCV does (spec icd 4.2, step 1; PyTorch's align_corners = False, spec eps 5), with
    "corners" as PyTorch's align_corners = True (spec drs 5.1), with "views" by the latter to the view and by the former from
    there (spec seam 5).

    Parameters
    ----------
    scores : ScoreMaps

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32
        Maps of one scale that already have the image's size come back unchanged.
    """
    fused = None
    for index, grid in enumerate(scores.grids):
        maps = as_float(grid)
        if scores.alignment == "views":
            maps = np.array([_resize_corners(plane, scores.views[index]) for plane in maps], np.float32)
        maps = _on_image(maps, scores)
        fused = maps if fused is None else _FUSE[scores.fusion](fused, maps)
    return fused


def strided_maps(scores: ScoreMaps, stride: int = 4) -> np.ndarray:
    """Resize score maps to every `stride`-th pixel of their image and fuse their scales: what random walks start from.

    Grids of the whole image are resized straight to the new size, as IRN and VWE do (spec vwe 5, step 3); where the image
    fills only a part of the grids' frame, they are resized to the image first.

    Parameters
    ----------
    scores : ScoreMaps
    stride : int

    Returns
    -------
    numpy.ndarray, shape (L, (H - 1) // stride + 1, (W - 1) // stride + 1), float32
    """
    size = tuple((side - 1) // stride + 1 for side in scores.size)
    frame, content = scores.frame[:2], scores.frame[2:]
    if frame not in (content, tuple(-(-side // _ROUNDED) * _ROUNDED for side in content)):
        maps = maps_on_image(scores)
        scores = ScoreMaps(scores.classes, maps, scores.size, (*scores.size, *scores.size))
    return maps_on_image(dataclasses.replace(scores, size=size, frame=(*size, *size)))


_ROUNDED = 16  # IRN's frames are the image's size rounded up to a multiple of this


def as_float(maps: np.ndarray) -> np.ndarray:
    """Score maps of any stored type as float32."""
    return maps / np.float32(255) if maps.dtype == np.uint8 else maps.astype(np.float32)


_FUSE = {"sum": np.add, "max": np.maximum}


def _on_image(maps: np.ndarray, scores: ScoreMaps) -> np.ndarray:
    resize = _RESIZE[scores.alignment]
    frame, content = scores.frame[:2], scores.frame[2:]
    planes = [resize(plane, frame)[: content[0], : content[1]] for plane in maps]
    return np.array([resize(plane, scores.size) for plane in planes], np.float32).reshape(-1, *scores.size)


def positive_share(maps: np.ndarray) -> np.ndarray:
    """The positive part of every map over its maximum (spec icd 4.2, step 2).

    Parameters
    ----------
    maps : numpy.ndarray, shape (L, H, W), float32

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32, 0..1
        Zero where a map has nothing positive.
    """
    return np.maximum(maps, 0) / np.maximum(maps.max((1, 2), keepdims=True), np.float32(1e-5))


def share_of_maximum(maps: np.ndarray) -> np.ndarray:
    """The positive part of every map over (its maximum + 1e-5), as PSA's family does (spec eps 5, drs 2.3).

    Parameters
    ----------
    maps : numpy.ndarray, shape (L, H, W), float32

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32, 0 to less than 1
    """
    maps = np.maximum(maps, 0)
    return maps / (maps.max((1, 2), keepdims=True) + np.float32(1e-5))


def share_of_range(maps: np.ndarray) -> np.ndarray:
    """The positive part of every map, stretched from its minimum to its maximum, as SEAM does (spec seam 5, ppc 8).

    As published, what is zeroed for lying at the minimum m is stretched too: it becomes -(m + 1e-5) / (M - m + 1e-5), below 0.

    Parameters
    ----------
    maps : numpy.ndarray, shape (L, H, W), float32

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32, at most 1
        -1 where a map has nothing positive.
    """
    maps, epsilon = np.maximum(maps, 0), np.float32(1e-5)
    lowest, highest = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    maps = np.where(maps < lowest + epsilon, 0, maps)
    return (maps - lowest - epsilon) / (highest - lowest + epsilon)


def shares_on_image(scores: ScoreMaps) -> np.ndarray:
    """Score maps on their image as shares of the maximum, or of the range where `scores.normalization` says so.

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32
    """
    return _SHARE[scores.normalization](maps_on_image(scores))


_SHARE = {"maximum": share_of_maximum, "range": share_of_range}


def _resize(plane: np.ndarray, size) -> np.ndarray:
    if plane.shape == tuple(size):
        return plane
    return cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _resize_corners(plane: np.ndarray, size) -> np.ndarray:
    rows, columns = (interpolation(old, new, "corners") for old, new in zip(plane.shape, size))
    return rows @ plane @ columns.T


def interpolation(old: int, new: int, alignment: str) -> np.ndarray:
    """The matrix (new, old), float32, of linear interpolation along one axis; `alignment` as in `icd.files.ScoreMaps`."""
    places = np.arange(new, dtype=np.float32)
    if alignment == "corners":
        position = places * np.float32((old - 1) / max(new - 1, 1))
    else:
        position = np.maximum((places + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5), 0)
    low = np.minimum(position.astype(int), old - 1)
    high = np.minimum(low + 1, old - 1)
    share = position - low
    weights = np.zeros((new, old), np.float32)
    weights[np.arange(new), low] = 1 - share
    weights[np.arange(new), high] += share
    return weights


_RESIZE = {"centres": _resize, "corners": _resize_corners, "views": _resize}
