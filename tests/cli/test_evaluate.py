"""`icd evaluate`, `icd compare` and `icd export` from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from icd.cli.main import main
from icd.files import ScoreMaps, mask_path, read_score_maps, write_json, write_mask, write_score_maps
from icd.foreign.layouts import read_layout
from icd.foreign.numpy_files import write_npy
from icd.provenance import write_run


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Three masks, their truth, score maps, annotations, and a list; progress notes stay in the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.RandomState(0)
    ids = ["a", "b", "c"]
    for image_id in ids:
        truth = random.choice([0, 8, 12, 255], (20, 24)).astype(np.uint8)
        mask = np.where(random.rand(20, 24) < 0.8, truth, random.choice([0, 255], (20, 24)))
        write_mask(mask_path(tmp_path / "truth", image_id), truth)
        write_mask(mask_path(tmp_path / "run" / "seeds" / "crf", image_id), mask)
        maps = random.rand(2, 65, 65).astype(np.float32)
        scores = ScoreMaps(np.array([8, 12], np.int16), maps, (20, 24), (513, 513, 20, 24))
        write_score_maps(tmp_path / "maps" / f"{image_id}.npz", scores)
        objects = "".join(f"<object><name>{name}</name></object>" for name in ("cat", "dog"))
        (tmp_path / "tags").mkdir(exist_ok=True)
        (tmp_path / "tags" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    write_run(
        tmp_path / "run", backbone="vgg16", extra_supervision=["saliency"], training_supervision=["saliency"]
    )
    return tmp_path


def _evaluate(folders, *more, predictions="run/seeds/crf"):
    truth, ids = str(folders / "truth"), str(folders / "train.txt")
    return main(["evaluate", str(folders / predictions), "--truth", truth, "--list", ids, *map(str, more)])


def test_masks(folders, capsys):
    assert _evaluate(folders, "--json", folders / "out.json", "--per-image") == 0
    text = capsys.readouterr().out
    assert "mIoU (drop: 255 not counted" in text
    assert "as background (background)" in text and "as an error (error)" in text
    content = json.loads((folders / "out.json").read_text())
    assert set(content["per_image"]) == {"a", "b", "c"}
    assert (
        content["about"]["conditions"]["split"] == "train" and content["about"]["conditions"]["crf"] is True
    )
    assert content["about"]["run"]["backbone"] == "vgg16"
    assert not list((folders / "cache").rglob("*.npz"))


def test_the_originals_ways_differ(folders, capsys):
    seen = {}
    for name in ("icd", "eps", "ppc", "irn"):
        assert _evaluate(folders, "--as", name, "--json", folders / f"{name}.json") == 0
        seen[name] = json.loads((folders / f"{name}.json").read_text())["miou"]
    text = capsys.readouterr().out
    assert "false positives (1 - truth / union), background" in text
    assert "false negatives (1 - prediction / union), mean of the foreground" in text
    assert len({round(value, 6) for value in seen.values()}) == 4
    assert _evaluate(folders, "--as", "drs") == 2
    assert "crf/a.png: expected class numbers only; found" in capsys.readouterr().err


def test_predictions_without_an_object_have_no_precision(folders, capsys):
    for image_id in "abc":
        write_mask(mask_path(folders / "black", image_id), np.zeros((20, 24), np.uint8))
    assert _evaluate(folders, predictions="black") == 0
    assert "     -    foreground precision" in capsys.readouterr().out
    assert _evaluate(folders, "--only", "sheep", predictions="black") == 0
    assert "     -    mIoU" in capsys.readouterr().out
    assert _evaluate(folders, "--only", "sheep", "--curve", predictions="maps") == 0
    assert "     -    mIoU at the best" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [(), ("--curve",)])
def test_says_when_the_background_is_not_scored(folders, capsys, flags):
    predictions = "maps" if flags else "run/seeds/crf"
    for only, said in (("cat,dog", True), ("background,cat", False)):
        assert _evaluate(folders, "--only", only, *flags, predictions=predictions) == 0
        text = capsys.readouterr().out
        assert "other classes was left out" in text and ("To score it" in text) == said


def test_missing_predictions_are_listed_and_make_the_status_1(folders, capsys):
    (folders / "run/seeds/crf/b.png").unlink()
    assert _evaluate(folders) == 1
    assert "MISSING: 1 of 3 predictions (b)" in capsys.readouterr().out


def test_published_numbers_beside_ours(folders, capsys):
    assert (
        _evaluate(folders, "--against", "eps-voc12", "--only", "background,cat,12", "--stage", "seeds") == 0
    )
    text = capsys.readouterr().out
    assert "[1] EPS" in text and "WARNING images: 1464 there, 3 here" in text
    assert "the truth of 18 was left out here" in text
    assert "WARNING initial weights: ImageNet (ResNet-38 A1) there, random start here" in text
    assert "not stated of our own" not in text


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("train_aug_id", "train_aug"),
        ("trainaug", "train_aug"),
        ("val_cls", "val"),
        ("mine", None),
    ],
)
def test_the_split_is_told_from_the_lists_name(folders, name, split):
    (folders / "train.txt").rename(folders / f"{name}.txt")
    arguments = [
        "evaluate",
        folders / "run/seeds/crf",
        "--truth",
        folders / "truth",
        "--json",
        folders / "out.json",
    ]
    assert main([*map(str, arguments), "--list", str(folders / f"{name}.txt")]) == 0
    assert json.loads((folders / "out.json").read_text())["about"]["conditions"]["split"] == split


def test_other_classes_are_another_dataset(folders, capsys):
    (folders / "classes.txt").write_text("\n".join(f"class {k}" for k in range(80)))
    more = ("--classes", folders / "classes.txt", "--against", "eps-coco14")
    assert _evaluate(folders, *more) == 0
    assert "our own predictions: dataset, stage (" in capsys.readouterr().out
    assert _evaluate(folders, *more, "--dataset", "coco14", "--stage", "seeds") == 0
    text = capsys.readouterr().out
    assert "our own predictions" not in text and "dataset: " not in text
    assert _evaluate(folders, "--against", "eps-coco14") == 0
    assert "WARNING for all of them: dataset: coco14 there, voc12 here" in capsys.readouterr().out


def test_curve(folders, capsys):
    arguments = ("--curve", "--as", "seam", "--json", folders / "curve.json")
    assert _evaluate(folders, *arguments, predictions="maps") == 0
    text = capsys.readouterr().out
    assert "mIoU at the fixed threshold 0.26" in text and "CHOSEN WITH THE GROUND TRUTH" in text
    assert "IoU at 0.26" in text and "12 dog" in text
    content = json.loads((folders / "curve.json").read_text())
    assert len(content["miou"]) == 60 and content["fixed"]["miou"] <= content["best"]["miou"]


def test_curve_follows_the_run_that_made_the_maps(folders, capsys):
    """Its maps hold logits; the threshold of its seeds is a share of their maximum."""
    write_run(
        folders / "trained",
        threshold_policy="cam: fixed 0.3 of the maximum; drs: fixed 0.4, and the saliency",
    )
    for kind in ("cam", "drs"):
        shutil.copytree(folders / "maps", folders / f"trained/results/scores_{kind}")

    def numbers(name, *more):
        assert _evaluate(folders, "--curve", *more, "--threshold", "0.3", predictions=name) == 0
        return capsys.readouterr().out.split("images")[0]

    assert numbers("trained/results/scores_cam") == numbers("maps", "--normalize") != numbers("maps")
    assert numbers("trained/results/scores_drs") == numbers("maps")
    assert _evaluate(folders, "--curve", predictions="trained/results/scores_drs") == 0
    assert "at the fixed threshold 0.4" in capsys.readouterr().out


def test_curve_over_logits_of_icd(folders, capsys):
    for image_id in "abc":
        scores = read_score_maps(folders / "maps" / f"{image_id}.npz")
        write_npy(folders / "bare" / f"{image_id}.npy", 10 * scores.maps - 5)
    arguments = (
        "--curve",
        "--layout",
        "icd",
        "--tags",
        folders / "tags",
        "--normalize",
        "--thresholds",
        "0:0.9:0.1",
    )
    assert _evaluate(folders, *arguments, predictions="bare") == 0
    assert "best threshold" in capsys.readouterr().out
    for thresholds in ("1:0:1", "0:inf:1", "0:1:0", "0.1"):
        assert _evaluate(folders, "--curve", "--thresholds", thresholds, predictions="bare") == 2
        assert "first:last:step" in capsys.readouterr().err


def test_score_maps_instead_of_masks(folders, capsys):
    assert _evaluate(folders, predictions="maps") == 2
    assert "score maps need --curve" in capsys.readouterr().err


def test_bad_input_is_one_line(folders, capsys):
    for more, message in {
        ("--only", "unicorn"): "unicorn",
        ("--against", "nobody"): "nobody",
        ("--classes", str(folders / "absent")): "absent",
    }.items():
        assert _evaluate(folders, *more) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_lists_of_the_originals(folders, capsys):
    lines = [f"/JPEGImages/{k}.jpg /SegmentationClassAug/{k}.png" for k in "abc"]
    (folders / "train.txt").write_text("\n".join(lines))
    assert _evaluate(folders) == 0
    assert "3 images" in capsys.readouterr().out


def test_export(folders, capsys):
    ids = str(folders / "train.txt")
    source, target = str(folders / "maps"), str(folders / "psa")
    assert main(["export", "maps", source, target, "--list", ids, "--to", "psa"]) == 0
    assert "3 score maps as psa" in capsys.readouterr().out
    assert read_layout(folders / "psa" / "a.npy").size == (20, 24)
    archive = str(folders / "out.tgz")
    assert main(["export", "voc", str(folders / "truth"), archive, "--list", ids]) == 2
    assert "255" in capsys.readouterr().err


def test_compare(folders, capsys):
    entry = {"name": "icd crf", "miou": 0.5, "coverage": 1.0, "classes": []}
    write_json(folders / "run" / "scores.json", [entry])
    assert main(["compare", str(folders / "run"), "--json", str(folders / "c.json")]) == 0
    assert "icd crf  50.00" in capsys.readouterr().out
    assert json.loads((folders / "c.json").read_text())["rows"][0]["backbone"] == "vgg16"


def test_works_without_mxnet(folders):
    code = (
        "import sys; sys.modules['mxnet'] = None\n"
        "from icd.cli.main import main\n"
        f"sys.exit(main(['evaluate', {str(folders / 'truth')!r}, '--truth', {str(folders / 'truth')!r},"
        f" '--list', {str(folders / 'train.txt')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("text", ["0:1e9:1e-3", "nan:1:0.1", "0:inf:1", "0:1:0", "1:0:0.1", "0:1", "a:b:c"])
def test_thresholds_that_are_none_or_too_many(folders, capsys, text):
    assert _evaluate(folders, "--curve", "--thresholds", text) == 2
    assert "error: --thresholds: expected first:last:step" in capsys.readouterr().err


def test_masks_of_others_are_compared(folders, capsys):
    assert _evaluate(folders, "--json", folders / "theirs.json", predictions="truth") == 0
    capsys.readouterr()
    assert main(["compare", str(folders / "theirs.json"), "--markdown"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "theirs.json" in line)
    assert row.count("not stated") == 2 and "none" not in row
    (folders / "other.json").write_text("[1]")
    assert main(["compare", str(folders / "other.json")]) == 2
    assert "other.json: expected a run folder, or scores" in capsys.readouterr().err
