"""SEAM's losses (spec seam 3). In: c and r of two views, tags. Out: minimum pooling, ER and ECR, what they are made of.

They are functions of arrays, not of symbols, because they depend on sizes. Maps of absent classes count as 0 in all but the tag
loss, so they are left out before anything is made larger: K' = 1 + T planes, T the most tags that an image has.
"""

from __future__ import annotations

import numpy as np

from icd.compat import mx
from icd.methods.classification import complement, join_background, only_strongest, resize, split_background

EPSILON = 1e-5


def tag_selection(label, first_class: bool = False):
    """Weights (N, T, C) that choose the tagged classes of tags (N, C), in their order; rows that are left over are 0.

    With `first_class` the first row is that of the first class, and 0 in images without it.
    """
    tags = label.asnumpy()  # comes from the host and waits for no computation
    first = int(first_class)
    order = np.argsort(-tags[:, first:], axis=1, kind="stable") + first
    order = order[:, : max(1, int((tags[:, first:] > 0).sum(axis=1).max()))]
    if first_class:
        order = np.pad(order, ((0, 0), (1, 0)))  # by the number of the first class, 0
    chosen = np.eye(tags.shape[1], dtype=np.float32)[order] * np.take_along_axis(tags, order, 1)[:, :, None]
    return mx.nd.array(chosen, label.context)


def tagged(maps, selection, place: str):
    """The background and the chosen classes (N, 1 + T, h, w) of maps (N, 1 + C, h, w)."""
    background, classes = split_background(mx.nd, maps, place)
    chosen = mx.nd.batch_dot(selection, classes.reshape((0, 0, -1)))
    return join_background(mx.nd, background, chosen.reshape((0, 0, *maps.shape[2:])), place)


def with_mean_of(maps, size):
    """Maps (N, K, h, w) times weights, so that their mean is that of the maps made as large as `size`."""
    if maps.shape[2:] == tuple(size):
        return maps
    rows, columns = (
        resize(mx.nd.eye(old, ctx=maps.context).expand_dims(0).expand_dims(0), (new, old)).mean(axis=2) * old
        for old, new in zip(maps.shape[2:], size)
    )
    return mx.nd.broadcast_mul(maps, mx.nd.broadcast_mul(rows.expand_dims(3), columns.expand_dims(2)))


def max_norm(maps):
    """Maps (N, K, h, w) stretched from minimum to maximum, 0 to less than 1, the gradient through both (spec seam 3)."""
    maps = maps.relu()
    lowest, highest = maps.min(axis=(2, 3), keepdims=True), maps.max(axis=(2, 3), keepdims=True)
    share = mx.nd.broadcast_sub(maps, lowest + EPSILON).relu()
    return mx.nd.broadcast_div(share, highest - lowest + EPSILON)


def largest(values, count: int):
    """Weights (N, M), 1 for the largest entries of each row and else 0.

    Entries that equal the last one taken share its place and those of the others among them that fit: so the result does
    not depend on how a device sorts equal values.
    """
    with mx.autograd.pause():
        if count >= values.shape[1]:
            return mx.nd.ones_like(values)
        last = values.topk(axis=1, k=count, ret_typ="value").slice_axis(axis=1, begin=-1, end=None)
        above, equal = mx.nd.broadcast_greater(values, last), mx.nd.broadcast_equal(values, last)
        places = count - above.sum(axis=1, keepdims=True)
        return above + mx.nd.broadcast_mul(equal, places / equal.sum(axis=1, keepdims=True))


def minimum_pooling(maps, share: float, place: str):
    """The mean of the least pixels of the strongest tagged class, summed over images (spec seam 3, item 2).

    `maps` (N, 1 + T, h, w) are those of the tags; `share` is that of the pixels that are the least.
    """
    strongest = classes_of(maps, place).max(axis=1).relu().reshape((0, -1))
    count = max(1, int(strongest.shape[1] * share))
    return (strongest * largest(-strongest, count)).sum() / count


def regularization(first, second, num_classes: int, hard_share: float, place: str, untouched: str):
    """ER and ECR, each summed over images (spec seam 3, items 3 to 7).

    Parameters
    ----------
    first, second : tuple of NDArray, shape (N, 1 + T, h, w)
        c and r of each view, those of the tags; they are compared on the second's grid.
    num_classes : int
        C; the means are over all classes.
    hard_share : float
        Of the differences in ECR, the largest.
    place : {"first", "last"}
        Where c and r have the background.
    untouched : {"first", "last"}
        Which plane O leaves as it is.
    """
    size = second[0].shape[2:]
    c1, r1 = (resize(max_norm(maps), size) for maps in first)
    c2, r2 = (max_norm(maps) for maps in second)
    er = (classes_of(c1, place) - classes_of(c2, place)).abs().sum() / (num_classes * size[0] * size[1])
    hard = max(1, int((1 + num_classes) * size[0] * size[1] * hard_share))
    ecr = sum(_hard_difference(_target(c, place, untouched), r, hard) for c, r in ((c2, r1), (c1, r2)))
    return er, ecr


def classes_of(maps, place: str):
    """The maps without their background."""
    return split_background(mx.nd, maps, place)[1]


def _target(maps, place, untouched):
    """O of maps whose background is what their classes leave."""
    with mx.autograd.pause():
        classes = classes_of(maps, place)
        maps = join_background(mx.nd, complement(mx.nd, classes), classes, place)
        kept, others = split_background(mx.nd, maps, untouched)
        return join_background(mx.nd, kept, only_strongest(mx.nd, others), untouched)


def _hard_difference(target, maps, count):
    difference = (target - maps).abs().reshape((0, -1))
    return (difference * largest(difference, count)).sum() / count
