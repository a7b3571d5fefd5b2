"""The random crops of training. In: one image and its planes. Out: arrays of one fixed size.

An augmentation is called with an image (H, W, 3), uint8 RGB, a dictionary of planes (see `icd.data.dataset`) and a
`numpy.random.RandomState`, and returns the image, RGB 0..255, and the planes of its crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from icd.data.jitter import jitter_colours

PAD_VALUE = 127  # what ICD's networks subtract, so that padding is zero to them
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ScaledCrop:
    """Scale, mirror, pad with 127 at the bottom and right, crop, relabel superpixels.

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
        """Crop an image, (S, S, 3) uint8, and its `superpixel`, (S, S) int32, ids 0..m-1 in random order."""
        superpixels = planes.get("superpixel")
        factor = random.choice(self.scales)
        if factor != 1:
            height, width = (max(1, int(n * factor + 0.5)) for n in image.shape[:2])
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            if superpixels is not None:
                superpixels = cv2.resize(superpixels, (width, height), interpolation=cv2.INTER_NEAREST)
        if random.rand() > 0.5:
            image = image[:, ::-1]
            superpixels = None if superpixels is None else superpixels[:, ::-1]
        image = pad(image, self.size, PAD_VALUE)
        top = random.randint(0, image.shape[0] - self.size + 1)
        left = random.randint(0, image.shape[1] - self.size + 1)
        window = np.s_[top : top + self.size, left : left + self.size]
        image = np.ascontiguousarray(image[window])
        if superpixels is None:
            return image, {}
        # The padding has an id of its own.
        superpixels = pad(superpixels, self.size, superpixels.max() + 1)[window]
        present, compact = np.unique(superpixels, return_inverse=True)
        names = random.permutation(len(present))
        return image, {"superpixel": names[compact].reshape(superpixels.shape).astype(np.int32)}


@dataclass(frozen=True)
class LongSideCrop:
    """Resize to a random long side (bicubic, saliency too), mirror, jitter colours, crop or place in a crop of mean colour.

    Source: Ahn & Kwak, CVPR 2018 (PSA), and all that is derived from its code; spec eps 4.

    Attributes
    ----------
    size : int
        Side S of the square crop.
    shortest, longest : int
        Bounds of the long side, both possible.
    """

    size: int
    shortest: int
    longest: int

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) float32, and its `saliency`, (S, S) float32, 0..1."""
        long_side = random.randint(self.shortest, self.longest + 1)
        height, width = image.shape[:2]
        if width < height:
            size = round(width * long_side / height), long_side
        else:
            size = long_side, round(height * long_side / width)
        mirror = random.rand() < 0.5
        image = _resize_pillow(image, size, mirror, Image.BICUBIC)
        image = jitter_colours(image, random).astype(np.float32)
        windows = [_window(old, self.size, random) for old in image.shape[:2]]
        mean = np.float32([255 * value for value in IMAGENET_MEAN])
        canvas = np.tile(mean, (self.size, self.size, 1))
        _place(image, canvas, windows)
        if "saliency" not in planes:
            return canvas, {}
        saliency = np.zeros((self.size, self.size), np.float32)
        resized = _resize_pillow(planes["saliency"], size, mirror, Image.BICUBIC)
        _place(resized / np.float32(255), saliency, windows)
        return canvas, {"saliency": saliency}


@dataclass(frozen=True)
class SquareCrop:
    """Squeeze into a square (bilinear), mirror, jitter colours, crop. Source: Kim et al., AAAI 2021 (DRS), spec drs 4.

    Attributes
    ----------
    size : int
        Side S of the crop.
    resized : int
        Side of the square before the crop; equal to `size` where there are planes.
    """

    size: int
    resized: int

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) uint8; a `target`, (C, S, S), is mirrored with it."""
        mirror = random.rand() < 0.5
        image = _resize_pillow(image, (self.resized, self.resized), mirror, Image.BILINEAR)
        image = jitter_colours(image, random)
        top, left = random.randint(0, self.resized - self.size + 1, 2)
        image = np.ascontiguousarray(image[top : top + self.size, left : left + self.size])
        if "target" not in planes:
            return image, {}
        target = planes["target"]
        return image, {"target": np.ascontiguousarray(target[:, :, ::-1]) if mirror else target}


def pad(values: np.ndarray, size: int, fill) -> np.ndarray:
    """Pad at the bottom and right until both sides have at least `size`."""
    below, right = (max(size - n, 0) for n in values.shape[:2])
    margins = ((0, below), (0, right)) + ((0, 0),) * (values.ndim - 2)
    return np.pad(values, margins, constant_values=fill) if below or right else values


def _resize_pillow(values, size, mirror: bool, method) -> np.ndarray:
    """Resize to (width, height) as Pillow does, which smooths when it shrinks, unlike OpenCV."""
    resized = np.array(Image.fromarray(values).resize(tuple(max(1, side) for side in size), method))
    return resized[:, ::-1] if mirror else resized


def _window(old: int, new: int, random) -> tuple:
    """Along one axis: where the crop begins in the image, where the image begins in the crop, and how much they share."""
    if old >= new:
        return random.randint(0, old - new + 1), 0, new
    return 0, random.randint(0, new - old + 1), old


def _place(source, canvas, windows) -> None:
    (top, below, rows), (left, right, columns) = windows
    canvas[below : below + rows, right : right + columns] = source[top : top + rows, left : left + columns]
