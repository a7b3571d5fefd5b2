"""Photographs of camera size are worked on at a bounded size; masks come back at the photographs' own.

In: sizes, masks, score maps, files that lie on the photograph or on its working size. Out: the same at the other size. A
photograph of at most `MAX_SIDE` pixels a side, such as all of VOC and COCO, passes through untouched.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from icd.errors import InputError
from icd.files import LabelStack, ScoreMaps

MAX_SIDE = 1024
"""Longest side in pixels at which superpixels, localization, CRFs and walks work, unless `--max-side` says else."""
_ROWS = 256  # of an enlarged mask that are made at once, so that memory does not grow with the photograph


def working_size(size, max_side) -> tuple:
    """The height and width at which a photograph is worked on: its own, or with the longest side at `max_side`.

    Parameters
    ----------
    size : tuple of int
        Height and width of the photograph.
    max_side : int or None
        None: no bound.
    """
    longest = max(size)
    if max_side is None or longest <= max_side:
        return tuple(size)
    return tuple(max(1, round(side * max_side / longest)) for side in size)


def read_at(read, size, working, shrink):
    """Read a file that lies on the photograph or on its working size, and bring it to the latter.

    Parameters
    ----------
    read : callable
        A height and width -> the content, or `InputError` where the file has another size.
    size, working : tuple of int
        Heights and widths of the photograph and at which it is worked on; both None where nobody knows them.
    shrink : callable
        (content, height and width) -> the content at that size.
    """
    if size == working:
        return read(size)
    try:
        return read(working)
    except InputError:
        return shrink(read(size), working)


def shrink_labels(values: np.ndarray, size) -> np.ndarray:
    """Names (H, W), such as class numbers, at another size: those of the nearest pixels."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64) for old, new in zip(values.shape, size)
    )
    return values[rows[:, None], columns]


def shrink_values(values: np.ndarray, size) -> np.ndarray:
    """Values (H, W) or (H, W, K) at a smaller size: the mean over the area that each new pixel covers."""
    small = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return small.reshape(*size, *values.shape[2:])


def shrink_stack(stack: LabelStack, size) -> LabelStack:
    """A label stack at a smaller size; see `shrink_values`."""
    planes = [shrink_values(plane.astype(np.float32), size) for plane in stack.planes]
    return LabelStack(stack.labels, np.array(planes, np.float32))


def bounded_maps(scores: ScoreMaps, max_side) -> ScoreMaps:
    """Score maps that are resized to the working size of their photograph and not to its own."""
    size = working_size(scores.size, max_side)
    return scores if size == tuple(scores.size) else dataclasses.replace(scores, size=size)


def enlarge_mask(mask: np.ndarray, size) -> np.ndarray:
    """A mask at the size of its photograph, with smooth outlines where the nearest pixel would give stairs.

    The indicator of every value, 1 where the mask has it and 0 elsewhere, is interpolated bilinearly, and a pixel gets the
    value whose indicator is the largest there; of equal ones the smallest. 255 is a value as any other.

    Parameters
    ----------
    mask : numpy.ndarray, shape (h, w), uint8
    size : tuple of int
        Height and width, at least the mask's.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
        The mask itself where it has that size already.
    """
    if mask.shape == tuple(size):
        return mask
    (above, below, down), (left, right, across) = (
        _neighbours(old, new) for old, new in zip(mask.shape, size)
    )
    enlarged = np.empty(size, np.uint8)
    for start in range(0, size[0], _ROWS):
        band = slice(start, start + _ROWS)
        top = above[band][0]
        source = mask[top : below[band][-1] + 1]
        values = np.flatnonzero(np.bincount(source.ravel(), minlength=256))
        best = enlarged[band]
        best[...], highest = values[0], np.full(best.shape, -1, np.float32)
        for value in values if len(values) > 1 else ():
            indicator = (source == value).astype(np.float32)
            wide = indicator[:, left] * (1 - across) + indicator[:, right] * across
            share = down[band, None]
            indicator = wide[above[band] - top] * (1 - share) + wide[below[band] - top] * share
            stronger = indicator > highest
            best[stronger] = value
            np.maximum(highest, indicator, out=highest)
    return enlarged


def _neighbours(old: int, new: int) -> tuple:
    """For each of `new` places the two of `old` between which it lies, and its share of the way; half-pixel centres."""
    position = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, old - 1), (position - low).astype(np.float32)
