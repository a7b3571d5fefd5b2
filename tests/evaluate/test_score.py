"""Scores against a plain loop, and what the evaluator refuses. The originals' own numbers: test_evaluation_parity.py."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.classes import VOC_CLASSES
from icd.errors import InputError
from icd.evaluate import score_masks
from icd.evaluate.boundary import boundary_counts
from icd.evaluate.confusion import class_counts, count_values, joint_table
from icd.evaluate.policies import CONVENTIONS, POLICIES
from icd.evaluate.scores import Scores
from icd.files import write_mask


def test_spec_example_of_icd(write_masks):
    truth = write_masks("truth", {"a": [[0, 0, 1, 255], [1, 1, 2, 0]]})
    predictions = write_masks("predictions", {"a": [[0, 1, 1, 1], [255, 1, 0, 0]]})
    scores = score_masks(predictions, truth, ["a"], ("one", "two"), "icd")
    np.testing.assert_allclose(scores.iou, [0.5, 2 / 3, 0], atol=1e-9)
    assert scores.miou == pytest.approx(0.3889, abs=5e-5)
    assert scores.coverage == pytest.approx(6 / 7)
    np.testing.assert_allclose(list(scores.per_policy.values()), [7 / 18, 0.3, 1 / 3], atol=1e-9)


def _slow_scores(truths, predictions, classes, policy):
    """The definition, one class and one image at a time."""
    hit, union = np.zeros(classes + 1), np.zeros(classes + 1)
    for k in truths:
        truth, prediction = truths[k].astype(int), predictions[k].astype(int)
        if policy == "background":
            prediction = np.where(prediction == 255, 0, prediction)
        known = (truth != 255) & ((prediction != 255) | (policy != "drop"))
        for number in range(classes + 1):
            a, b = (truth == number) & known, (prediction == number) & known
            hit[number] += (a & b).sum()
            union[number] += (a | b).sum()
    with np.errstate(invalid="ignore"):
        return hit / union


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_equal_the_definition(random_masks, write_masks, policy):
    truths, predictions = random_masks(9)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    scores = score_masks(*folders, list(truths), VOC_CLASSES, policy)
    expected = _slow_scores(truths, predictions, 20, policy)
    np.testing.assert_allclose(scores.iou, expected, atol=1e-12)
    assert scores.miou == pytest.approx(np.nanmean(expected), abs=1e-12)
    assert scores.per_policy[policy] == scores.miou
    for image_id, value in scores.per_image.items():
        alone = _slow_scores({0: truths[image_id]}, {0: predictions[image_id]}, 20, policy)
        assert value == pytest.approx(np.nanmean(alone), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.sampled_from([256, 65536]))
def test_counting_by_runs_equals_bincount(seed, run_length, number):
    random = np.random.RandomState(seed)
    runs = random.randint(0, number, random.randint(0, 50)).astype(np.uint8 if number == 256 else np.uint16)
    values = np.repeat(runs, random.randint(1, run_length + 1, len(runs)))
    found = count_values(values, number)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.bincount(values, minlength=number))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 254), st.integers(0, 2**31 - 1))
def test_counts_add_up_for_any_number_of_classes(classes, seed):
    random = np.random.RandomState(seed)
    values = [*range(min(classes + 1, 255)), 255]
    truth, prediction = random.choice(values, (2, 13, 17)).astype(np.uint8)
    table = joint_table(truth, prediction)
    counts = class_counts(table, classes, CONVENTIONS["drop"], "truth", "prediction")
    assert table.sum() == truth.size
    assert counts.shape == (classes + 1, classes + 2)
    assert counts.sum() == (truth != 255).sum()
    assert counts[:, -1].sum() == ((truth != 255) & (prediction == 255)).sum()


def test_subset_of_classes(random_masks, write_masks):
    truths, predictions = random_masks(5, seed=3)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    scores = score_masks(*folders, list(truths), VOC_CLASSES, evaluated_classes=(0, 1, 20))
    left_out = {k: np.where(np.isin(truth, (0, 1, 20)), truth, 255) for k, truth in truths.items()}
    expected = _slow_scores(left_out, predictions, 20, "drop")
    np.testing.assert_allclose(scores.iou[[0, 1, 20]], expected[[0, 1, 20]], atol=1e-12)
    assert np.isnan(np.delete(scores.iou, [0, 1, 20])).all()
    assert scores.miou == pytest.approx(expected[[0, 1, 20]].mean())
    assert scores.as_dict()["evaluated_classes"] == [0, 1, 20]
    for k, value in scores.per_image.items():
        alone = _slow_scores({0: left_out[k]}, {0: predictions[k]}, 20, "drop")[[0, 1, 20]]
        assert value == pytest.approx(np.nanmean(alone), abs=1e-6)
    with pytest.raises(InputError, match="0 to 20"):
        score_masks(*folders, list(truths), VOC_CLASSES, evaluated_classes=(0, 21))


def test_boundary_of_a_perfect_prediction_is_one(random_masks):
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 20:60], truth[18:20, 18:62] = 5, 255
    intersection, union = boundary_counts(
        truth, np.where(truth == 255, 9, truth).astype(np.uint8), 20, "drop"
    )
    np.testing.assert_array_equal(intersection, union)
    # Width: 2 % of the diagonal 100 = 2 pixels, so the frame of a 20 x 40 rectangle without its 16 x 36 core.
    assert intersection[5] == 20 * 40 - 16 * 36


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(POLICIES))
def test_boundary_equals_the_definition(seed, policy):
    """Class by class: a band is the region without its erosion, on maps from which ignored pixels were taken."""
    random = np.random.RandomState(seed)
    height, width = random.randint(1, 70, 2)
    grown = np.ones((9, 9), np.uint8)
    truth, prediction = (
        cv2.dilate(random.choice([0, 0, 0, 0, 1, 3, 255], (height, width)).astype(np.uint8), grown)
        for _ in range(2)
    )
    found = boundary_counts(truth, prediction, 3, policy)
    if policy == "background":
        prediction = np.where(prediction == 255, 0, prediction)
    ignored = (truth == 255) | ((prediction == 255) & (policy == "drop"))
    reach = max(1, round(0.02 * (height**2 + width**2) ** 0.5))
    for number in range(4):
        bands = []
        for labels in (truth, prediction):
            region = np.pad((labels == number) & ~ignored, reach)
            inner = np.lib.stride_tricks.sliding_window_view(region, (2 * reach + 1,) * 2).all((2, 3))
            bands.append(region[reach:-reach, reach:-reach] & ~inner)
        assert found[0, number] == (bands[0] & bands[1]).sum()
        assert found[1, number] == (bands[0] | bands[1]).sum()


def test_boundary_of_a_shifted_square():
    truth, prediction = np.zeros((2, 50, 50), np.uint8)
    truth[10:30, 10:30], prediction[10:30, 14:34] = 1, 1
    intersection, union = boundary_counts(truth, prediction, 1, "drop")
    # Bands of 1 pixel (2 % of 70.7 = 1.4): two frames of 76 pixels which share 16 pixels above and 16 below.
    assert (intersection[1], union[1]) == (32, 120)


def test_boundary_treats_255_by_policy():
    truth = np.zeros((50, 50), np.uint8)
    truth[10:30, 10:30] = 1
    prediction = truth.copy()
    prediction[:, 20:] = 255
    drop, background, error = (boundary_counts(truth, prediction, 1, policy)[:, 1] for policy in POLICIES)
    assert drop[0] == drop[1]
    assert background[0] < background[1]
    np.testing.assert_array_equal(background, error)


def test_boundary_leaves_out_what_the_convention_leaves_out(write_masks):
    truth = np.zeros((50, 50))
    truth[10:30, 10:30] = 1
    predicted = np.where(np.arange(50) < 20, truth, 40)
    truths = write_masks("truth", {"a": truth})
    folders = [
        write_masks(f"predictions{value}", {"a": np.where(predicted == 40, value, predicted)})
        for value in (40, 255)
    ]
    dropped, undefined = (score_masks(folder, truths, ["a"], VOC_CLASSES, "icd") for folder in folders)
    np.testing.assert_array_equal(dropped.counts, undefined.counts)
    np.testing.assert_array_equal(dropped.boundary, undefined.boundary)


@pytest.mark.parametrize("name", ["vwe", "deeplab", "drs"])
def test_255_is_refused_where_the_original_breaks(write_masks, name):
    truth = write_masks("truth", {"a": np.zeros((4, 4))})
    predictions = write_masks("predictions", {"a": np.full((4, 4), 255)})
    with pytest.raises(InputError, match=rf"a\.png.*16 pixels of 255.*{name} breaks"):
        score_masks(predictions, truth, ["a"], VOC_CLASSES, name)


def test_missing_predictions_are_listed(write_masks):
    truth = write_masks("truth", {k: np.zeros((4, 4)) for k in "abc"})
    predictions = write_masks("predictions", {"b": np.zeros((4, 4))})
    scores = score_masks(predictions, truth, list("abc"), VOC_CLASSES)
    assert (scores.images, scores.missing) == (1, ("a", "c"))
    assert scores.as_dict()["missing"] == ["a", "c"]
    with pytest.raises(InputError, match="none of the 2 ids"):
        score_masks(predictions, truth, ["x", "y"], VOC_CLASSES)


def test_faults_are_named(write_masks, tmp_path):
    from PIL import Image

    good = np.zeros((4, 6))
    truth = write_masks("truth", dict.fromkeys("abcdef", good))
    predictions = write_masks("predictions", dict.fromkeys("abcdefg", good))
    noise = np.random.RandomState(0).randint(0, 21, (40, 60)).astype(np.uint8)
    write_mask(truth / "a.png", noise)
    write_mask(predictions / "a.png", noise)
    (predictions / "a.png").write_bytes((predictions / "a.png").read_bytes()[:-300])
    Image.new("RGB", (6, 4)).save(predictions / "b.png")
    write_mask(predictions / "c.png", np.full((4, 6), 21, np.uint8))
    (predictions / "d.PNG").write_bytes((predictions / "d.png").read_bytes())
    write_mask(predictions / "e.png", np.zeros((6, 4), np.uint8))
    write_mask(truth / "f.png", np.full((4, 6), 77, np.uint8))
    expected = {
        "a": r"a\.png.*damaged",
        "b": r"b\.png.*mode RGB",
        "c": r"c\.png.*0\.\.20 and 255; found the value 21",
        "d": "one mask for d",
        "e": r"e\.png: expected 4 x 6 .* found 6 x 4",
        "f": r"truth/f\.png.*the value 77",
        "g": r"truth: expected a mask <id>\.png for each of 1 ids; found 1 missing, such as g",
    }
    for image_id, message in expected.items():
        with pytest.raises(InputError, match=message):
            score_masks(predictions, truth, [image_id], VOC_CLASSES)
    with pytest.raises(InputError, match="folder of masks"):
        score_masks(tmp_path / "nowhere", truth, ["a"], VOC_CLASSES)
    with pytest.raises(InputError, match="drop, background"):
        score_masks(predictions, truth, ["a"], VOC_CLASSES, "strict")


def test_as_dict_is_json_without_nan(write_masks):
    truth = write_masks("truth", {"a": np.zeros((4, 4))})
    scores = score_masks(truth, truth, ["a"], VOC_CLASSES)
    content = json.loads(json.dumps(scores.as_dict(per_image=True), allow_nan=False))
    assert content["classes"][3]["iou"] is None
    assert content["miou"] == 1 and content["per_image"] == {"a": 1.0}
    assert isinstance(scores, Scores)
