"""The dense CRF against pydensecrf2, against the originals' stored results, and against its own promises."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from icd.errors import InputError
from icd.refine.crf import CRF_PRESETS, CrfParameters, dense_crf, unary_from_probabilities


def photograph(golden, name="chelsea", height=120, width=160) -> np.ndarray:
    image = cv2.imread(str(golden / "icd" / "superpixel_raw" / f"{name}.jpg"))[..., ::-1]
    return np.ascontiguousarray(image[60 : 60 + height, 120 : 120 + width])


def soft_unary(labels: int, size, seed: int = 0) -> np.ndarray:
    """Energies of smooth random score maps, all labels different."""
    random = np.random.RandomState(seed)
    coarse = random.rand(labels, 6, 8).astype(np.float32)
    maps = np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_CUBIC) for plane in coarse])
    scores = np.exp(6 * maps)
    return unary_from_probabilities(scores / scores.sum(0))


def seed_unary(labels: int, present: int, size, seed: int = 0) -> np.ndarray:
    """Energies of a hard seed as in ICD (spec 4.3): all labels that are absent have equal energies."""
    seeds = soft_unary(present, size, seed).argmin(0)
    probabilities = np.where(np.arange(labels)[:, None, None] == seeds, 0.5, 0.5 / 21).astype(np.float32)
    return unary_from_probabilities(probabilities / probabilities.sum(0))


def assert_alike(ours, theirs):
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.9995


@pytest.mark.parametrize("preset", sorted(CRF_PRESETS))
@pytest.mark.parametrize("labels", [2, 3, 6])
@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_like_pydensecrf(golden, preset, labels, name):
    image = photograph(golden, name)
    unary = soft_unary(labels, image.shape[:2], labels)
    assert_alike(dense_crf(image, unary, preset), dense_crf(image, unary, preset, backend="pydensecrf"))


@pytest.mark.parametrize("preset", sorted(CRF_PRESETS))
@pytest.mark.parametrize("labels", [21, 81])
def test_like_pydensecrf_with_absent_labels(golden, preset, labels):
    image = photograph(golden)
    unary = seed_unary(labels, 3, image.shape[:2])
    assert_alike(dense_crf(image, unary, preset), dense_crf(image, unary, preset, backend="pydensecrf"))


@pytest.mark.parametrize("labels", [1, 16, 17, 33, 81])
def test_like_pydensecrf_with_many_different_labels(golden, labels):
    image = photograph(golden, height=60, width=80)
    unary = soft_unary(labels, (60, 80))
    assert_alike(dense_crf(image, unary, "psa"), dense_crf(image, unary, "psa", backend="pydensecrf"))


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (29, 1), (31, 43), (30, 41), (3, 2)])
@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_like_pydensecrf_at_odd_sizes(golden, size, iterations):
    image = photograph(golden, "retina", *size)  # its corner is black: there pydensecrf2 adds a pixel
    unary = soft_unary(3, size)
    ours = dense_crf(image, unary, "psa", iterations)
    assert_alike(ours, dense_crf(image, unary, "psa", iterations, backend="pydensecrf"))


@pytest.mark.parametrize("exponent", [4, 24, 32])
def test_golden_results_of_psa(golden, exponent, parity):  # spec psa, 5.2
    data = np.load(golden / "psa" / "crf.npz")
    cam = data["cam_u8"].astype(np.float32) / np.float32(255)
    scores = np.concatenate([(1 - cam.max(0, keepdims=True)) ** exponent, cam])
    marginals = dense_crf(data["picture"], unary_from_probabilities(scores), "psa")
    expected = data[f"crf_alpha{exponent}"]
    if exponent == 24:
        marginals = marginals[:, ::2, ::2]
    parity("dense CRF and walks", f"PSA's CRF marginals, alpha {exponent}", marginals, expected, 5e-4)


def test_golden_seed_labels_of_irn(golden, parity):  # spec irn, 4.2
    data = np.load(golden / "irn" / "seed_label.npz")
    cam = data["cam_u8"].astype(np.float32) / np.float32(255)
    names = np.array([0, 4, 15])
    for threshold, expected in ((0.30, data["fg_conf"]), (0.05, data["bg_conf"])):
        hard = np.concatenate([np.full_like(cam[:1], threshold), cam]).argmax(0)
        probabilities = np.where(np.arange(3)[:, None, None] == hard, 0.7, 0.3 / 2)
        found = names[dense_crf(data["picture"], unary_from_probabilities(probabilities), "irn").argmax(0)]
        parity("dense CRF and walks", f"IRN's CRF labels, threshold {threshold}", found, expected, 5e-4)


def test_equal_labels_stay_equal_and_count_as_often_as_they_occur(golden):
    image = photograph(golden, height=50, width=60)
    unary = seed_unary(21, 3, (50, 60))
    marginals = dense_crf(image, unary, "icd")
    for label in range(4, 21):
        np.testing.assert_array_equal(marginals[label], marginals[3])
    nearly = unary.copy()
    nearly[4:, 0, 0] += np.linspace(1e-6, 1e-5, 17)  # all different now, so all are carried
    np.testing.assert_allclose(dense_crf(image, nearly, "icd"), marginals, atol=1e-5)


def test_marginals_are_probabilities_and_follow_their_labels(golden):
    image = photograph(golden)
    unary = soft_unary(5, image.shape[:2])
    marginals = dense_crf(image, unary, "irn")
    np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(dense_crf(image, unary[order], "irn"), marginals[order], atol=1e-5)


@pytest.mark.parametrize("labels", [2, 3, 21, 30])
@pytest.mark.parametrize("size", [(120, 160), (119, 131)])
def test_threads_do_not_change_the_result(golden, labels, size):
    image = photograph(golden, "chelsea", *size)
    unary = soft_unary(labels, size)
    expected = dense_crf(image, unary, "psa", threads=1)
    for threads in (2, 5, 0):
        np.testing.assert_array_equal(dense_crf(image, unary, "psa", threads=threads), expected)


def test_without_iterations_it_is_the_softmax():
    random = np.random.RandomState(0)
    unary = random.uniform(-30, 30, (4, 5, 6)).astype(np.float32)
    weights = np.exp(-(unary.astype(np.float64) - unary.min(0)))
    marginals = dense_crf(np.zeros((5, 6, 3), np.uint8), unary, "psa", iterations=0)
    np.testing.assert_allclose(marginals, weights / weights.sum(0), rtol=2e-6, atol=1e-27)


def test_extreme_energies():
    image = np.zeros((4, 5, 3), np.uint8)
    unary = np.zeros((2, 4, 5), np.float32)
    unary[1] = 3e38
    unary[0, 0] = 3e38
    marginals = dense_crf(image, unary, "psa")
    assert np.isfinite(marginals).all() and (marginals[0, 1:] == 1).all()


@pytest.mark.parametrize("labels", [1, 3, 5, 17])  # with lanes of padding
def test_labels_that_are_all_unlikely(labels):
    image = np.zeros((4, 5, 3), np.uint8)
    unary = np.arange(1, labels + 1, dtype=np.float32)[:, None, None] * np.full((1, 4, 5), 1e37, np.float32)
    expected = np.zeros((labels, 4, 5), np.float32)
    expected[0] = 1
    np.testing.assert_array_equal(dense_crf(image, unary, "psa"), expected)


def test_parameters_of_ones_own(golden):
    image = photograph(golden, height=40, width=40)
    unary = soft_unary(2, (40, 40))
    own = CrfParameters(2.5, 1.5, 20, 7, 3, iterations=3)
    assert_alike(dense_crf(image, unary, own), dense_crf(image, unary, own, backend="pydensecrf"))
    none = CrfParameters(3, 0, 80, 13, 0)
    np.testing.assert_array_equal(dense_crf(image, unary, none), dense_crf(image, unary, none, iterations=0))


IMAGE, UNARY = np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 5), np.float32)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": IMAGE.astype(float)},
        {"image": IMAGE[..., :2]},
        {"image": IMAGE[:3]},
        {"image": IMAGE[:0], "unary": UNARY[:, :0]},
        {"unary": UNARY[0]},
        {"unary": UNARY[:0]},
        {"unary": np.full_like(UNARY, np.nan)},
        {"unary": np.full_like(UNARY, np.inf)},
        {"unary": np.full(UNARY.shape, 1e39)},
        {"preset_or_parameters": "psi"},
        {"preset_or_parameters": None},
        {"preset_or_parameters": dataclasses.replace(CRF_PRESETS["psa"], gaussian_sxy=0)},
        {"preset_or_parameters": dataclasses.replace(CRF_PRESETS["psa"], bilateral_compat=float("nan"))},
        {"preset_or_parameters": CrfParameters(0.01, 3, 0.01, 0.01, 10)},
        {"iterations": -1},
        {"iterations": 2.0},
        {"threads": -1},
        {"backend": "torch"},
    ],
)
def test_refuses(arguments):
    with pytest.raises(InputError):
        dense_crf(**{"image": IMAGE, "unary": UNARY, "preset_or_parameters": "psa", **arguments})
