"""The chains that go through refiners and segmentation networks, whole, on the tiny data set with networks from nothing."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from runs import CLASSES, execute, make_data

from icd.files import read_label_stack, read_mask
from icd.stages.chain import chain_names

ICD = [sys.executable, "-m", "icd.cli.main"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("long"))


def flags(data, out, *more):
    places = ["--images", data / "JPEGImages", "--tags", data / "Annotations", "--list", data / "list.txt", "--classes",
              data / "classes.txt", "--truth", data / "truth", "--saliency", data / "saliency", "--val-list",
              data / "list.txt", "--masks", data / "truth", "--out", out]  # fmt: skip
    short = ["--backbone", "small", "--recipe", "embedded", "--gpus", "", "--workers", "0", "--num-epoch", "1",
             "--batch-size", "2"]  # fmt: skip
    return [*map(str, places), *short, *more]


def run(chain, data, out, *more):
    result = execute([*ICD, "run", chain, *flags(data, out, *more)], data)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chain", "stacks"), [("irn", "walk/stacks"), ("ppc", "walk/stacks"), ("ppc_eps", None)]
)
def test_a_chain_runs_to_val(data, tmp_path, chain, stacks):
    out = tmp_path / "out"
    run(chain, data, out)
    for image_id in ("picture0", "picture5"):
        for folder in ("masks", "crf"):
            mask = read_mask(out / f"val/{folder}/{image_id}.png", (72, 80))
            assert set(np.unique(mask)) <= {0, *range(1, len(CLASSES) + 1)}
        if stacks:
            stack = read_label_stack(out / f"{stacks}/{image_id}.npz", len(CLASSES), (72, 80))
            assert stack.labels[0] == 0
    scores = json.loads((out / "val_scores.json").read_text())
    assert [entry["name"] for entry in scores] == ["val nocrf", "val crf"]
    assert not list((out / "val/logits").glob("*.npz"))  # the masks are there
    again = execute([*ICD, "plan", chain, *flags(data, out)], data)
    undone = [line for line in again.stdout.splitlines() if " of 8" in line and "8 of 8" not in line]
    assert not undone, again.stdout


@pytest.mark.slow
def test_masks_of_any_origin_train_a_network(data, tmp_path):
    result = run("segment", data, tmp_path / "out", "--network", "largefov")
    assert "VAL" in result.stdout
    for entry in json.loads((tmp_path / "out/scores.json").read_text()):
        assert entry["extra_supervision"] == ["given masks"]
    facts = json.loads((tmp_path / "out/stage.json").read_text())["facts"]
    assert facts["trainable"] == "largefov" and facts["mask"]["foreign"] == str((data / "truth").resolve())


@pytest.mark.parametrize("chain", chain_names())
def test_every_chain_has_a_plan(data, tmp_path, chain):
    result = execute([*ICD, "plan", chain, *flags(data, tmp_path / "out")], data)
    assert result.returncode == 0, result.stderr
    assert "About" in result.stdout and not (tmp_path / "out").exists()
    for line in result.stdout.splitlines():
        stage = line.split()[0] if line.strip() else ""
        if stage.endswith("_score"):
            assert f"{stage}s.json" in line
