"""The threshold curve against masks that are made and scored one threshold at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from icd.errors import InputError
from icd.evaluate import score_masks, tally, threshold_curve
from icd.evaluate.curve import threshold_of_policy
from icd.files import ScoreMaps, write_score_maps
from icd.grid import maps_on_image, positive_share, shares_on_image
from icd.refine.seeds import cam_seed


@pytest.fixture
def grids(tmp_path, random_masks, write_masks):
    """Truths and score maps at a network's stride, in a padded frame; some scores hit a threshold exactly."""
    random = np.random.RandomState(1)
    truths, _ = random_masks(7, seed=2, classes=4)
    folder, maps = tmp_path / "maps", {}
    for k, truth in truths.items():
        present = np.sort(random.choice(np.arange(1, 5), random.randint(0, 4), replace=False)).astype(
            np.int16
        )
        grid = np.round(random.rand(len(present), 9, 9), 1).astype(np.float32)
        maps[k] = ScoreMaps(present, grid, truth.shape, (64, 64, *truth.shape))
        write_score_maps(folder / f"{k}.npz", maps[k])
    return folder, write_masks("truth", truths), maps


def test_equals_scoring_each_threshold(grids, write_masks, monkeypatch):
    monkeypatch.setattr(tally, "CHUNK", 1)
    folder, truth, maps = grids
    names = ("a", "b", "c", "d")
    levels = (0.0, 0.1, 0.3, 0.5, 0.95)
    curve = threshold_curve(folder, truth, list(maps), levels, classes=names, evaluated_classes=(0, 2, 4))
    for place, level in enumerate(levels):
        masks = {}
        for k, scores in maps.items():
            background = np.full((1, *scores.size), level, np.float32)
            winner = np.concatenate([background, maps_on_image(scores)]).argmax(0)
            masks[k] = np.array([0, *scores.classes])[winner]
        predictions = write_masks(f"masks{place}", masks)
        expected = score_masks(predictions, truth, list(maps), names, evaluated_classes=(0, 2, 4))
        np.testing.assert_allclose(curve.iou[place], expected.iou, atol=1e-12)
        assert curve.miou[place] == pytest.approx(expected.miou)
    two = threshold_curve(
        folder, truth, list(maps), levels, classes=names, evaluated_classes=(0, 2, 4), workers=2
    )
    np.testing.assert_array_equal(two.counts, curve.counts)


def test_fixed_and_best_stand_side_by_side(grids):
    folder, truth, maps = grids
    curve = threshold_curve(folder, truth, [*maps, "absent"], (0.1, 0.2, 0.3), classes="abcd")
    content = curve.as_dict(fixed=0.2)
    assert content["fixed"]["threshold"] == 0.2
    assert content["fixed"]["miou"] <= content["best"]["miou"] == max(content["miou"])
    assert content["best"]["chosen_with"] == "the truth it is scored on"
    assert content["missing"] == ["absent"]
    with pytest.raises(InputError, match="fixed threshold"):
        curve.as_dict(fixed=0.25)


def test_faults_are_named(grids):
    folder, truth, maps = grids
    ids = [k for k, scores in maps.items() if len(scores.classes)]
    with pytest.raises(InputError, match="ascending"):
        threshold_curve(folder, truth, ids, (0.2, 0.1))
    with pytest.raises(InputError, match="none of the 1 ids"):
        threshold_curve(folder, truth, ["absent"])
    with pytest.raises(InputError, match=r"class numbers from 1 to \d; found class"):
        threshold_curve(folder, truth, ids, classes=("a",), policy="eps")
    first = maps[ids[0]]
    broken = ScoreMaps(first.classes, np.full_like(first.maps, np.nan), first.size, first.frame)
    write_score_maps(folder / f"{ids[0]}.npz", broken)
    with pytest.raises(InputError, match="NaN"):
        threshold_curve(folder, truth, ids, classes="abcd")
    other = ScoreMaps(first.classes, first.maps, (5, 5), (5, 5, 5, 5))
    write_score_maps(folder / f"{ids[0]}.npz", other)
    with pytest.raises(InputError, match=r"found score maps for 5 x 5"):
        threshold_curve(folder, truth, ids, classes="abcd")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("cam", (0.25, True)), ("icd", (0.0, True)), ("drs", (0.3, False)), ("other", (0.2, True))],
)
def test_threshold_of_the_runs_own_seeds(kind, expected):
    policy = "cam: fixed 0.25 of the maximum; icd: none; drs: fixed 0.3, and the saliency where it is used"
    assert threshold_of_policy(policy, kind) == expected
    assert threshold_of_policy("fixed 0.3 of the maximum", kind) == (0.3, True)
    assert threshold_of_policy("fixed 0.26 of the range", kind) == (0.26, True)
    assert threshold_of_policy("fixed 1e-05 of the maximum", kind) == (1e-5, True)
    assert threshold_of_policy("", kind) == (0.2, True)


def test_maps_that_are_stretched_over_their_range(grids, write_masks):
    """SEAM's: the curve's masks are those of the seeds, which read the maps' own rule."""
    folder, truth, maps = grids
    ranged = {k: dataclasses.replace(scores, normalization="range") for k, scores in maps.items()}
    for k, scores in ranged.items():
        write_score_maps(folder / f"{k}.npz", scores)
    curve = threshold_curve(folder, truth, list(maps), (0.26,), classes="abcd", normalize=True)
    seeds = {k: cam_seed(scores, threshold=0.26) for k, scores in ranged.items()}
    assert any((shares_on_image(s) != positive_share(maps_on_image(s))).any() for s in ranged.values())
    expected = score_masks(write_masks("seeds", seeds), truth, list(maps), "abcd")
    np.testing.assert_allclose(curve.iou[0], expected.iou, atol=1e-12)
