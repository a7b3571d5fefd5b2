"""The random crops of training. In: one image and its planes. Out: arrays of one fixed size.

An augmentation is called with an image (H, W, 3), uint8 RGB, a dictionary of planes (see `icd.data.planes`) and a
`numpy.random.RandomState`, and returns the image, RGB 0..255, and the planes of its crop. It draws a `Geometry`; every plane is
then resized, mirrored, cropped and padded by it, as the table of planes says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from icd.data.affinity_labels import affinity_labels
from icd.data.jitter import jitter_colours
from icd.data.planes import PLANES

PAD_VALUE = 127  # what ICD's networks subtract, so that padding is zero to them
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = tuple(255 * value for value in IMAGENET_MEAN)


class Geometry(NamedTuple):
    """Where a crop lies.

    Attributes
    ----------
    size : tuple of int
        Height and width that the image is resized to.
    mirror : bool
        Whether it is then mirrored.
    rows, columns : tuple of int
        Along each axis, of what is then there: where the crop begins in the image, where the image begins in the crop, and
        how much they share.
    side : int
        Of the square crop.
    mirror_crop : bool
        Whether the crop is mirrored.
    """

    size: tuple
    mirror: bool
    rows: tuple
    columns: tuple
    side: int
    mirror_crop: bool = False

    def resized(self, values: np.ndarray, resize) -> np.ndarray:
        """Values (H, W) or (H, W, K), resized by a function (values, (height, width)) and mirrored."""
        values = resize(values, tuple(max(1, n) for n in self.size))
        return values[:, ::-1] if self.mirror else values

    def cropped(self, values: np.ndarray, fill) -> np.ndarray:
        """The crop of resized values, the rest filled."""
        crop = np.empty((self.side, self.side, *values.shape[2:]), values.dtype)
        crop[...] = fill
        (top, below, height), (left, right, width) = self.rows, self.columns
        crop[below : below + height, right : right + width] = values[top : top + height, left : left + width]
        return crop[:, ::-1] if self.mirror_crop else crop

    def crop_planes(self, planes: dict, resize_values, resize_labels, random) -> dict:
        """All planes of an image as the batch holds them."""
        crops = {}
        for name, values in planes.items():
            plane = PLANES[name]
            values = self.resized(values, resize_labels if plane.labels else resize_values)
            crops[name] = plane.finish(self.cropped(values, plane.fill(values)), random)
        return crops


def opencv(method):
    """A resizing function by OpenCV, which does not smooth when it shrinks."""

    def resize(values, size):
        return cv2.resize(values, size[::-1], interpolation=method)

    return resize


def pillow(method):
    """A resizing function by Pillow, which smooths when it shrinks."""

    def resize(values, size):
        if values.ndim == 3 and not (values.dtype == np.uint8 and values.shape[2] == 3):
            return np.stack([resize(values[..., k], size) for k in range(values.shape[2])], -1)
        return np.array(Image.fromarray(values).resize(size[::-1], method))

    return resize


@dataclass(frozen=True)
class ScaledCrop:
    """Scale, mirror, pad with 127 at the bottom and right, crop.

    Random numbers are drawn in this order: scale, mirror, row, column, permutation of the superpixel names. With the same
    `RandomState` the results equal the original's to the last integer. Source: Fan et al., CVPR 2020, and its code.

    Attributes
    ----------
    size : int
        Side S of the square crop.
    scales : tuple of float
        One is chosen, each as likely.
    """

    size: int
    scales: tuple

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) uint8, and its planes."""
        factor = random.choice(self.scales)
        size = tuple(max(1, int(n * factor + 0.5)) for n in image.shape[:2])
        mirror = random.rand() > 0.5
        rows, columns = ((random.randint(0, max(n - self.size, 0) + 1), 0, min(n, self.size)) for n in size)
        geometry = Geometry(size, mirror, rows, columns, self.size)
        image = geometry.cropped(geometry.resized(image, opencv(cv2.INTER_LINEAR)), PAD_VALUE)
        return image, geometry.crop_planes(
            planes, opencv(cv2.INTER_LINEAR), opencv(cv2.INTER_NEAREST), random
        )


@dataclass(frozen=True)
class LongSideCrop:
    """Resize to a random long side (bicubic, saliency too), mirror, jitter colours, crop or place in a crop of mean colour.

    Source: Ahn & Kwak, CVPR 2018 (PSA), and all that is derived from its code; spec eps 4, vwe 4.1.

    Attributes
    ----------
    size : int
        Side S of the square crop.
    shortest, longest : int
        Bounds of the long side, both possible.
    jitter : bool
        Whether colours are jittered; not in IRN and VWE.
    """

    size: int
    shortest: int
    longest: int
    jitter: bool = True

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) float32, and its planes."""
        long_side = random.randint(self.shortest, self.longest + 1)
        height, width = image.shape[:2]
        if width < height:
            size = long_side, round(width * long_side / height)
        else:
            size = round(height * long_side / width), long_side
        mirror = random.rand() < 0.5
        plain = Geometry(size, mirror, None, None, self.size)
        image = plain.resized(image, pillow(Image.BICUBIC))
        image = (jitter_colours(image, random) if self.jitter else image).astype(np.float32)
        rows, columns = (window(n, self.size, random) for n in image.shape[:2])
        geometry = plain._replace(rows=rows, columns=columns)
        crops = geometry.crop_planes(planes, pillow(Image.BICUBIC), pillow(Image.NEAREST), random)
        return geometry.cropped(image, np.float32(MEAN_COLOUR)), crops


@dataclass(frozen=True)
class SquareCrop:
    """Squeeze into a square (bilinear), mirror, jitter colours, crop. Source: Kim et al., AAAI 2021 (DRS), spec drs 4.

    Attributes
    ----------
    size : int
        Side S of the crop.
    resized : int
        Side of the square before the crop.
    """

    size: int
    resized: int

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) uint8, and its planes."""
        mirror = random.rand() < 0.5
        plain = Geometry((self.resized, self.resized), mirror, None, None, self.size)
        image = jitter_colours(plain.resized(image, pillow(Image.BILINEAR)), random)
        top, left = random.randint(0, self.resized - self.size + 1, 2)
        geometry = plain._replace(rows=(top, 0, self.size), columns=(left, 0, self.size))
        crops = geometry.crop_planes(planes, pillow(Image.BILINEAR), pillow(Image.NEAREST), random)
        return geometry.cropped(image, 0), crops


@dataclass(frozen=True)
class UniformScaleCrop:
    """Scale by a random factor (bicubic; labels nearest), mirror, crop or place in a crop of mean colour.

    Source: Ahn, Cho & Kwak, CVPR 2019 (IRN), spec irn 4.3.

    Attributes
    ----------
    size : int
        Side S of the square crop.
    least, most : float
        Bounds of the factor, of which all values are as likely.
    """

    size: int
    least: float
    most: float

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) float32, and its planes."""
        factor = random.uniform(self.least, self.most)
        size = tuple(max(1, round(n * factor)) for n in image.shape[:2])
        mirror = random.rand() < 0.5
        rows, columns = (window(n, self.size, random) for n in size)
        geometry = Geometry(size, mirror, rows, columns, self.size)
        image = geometry.resized(image, pillow(Image.BICUBIC)).astype(np.float32)
        crops = geometry.crop_planes(planes, pillow(Image.BICUBIC), pillow(Image.NEAREST), random)
        return geometry.cropped(image, np.float32(MEAN_COLOUR)), crops


def pad(values: np.ndarray, size: int, fill) -> np.ndarray:
    """Pad at the bottom and right until both sides have at least `size`."""
    below, right = (max(size - n, 0) for n in values.shape[:2])
    margins = ((0, below), (0, right)) + ((0, 0),) * (values.ndim - 2)
    return np.pad(values, margins, constant_values=fill) if below or right else values


def window(old: int, new: int, random) -> tuple:
    """Along one axis: where the crop begins in the image, where the image begins in the crop, and how much they share."""
    if old >= new:
        return random.randint(0, old - new + 1), 0, new
    return 0, random.randint(0, new - old + 1), old


@dataclass(frozen=True)
class AffinityCrop:
    """Jitter colours, crop or place in a black crop, mirror; the planes `low` and `high` become the plane `affinity`.

    Nothing is resized. Source: Ahn & Kwak, CVPR 2018 (PSA); spec psa 4.2.

    Attributes
    ----------
    size : int
        Side S of the square crop.
    cell : int
        Pixels of a side of a cell of the grid on which `affinity`, uint8 (S // cell, S // cell), labels the crop: see
        `icd.data.affinity_labels`.
    """

    size: int
    cell: int

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) uint8, and its planes."""
        image = jitter_colours(image, random)
        rows, columns = (window(n, self.size, random) for n in image.shape[:2])
        mirror = random.rand() < 0.5
        geometry = Geometry(image.shape[:2], False, rows, columns, self.size, mirror_crop=mirror)
        crops = geometry.crop_planes(planes, _unchanged, _unchanged, random)
        crops["affinity"] = affinity_labels(crops.pop("low"), crops.pop("high"), self.cell)
        return geometry.cropped(image, 0), crops


def _unchanged(values, size):
    return values
