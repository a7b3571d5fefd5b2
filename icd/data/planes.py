"""Planes: what a training image brings along beside its tags. In: a folder and an id. Out: an array that lies on the image.

One table says how each is read, resized, padded and finished for the batch; every augmentation treats all of them by it.

==============  ==========================================  =========  ====================  ==========================
plane           file                                        resized    padded with           in the batch
==============  ==========================================  =========  ====================  ==========================
`superpixel`    PNG of ids                                  nearest    an id of its own      int32 (S, S), ids in random order
`saliency`      8-bit gray PNG                              as image   0                     float32 (S, S), 0..1
`target`        uint8 score maps on the training square     as image   0                     uint8 (C, S, S), shares in steps of 1/255
`mask`          PNG of class numbers                        nearest    255                   uint8 (S, S)
`low`, `high`   label stacks                                as image   0                     float32 (L, S, S), for the augmentation to use up
==============  ==========================================  =========  ====================  ==========================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from icd.bounded import read_at, shrink_labels, shrink_values
from icd.classes import IGNORE
from icd.errors import InputError
from icd.files import (
    mask_path,
    read_class_mask,
    read_saliency,
    read_score_maps,
    read_superpixels,
    score_maps_path,
    superpixels_path,
)
from icd.foreign.label_stacks import find_label_stack, read_any_label_stack


class Plane(NamedTuple):
    """How a plane is treated.

    Attributes
    ----------
    read : callable
        (folder, id, (H, W), number of foreground classes) -> (H, W) or (H, W, K).
    labels : bool
        Whether the values are names, which cannot be interpolated.
    fill : callable
        The plane -> what it is padded with.
    finish : callable
        (crop, random) -> what the batch holds.
    supervision : str or None
        What a training that needs the plane uses beyond tags.
    """

    read: object
    labels: bool
    fill: object
    finish: object
    supervision: str = None


def read_plane(name: str, folder, image_id: str, size, num_classes: int, working=None) -> np.ndarray:
    """Read a plane of an image; its file may lie on the photograph or on its working size.

    Parameters
    ----------
    name : str
        A key of `PLANES`.
    size : tuple of int
        Height and width of the photograph.
    working : tuple of int, optional
        Those at which it is worked on, and which the plane gets; by default its own.

    Returns
    -------
    numpy.ndarray, shape (H, W) or (H, W, K)

    Raises
    ------
    InputError
        The file is missing or damaged, or does not fit the image or the classes.
    """
    plane = PLANES[name]

    def read(at):
        return plane.read(folder, image_id, at, num_classes)

    return read_at(read, size, working or size, shrink_labels if plane.labels else shrink_values)


def _superpixel(folder, image_id, size, num_classes):
    return read_superpixels(superpixels_path(folder, image_id), size)


def _saliency(folder, image_id, size, num_classes):
    return read_saliency(mask_path(folder, image_id), size)


def _mask(folder, image_id, size, num_classes):
    return read_class_mask(mask_path(folder, image_id), num_classes, size)


def _stack(folder, image_id, size, num_classes):
    stack = read_any_label_stack(find_label_stack(folder, image_id), num_classes, size)
    return stack.planes.astype(np.float32).transpose(1, 2, 0)


def _target(folder, image_id, size, num_classes):
    path = score_maps_path(folder, image_id)
    scores = read_score_maps(path)
    if scores.maps.dtype != np.uint8 or scores.further or (scores.classes > num_classes).any():
        found = f"{len(scores.grids)} of {scores.maps.dtype}, classes {scores.classes.tolist()}"
        raise InputError(path, f"one uint8 map for each of some of {num_classes} classes", found)
    target = np.zeros((*scores.maps.shape[1:], num_classes), np.uint8)
    target[..., scores.classes - 1] = scores.maps.transpose(1, 2, 0)
    return target


def _in_random_order(ids, random):
    present, compact = np.unique(ids, return_inverse=True)
    return random.permutation(len(present))[compact].reshape(ids.shape).astype(np.int32)


def _of_one(values, random):
    return values.astype(np.float32) / np.float32(255)


def _channels_first(values, random):
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _as_it_is(values, random):
    return np.ascontiguousarray(values)


def _zero(values):
    return 0


PLANES = {
    "superpixel": Plane(_superpixel, True, lambda ids: ids.max() + 1, _in_random_order),
    "saliency": Plane(_saliency, False, _zero, _of_one, "saliency"),
    "target": Plane(_target, False, _zero, _channels_first),
    "mask": Plane(_mask, True, lambda values: IGNORE, _as_it_is),
    "low": Plane(_stack, False, _zero, _channels_first),
    "high": Plane(_stack, False, _zero, _channels_first),
}
