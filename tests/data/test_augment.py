"""The training crop equals the original's to the last integer, and keeps image and superpixels together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.classes import VOC_CLASSES
from icd.data.augment import MEAN_COLOUR, PAD_VALUE, LongSideCrop, ScaledCrop, UniformScaleCrop
from icd.data.dataset import ImageDataset
from icd.data.tags import multi_hot
from icd.data.views import Frame
from icd.files import read_list

SCALES = (0.5, 0.75, 1, 1.25, 1.5)
sides = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def pictures(golden):
    loader, raw = golden / "icd" / "loader", golden / "icd" / "superpixel_raw"
    return ImageDataset(raw, loader, read_list(loader / "list.txt"), VOC_CLASSES, {"superpixel": raw})


def test_golden_training_batch(golden, pictures, parity):
    expected = np.load(golden / "icd" / "loader" / "train.npz")
    random = np.random.RandomState(expected["numpy_seed"])
    order = np.arange(3)
    for _ in range(2):  # once when the original's loader is made, once when the epoch begins
        random.shuffle(order)
    np.testing.assert_array_equal(order, expected["order"])
    for place, index in enumerate(order):
        image, planes, tags = pictures.load(index)
        image, planes = ScaledCrop(321, SCALES)(image, planes, random)
        name = f"training image {place}"
        parity("loader", f"{name}: pixels", image.transpose(2, 0, 1), expected["image"][place], 0)
        parity("loader", f"{name}: superpixels", planes["superpixel"], expected["superpixel"][place], 0)
        parity("loader", f"{name}: tags", multi_hot(tags, 20), expected["label"][place], 0)
    assert np.float32(random.rand()) == expected["next_rand"]


def test_golden_inference_frame(golden, pictures, parity):
    expected = np.load(golden / "icd" / "loader" / "inference.npz")
    image, _, tags = pictures.load(2)
    (view,), *_ = Frame(513)(image)
    parity("loader", "inference frame: pixels", view[0], expected["image"], 0)
    np.testing.assert_array_equal(multi_hot(tags, 20), expected["label"][0])


def _blocks(height, width):
    """An image whose gray level tells the superpixel: level = id, below 100."""
    ids = (np.arange(height)[:, None] // 7 * 10 + np.arange(width) // 7).astype(np.int32) % 100
    return np.repeat(ids[..., None], 3, axis=2).astype(np.uint8), ids


@given(height=sides, width=sides, size=st.integers(1, 50), seed=seeds)
def test_crop_keeps_image_and_superpixels_together(height, width, size, seed):
    image, ids = _blocks(height, width)
    image, planes = ScaledCrop(size, (1,))(image, {"superpixel": ids}, np.random.RandomState(seed))
    superpixels = planes["superpixel"]
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert superpixels.shape == (size, size) and superpixels.dtype == np.int32
    pairs = np.unique(np.stack([image[..., 0].ravel(), superpixels.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]  # one level for each name
    np.testing.assert_array_equal(np.unique(superpixels), np.arange(pairs.shape[1]))
    padded = image[..., 0] == PAD_VALUE
    assert padded.sum() == size * size - min(size, height) * min(size, width)


@given(height=sides, width=sides, size=st.integers(1, 50), seed=seeds)
def test_crop_does_not_depend_on_superpixels(height, width, size, seed):
    image, ids = _blocks(height, width)
    crop = ScaledCrop(size, SCALES)
    with_ids, _ = crop(image, {"superpixel": ids}, np.random.RandomState(seed))
    without, nothing = crop(image, {}, np.random.RandomState(seed))
    np.testing.assert_array_equal(with_ids, without)
    assert nothing == {}


@given(height=sides, width=sides, seed=seeds)
def test_inputs_stay_as_they_are(height, width, seed):
    image, ids = _blocks(height, width)
    ScaledCrop(20, SCALES)(image, {"superpixel": ids}, np.random.RandomState(seed))
    Frame(20)(image)
    again, ids_again = _blocks(height, width)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(ids, ids_again)


@given(seed=seeds)
def test_every_scale_mirror_and_offset_is_reached(seed):
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0)
    random = np.random.RandomState(seed)
    rows = {tuple(ScaledCrop(4, (1,))(ramp, {}, random)[0][0, :, 0]) for _ in range(300)}
    forward = {tuple(range(start, start + 4)) for start in range(5)}
    assert rows == forward | {row[::-1] for row in forward}


@given(height=sides, width=sides, size=st.integers(1, 50))
def test_frame_holds_the_whole_image(height, width, size):
    image, _ = _blocks(height, width)
    (view,), found_size, frame = Frame(size)(image)
    assert view.shape == (1, 3, size, size)
    assert found_size == (height, width) and frame[:2] == (size, size)
    view = view[0].transpose(1, 2, 0)
    content_height, content_width = frame[2:]
    if max(height, width) <= size:
        assert (content_height, content_width) == (height, width)
        np.testing.assert_array_equal(view[:height, :width], image)
    else:
        assert max(content_height, content_width) == size
        assert abs(content_height / height - content_width / width) <= 1 / min(height, width)
    assert (view[content_height:] == PAD_VALUE).all()
    assert (view[:, content_width:] == PAD_VALUE).all()


def test_frame_of_a_colour():
    """Around the image is the colour, also where options come back from JSON as a list."""
    image, _ = _blocks(9, 12)
    for fill in ((1.5, 2.5, 3.5), [1.5, 2.5, 3.5]):
        (view,), _, frame = Frame(16, fill)(image)
        view = view[0].transpose(1, 2, 0)
        assert frame == (16, 16, 9, 12) and view.dtype == np.float32
        np.testing.assert_array_equal(view[:9, :12], image)
        assert (view[9:] == fill).all() and (view[:, 12:] == fill).all()


def test_colours_stay_without_jitter():
    """IRN and VWE: a crop that only turns or cuts has the image's own colours."""
    image, _ = _blocks(20, 20)
    own, changed = set(np.unique(image)), False
    for seed in range(5):
        random = np.random.RandomState(seed)
        crop, _ = LongSideCrop(16, 20, 20, jitter=False)(image, {}, random)
        assert crop.dtype == np.float32 and set(np.unique(crop)) <= own
        jittered, _ = LongSideCrop(16, 20, 20)(image, {}, np.random.RandomState(seed))
        changed |= not set(np.unique(jittered)) <= own
    assert changed


@given(height=st.integers(4, 60), width=st.integers(4, 60), size=st.integers(1, 50), seed=seeds)
def test_uniform_scale_keeps_image_and_mask_together(height, width, size, seed):
    """IRN's crop: where the mask is undefined for lack of an image, the image has the mean colour, and nowhere else."""
    image = np.full((height, width, 3), 9, np.uint8)
    mask = np.full((height, width), 3, np.uint8)
    crop, planes = UniformScaleCrop(size, 0.5, 1.5)(image, {"mask": mask}, np.random.RandomState(seed))
    assert crop.shape == (size, size, 3) and crop.dtype == np.float32 and planes["mask"].dtype == np.uint8
    outside = planes["mask"] == 255
    assert set(np.unique(planes["mask"])) <= {3, 255}
    assert (crop[outside] == np.float32(MEAN_COLOUR)).all() and (crop[~outside] == 9).all()


def test_uniform_scale_reaches_both_bounds():
    shares = []
    for seed in range(200):
        image, mask = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
        _, planes = UniformScaleCrop(80, 0.5, 1.5)(image, {"mask": mask}, np.random.RandomState(seed))
        shares.append((planes["mask"] == 0).sum() ** 0.5)
    assert 20 <= min(shares) <= 21 and 59 <= max(shares) <= 60
