"""Random walk: scores and affinities between near pixels in, scores spread along the affinities out (PSA, IRN).

    pairs --place_pairs--> planes of affinities --random_walk(scores)--> scores

The kernel is `csrc/random_walk.cpp`; it releases the GIL, and several Python threads may call it at once.
"""

from __future__ import annotations

import numpy as np

from icd import _native
from icd.errors import InputError
from icd.refine.arguments import check_memory, checked_array, checked_integer, checked_number, checked_threads


def disc_offsets(radius) -> np.ndarray:
    """The half disc of neighbours of PSA (spec 3.2): each unordered pair of pixels nearer than `radius` once.

    Returns
    -------
    numpy.ndarray, shape (D, 2), int32
        (dy, dx), first (0, 1..radius-1), then by dy and dx; 34 for radius 5.

    Examples
    --------
    >>> disc_offsets(2).tolist()
    [[0, 1], [1, -1], [1, 0], [1, 1]]
    """
    radius = checked_integer("radius", radius, 2, 64)
    row = [(0, dx) for dx in range(1, radius)]
    below = [
        (dy, dx)
        for dy in range(1, radius)
        for dx in range(1 - radius, radius)
        if dx * dx + dy * dy < radius * radius
    ]
    return np.array(row + below, np.int32)


def place_pairs(pairs, offsets, height, width) -> np.ndarray:
    """Lay affinities of pairs out as planes over the whole grid.

    The networks of PSA and IRN give affinities only for source pixels in rows 0..h-f-1 and columns f..w-f-1, f being the
    largest offset, row by row. The walk goes without the pairs of the other sources, as the original does (PSA 5.3).

    Parameters
    ----------
    pairs : numpy.ndarray, shape (D, (h - f) * (w - 2 f)), float32
    offsets : numpy.ndarray, shape (D, 2), integer
        Where each direction points, (dy, dx).
    height, width : int
        Size of the grid, above f and 2 f.

    Returns
    -------
    numpy.ndarray, shape (D, h, w), float32
        0 where there is no pair.

    Raises
    ------
    InputError
        The shapes do not fit, the grid is too small to have a source, or the planes need more memory than there is.
    """
    offsets = _checked_offsets(offsets)
    height, width = checked_integer("height", height, 1), checked_integer("width", width, 1)
    reach = int(np.abs(offsets).max())
    rows, columns = height - reach, width - 2 * reach
    if rows < 1 or columns < 1:
        wanted = f"more than {reach} rows and {2 * reach} columns"
        raise InputError("grid", wanted, f"{height} x {width}", "Use a smaller radius.")
    pairs = checked_array("pairs", pairs, np.float32, (len(offsets), rows * columns))
    check_memory("grid", 4 * len(offsets) * height * width, f"{len(offsets)} planes of {height} x {width}")
    planes = np.zeros((len(offsets), height, width), np.float32)
    planes[:, :rows, reach : reach + columns] = pairs.reshape(-1, rows, columns)
    return planes


def random_walk(scores, affinities, offsets, beta, steps, threads=0) -> np.ndarray:
    """Let scores walk: `M T^steps`, T = A^beta with each column divided by its sum (PSA 5.3, IRN 5).

    Parameters
    ----------
    scores : numpy.ndarray, shape (C, h, w), float32
        M, one plane a class; within 1e30.
    affinities : numpy.ndarray, shape (D, h, w), float32
        0..1, between each pixel and the one `offsets[d]` further; both directions of a pair share it. Entries whose partner
        lies outside are ignored. Every pixel has affinity 1 with itself.
    offsets : numpy.ndarray, shape (D, 2), integer
        (dy, dx) of each plane: `disc_offsets` or `icd.refine.path_affinity.path_offsets`.
    beta : float
        Exponent of the affinities, above 0 (8 in PSA, 10 in IRN).
    steps : int
        256 for PSA's `logt` 8 and IRN's `exp_times` 8; 0 returns the scores.
    threads : int
        0 = all processors; the result does not depend on it.

    Returns
    -------
    numpy.ndarray, shape (C, h, w), float32
        Within 1e-4 of the dense answer in double precision, for scores up to 1.

    Raises
    ------
    InputError
        Wrong shapes, NaN, affinities outside 0..1, an offset that is (0, 0), repeated or the opposite of another one, more
        memory needed than there is.
    """
    scores = checked_array("scores", scores, np.float32, ("C", "h", "w"))
    if np.abs(scores).max() > 1e30:
        raise InputError("scores", "values within 1e30", f"{scores.min():g} to {scores.max():g}")
    offsets = _checked_offsets(offsets)
    affinities = checked_array("affinities", affinities, np.float32, (len(offsets), *scores.shape[1:]))
    low, high = float(affinities.min()), float(affinities.max())
    if low < 0 or high > 1:
        raise InputError("affinities", "values in 0..1", f"{low:g} to {high:g}")
    beta = checked_number("beta", beta, 1e-6, 1e6)
    steps = checked_integer("steps", steps, 0)
    (classes, height, width), reach = scores.shape, int(np.abs(offsets).max())
    padded = (height + 2 * reach) * (width + 2 * reach)
    needed = 4 * (len(offsets) + 2 * classes + 1) * padded + 4 * scores.size
    check_memory("affinities", needed, f"{len(offsets)} offsets and {classes} classes of {height} x {width}")
    return _native.random_walk(scores, affinities, offsets, beta, steps, checked_threads(threads))


def _checked_offsets(offsets) -> np.ndarray:
    offsets = checked_array("offsets", offsets, np.int32, ("D", 2))
    if np.abs(offsets.astype(np.int64)).max() > 64:
        raise InputError("offsets", "steps of at most 64 pixels", f"{offsets.min()} to {offsets.max()}")
    both_ways = np.concatenate([offsets, -offsets])
    if len(np.unique(both_ways, axis=0)) < len(both_ways):
        raise InputError(
            "offsets", "each pair of pixels once", "(0, 0), a repetition, or two opposite offsets"
        )
    return offsets
