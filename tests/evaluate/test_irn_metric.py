"""IRN's metric against its specification's formulas (irn 6), pixel by pixel: there are no arrays of the original."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from icd.classes import VOC_CLASSES
from icd.evaluate import score_masks, threshold_curve
from icd.evaluate.show import scores_text
from icd.foreign.numpy_files import write_npy

NAMES = VOC_CLASSES[:5]


def _formulas(truths, predictions) -> dict:
    """IoU, nan-mean, and the two error ratios of every class, from single pixels."""
    true, predicted, both = Counter(), Counter(), Counter()
    for k in truths:
        for t, p in zip(truths[k].ravel().tolist(), predictions[k].ravel().tolist()):
            if t == 255:
                continue
            p = 0 if p == 255 else p
            true[t] += 1
            predicted[p] += 1
            both[t] += t == p
    union = {c: true[c] + predicted[c] - both[c] for c in range(6) if true[c] + predicted[c]}
    return {
        "iou": {c: both[c] / union[c] for c in union},
        "positive": {c: 1 - true[c] / union[c] for c in union},
        "negative": {c: 1 - predicted[c] / union[c] for c in union},
    }


def _foreground_mean(ratios) -> float:
    return np.mean([value for c, value in ratios.items() if c])


def test_pseudo_labels(random_masks, write_masks):
    truths, predictions = random_masks(6, seed=4, classes=4)  # class 5 is in neither: not judged
    expected = _formulas(truths, predictions)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    scores = score_masks(*folders, list(truths), NAMES, "irn")
    assert {c: iou for c, iou in enumerate(scores.iou) if iou == iou} == pytest.approx(
        expected["iou"], abs=1e-12
    )
    assert scores.miou == pytest.approx(np.mean(list(expected["iou"].values())), abs=1e-12)
    text = scores_text(scores)
    for kind, short in (("positive", "truth"), ("negative", "prediction")):
        ratios = expected[kind]
        line = f"{100 * ratios[0]:6.2f} %  false {kind}s (1 - {short} / union), background"
        assert line in text
        line = f"{100 * _foreground_mean(ratios):6.2f} %  false {kind}s (1 - {short} / union), mean of the foreground"
        assert line in text


def test_score_maps_at_its_threshold(random_masks, write_masks, tmp_path):
    random, (truths, _) = np.random.RandomState(0), random_masks(6, seed=4, classes=4)
    masks = {}
    for k, truth in truths.items():
        keys = np.sort(random.choice(5, random.randint(1, 4), replace=False))
        planes = (random.rand(len(keys), *truth.shape) ** 4).astype(np.float32)
        write_npy(
            tmp_path / "maps" / f"{k}.npy", {"keys": keys, "cam": planes[:, ::4, ::4], "high_res": planes}
        )
        background = np.full((1, *truth.shape), 0.15, np.float32)
        masks[k] = np.array([0, *(keys + 1)])[np.concatenate([background, planes]).argmax(0)]
    curve = threshold_curve(
        tmp_path / "maps", write_masks("truth", truths), list(truths), classes=NAMES, policy="irn"
    )
    place, expected = curve.position(0.15), _formulas(truths, masks)["iou"]
    assert {c: iou for c, iou in enumerate(curve.iou[place]) if iou == iou} == pytest.approx(
        expected, abs=1e-12
    )
    assert curve.miou[place] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
