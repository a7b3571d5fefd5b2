"""Chains from the command line: what is done, left, taken, made anew and refused. What once went wrong stays right, by kind."""

from __future__ import annotations

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
from runs import command, execute, make_data

from icd.files import read_mask
from icd.stages import record
from icd.stages.chain import chain_names, read_chain

ICD = [sys.executable, "-m", "icd.cli.main"]
SHORT_DRS = ["--set", "infer_sides=[49,65]", "--set", "classifier.resized=80", "--set", "decay_epochs=[9]"]


def icd(data, out, *more, chain="icd", verb="run"):
    """`icd VERB CHAIN` on the tiny data set, with superpixels below the run folder."""
    _, _, *flags = command(data, out, *more)
    place = flags.index("--superpixel-root")
    return execute([*ICD, verb, chain, *flags[:place], *flags[place + 2 :]], data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    data = make_data(tmp_path_factory.mktemp("chains") / "data")
    result = icd(data, data / "out")
    assert result.returncode == 0, result.stderr
    return data


def one_line(result, *words):
    """A refusal: exit status 2, one line, no traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert result.returncode == 2 and len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]


def test_two_collections_with_the_same_ids_share_nothing(finished, tmp_path):
    """Superpixels once lay in the working directory, and the second collection took the first one's."""
    other = make_data(tmp_path / "other", size=72)
    for path in (other / "JPEGImages").iterdir():
        image = cv2.imread(str(path))
        cv2.imwrite(str(path), np.ascontiguousarray(image[:, ::-1]))
    _, _, *flags = command(other, tmp_path / "out")
    place = flags.index("--superpixel-root")
    result = execute([*ICD, "run", "icd", *flags[:place], *flags[place + 2 :]], finished)
    assert result.returncode == 0, result.stderr
    for image_id in ("picture0", "picture3"):
        first, second = (
            cv2.imread(str(folder / f"superpixels/{image_id}.png"))
            for folder in (finished / "out", tmp_path / "out")
        )
        assert (first != second).any()
    # In one folder, named on purpose, the second is refused.
    shared = ["--superpixels", str(finished / "out/superpixels")]
    one_line(
        execute([*ICD, "run", "icd", *flags, *shared, "--out", str(tmp_path / "third")], finished),
        "superpixels",
        "picture0",
    )


def changed_photograph(data):
    shutil.copy(data / "JPEGImages/picture1.jpg", data / "JPEGImages/picture0.jpg")


def changed_tags(data):
    shutil.copy(data / "Annotations/picture1.xml", data / "Annotations/picture0.xml")


@pytest.mark.parametrize("change", [changed_photograph, changed_tags])
def test_going_on_with_other_data_is_refused(finished, tmp_path, change):
    data = shutil.copytree(finished, tmp_path / "data")
    before = {
        path: path.read_bytes() for path in (data / "out").rglob("*") if path.suffix in (".png", ".json")
    }
    change(data)
    one_line(icd(data, data / "out", "--resume"), "picture0", "--redo")
    assert {path: path.read_bytes() for path in before} == before


def test_unknown_tags_are_found_before_anything_is_computed(tmp_path):
    data = make_data(tmp_path / "data", count=4)
    (data / "Annotations/picture2.xml").write_text(
        "<annotation><object><name>disc</name></object><object><name>unicorn</name></object></annotation>"
    )
    one_line(icd(data, data / "out"), "unicorn", "--ignore-unknown-tags")
    assert not (data / "out/superpixels").exists() and not (data / "out/checkpoints").exists()
    result = icd(data, data / "out", "--ignore-unknown-tags", "--until", "superpixels")
    assert result.returncode == 0 and "1 tag of 1 unknown class" in result.stdout, (
        result.stdout + result.stderr
    )


def test_flags_reach_every_training_and_say_so(finished, tmp_path):
    flags = [
        "--num-epoch",
        "1",
        *SHORT_DRS,
        "--set",
        "classifier.learning_rate=0.002",
        "--until",
        "classifier",
    ]
    result = icd(finished, tmp_path / "out", *flags, chain="drs")
    assert result.returncode == 0, result.stderr
    assert "num_epoch = 1: for classifier, train" in result.stdout
    recipe = json.loads((tmp_path / "out/classifier/stage.json").read_text())["facts"]["recipe"]
    assert (recipe["num_epoch"], recipe["image_size"], recipe["learning_rate"]) == (1, 65, 0.002)


def test_train_alone_then_shards_then_scores(finished, tmp_path):
    out = tmp_path / "out"
    assert icd(finished, out, "--until", "train").returncode == 0
    assert not (out / "results").exists()
    for shard in ("1/2", "2/2"):
        assert icd(finished, out, "--resume", "--shard", shard).returncode == 0
    result = icd(finished, out, "--resume")
    assert result.returncode == 0 and "ICD  " in result.stdout
    for path in (finished / "out/results/seeds/crf").glob("*.png"):
        np.testing.assert_array_equal(read_mask(path), read_mask(out / "results/seeds/crf" / path.name))


def without_truth(data, out, *more):
    _, _, *flags = command(data, out, *more)
    for name in ("--eval-root", "--superpixel-root"):
        place = flags.index(name)
        flags = [*flags[:place], *flags[place + 2 :]]
    return execute([*ICD, "run", "icd", *flags], data)


def test_without_a_truth_masks_are_made_all_the_same(finished, tmp_path):
    result = without_truth(finished, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    for path in (finished / "out/results/seeds/crf").glob("*.png"):
        np.testing.assert_array_equal(
            read_mask(path), read_mask(tmp_path / "out/results/seeds/crf" / path.name)
        )
    assert not (tmp_path / "out/scores.json").exists() and (tmp_path / "out/report.html").is_file()
    # What cannot be read is found before anything is done, here too.
    data = shutil.copytree(finished, tmp_path / "data")
    photograph = data / "JPEGImages/picture1.jpg"
    photograph.write_bytes(photograph.read_bytes()[:400])
    one_line(without_truth(data, tmp_path / "truncated"), "picture1.jpg")
    one_line(without_truth(data, tmp_path / "truncated", "--image-root", "nowhere"), "nowhere")
    assert not (tmp_path / "truncated").exists()


def test_shards_before_training_say_what_to_do(finished, tmp_path):
    one_line(icd(finished, tmp_path / "out", "--shard", "1/2"), "--until train")


def test_a_longer_training_says_why_not(finished):
    one_line(icd(finished, finished / "out", "--resume", "--num-epoch", "4"), "polynomial", "--redo train")


def test_one_stage_alone_made_anew_and_taken(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    one_line(icd(finished, out, "--resume", "--crf-preset", "psa"), "crf", "--redo masks")
    result = icd(finished, out, "--resume", "--crf-preset", "psa", "--redo", "masks")
    assert result.returncode == 0, result.stderr
    result = icd(
        finished,
        tmp_path / "taken",
        "--take",
        f"maps={out / 'results'}",
        "--only",
        "masks",
        "--only",
        "score",
    )
    assert result.returncode == 0, result.stderr
    mask = "results/seeds/nocrf/picture0.png"
    np.testing.assert_array_equal(read_mask(out / mask), read_mask(tmp_path / "taken" / mask))
    noted = json.loads((tmp_path / "taken/results/scores_icd/stage.json").read_text())["facts"]
    assert noted["foreign"] == str((out / "results/scores_icd").resolve())
    one_line(icd(finished, tmp_path / "none", "--only", "masks"), "stage maps", "--take maps=PATH")


def test_a_stage_that_is_none_is_named(finished, tmp_path):
    for flags in (
        ["--only", "mask"],
        ["--until", "end"],
        ["--redo", "x"],
        ["--take", "y=z"],
        ["--set", "z.k=1"],
    ):
        one_line(icd(finished, tmp_path / "out", *flags), "superpixels, train, maps, masks, score")


def test_two_processes_on_one_folder(finished, tmp_path):
    with record.locked(tmp_path / "out", "train"):
        one_line(icd(finished, tmp_path / "out", chain="cam"), "in use by process", "on host", "since")
    assert not (tmp_path / "out/losses.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--infer-size", "-5"], "--infer-size"),
        (["--seed", "-1"], "--seed"),
        (["--model", "../evil"], "--model"),
        (["--model", "/tmp/evil"], "--model"),
        (["--learning-rate", "nan"], "learning_rate"),
        (["--set", "momentum=2"], "momentum"),
        (["--set", "scales=[0]"], "scales"),
        (["--image-size", "1"], "image_size"),
        (["--set", "learning_rate={"], "--set"),
        (["--set", "masks.colour=red"], "masks.colour"),
        (["--set", "nothing=1"], "nothing"),
        (["--choose-epoch", "first"], "--choose-epoch"),
    ],
)
def test_values_out_of_range_are_found_before_anything_is_done(finished, tmp_path, flags, word):
    result = icd(finished, tmp_path / "out", *flags)
    assert result.returncode == 2 and word in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


def test_ids_that_are_paths_are_refused(finished, tmp_path):
    (tmp_path / "list.txt").write_text("../JPEGImages/picture0\n")
    result = icd(finished, tmp_path / "out", "--list", str(tmp_path / "list.txt"))
    one_line(result, "list.txt")
    assert not (tmp_path / "out").exists()


def test_plans_need_no_data_and_no_weights(tmp_path):
    for chain in ("icd", "drs"):
        result = execute([*ICD, "plan", chain, "--data", "voc"], tmp_path)
        assert result.returncode == 0, result.stderr
        for stage, line in read_chain(chain).items():
            assert (stage in result.stdout.split()) == ("if" not in line)  # there is no val list
    assert not (tmp_path / "snapshot").exists()


def test_a_plan_says_what_is_done(finished):
    result = icd(finished, finished / "out", verb="plan")
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "8 of 8" in rows["maps"] and "8 of 8" in rows["train"] and "results/seeds" in rows["masks"]
    fresh = icd(finished, finished / "fresh", verb="plan")
    assert "0 of 8" in fresh.stdout and not (finished / "fresh").exists()


def test_help_of_a_chain_lists_stages_and_recipes():
    result = execute([*ICD, "run", "drs", "--help"], ".")
    assert result.returncode == 0
    for text in (
        "classifier    train: drs_classifier",
        "extra_channels",
        "published runs: voc",
        "share of the maximum",
    ):
        assert text in result.stdout
    result = execute([*ICD, "run", "--help"], ".")
    assert all(name in result.stdout for name in chain_names())


def test_the_originals_names_of_flags_stay_valid_and_hidden(finished, tmp_path):
    """`finished` was run with them; here ours."""
    flags = ["--images", "JPEGImages", "--tags", "Annotations", "--list", "list.txt", "--truth", "truth", "--classes",
             "classes.txt", "--backbone", "small", "--gpus", ""]  # fmt: skip
    result = execute([*ICD, "plan", "icd", *flags, "--out", str(tmp_path / "out")], finished)
    assert result.returncode == 0 and str(tmp_path / "out/superpixels") in result.stdout
    shown = execute([*ICD, "run", "--help"], ".").stdout
    assert "--images" in shown and "--image-root" not in shown.split("options:")[1]
