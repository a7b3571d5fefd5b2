"""From a network's grid to an image's pixels. In: score maps. Out: one value a pixel and class, raw or as a share."""

from __future__ import annotations

import cv2
import numpy as np

from icd.files import ScoreMaps


def maps_on_image(scores: ScoreMaps) -> np.ndarray:
    """Resize score maps to their image: bilinear with half-pixel centres, as OpenCV does (spec icd 4.2, step 1).

    Parameters
    ----------
    scores : ScoreMaps

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32
        Maps that already have the image's size come back unchanged.
    """
    frame, content = scores.frame[:2], scores.frame[2:]
    planes = [_resize(plane, frame)[: content[0], : content[1]] for plane in scores.maps.astype(np.float32)]
    return np.array([_resize(plane, scores.size) for plane in planes], np.float32).reshape(-1, *scores.size)


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


def _resize(plane: np.ndarray, size) -> np.ndarray:
    if plane.shape == tuple(size):
        return plane
    return cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
