"""The random walk against the dense matrix in double precision and against the originals' stored results."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError
from icd.refine.path_affinity import path_affinity_planes, path_offsets
from icd.refine.random_walk import disc_offsets, place_pairs, random_walk


def dense_walk(scores, affinities, offsets, beta, steps) -> np.ndarray:
    """The definition (spec psa, 5.3) in double precision."""
    _, height, width = scores.shape
    matrix = np.eye(height * width)
    for plane, (dy, dx) in zip(affinities.astype(np.float64), offsets):
        for y in range(max(0, -dy), height - max(0, dy)):
            for x in range(max(0, -dx), width - max(0, dx)):
                one, other = y * width + x, (y + dy) * width + x + dx
                matrix[one, other] = matrix[other, one] = plane[y, x]
    transition = matrix**beta
    transition /= transition.sum(0)
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    return (flat @ np.linalg.matrix_power(transition, steps)).reshape(scores.shape)


def random_case(seed, planes, height, width, offsets):
    random = np.random.RandomState(seed)
    affinities = (random.rand(len(offsets), height, width) ** 0.3).astype(np.float32)
    return random.rand(planes, height, width).astype(np.float32), affinities


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 18),
    width=st.integers(1, 37),
    planes=st.integers(1, 9),
    radius=st.integers(2, 7),
    beta=st.sampled_from([0.5, 1, 2.7, 8, 10, 40]),
    power=st.integers(0, 9),
)
def test_within_1e_4_of_the_dense_answer(seed, height, width, planes, radius, beta, power):
    offsets = disc_offsets(radius)
    scores, affinities = random_case(seed, planes, height, width, offsets)
    walked = random_walk(scores, affinities, offsets, beta, 2**power)
    assert walked.dtype == np.float32
    np.testing.assert_allclose(
        walked, dense_walk(scores, affinities, offsets, beta, 2**power), atol=1e-4, rtol=0
    )


def test_rounding_does_not_add_up_over_many_steps():
    scores, affinities = random_case(1, 2, 9, 11, disc_offsets(5))
    walked = random_walk(scores, affinities, disc_offsets(5), 10, 2**14)
    np.testing.assert_allclose(walked, dense_walk(scores, affinities, disc_offsets(5), 10, 2**14), atol=1e-5)


@pytest.mark.parametrize("name", ["rw_12x14", "rw_16x20"])
def test_golden_walks_of_psa(golden, name, parity):
    data = np.load(golden / "psa" / f"{name}.npz")
    offsets = disc_offsets(5)
    planes = place_pairs(data["affinity"][0], offsets, *data["avg_pooled"].shape[1:])
    powers = [key[11:] for key in data.files if key.startswith("walked_logt")]
    assert len(powers) >= 2
    for power in powers:
        walked = random_walk(data["avg_pooled"], planes, offsets, 8, 2 ** int(power))
        steps = f"PSA's walk {name[3:]}, 2^{power} steps"
        parity("dense CRF and walks", f"{steps}, in double", walked, data[f"walked64_logt{power}"], 1e-5)
        parity("dense CRF and walks", f"{steps}", walked, data[f"walked_logt{power}"], 5e-5)


@pytest.mark.parametrize("radius, beta, power", [(5, 10, 8), (5, 8, 6), (5, 10, 1), (4, 4, 3), (3, 10, 8)])
def test_golden_walks_of_irn(golden, radius, beta, power, parity):
    data = np.load(golden / "irn" / "walk_a.npz")
    boundary = data["edge"][0]
    planes = path_affinity_planes(boundary, radius)
    walked = random_walk(data["cam"] * (1 - boundary), planes, path_offsets(radius), beta, 2**power)
    name = f"r{radius}_beta{beta}_exp{power}"
    parity("dense CRF and walks", f"IRN's walk, {name}, in double", walked, data[f"rw64_{name}"], 5e-6)
    parity("dense CRF and walks", f"IRN's walk, {name}", walked, data[f"rw_{name}"], 2e-4)


def test_worked_example_of_irn():  # spec irn, 5
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    boundary, cam = values % 7 / 10, values / 64
    planes = path_affinity_planes(boundary, 5)
    walked = random_walk((cam * (1 - boundary))[None], planes, path_offsets(5), 10, 256)[0]
    found = [walked[0, 0], walked[0, 7], walked[7, 0], walked[7, 7], walked[4, 4]]
    np.testing.assert_allclose(found, [0.207440, 0.442700, 0.443053, 0.757299, 0.442479], atol=2e-6)


def test_offsets_of_psa():  # spec psa, 3.2
    offsets = disc_offsets(5)
    assert len(offsets) == 34 and len(disc_offsets(10)) == 152
    flat = offsets[:, 0] * 56 + offsets[:, 1]
    expected = [*range(1, 5), *range(52, 61), *range(108, 117), *range(165, 172), *range(222, 227)]
    np.testing.assert_array_equal(flat, expected)


def test_pixels_without_pairs_keep_their_value():  # spec psa, 5.3: border effect
    offsets = disc_offsets(5)
    planes = place_pairs(np.ones((34, 4 * 4), np.float32), offsets, 8, 12)
    scores = np.random.RandomState(0).rand(1, 8, 12).astype(np.float32)
    walked = random_walk(scores, planes, offsets, 8, 64)
    kept = np.flatnonzero(walked.ravel() == scores.ravel())
    np.testing.assert_array_equal(kept, [0, 1, 2, 3, 72, 83, 84, 85, 94, 95])


def test_no_steps_and_constants():
    offsets = disc_offsets(4)
    scores, affinities = random_case(0, 3, 6, 7, offsets)
    np.testing.assert_array_equal(random_walk(scores, affinities, offsets, 8, 0), scores)
    constant = np.full_like(scores, 0.7)
    np.testing.assert_array_equal(random_walk(constant, affinities, offsets, 8, 256), constant)


def test_threads_do_not_change_the_result_and_callers_do_not_disturb_each_other():
    offsets = disc_offsets(5)
    cases = [random_case(seed, 3, 60, 71, offsets) for seed in range(4)]
    expected = [random_walk(*case, offsets, 10, 64, threads=1) for case in cases]
    for threads in (2, 3, 7, 0):
        np.testing.assert_array_equal(random_walk(*cases[0], offsets, 10, 64, threads=threads), expected[0])
    with ThreadPoolExecutor(4) as pool:
        for result, wanted in zip(pool.map(lambda c: random_walk(*c, offsets, 10, 64), cases), expected):
            np.testing.assert_array_equal(result, wanted)


def test_the_result_does_not_depend_on_the_instruction_set():
    program = (
        "import hashlib, numpy as np; from icd.refine.random_walk import *; r = np.random.RandomState(0);"
        "print(*[hashlib.sha256(random_walk(r.rand(c, 13, 29), r.rand(34, 13, 29), disc_offsets(5), 8, 50)"
        ".tobytes()).hexdigest() for c in range(1, 9)])"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "ICD_AVX2": wish},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for wish in ("0", "1")
    }
    assert len(hashes) == 1


SCORES, AFFINITIES = np.zeros((2, 4, 5), np.float32), np.zeros((4, 4, 5), np.float32)
OFFSETS = np.array([[0, 1], [1, 0], [1, 1], [1, -1]])


@pytest.mark.parametrize(
    "arguments",
    [
        {"scores": SCORES[0]},
        {"scores": SCORES[:, :3]},
        {"scores": np.full_like(SCORES, np.nan)},
        {"affinities": AFFINITIES[:3]},
        {"affinities": AFFINITIES - 0.1},
        {"affinities": AFFINITIES + 1.1},
        {"affinities": AFFINITIES.astype(complex)},
        {"offsets": OFFSETS * 0},
        {"offsets": OFFSETS.astype(float)},
        {"offsets": np.array([[0, 1], [0, -1], [1, 1], [1, -1]])},
        {"offsets": np.array([[0, 1], [0, 1], [1, 1], [1, -1]])},
        {"offsets": np.array([[0, 1], [1, 0], [1, 1], [1, -(2**31)]])},
        {"beta": 0},
        {"beta": float("nan")},
        {"beta": np.inf},
        {"steps": -1},
        {"steps": 2.5},
        {"threads": 1.0},
    ],
)
def test_refuses(arguments):
    good = {"scores": SCORES, "affinities": AFFINITIES, "offsets": OFFSETS, "beta": 8, "steps": 4}
    with pytest.raises(InputError):
        random_walk(**{**good, **arguments})


def test_place_pairs_refuses():
    with pytest.raises(InputError, match="smaller radius"):
        place_pairs(np.zeros((34, 1)), disc_offsets(5), 4, 20)
    with pytest.raises(InputError, match="pairs"):
        place_pairs(np.zeros((34, 47)), disc_offsets(5), 12, 14)
