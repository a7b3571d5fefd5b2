"""Seeds against the original's PNGs and the spec's counts, and the properties of both rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from icd.classes import VOC_CLASSES
from icd.data.images import read_image
from icd.data.tags import read_tags
from icd.errors import InputError
from icd.files import ScoreMaps, read_mask, read_saliency
from icd.grid import maps_on_image
from icd.methods import SEED_RULES
from icd.methods.icd import icd_seed
from icd.refine.seeds import cam_seed, crf_seed


def whole_frame(classes, maps, size, frame=513):
    """Score maps of an image that lies unscaled in the inference frame."""
    return ScoreMaps(np.asarray(classes, np.int16), np.asarray(maps, np.float32), size, (frame, frame, *size))


def golden_case(folder, name):
    picture = read_image(folder.parent / "superpixel_raw" / f"{name}.jpg")
    content = np.load(folder / f"{name}.npz")
    classes = content["classes"] + 1
    assert tuple(classes) == read_tags(folder / f"{name}.xml", VOC_CLASSES)
    size = picture.shape[:2]
    return picture, whole_frame(classes, content["icd"], size), whole_frame(classes, content["cam"], size)


@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_seeds_of_the_original(golden, parity, name):
    folder = golden / "icd/seeds"
    picture, icd, cam = golden_case(folder, name)
    seed = icd_seed(icd, cam)
    parity("seeds", f"{name} without CRF", seed, read_mask(folder / f"{name}_pre_crf.png"), 0)
    for case in "ab":
        saliency = read_saliency(folder / f"{name}_saliency_{case}.png", picture.shape[:2])
        expected = read_mask(folder / f"{name}_sal_{case}.png")
        parity("seeds", f"{name} with saliency map {case}", icd_seed(icd, cam, saliency), expected, 0)
    expected = read_mask(folder / f"{name}_crf.png")
    exact = crf_seed(seed, picture, 20, backend="pydensecrf")
    parity("seeds", f"{name} with CRF by pydensecrf2", exact, expected, 0)
    parity("seeds", f"{name} with CRF by the native kernel", crf_seed(seed, picture, 20), expected, 5e-4)


def worked_example():
    """Spec A7."""
    i, j = np.mgrid[:65, :65]
    s1 = (((i**2 + 3 * j**2) // 40) % 97 - 48) / 16
    s2 = (((3 * (i - 30) ** 2 + (j - 50) ** 2) // 50) % 89 - 44) / 16
    c1 = ((2 * i + 5 * j) % 61 - 20) / 8
    c2 = ((7 * i + 3 * j) % 53 - 25) / 8
    y, x = np.mgrid[:375, :500]
    saliency = np.uint8((255 * x) // 500)
    image = np.stack([(x + y) // 4, y // 2, x // 2], -1) % 256  # R, G, B
    return s1, s2, c1, c2, saliency, image.astype(np.uint8)


def counts(mask):
    return dict(zip(*(values.tolist() for values in np.unique(mask, return_counts=True))))


def assert_close_counts(found, expected, pixels):
    assert found.keys() == expected.keys()
    for label, count in expected.items():
        assert abs(found[label] - count) <= pixels, (label, found[label], count)


def test_two_tags_worked_example():
    """Spec A7, image X: counts may move by a few pixels with another OpenCV or pydensecrf."""
    s1, s2, c1, c2, saliency, image = worked_example()
    size = (375, 500)
    icd, cam = whole_frame((12, 15), [s1, s2], size), whole_frame((12, 15), [c1, c2], size)
    seed = icd_seed(icd, cam)
    assert_close_counts(counts(seed), {0: 76898, 12: 55407, 15: 19311, 255: 35884}, 10)
    refined = counts(crf_seed(seed, image, 20))
    assert_close_counts(refined, {0: 88697, 12: 67312, 15: 31491}, 40)
    with_saliency = counts(icd_seed(icd, cam, saliency))
    assert_close_counts(with_saliency, {0: 233, 12: 55334, 15: 18204, 255: 113729}, 10)


def test_one_tag_worked_example():
    """Spec A7, image Y."""
    s1, _, c1, _, saliency, image = worked_example()
    size = (375, 500)
    icd, cam = whole_frame((1,), [s1], size), whole_frame((1,), [c1], size)
    seed = icd_seed(icd, cam)
    assert_close_counts(counts(seed), {0: 109424, 1: 78075, 255: 1}, 3)
    assert_close_counts(counts(crf_seed(seed, image, 20)), {0: 108293, 1: 79207}, 40)
    with_saliency = counts(icd_seed(icd, cam, saliency))
    assert_close_counts(with_saliency, {0: 2106, 1: 77931, 255: 107463}, 3)


def test_cam_threshold_is_a_share_of_the_maximum():
    ramp = np.tile(np.linspace(-1, 1, 101, dtype=np.float32), (101, 1))
    scores = ScoreMaps(np.array([5], np.int16), ramp[None], (101, 101), (101, 101, 101, 101))
    seed = cam_seed(scores, 0.5)
    assert (seed[:, :75] == 0).all() and (seed[:, 76:] == 5).all()


def test_scaled_image_comes_back_to_its_size():
    """An image of twice the frame: its content fills the frame's left half; the right half is padding."""
    ramp = np.tile(np.linspace(0, 1, 9, dtype=np.float32), (9, 1))
    scores = ScoreMaps(np.array([1], np.int16), ramp[None], (1000, 500), (65, 65, 65, 33))
    maps = maps_on_image(scores)
    assert maps.shape == (1, 1000, 500)
    # Half-pixel centres: column 16 of 65 lies 1.8 cells into the grid of 9.
    assert maps.max() <= 0.5 and maps[0, 500, 250] == pytest.approx(1.8 / 8, abs=0.01)


def test_different_classes_are_refused():
    one, other = (whole_frame((c,), np.zeros((1, 5, 5)), (9, 9), 9) for c in (1, 2))
    with pytest.raises(InputError, match="same classes"):
        icd_seed(one, other)


maps = arrays.arrays(np.float32, (2, 5, 5), elements=st.floats(-8, 8, width=32))


@settings(max_examples=50, deadline=None)
@given(maps, maps, arrays.arrays(np.uint8, (17, 19)))
def test_seeds_hold_only_tags_background_and_ignore(a, b, saliency):
    icd, cam = (whole_frame((3, 9), values, (17, 19), 33) for values in (a, b))
    plain, with_saliency = icd_seed(icd, cam), icd_seed(icd, cam, saliency)
    assert set(np.unique(plain)) <= {0, 3, 9, 255}
    believed = (saliency > 2).mean() >= 0.01
    salient = with_saliency[saliency > 2]
    assert not (believed and (salient == 0).any())
    assert set(np.unique(cam_seed(cam))) <= {0, 3, 9}


@pytest.mark.parametrize("name", SEED_RULES)
def test_an_image_without_score_maps_is_background(name):
    """IRN's program writes empty dictionaries; what is salient there is unknown."""
    size, rule = (20, 30), SEED_RULES[name]
    empty = ScoreMaps(np.zeros(0, np.int16), np.zeros((0, 9, 9), np.float32), size, (33, 33, *size))
    companion = empty if rule.companion else None
    assert (rule.seed(empty, None, companion, None) == 0).all()
    saliency = np.zeros(size, np.uint8)
    saliency[:10] = 255
    seed = rule.seed(empty, saliency, companion, None)
    assert (seed[:10] == 255).all() and (seed[10:] == 0).all()
