"""Path-index affinities against IRN's stored results and against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from icd.errors import InputError
from icd.refine.path_affinity import path_affinities, path_affinity_planes, path_lengths, path_offsets


@pytest.mark.parametrize("radius", [5, 10])
def test_golden_affinities(golden, radius):
    data = np.load(golden / "irn" / f"affinity_r{radius}.npz")
    np.testing.assert_array_equal(path_offsets(radius), data["destinations"])
    np.testing.assert_array_equal(path_lengths(radius), data["path_lengths"])
    for edge, affinity in zip(data["edge"], data["affinity"]):
        np.testing.assert_array_equal(path_affinities(edge[0], radius), affinity)


def test_counts_of_the_specification():  # spec irn, 3.1
    lengths, counts = np.unique(path_lengths(5), return_counts=True)
    assert dict(zip(lengths, counts)) == {2: 2, 3: 2, 4: 4, 5: 2, 6: 4, 7: 2, 8: 8, 10: 6, 11: 4}
    assert path_affinities(np.zeros((128, 128)), 10).shape == (152, 13090)


def path_by_definition(dy, dx):
    box = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    return [(y, x) for y, x in box if abs(dy * x - dx * y) / np.hypot(dy, dx) < 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (6, 8)])
def test_planes_like_the_definition(shape):
    height, width = shape
    boundary = np.random.RandomState(height).rand(*shape).astype(np.float32)
    planes = path_affinity_planes(boundary, 4)
    for plane, (dy, dx) in zip(planes, path_offsets(4)):
        for y in range(height):
            for x in range(width):
                path = [(y + v, x + u) for v, u in path_by_definition(dy, dx)]
                inside = all(0 <= v < height and 0 <= u < width for v, u in path)
                expected = 1 - max(boundary[v, u] for v, u in path) if inside else 0
                assert plane[y, x] == np.float32(expected)


def test_threads_do_not_change_the_result():
    boundary = np.random.RandomState(0).rand(60, 70)
    expected = path_affinities(boundary, 10, threads=1)
    for threads in (2, 5, 0):
        np.testing.assert_array_equal(path_affinities(boundary, 10, threads), expected)


@pytest.mark.parametrize(
    "boundary",
    [
        np.zeros((4, 20)),
        np.zeros((20, 8)),
        np.zeros((1, 20, 20)),
        np.full((20, 20), np.nan),
        np.full((20, 20), 1.5),
        np.full((20, 20), -0.5),
        np.zeros((0, 20)),
        np.zeros((20, 20), bool),
    ],
)
def test_refuses(boundary):
    with pytest.raises(InputError):
        path_affinities(boundary, 5)


@pytest.mark.parametrize("radius", [1, 65, 5.0, "5"])
def test_refuses_radius(radius):
    with pytest.raises(InputError):
        path_affinity_planes(np.zeros((20, 20)), radius)
