"""What makes a score doubtful is counted and said; what is in order says nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icd.classes import VOC_CLASSES
from icd.evaluate import score_masks
from icd.evaluate.show import scores_text

SQUARE = np.zeros((20, 20), np.uint8)
SQUARE[5:15, 5:15] = 1


def _scores(write_masks, truths, predictions):
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    return score_masks(*folders, list(truths), VOC_CLASSES)


def test_what_is_in_order_says_nothing(write_masks):
    scores = _scores(write_masks, {"a": SQUARE}, {"a": SQUARE})
    assert scores.findings.sentences() == [] and scores.as_dict()["ignored_truth"] == 0
    assert "WARNING" not in scores_text(scores)


def test_an_object_written_as_255_is_said(write_masks):
    truths = {"a": SQUARE * 255, "b": SQUARE, "c": np.where(SQUARE, 1, 255)}
    scores = _scores(write_masks, truths, dict.fromkeys(truths, SQUARE))
    assert scores.findings.truths_without_object == 1
    assert scores.as_dict()["ignored_truth"] == (100 + 300) / 1200
    text = scores_text(scores)
    assert "WARNING 1 of 3 truths have ignored pixels (255) and no object" in text
    assert "33.33 % of the truth's pixels are 255 and not scored" in text


def test_empty_predictions_are_counted(write_masks):
    truths = {**dict.fromkeys("abc", SQUARE), "d": 0 * SQUARE}
    predictions = {"a": SQUARE, "b": 0 * SQUARE, "c": SQUARE * 255, "d": 0 * SQUARE}
    scores = _scores(write_masks, truths, predictions)
    assert (scores.findings.empty, scores.findings.empty_for_objects) == (3, 2)
    assert "3 of 4 predictions are empty" in scores_text(scores)


def test_a_palette_of_other_classes_is_said_once(tmp_path, write_masks):
    folder = write_masks("predictions", {"a": SQUARE, "b": SQUARE})
    (tmp_path / "coloured").mkdir()
    for name in "ab":
        image = Image.fromarray(SQUARE)
        image.putpalette([0, 0, 0, 192, 128, 128])
        image.save(tmp_path / "coloured" / f"{name}.png")
    scores = score_masks(folder, tmp_path / "coloured", ["a", "b"], VOC_CLASSES)
    assert scores.miou == 1
    [sentence] = scores.findings.sentences()
    assert "WARNING 2 truths paint the value 1 in the colour that VOC gives to 15 (person)" in sentence
