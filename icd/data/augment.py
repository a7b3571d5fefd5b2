"""The training crop and the inference frame. In: one image and its superpixels. Out: arrays of one fixed
size.

Implements the loader of ICD (Fan et al., CVPR 2020): scale, mirror, pad at the bottom and right, crop,
relabel. Random numbers are drawn in this order: scale, mirror, row, column, permutation of the superpixel
names. With the same `RandomState` the results equal the original's to the last integer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PAD_VALUE = 127  # what networks in this package subtract, so that padding is zero to them


@dataclass(frozen=True)
class InferenceSample:
    """One image in its inference frame.

    Attributes
    ----------
    image : numpy.ndarray, shape (S, S, 3), uint8
        RGB; the image lies in the upper left corner, the rest is 127.
    superpixels : numpy.ndarray, shape (S, S), int32, or None
        Ids 0..m-1; the padding has an id of its own.
    size : tuple of int
        Height and width of the image as it was given.
    frame : tuple of int
        `(S, S, h, w)`, as in `icd.files.ScoreMaps`: the image takes up h x w pixels of the frame.
    """

    image: np.ndarray
    superpixels: np.ndarray
    size: tuple
    frame: tuple


def train_sample(image, superpixels, size: int, scales, random) -> tuple:
    """Scale, mirror, pad, crop and relabel at random.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    superpixels : numpy.ndarray, shape (H, W), int32, or None
    size : int
        Side S of the square crop.
    scales : sequence of float
        One is chosen, each as likely.
    random : numpy.random.RandomState

    Returns
    -------
    image : numpy.ndarray, shape (S, S, 3), uint8
    superpixels : numpy.ndarray, shape (S, S), int32, or None
        Ids 0..m-1 in random order; padding, if any, has an id of its own.
    """
    image, superpixels = _scale(image, superpixels, random.choice(scales))
    if random.rand() > 0.5:
        image = image[:, ::-1]
        superpixels = None if superpixels is None else superpixels[:, ::-1]
    image, superpixels = _pad(image, superpixels, size)
    top = random.randint(0, image.shape[0] - size + 1)
    left = random.randint(0, image.shape[1] - size + 1)
    window = np.s_[top : top + size, left : left + size]
    if superpixels is not None:
        superpixels = _relabel(superpixels[window], random)
    return np.ascontiguousarray(image[window]), superpixels


def inference_sample(image, superpixels, size: int, random=None) -> InferenceSample:
    """Place a whole image in a square frame; one that is larger than the frame is scaled down until it fits.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    superpixels : numpy.ndarray, shape (H, W), int32, or None
    size : int
        Side S of the frame.
    random : numpy.random.RandomState, optional
        Names the superpixels at random, as the original does; without it they keep their order. No result
        depends on it.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest > size:
        image, superpixels = _resize(
            image, superpixels, *(max(1, round(n * size / longest)) for n in (height, width))
        )
    content = image.shape[:2]
    image, superpixels = _pad(image, superpixels, size)
    if superpixels is not None:
        superpixels = _relabel(superpixels, random)
    return InferenceSample(image, superpixels, (height, width), (size, size, *content))


def _scale(image, superpixels, factor: float) -> tuple:
    if factor == 1:
        return image, superpixels
    return _resize(image, superpixels, *(max(1, int(n * factor + 0.5)) for n in image.shape[:2]))


def _resize(image, superpixels, height: int, width: int) -> tuple:
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if superpixels is not None:
        superpixels = cv2.resize(superpixels, (width, height), interpolation=cv2.INTER_NEAREST)
    return image, superpixels


def _pad(image, superpixels, size: int) -> tuple:
    below, right = (max(size - n, 0) for n in image.shape[:2])
    if below or right:
        margins = ((0, below), (0, right))
        image = np.pad(image, (*margins, (0, 0)), constant_values=PAD_VALUE)
        if superpixels is not None:
            superpixels = np.pad(superpixels, margins, constant_values=superpixels.max() + 1)
    return image, superpixels


def _relabel(superpixels, random) -> np.ndarray:
    present, compact = np.unique(superpixels, return_inverse=True)
    names = np.arange(len(present)) if random is None else random.permutation(len(present))
    return names[compact].reshape(superpixels.shape).astype(np.int32)
