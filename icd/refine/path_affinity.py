"""Affinities from a boundary map (IRN, spec 3): two pixels belong together unless a boundary lies on the line between them.

    boundary map --path_affinities--> pairs of a training crop;  --path_affinity_planes--> planes for the random walk

The kernel is `csrc/path_affinity.cpp`; it releases the GIL, and several Python threads may call it at once.
"""

from __future__ import annotations

import functools

import numpy as np

from icd import _native
from icd.errors import InputError
from icd.refine.arguments import check_memory, checked_array, checked_integer, checked_threads
from icd.refine.random_walk import disc_offsets


def path_offsets(radius) -> np.ndarray:
    """The destinations of all paths in IRN's order: by length of the path, then as `disc_offsets`.

    Returns
    -------
    numpy.ndarray, shape (D, 2), int32
        (dy, dx); 34 for radius 5, 152 for radius 10.
    """
    return np.array([path[0] for path in path_points(radius)], np.int32)


def path_lengths(radius) -> np.ndarray:
    """Number of points of each path, both ends included, in the order of `path_offsets`; int32."""
    return np.array([len(path) for path in path_points(radius)], np.int32)


def path_affinities(boundary, radius, threads=0) -> np.ndarray:
    """Affinity of each source pixel with each destination: 1 - the maximum of the boundary map on the path (3.2).

    Parameters
    ----------
    boundary : numpy.ndarray, shape (h, w), float32
        Probability of a class boundary, 0..1.
    radius : int
        10 in training, 5 for the walk.
    threads : int
        0 = all processors; the result does not depend on it.

    Returns
    -------
    numpy.ndarray, shape (D, (h - f) * (w - 2 f)), float32
        Directions as `path_offsets`; sources are rows 0..h-f-1, columns f..w-f-1, row by row, f = radius - 1.

    Raises
    ------
    InputError
        A map too small to have a source, NaN, values outside 0..1, more memory needed than there is.
    """
    boundary = _checked_boundary(boundary)
    radius = checked_integer("radius", radius, 2, 64)
    reach = radius - 1
    if boundary.shape[0] <= reach or boundary.shape[1] <= 2 * reach:
        wanted = f"more than {reach} rows and {2 * reach} columns"
        raise InputError(
            "boundary", wanted, f"{boundary.shape[0]} x {boundary.shape[1]}", "Use a smaller radius."
        )
    return _affinities(boundary, radius, threads).reshape(len(path_points(radius)), -1)


def path_affinity_planes(boundary, radius=5, threads=0) -> np.ndarray:
    """Affinities between all pairs of pixels of a map, for `random_walk` with `path_offsets(radius)` (IRN 5).

    Outside of the map the boundary is 1, so that no path leads through there.

    Parameters
    ----------
    boundary : numpy.ndarray, shape (h, w), float32
        Any size, 0..1.
    radius, threads : int
        As for `path_affinities`.

    Returns
    -------
    numpy.ndarray, shape (D, h, w), float32
    """
    boundary = _checked_boundary(boundary)
    radius = checked_integer("radius", radius, 2, 64)
    reach = radius - 1
    padded = np.pad(boundary, ((0, reach), (reach, reach)), constant_values=1)
    return _affinities(padded, radius, threads)


def _checked_boundary(boundary) -> np.ndarray:
    boundary = checked_array("boundary", boundary, np.float32, ("h", "w"))
    low, high = float(boundary.min()), float(boundary.max())
    if low < 0 or high > 1:
        raise InputError("boundary", "values in 0..1", f"{low:g} to {high:g}", "Apply the sigmoid first.")
    return boundary


def _affinities(boundary, radius: int, threads) -> np.ndarray:
    paths = path_points(radius)
    (height, width), directions = boundary.shape, len(paths)
    check_memory("radius", 4 * directions * height * width, f"{directions} directions on {height} x {width}")
    points = np.array([point for path in paths for point in path], np.int32)
    starts = np.concatenate([[0], np.cumsum(path_lengths(radius))]).astype(np.int64)
    return _native.path_affinities(boundary, points, starts, radius - 1, checked_threads(threads))


@functools.lru_cache(maxsize=8)
def path_points(radius) -> tuple:
    """The points (dy, dx) of every path in the order of `path_offsets`: destination first, source last (3.1)."""
    return tuple(sorted((_path(int(dy), int(dx)) for dy, dx in disc_offsets(radius)), key=len))


def _path(dy: int, dx: int) -> tuple:
    """Lattice points of the bounding box whose distance from the line is below 1, farthest first."""
    box = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    near = [(y, x) for y, x in box if (dy * x - dx * y) ** 2 < dy * dy + dx * dx]
    return tuple(sorted(near, key=lambda point: -abs(point[0]) - abs(point[1])))
