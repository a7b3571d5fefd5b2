"""Superpixels merged by deep features, image by image.

In: photographs, raw superpixels, a pretrained backbone. Out: a PNG of ids an image. Features are pooled as soon as they are
computed and never stored.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from tqdm import tqdm

from icd.bounded import MAX_SIDE, read_at, shrink_labels
from icd.compat import mx
from icd.data.images import image_path, read_bounded
from icd.data.views import Frame
from icd.files import read_superpixels, superpixels_path, write_superpixels
from icd.refine.superpixels import merge, pool

LEAST_FRAME = 513  # pixels; larger only for images that do not fit


def merged_superpixels(
    ids, image_root, raw_root, target, backbone, context, limit: int = 64, max_side=MAX_SIDE
) -> None:
    """Merge raw superpixels by the features of a pretrained backbone (ICD's spec 5.2 and 5.3).

    Parameters
    ----------
    raw_root, target : str or os.PathLike
        Folders of raw and of merged superpixels.
    backbone : icd.backbones.Backbone
        With pretrained weights, on `context`.
    limit : int
        Regions left at most.
    max_side : int or None
        Larger photographs are worked on at a bounded size, see `icd.bounded`.
    """
    for image_id in tqdm(ids, unit="image", desc="merge", dynamic_ncols=True, disable=None):
        image, size = read_bounded(image_path(image_root, image_id), max_side)
        read = partial(read_superpixels, superpixels_path(raw_root, image_id))
        regions = read_at(read, size, image.shape[:2], shrink_labels)
        if regions.max() >= limit:
            features = _dense_features(image, backbone, context)
            regions = merge(regions, pool(features, regions, _frame(image, backbone.stride)), limit)
        write_superpixels(superpixels_path(target, image_id), regions)


def _frame(image, stride: int) -> int:
    return max(LEAST_FRAME, -(-(max(image.shape[:2]) - 1) // stride) * stride + 1)


def _dense_features(image, backbone, context) -> np.ndarray:
    (view,), *_ = Frame(_frame(image, backbone.stride))(image)
    batch = mx.nd.array(view, context, dtype="float32")
    return backbone.superpixel_features(batch)[0].asnumpy()
