"""Score maps that spread over an image up to a boundary map (IRN, spec 5). In: both, of any program. Out: a label stack.

boundary map, score maps --walk_to_boundaries--> label stack --mask()--> pseudo mask
"""

from __future__ import annotations

import numpy as np

from icd.errors import InputError
from icd.files import LabelStack, ScoreMaps
from icd.grid import maps_on_image, share_of_maximum, strided_maps
from icd.refine.arguments import checked_number
from icd.refine.path_affinity import path_affinity_planes, path_offsets
from icd.refine.random_walk import random_walk

BACKGROUND, BETA, STEPS, RADIUS = 0.25, 10.0, 256, 5  # as published: spec irn 1.1 and 5
STRIDE = 4  # of IRN's boundary maps; of the strides that fit a small map this one is taken


def walk_to_boundaries(
    boundary, scores: ScoreMaps, background=BACKGROUND, beta=BETA, steps=STEPS, radius=RADIUS, threads=0
) -> LabelStack:
    """Let the score maps of an image walk along affinities from a boundary map (Ahn et al., CVPR 2019; spec irn 5).

    Every map becomes a share of its maximum on the boundary map's grid, is damped on boundaries, walks, and is resized to
    the image. All maps are then divided by their common maximum.

    Parameters
    ----------
    boundary : numpy.ndarray, shape (h, w), float32, 0..1
        Probability of a class boundary, at every k-th pixel of the image for a whole number k, 4 in IRN.
    scores : ScoreMaps
    background : float, 0..1
        Score of the background, a share of the common maximum.
    beta : float
        Exponent of the affinities.
    steps : int
        Of the walk; IRN's `exp_times` 8 are 256.
    radius : int
        Pixels nearer than this, on the boundary map's grid, are neighbours.
    threads : int
        0: all cores; the result does not depend on it.

    Returns
    -------
    LabelStack
        Planes (1 + L, H, W), float32, 0..1.

    Raises
    ------
    InputError
        The boundary map does not lie on the image as said, or see `icd.refine.path_affinity` and `icd.refine.random_walk`.
    """
    boundary = np.asarray(boundary)
    stride = _stride(boundary.shape, scores.size)
    background = checked_number("background", background, 0, 1)
    labels = np.concatenate([[0], scores.classes]).astype(np.int16)
    planes = np.full((len(labels), *scores.size), np.float32(background))
    if len(scores.classes):
        shares = share_of_maximum(strided_maps(scores, stride))
        affinities = path_affinity_planes(boundary, radius, threads)
        damped = shares * (1 - boundary.astype(np.float32))
        walked = random_walk(damped, affinities, path_offsets(radius), beta, steps, threads)
        whole = tuple(stride * side for side in boundary.shape)
        spread = maps_on_image(ScoreMaps(scores.classes, walked, scores.size, (*whole, *scores.size)))
        planes[1:] = spread / max(spread.max(), np.finfo(np.float32).tiny)
    return LabelStack(labels, planes)


def _stride(shape, size) -> int:
    """How many pixels lie between the cells of a boundary map."""
    for stride in (STRIDE, *range(1, max(size) + 1)):
        if tuple(shape) == tuple((side - 1) // stride + 1 for side in size):
            return stride
    expected = f"every {STRIDE}th (or k-th) pixel of {size[0]} x {size[1]}"
    raise InputError("boundary", expected, " x ".join(map(str, shape)))
