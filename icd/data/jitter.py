"""Random changes of colour. In: an RGB image. Out: the image with other brightness, contrast, saturation and hue.

The operations of torchvision's ColorJitter on Pillow images, which EPS, PSA, SEAM, PPC and DRS train with: Pillow's own
enhancers, and a shift of the hue byte (specs eps 4, drs 4.1).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

STRENGTH = 0.3  # of brightness, contrast and saturation: factors from 0.7 to 1.3
HUE = 0.1  # of the colour circle, in both directions


def jitter_colours(image: np.ndarray, random) -> np.ndarray:
    """Change brightness, contrast, saturation and hue at random, in random order.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
    random : numpy.random.RandomState

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    brightness, contrast, saturation = random.uniform(1 - STRENGTH, 1 + STRENGTH, 3)
    hue = random.uniform(-HUE, HUE)
    operations = (
        lambda picture: ImageEnhance.Brightness(picture).enhance(brightness),
        lambda picture: ImageEnhance.Contrast(picture).enhance(contrast),
        lambda picture: ImageEnhance.Color(picture).enhance(saturation),
        lambda picture: shift_hue(picture, hue),
    )
    picture = Image.fromarray(image)
    for index in random.permutation(len(operations)):
        picture = operations[index](picture)
    return np.array(picture)


def shift_hue(picture: Image.Image, shift: float) -> Image.Image:
    """Turn the hue by `shift` of the colour circle: trunc(255 shift) is added to Pillow's hue byte, modulo 256."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.array(hue).astype(np.int32) + int(255 * shift)) % 256
    channels = (Image.fromarray(turned.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", channels).convert("RGB")
