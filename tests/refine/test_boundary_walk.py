"""Walks up to any program's boundary map, and the confident seeds that IRN learns from."""

from __future__ import annotations

import numpy as np
import pytest

from icd.errors import InputError
from icd.files import ScoreMaps
from icd.refine.boundary_walk import walk_to_boundaries
from icd.refine.confident_seeds import confident_seed

SIZE = (62, 75)


def score_maps(*maps, size=SIZE):
    classes = np.arange(3, 3 + len(maps), dtype=np.int16)
    maps = np.array(maps, np.float32).reshape(-1, *size)
    return ScoreMaps(classes, maps, size, (*size, *size))


def halves():
    """Two classes, each with a small certain part in one half of an image; a boundary between the halves."""
    maps = np.zeros((2, *SIZE), np.float32)
    maps[0, 28:36, 8:16] = maps[1, 28:36, 60:68] = 1
    boundary = np.full(((SIZE[0] - 1) // 4 + 1, (SIZE[1] - 1) // 4 + 1), 0.02, np.float32)
    boundary[:, 9] = 1
    return score_maps(*maps), boundary


def test_scores_spread_up_to_the_boundary():
    scores, boundary = halves()
    stack = walk_to_boundaries(boundary, scores, background=0.05)
    assert stack.labels.tolist() == [0, 3, 4] and stack.planes.shape == (3, *SIZE)
    mask = stack.mask()
    assert (mask[:, :30] == 3).mean() > 0.95 and (mask[:, 46:] == 4).mean() > 0.95
    open_field = walk_to_boundaries(np.full_like(boundary, 0.02), scores, background=0.05)
    assert open_field.planes[1][:, 46:].max() > 10 * stack.planes[1][:, 46:].max()


@pytest.mark.parametrize("stride", [1, 3, 4, 7])
def test_boundary_maps_of_any_stride(stride):
    scores, _ = halves()
    shape = tuple((side - 1) // stride + 1 for side in SIZE)
    boundary = np.random.RandomState(0).rand(*shape).astype(np.float32) / 2
    stack = walk_to_boundaries(boundary, scores, steps=4)
    assert stack.planes.shape == (3, *SIZE) and stack.planes[1:].max() == pytest.approx(1)


def test_an_image_without_tags_and_one_without_scores():
    _, boundary = halves()
    nothing = walk_to_boundaries(boundary, score_maps())
    assert nothing.labels.tolist() == [0] and (nothing.mask() == 0).all()
    blank = walk_to_boundaries(boundary, score_maps(np.zeros(SIZE)))
    assert np.isfinite(blank.planes).all() and (blank.mask() == 0).all()


def test_refuses():
    scores, boundary = halves()
    with pytest.raises(InputError, match=r"boundary: expected every 4th .* of 62 x 75; found 9 x 9"):
        walk_to_boundaries(np.zeros((9, 9), np.float32), scores)
    with pytest.raises(InputError, match="Apply the sigmoid first"):
        walk_to_boundaries(boundary * 5, scores)
    with pytest.raises(InputError, match="background"):
        walk_to_boundaries(boundary, scores, background={"power": 4})
    with pytest.raises(InputError, match="steps"):
        walk_to_boundaries(boundary, scores, steps=-1)


def test_confident_seed_has_a_class_background_and_undefined():
    bands = np.repeat([0, 1, 2], SIZE[1] // 3)
    image = np.tile(np.uint8([20, 120, 220])[bands][None, :, None], (SIZE[0], 1, 3))
    cam = np.tile(np.float32([0, 0.15, 1])[bands], (SIZE[0], 1))
    seed = confident_seed(score_maps(cam), image)
    np.testing.assert_array_equal(seed, np.tile(np.uint8([0, 255, 3])[bands], (SIZE[0], 1)))


def test_confident_seed_of_an_image_without_tags_is_background():
    seed = confident_seed(score_maps(), np.zeros((*SIZE, 3), np.uint8))
    assert seed.shape == SIZE and seed.dtype == np.uint8 and not seed.any()
