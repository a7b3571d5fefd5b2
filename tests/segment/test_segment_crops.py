"""The crops of the segmentation networks: image and mask stay together, what is beside the image is known."""

from __future__ import annotations

import numpy as np
import pytest

from icd.data.augment import MEAN_COLOUR
from icd.data.segment_crops import CAFFE_MEAN, ColourCrop, PaddedCrop, shift_colours

IGNORE = 255


def picture(height=80, width=120):
    """Blocks whose mask their colour tells: 10 + 40 c in all channels."""
    mask = np.random.RandomState(0).randint(0, 6, (height // 20, width // 20)).repeat(20, 0).repeat(20, 1)
    return (10 + 40 * mask[..., None]).repeat(3, 2).astype(np.uint8), mask.astype(np.uint8)


def crops(augmentation, count=40, **size):
    image, mask = picture(**size)
    for seed in range(count):
        crop, planes = augmentation(image, {"mask": mask}, np.random.RandomState(seed))
        yield crop, planes["mask"]


AUGMENTATIONS = (
    (PaddedCrop(65, (0.5, 0.75, 1.0, 1.25, 1.5)), CAFFE_MEAN),
    (ColourCrop(65, 0.5, 1.5, 0), MEAN_COLOUR),
)


@pytest.mark.parametrize(("augmentation", "colour"), AUGMENTATIONS, ids=["padded", "colour"])
def test_mask_and_image_stay_together(augmentation, colour):
    outside = 0
    for crop, mask in crops(augmentation):
        beside = mask == IGNORE
        np.testing.assert_allclose(crop[beside], np.tile(np.float32(colour), (beside.sum(), 1)), atol=1e-4)
        outside += beside.any()
        inside = ~beside
        classes = (crop[..., 0] - 10) / 40
        # Interpolation and the nearest pixel differ at the borders of the blocks.
        assert (np.abs(classes - mask)[inside] < 0.1).mean() > 0.75
    assert 0 < outside < 40


@pytest.mark.parametrize(("augmentation", "colour"), AUGMENTATIONS, ids=["padded", "colour"])
def test_half_of_the_crops_are_mirrored(augmentation, colour):
    ramp = np.tile(np.arange(130, dtype=np.uint8), (130, 1))
    planes = {"mask": np.zeros_like(ramp)}
    rising = [
        np.polyfit(range(20), augmentation(ramp[..., None].repeat(3, 2), planes, np.random.RandomState(s))[0][30, 20:40, 0], 1)[0] > 0
        for s in range(200)
    ]  # fmt: skip
    assert 70 < sum(rising) < 130


def test_padded_crops_are_padded_at_the_bottom_and_right():
    for _, mask in crops(PaddedCrop(97, (0.5,))):
        shared = mask[:40, :60], mask[:40, 37:]  # the second after mirroring
        assert (mask[40:] == IGNORE).all() and any((part != IGNORE).all() for part in shared)
        assert (mask != IGNORE).sum() == 40 * 60


def test_padded_crops_take_each_scale():
    """The scale is known from what a small image leaves free; sides are rounded down (spec deeplab B4)."""
    found = {
        int((mask != IGNORE).sum())
        for _, mask in crops(PaddedCrop(321, (0.5, 0.75, 1.25)), 60, height=60, width=100)
    }
    assert found == {30 * 50, 45 * 75, 75 * 125}


def test_colour_crops_place_small_images_anywhere():
    corners, sides = set(), []
    for _, mask in crops(ColourCrop(321, 0.5, 1.5, 0), 60):
        rows, columns = (np.flatnonzero((mask != IGNORE).any(axis)) for axis in (1, 0))
        corners.add((rows[0], columns[0]))
        sides.append(len(rows) / 80)
        assert abs(len(columns) / 120 - len(rows) / 80) < 0.02
    assert len(corners) > 50 and min(sides) < 0.6 and max(sides) > 1.4


def test_colours_shift_by_whole_steps():
    import cv2

    image = np.random.RandomState(0).randint(60, 180, (30, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(shift_colours(image, np.random.RandomState(0), 0), image)
    changes = []
    for seed in range(200):
        shifted = shift_colours(image, np.random.RandomState(seed), 10)
        assert shifted.shape == image.shape and shifted.dtype == np.uint8
        value = lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 2].astype(int)  # noqa: E731
        difference = value(shifted) - value(image)
        assert difference.min() == difference.max()  # no value is near the ends
        changes.append(difference[0, 0])
    assert set(changes) == set(range(-10, 11))


def test_hue_is_a_circle():
    red = np.full((2, 2, 3), (200, 0, 10), np.uint8)  # hue near the end of the circle
    reds = [shift_colours(red, np.random.RandomState(seed), 10) for seed in range(40)]
    assert all(abs(int(shifted[0, 0, 0]) - 200) <= 10 for shifted in reds)
    assert {tuple(np.argsort(shifted[0, 0])) for shifted in reds} == {
        (1, 2, 0),
        (2, 1, 0),
    }  # on both sides of red
