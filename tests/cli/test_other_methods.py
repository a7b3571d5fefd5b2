"""Runs of the methods beside ICD: with saliency, in two steps, with the epoch chosen by the truth, from other tags."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from runs import CLASSES, assert_same_weights, command, execute, make_data, weights_of

from icd.files import read_mask, read_score_maps

SHORT = ["--set", "shortest=60", "--set", "longest=90", "--set", "infer_scales=[0.5,1.0]"]
SQUARE = ["--use-sal", "--set", "infer_sides=[49,65]", "--set", "classifier.infer_sides=[49,65]",
          "--set", "classifier.image_size=65", "--set", "classifier.resized=80", "--set", "classifier.batch_size=4",
          "--set", "classifier.num_epoch=1", "--set", "classifier.learning_rate=0.001"]  # fmt: skip


def run(method, data, snapshot, *more):
    """`icd run METHOD` on the tiny data set."""
    program, _, *flags = command(data, snapshot, *more)
    return execute([program, "-m", "icd.cli.main", "run", method, *flags], data)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("method", ["eps", "eps_cam"])
def test_eps_from_tags_to_masks(data, tmp_path, method):
    result = run(method, data, tmp_path / "run", *SHORT, "--map-type", "float16")
    assert result.returncode == 0, result.stderr
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["extra_supervision"] == (["saliency"] if method == "eps" else [])
    kind = {"eps": "eps", "eps_cam": "cam"}[method]
    scores = read_score_maps(tmp_path / f"run/results/scores_{kind}/picture0.npz")
    assert [grid.shape for grid in scores.grids] == [(1, 5, 5), (1, 9, 10)]
    assert {grid.dtype for grid in scores.grids} == {np.dtype("float16")}
    assert scores.size == (72, 80) and scores.frame == (72, 80, 72, 80)
    mask = read_mask(tmp_path / "run/results/seeds/nocrf/picture0.png", (72, 80))
    assert set(np.unique(mask)) <= {0, 1}
    assert f"\n{kind.upper()}  " in result.stdout


def test_eps_without_saliency_says_what_is_missing(data, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("eps", data, tmp_path / "run", *SHORT, "--saliency-root", str(tmp_path / "empty"))
    assert result.returncode == 2 and "saliency map" in result.stderr and "picture0.png" in result.stderr
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_drs_trains_both_networks_and_resumes_between_them(data, tmp_path):
    whole = run("drs", data, tmp_path / "whole", *SQUARE)
    assert whole.returncode == 0, whole.stderr
    first = tmp_path / "whole/classifier"
    maps = read_score_maps(first / "results/scores_cam/picture0.npz")
    assert maps.maps.dtype == np.uint8 and maps.maps.shape == (1, 65, 65)
    refined = read_score_maps(tmp_path / "whole/results/scores_drs/picture0.npz")
    assert [grid.shape[0] for grid in refined.grids] == [1, 1] and refined.fusion == "max"
    values = np.unique(read_mask(tmp_path / "whole/results/seeds/sal/picture0.png"))
    assert set(values) <= {0, 1, 255}
    # A first call that ends after step 1, and one that goes on.
    begun = run("drs", data, tmp_path / "parts", *SQUARE, "--until", "classifier")
    assert begun.returncode == 0, begun.stderr
    rest = run("drs", data, tmp_path / "parts", "--resume", *SQUARE)
    assert rest.returncode == 0, rest.stderr
    assert_same_weights(
        weights_of(tmp_path / "whole", "small_drs"), weights_of(tmp_path / "parts", "small_drs")
    )


def test_drs_needs_one_side_for_both_steps(data, tmp_path):
    result = run("drs", data, tmp_path / "run", *SQUARE, "--set", "train.image_size=97")
    assert result.returncode == 2 and "--set classifier.image_size" in result.stderr
    assert not (tmp_path / "run").exists()


def test_epoch_chosen_by_the_truth(data, tmp_path):
    result = run("eps", data, tmp_path / "run", *SHORT, "--choose-epoch", "best")
    assert result.returncode == 0, result.stderr
    epochs = json.loads((tmp_path / "run/epochs.json").read_text())
    assert [entry["epoch"] for entry in epochs] == [0, 1, 2]
    best = max(epochs, key=lambda entry: (entry["miou"], -entry["epoch"]))["epoch"]
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["epoch"] == f"best on the truth ({best})"
    assert facts["extra_supervision"] == ["saliency", "masks for choosing the epoch"]
    from icd.compat import mx

    chosen = mx.nd.load(str(tmp_path / f"run/small_eps-{best:04d}.params"))
    kept = mx.nd.load(str(tmp_path / f"run/checkpoints/epoch-{best:04d}/weights.params"))
    for name in kept:
        np.testing.assert_array_equal(chosen[name].asnumpy(), kept[name].asnumpy())
    # Killed before the last epoch was scored: the rest of it is made up for.
    (tmp_path / "run/epochs.json").write_text(json.dumps(epochs[:2]))
    shutil.rmtree(tmp_path / "run/results")
    again = run("eps", data, tmp_path / "run", *SHORT, "--choose-epoch", "best", "--resume")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run/epochs.json").read_text()) == epochs
    assert len(CLASSES) == 2 and not list((tmp_path / "run").glob(".scored-*"))
