"""How a whole image is shown to a network for localization. In: one image. Out: its views, and how they lie on it.

A presentation is called with an image (H, W, 3), uint8 RGB, and returns `Views`. It knows of itself whether the views of
different images have the same size; then images can be batched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from icd.data.augment import PAD_VALUE, pad


class Views(NamedTuple):
    """The views of one image.

    Attributes
    ----------
    views : list of numpy.ndarray, shape (m, 3, h, w), uint8 or float32
        RGB 0..255, one array a scale; m is 2 (the image, then its mirror image) or 1.
    size : tuple of int
        Height and width of the image.
    frame : tuple of int
        As in `icd.files.ScoreMaps`.
    """

    views: list
    size: tuple
    frame: tuple


@dataclass(frozen=True)
class Frame:
    """One view: the image in the upper left corner of a square of `size` pixels; a larger image is scaled down.

    Source: Fan et al., CVPR 2020, and the code of its authors.

    Attributes
    ----------
    size : int
    fill : int or sequence of float
        What is around the image: a gray, or a colour RGB.
    """

    size: int
    fill: object = PAD_VALUE
    same_size = True

    def __call__(self, image) -> Views:
        """Show one image."""
        height, width = image.shape[:2]
        longest = max(height, width)
        if longest > self.size:
            size = [max(1, round(n * self.size / longest)) for n in (width, height)]
            image = cv2.resize(image, tuple(size), interpolation=cv2.INTER_LINEAR)
        frame = (self.size, self.size, *image.shape[:2])
        if np.ndim(self.fill):
            padded = np.full((self.size, self.size, 3), np.float32(self.fill))
            padded[: image.shape[0], : image.shape[1]] = image
        else:
            padded = pad(image, self.size, self.fill)
        return Views([_batch(padded)], (height, width), frame)


@dataclass(frozen=True)
class Pyramid:
    """The whole image at several scales (Pillow's bicubic), each with its mirror image.

    Source: Ahn & Kwak, CVPR 2018 (PSA), and all that is derived from its code; spec eps 5.

    Attributes
    ----------
    scales : tuple of float
    multiple : int
        The grids span a frame whose sides are the image's, rounded up to a multiple of this: 16 in IRN (spec vwe 5).
    """

    scales: tuple
    multiple: int = 1
    same_size = False

    def __call__(self, image) -> Views:
        """Show one image."""
        height, width = image.shape[:2]
        views = []
        for scale in self.scales:
            # Python's round: half to even, as in the original.
            size = max(1, round(width * scale)), max(1, round(height * scale))
            scaled = np.array(Image.fromarray(image).resize(size, Image.BICUBIC))
            views.append(_batch(scaled, scaled[:, ::-1]))
        frame = (-(-side // self.multiple) * self.multiple for side in (height, width))
        return Views(views, (height, width), (*frame, height, width))


@dataclass(frozen=True)
class FloatPyramid:
    """The whole image at several scales (OpenCV's bicubic on floating point, no smoothing), with mirror images if wanted.

    The programs resize what is normalised already; since normalising commutes with interpolation, the network's own
    normalisation may follow. Source: spec deeplab A5; with one scale and no mirror image B5.
    """

    scales: tuple
    mirror: bool = False
    same_size = False

    def __call__(self, image) -> Views:
        """Show one image."""
        height, width = image.shape[:2]
        views, image = [], image.astype(np.float32)
        for scale in self.scales:
            # The factor and not the size is given, as the original does: the steps from pixel to pixel differ. A small image
            # keeps a pixel.
            by_factor = min(width, height) * scale >= 1
            size = None if by_factor else tuple(max(1, round(n * scale)) for n in (width, height))
            scaled = cv2.resize(image, size, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            views.append(_batch(scaled, scaled[:, ::-1]) if self.mirror else _batch(scaled))
        return Views(views, (height, width), (height, width, height, width))


@dataclass(frozen=True)
class Squares:
    """The image squeezed into a square of `size` pixels (Pillow's bilinear), and that resampled to several `sides`.

    Source: Kim et al., AAAI 2021 (DRS), spec drs 5.1: also the larger sides are made from the square of `size`.
    """

    size: int
    sides: tuple
    same_size = True

    def __call__(self, image) -> Views:
        """Show one image."""
        height, width = image.shape[:2]
        square = np.array(Image.fromarray(image).resize((self.size, self.size), Image.BILINEAR))
        views = [square if side == self.size else _resample(square, side) for side in self.sides]
        return Views([_batch(view) for view in views], (height, width), (height, width, height, width))


def _resample(image, side: int) -> np.ndarray:
    """Bilinear without smoothing, with half-pixel centres, in floating point as the original does on its tensor."""
    return cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)


def _batch(*images) -> np.ndarray:
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
