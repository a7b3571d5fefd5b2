"""The random crops on which segmentation networks train. In: one image and its mask. Out: arrays of one fixed size.

Contract and geometry as in `icd.data.augment`. What lies beside the image has the mean colour, and in the mask 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from icd.data.augment import MEAN_COLOUR, Geometry, opencv, pillow, window

CAFFE_MEAN = (122.675, 116.669, 104.008)  # of R, G, B
_FULL_HUE = 180  # OpenCV's hues in 8 bits


@dataclass(frozen=True)
class PaddedCrop:
    """One of some scales (bilinear), padded at the bottom and right, crop, and only then a mirror image.

    Source: deeplab-pytorch, which EPS and DRS take over (spec deeplab B4).

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
        """Crop an image, (S, S, 3) float32, and its planes."""
        factor = self.scales[random.randint(len(self.scales))]
        size = tuple(max(1, int(n * factor)) for n in image.shape[:2])
        rows, columns = ((random.randint(0, max(n - self.size, 0) + 1), 0, min(n, self.size)) for n in size)
        geometry = Geometry(size, False, rows, columns, self.size, mirror_crop=random.rand() < 0.5)
        image = geometry.resized(image.astype(np.float32), opencv(cv2.INTER_LINEAR))
        crops = geometry.crop_planes(planes, opencv(cv2.INTER_LINEAR), pillow(Image.NEAREST), random)
        return geometry.cropped(image, np.float32(CAFFE_MEAN)), crops


@dataclass(frozen=True)
class ColourCrop:
    """Shift the colours, mirror, scale by a factor from a range (bicubic), crop or place somewhere in the crop.

    Source: Yude Wang's segmentation codebase, with which SEAM and PPC train (spec deeplab A4).

    Attributes
    ----------
    size : int
        Side S of the square crop.
    least_scale, most_scale : float
    colour_shift : int
        As for `shift_colours`.
    """

    size: int
    least_scale: float
    most_scale: float
    colour_shift: int

    def __call__(self, image, planes, random) -> tuple:
        """Crop an image, (S, S, 3) float32, and its planes."""
        image = shift_colours(image, random, self.colour_shift)
        mirror = random.rand() < 0.5
        factor = random.uniform(self.least_scale, self.most_scale)
        size = tuple(max(1, round(n * factor)) for n in image.shape[:2])
        rows, columns = (window(n, self.size, random) for n in size)
        geometry = Geometry(size, mirror, rows, columns, self.size)
        image = geometry.resized(image, opencv(cv2.INTER_CUBIC)).astype(np.float32)
        crops = geometry.crop_planes(planes, opencv(cv2.INTER_CUBIC), opencv(cv2.INTER_NEAREST), random)
        return geometry.cropped(image, np.float32(MEAN_COLOUR)), crops


def shift_colours(image: np.ndarray, random, most: int) -> np.ndarray:
    """Add whole numbers from -`most` to `most` to OpenCV's 8-bit hue (on its circle), saturation and value (clipped).

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    random : numpy.random.RandomState
    most : int
        0 leaves the image as it is.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    hue, saturation, value = random.randint(-most, most + 1, 3)
    if not most:
        return image
    shifted = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int32)
    shifted[..., 0] = (shifted[..., 0] + hue) % _FULL_HUE
    shifted[..., 1:] = (shifted[..., 1:] + (saturation, value)).clip(0, 255)
    return cv2.cvtColor(shifted.astype(np.uint8), cv2.COLOR_HSV2RGB)
