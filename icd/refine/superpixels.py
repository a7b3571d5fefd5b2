"""Superpixels: an image in, region ids out; means of features inside regions; regions merged by their features.

    image --segment--> ids --pool(features)--> one feature a region --merge--> fewer ids

The kernels are `external/superpixel` and `csrc/region_{pooling,merging}.cpp`; they release the GIL, and several Python
threads may call them at once.
"""

from __future__ import annotations

import numpy as np

from icd import _native
from icd.errors import InputError
from icd.refine.arguments import check_memory, checked_array, checked_integer, checked_number, checked_threads


def segment(image, k=75.0, sigma=0.8, min_size=None) -> np.ndarray:
    """Segment an image by the graph-based method of Felzenszwalb & Huttenlocher (IJCV 2004), as ICD's tool does.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB, at most 2^29 pixels.
    k : float
        Threshold constant, 0 or more: larger makes larger segments.
    sigma : float
        Smoothing before the segmentation in pixels, 0..100; 0 = none.
    min_size : int, optional
        Segments with fewer pixels are joined to a neighbour; default `int(k)`.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Segment numbers 0, 1, ... in raster order of first appearance. Segments are 8-connected and have at least
        `min_size` pixels (or the image has only one).

    Raises
    ------
    InputError
        Wrong shape or dtype, an empty image, a parameter out of range, more memory needed than there is.

    Notes
    -----
    One image is one thread's work; for many images call it from several threads or processes.
    The labels are those of the original tool built with GNU libstdc++, ties between equal weights included, whatever
    compiler and standard library built this package.

    Examples
    --------
    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> image[:, 30:] = 200
    >>> np.unique(segment(image)).tolist()
    [0, 1]
    """
    image = checked_array("image", image, np.uint8, ("H", "W", 3))
    if image.shape[0] * image.shape[1] > 2**29:
        raise InputError("image", "at most 2^29 pixels", f"{image.shape[0]} x {image.shape[1]}")
    k = checked_number("k", k, 0, 1e30)
    sigma = checked_number("sigma", sigma, 0, 100)
    min_size = min(int(k), 2**31 - 1) if min_size is None else checked_integer("min_size", min_size, 0)
    check_memory(
        "image", 120 * image.shape[0] * image.shape[1], f"{image.shape[0]} x {image.shape[1]} pixels"
    )
    return _native.segment(image, k, sigma, min_size)


def pool(dense_feature, regions, frame, threads=0) -> np.ndarray:
    """Average a bilinearly up-sampled feature map inside each region (ICD, spec 5.2) without ever up-sampling it.

    Parameters
    ----------
    dense_feature : numpy.ndarray, shape (C, h, w), float32
        Features on a grid whose four corner cells lie on the corner pixels of a `frame` x `frame` square.
    regions : numpy.ndarray, shape (H, W), integer
        Ids 0..K-1 of the image, which fills the upper left part of the square; each id occurs.
    frame : int
        Side of the square in pixels, at least H and W.
    threads : int
        0 = all processors; the result does not depend on it.

    Returns
    -------
    numpy.ndarray, shape (K, C), float32

    Raises
    ------
    InputError
        Wrong shapes, NaN, negative ids, ids with gaps, an image larger than the frame, more memory needed than there is.
    """
    dense_feature = checked_array("dense_feature", dense_feature, np.float32, ("C", "h", "w"))
    regions, sizes = _checked_regions(regions)
    frame = checked_integer("frame", frame, 1)
    if max(regions.shape) > frame:
        raise InputError("frame", f"at least the sides of the image {regions.shape}", str(frame))
    channels = dense_feature.shape[0]
    needed = 4 * dense_feature.size + 4 * len(sizes) * channels + 8 * regions.size
    check_memory(
        "dense_feature", needed, f"{dense_feature.shape} features and {len(sizes)} x {channels} means"
    )
    return _native.pool_regions(dense_feature, regions, len(sizes), frame, checked_threads(threads))


def merge(regions, features, limit=64, threads=0) -> np.ndarray:
    """Merge regions greedily until `limit` are left (ICD, spec 5.3).

    The pair with the largest cosine of its features + 1 - its share of the image's area is merged first; merged regions
    take the mean feature weighted by size and need not touch. A feature of length zero has cosine 0 with all others.

    Parameters
    ----------
    regions : numpy.ndarray, shape (H, W), integer
        Ids 0..K-1, each of which occurs.
    features : numpy.ndarray, shape (K, C), float32
    limit : int
        At least 1. With K <= `limit` nothing is merged.
    threads : int
        0 = all processors; the result does not depend on it.

    Returns
    -------
    numpy.ndarray, shape (H, W), int32
        Ids 0..min(K, limit)-1, in the order of the regions' smallest old ids.

    Raises
    ------
    InputError
        Wrong shapes, NaN, negative ids, ids with gaps, a number of features other than K, more memory needed than there is.

    Notes
    -----
    Every pair of regions is compared, so time grows with K^2; memory grows with K.
    """
    regions, sizes = _checked_regions(regions)
    features = checked_array("features", features, np.float32, (len(sizes), "C"))
    if features.shape[1] > 2**20:
        raise InputError("features", "at most 2^20 channels", str(features.shape[1]))
    limit = checked_integer("limit", limit, 1)
    needed = 6 * features.size + 512 * len(sizes) + 4 * regions.size
    check_memory("features", needed, f"{features.shape[0]} regions x {features.shape[1]} channels")
    return _native.merge_regions(features, sizes, regions, limit, checked_threads(threads))


def _checked_regions(regions) -> tuple:
    """Region ids as int32 and the number of pixels of each id."""
    regions = checked_array("regions", regions, np.int32, ("H", "W"))
    low, high = int(regions.min()), int(regions.max())
    remedy = "Number the regions 0, 1, ... without gaps (numpy.unique with return_inverse does)."
    if low < 0 or high >= regions.size:
        raise InputError("regions", "ids 0..K-1", f"{low} to {high} in {regions.size} pixels", remedy)
    sizes = _native.region_sizes(regions, high + 1)
    if not sizes.all():
        raise InputError(
            "regions", f"every id of 0..{high}", f"no pixel with id {int(np.argmin(sizes))}", remedy
        )
    return regions, sizes
