"""A CRF's planes of other programs are label stacks, and no class activation maps."""

from __future__ import annotations

import numpy as np
import pytest

from icd.errors import InputError
from icd.files import LabelStack, write_label_stack
from icd.foreign.label_stacks import find_label_stack, read_any_label_stack
from icd.foreign.layouts import read_layout
from icd.foreign.numpy_files import write_npy

PLANES = np.random.RandomState(0).dirichlet(np.ones(3), (5, 7)).transpose(2, 0, 1).astype(np.float32)


def test_dictionaries_keep_their_background(tmp_path):
    write_npy(tmp_path / "a.npy", {9: PLANES[1], 0: PLANES[0], 14: PLANES[2]})
    stack = read_any_label_stack(find_label_stack(tmp_path, "a"), 20, (5, 7))
    assert stack.labels.tolist() == [0, 9, 14]
    np.testing.assert_array_equal(stack.planes, PLANES)
    np.testing.assert_array_equal(stack.mask(), np.array([0, 9, 14])[PLANES.argmax(0)])


def test_arrays_of_all_planes_lose_the_empty_ones(tmp_path):
    planes = np.zeros((21, 5, 7), np.float32)
    planes[[0, 9, 14]] = PLANES
    write_npy(tmp_path / "a.npy", planes)
    stack = read_any_label_stack(tmp_path / "a.npy", 20)
    assert stack.labels.tolist() == [0, 9, 14]
    np.testing.assert_array_equal(stack.planes, PLANES)
    with pytest.raises(
        InputError, match="6 planes .*background's first; found an array of shape \\(21, 5, 7\\)"
    ):
        read_any_label_stack(tmp_path / "a.npy", 5)


def test_our_own_are_read_too(tmp_path):
    write_label_stack(tmp_path / "a.npz", LabelStack(np.array([0, 3]), PLANES[:2]))
    assert read_any_label_stack(find_label_stack(tmp_path, "a"), 3).labels.tolist() == [0, 3]


def test_probabilities_are_not_taken_for_activation_maps(tmp_path):
    write_npy(tmp_path / "a.npy", {0: PLANES[0], 9: PLANES[1], 14: PLANES[2]})
    with pytest.raises(InputError, match=r"planes that sum to 1 .*--from crf"):
        read_layout(tmp_path / "a.npy")
    assert read_layout(tmp_path / "a.npy", "crf").classes.tolist() == [9, 14]
    assert read_layout(tmp_path / "a.npy", "psa").classes.tolist() == [1, 10, 15]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({1: PLANES[0]}, "no background"),
        ({0: PLANES[0], 21: PLANES[1]}, "labels 0 to 20; found 21"),
        ({0: PLANES[0], 255: PLANES[1]}, "below 255"),
        ({0: PLANES[0], 1: PLANES[1] + np.float32(np.nan)}, "NaN"),
        ({0: PLANES[0], 1: PLANES[1].astype(np.float64) * 1e300}, "infinity"),
        ({0: PLANES[0], 1: PLANES[1, :2]}, "maps of one size"),
        ({0: PLANES[0, :0]}, "at least one pixel"),
        ({0: PLANES[0], "dog": PLANES[1]}, "class numbers"),
        (PLANES[0], "21 planes"),
    ],
)
def test_faults_are_named(tmp_path, content, found):
    write_npy(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=rf"a\.npy: .*{found}"):
        read_any_label_stack(tmp_path / "a.npy", 20)
