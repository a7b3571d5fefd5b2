"""Several runs in one table."""

from __future__ import annotations

import pytest

from icd.errors import InputError
from icd.evaluate.compare import compare_runs
from icd.evaluate.show import comparison_text
from icd.files import write_json
from icd.provenance import write_run


@pytest.fixture
def runs(tmp_path):
    ids = tmp_path / "train.txt"
    ids.write_text("a\nb\n")
    for seed, miou in enumerate((0.5, 0.6, 0.7)):
        folder = tmp_path / f"seed{seed}"
        write_run(folder, method="icd", backbone="vgg16", seed=seed, data_list=ids, threshold_policy="none")
        entry = {
            "name": "icd crf",
            "miou": miou,
            "coverage": 1.0,
            "classes": [],
            "convention": "drop",
            "images": 2,
        }
        write_json(folder / "scores.json", [{**entry, "evaluated_classes": [0, 1], "missing": []}])
    return [tmp_path / f"seed{seed}" for seed in range(3)]


def test_mean_and_spread_of_repeated_runs(runs):
    comparison = compare_runs(runs)
    (group,) = comparison.groups
    assert (group["runs"], group["lowest"], group["highest"]) == (3, 0.5, 0.7)
    assert group["mean"] == pytest.approx(0.6) and group["spread"] == pytest.approx(0.1)
    assert comparison.warnings == []
    assert [row["seed"] for row in comparison.rows] == [0, 1, 2]
    text = comparison_text(comparison, markdown=True)
    assert "| icd    | vgg16    | icd crf |    3 |     60.00 |  10.00 |  50.00 |   70.00 |" in text


def test_differing_conditions_are_warned_of(runs, tmp_path):
    other = tmp_path / "val.txt"
    other.write_text("c\n")
    write_run(
        runs[2], method="icd", backbone="vgg16", seed=2, data_list=other, extra_supervision=["saliency"]
    )
    entry = {
        "name": "icd crf",
        "miou": None,
        "coverage": 0.9,
        "classes": [],
        "convention": "error",
        "missing": ["c"],
    }
    write_json(runs[2] / "scores.json", [entry])
    comparison = compare_runs(runs)
    text = "\n".join(comparison.warnings)
    assert "data list differs: train.txt" in text and "extra supervision differs: none; saliency" in text
    assert "convention differs: drop; error" in text and "1 predictions are missing" in text
    assert comparison.groups[0]["runs"] == 2


def test_saliency_in_some_seeds_of_every_run_is_no_difference(runs):
    scores = [
        {"name": f"icd {variant}", "variant": variant, "miou": 0.5, "classes": []}
        for variant in ("crf", "sal")
    ]
    for folder in runs[:2]:
        write_run(folder, extra_supervision=["saliency"], training_supervision=[])
        write_json(folder / "scores.json", scores)
    comparison = compare_runs(runs[:2])
    assert [row["extra supervision"] for row in comparison.rows] == ["none", "saliency"] * 2
    assert comparison.warnings == []
    write_json(runs[1] / "scores.json", scores[:1])
    assert compare_runs(runs[:2]).warnings == ["extra supervision differs: none; none and saliency"]


def test_runs_of_another_recipe_are_no_repetition(runs, tmp_path):
    facts = {
        "method": "icd",
        "backbone": "vgg16",
        "data_list": tmp_path / "train.txt",
        "threshold_policy": "none",
    }
    for folder, epochs in zip(runs, (20, 20, 40)):
        write_run(folder, **facts, recipe={"num_epoch": epochs, "image_size": 321})
    comparison = compare_runs(runs)
    assert [group["runs"] for group in comparison.groups] == [2]
    assert comparison.warnings == ["num_epoch differs: 20; 40"]


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match=r"scores\.json.*nothing there"):
        compare_runs([tmp_path])
    write_json(tmp_path / "scores.json", {"miou": 1})
    with pytest.raises(InputError, match="list of scores"):
        compare_runs([tmp_path])
