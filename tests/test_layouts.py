"""Score maps go out in the originals' layouts and come back."""

from __future__ import annotations

import numpy as np
import pytest

from icd.errors import InputError
from icd.files import ScoreMaps, write_score_maps
from icd.foreign.layouts import find_score_maps, read_layout, write_layout
from icd.foreign.numpy_files import read_npy, write_npy
from icd.grid import maps_on_image, strided_maps

SIZE = (45, 61)


@pytest.fixture
def scores():
    maps = np.random.RandomState(0).rand(3, 65, 65).astype(np.float32)
    return ScoreMaps(np.array([3, 8, 20], np.int16), maps, SIZE, (513, 513, *SIZE))


@pytest.mark.parametrize("layout", ["psa", "irn"])
def test_full_size_layouts(scores, tmp_path, layout):
    path = write_layout(tmp_path, "a", scores, layout)
    found = read_layout(path, size=SIZE)
    np.testing.assert_array_equal(found.classes, scores.classes)
    np.testing.assert_array_equal(maps_on_image(found), maps_on_image(scores))
    assert read_layout(path, layout).frame == (*SIZE, *SIZE)


def test_what_the_originals_expect(scores, tmp_path):
    psa = np.load(write_layout(tmp_path, "a", scores, "psa"), allow_pickle=True).item()
    assert sorted(psa) == [2, 7, 19]
    assert all(plane.shape == SIZE and plane.dtype == np.float32 for plane in psa.values())
    irn = np.load(write_layout(tmp_path, "b", scores, "irn"), allow_pickle=True).item()
    assert irn["keys"].dtype == np.int64 and irn["keys"].tolist() == [2, 7, 19]
    assert irn["cam"].shape == (3, (45 - 1) // 4 + 1, (61 - 1) // 4 + 1)
    assert irn["high_res"].shape == (3, *SIZE)
    bare = np.load(write_layout(tmp_path, "c", scores, "icd"))
    np.testing.assert_array_equal(bare, scores.maps)


def test_icd_needs_tags_and_size(scores, tmp_path):
    path = write_layout(tmp_path, "a", scores, "icd")
    found = read_layout(path, tags=(3, 8, 20), size=SIZE)
    np.testing.assert_array_equal(found.maps, scores.maps)
    assert (found.frame, found.size) == (scores.frame, scores.size)
    with pytest.raises(InputError, match="tags"):
        read_layout(path)
    with pytest.raises(InputError, match=r"\(3, 65, 65\) of float32 for 2 tags"):
        read_layout(path, tags=(3, 8), size=SIZE)
    with pytest.raises(InputError, match="at most 513"):
        read_layout(path, tags=(3, 8, 20), size=(600, 400))


@pytest.mark.parametrize("layout", ["psa", "irn", "npz"])
def test_an_image_without_a_tag(tmp_path, layout):
    nothing = ScoreMaps(np.zeros(0, np.int16), np.zeros((0, 9, 9), np.float32), SIZE, (*SIZE, *SIZE))
    found = read_layout(write_layout(tmp_path, "a", nothing, layout), size=SIZE)
    assert len(found.classes) == 0 and maps_on_image(found).shape == (0, *SIZE)


def test_irn_with_torch_tensors(golden):
    found = read_layout(golden / "evaluation" / "irn_torch.npy")
    expected = np.load(golden / "evaluation" / "irn_torch_expected.npz")
    np.testing.assert_array_equal(found.classes, [3, 8, 15])
    np.testing.assert_array_equal(found.maps, expected["high_res"][[1, 2, 0]])


def test_crf_dictionaries_are_shifted(tmp_path):
    planes = np.random.RandomState(0).rand(3, *SIZE).astype(np.float32)
    write_npy(tmp_path / "a.npy", dict(zip((0, 9, 13), planes)))
    found = read_layout(tmp_path / "a.npy", "crf")
    np.testing.assert_array_equal(found.classes, [9, 13])
    np.testing.assert_array_equal(found.maps, planes[1:])
    np.testing.assert_array_equal(read_layout(tmp_path / "a.npy").classes, [1, 10, 14])


def test_faults_are_named(scores, tmp_path):
    cases = {
        "text": ({"a": np.zeros(SIZE)}, None, "PSA, SEAM, EPS"),
        "sizes": ({1: np.zeros(SIZE), 2: np.zeros((3, 3))}, None, "maps of one size"),
        "keys": ({"keys": np.arange(2), "high_res": np.zeros((3, 4, 4))}, None, "one map for every key"),
        "twice": ({"keys": np.zeros(2), "high_res": np.zeros((2, 4, 4))}, None, "every class once"),
        "nocrf": ({1: np.zeros(SIZE)}, "crf", "background under key 0"),
        "other": (np.zeros((1, 2, 2)), "weird", "one of npz"),
    }
    for name, (content, layout, message) in cases.items():
        write_npy(tmp_path / f"{name}.npy", content)
        with pytest.raises(InputError, match=message):
            read_layout(tmp_path / f"{name}.npy", layout)
    write_score_maps(tmp_path / "text.npz", scores)
    with pytest.raises(InputError, match="one file for text"):
        find_score_maps(tmp_path, "text")
    with pytest.raises(InputError, match="CRF's probabilities"):
        write_layout(tmp_path, "x", scores, "crf")
    with pytest.raises(InputError, match="513 x 513 frame"):
        write_layout(tmp_path, "x", read_layout(write_layout(tmp_path, "y", scores, "psa")), "icd")
    assert isinstance(read_npy(tmp_path / "text.npy"), dict)


def test_strided_maps_lie_where_the_maps_on_the_image_do(scores):
    """Also where the image fills a part of the frame only: a ramp along the frame stays the ramp."""
    ramp = np.tile(np.arange(65, dtype=np.float32), (1, 65, 1))
    for frame, size in (
        ((513, 513, 500, 375), (500, 375)),
        ((512, 512, 500, 500), (500, 500)),
        ((45, 61, 45, 61), SIZE),
    ):
        maps = ScoreMaps(np.array([3], np.int16), ramp, size, frame)
        strided, whole = strided_maps(maps), maps_on_image(maps)
        assert strided.shape == (1, (size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1)
        # IRN's frame of the next multiple of 16 is squeezed, as its program does: up to 12 of 512 pixels.
        limit = 65 * 12 / 512 + 0.3 if frame[0] == 512 else 65 * 2.5 / size[1] + 0.1
        assert np.abs(strided[0, 5] - whole[0, 20, ::4]).max() < limit
