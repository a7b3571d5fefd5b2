"""run_icd.py from a fresh folder: outputs, resume after kill and Ctrl-C, shards, faults."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest
from runs import assert_same_weights, command, environment, execute, make_data, weights_of

from icd.engine.checkpoint import checkpoints
from icd.files import read_mask, read_score_maps


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with data and one finished, uninterrupted run."""
    folder = tmp_path_factory.mktemp("run")
    make_data(folder / "data")
    result = execute(command("data", "whole", "--use-sal"), folder)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_outputs_lie_where_the_original_puts_them(finished):
    folder, result = finished
    whole = folder / "whole"
    ids = (folder / "data/list.txt").read_text().split()
    for image_id in ids:
        for kind in ("cam", "icd"):
            scores = read_score_maps(whole / f"results/scores_{kind}/{image_id}.npz")
            assert scores.size == (72, 80) and scores.maps.shape[1:] == (11, 11)
        for variant in ("nocrf", "crf", "sal"):
            mask = read_mask(whole / f"results/seeds/{variant}/{image_id}.png", (72, 80))
            assert set(np.unique(mask)) <= {0, *scores.classes.tolist(), 255}
    assert (whole / "small_icd-0002.params").is_file()
    strips = sorted(path.name for path in (whole / "small_icd_visdemo").iterdir())
    assert strips == [f"small_icd-{epoch:04d}.jpg" for epoch in range(3)]
    pictures = {path.name for path in (whole / "results/scores_demo").iterdir()}
    assert pictures == {"class_1.jpg", "class_2.jpg"}
    assert re.search(r"ICD +[\d.]+ +[\d.]+ +[\d.]+", result.stdout)
    assert "<html" in (whole / "report.html").read_text()[:500].lower()


def test_log_and_provenance(finished):
    folder, _ = finished
    lines = [json.loads(line) for line in (folder / "whole/losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines][-1] == 12
    assert {"cam", "bottom_up", "top_down", "learning_rate"} <= lines[0].keys()
    run = json.loads((folder / "whole/run.json").read_text())
    assert run["seed"] == 0 and run["extra_supervision"] == ["saliency"]
    for entry in json.loads((folder / "whole/scores.json").read_text()):
        assert entry["extra_supervision"] == (["saliency"] if entry["variant"] == "sal" else [])
    assert run["recipe"]["num_epoch"] == 3


@pytest.mark.slow
def test_killed_and_resumed_run_has_the_same_weights(finished):
    folder, _ = finished
    expected = weights_of(folder / "whole")
    snapshot = folder / "killed"
    for delay in (0.3, 1.0):  # seconds after the first sign of training
        process = subprocess.Popen(
            command("data", snapshot, "--resume"), cwd=folder, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        seen = b""
        while b"train:" not in seen and process.poll() is None:
            seen += process.stderr.read(1)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    result = execute(command("data", snapshot, "--resume"), folder)
    assert result.returncode == 0, result.stderr
    assert_same_weights(expected, weights_of(snapshot))
    steps = [json.loads(line)["step"] for line in (snapshot / "losses.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 12


@pytest.mark.slow
def test_interrupted_run_saves_its_state_and_goes_on(finished):
    folder, _ = finished
    snapshot = folder / "interrupted"
    process = subprocess.Popen(
        command("data", snapshot),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    seen = b""
    while not re.search(rb"[1-9]/12", seen) and process.poll() is None:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130 and b"--resume" in rest
    assert checkpoints(snapshot / "checkpoints")
    result = execute(command("data", snapshot, "--resume"), folder)
    assert result.returncode == 0, result.stderr
    assert_same_weights(weights_of(folder / "whole"), weights_of(snapshot))


@pytest.mark.slow
def test_begin_epoch_goes_on_from_the_epoch_before(finished):
    folder, _ = finished
    snapshot = folder / "begun"
    kept = snapshot / "checkpoints/epoch-0000"
    shutil.copytree(folder / "whole/checkpoints/epoch-0000", kept)
    result = execute(command("data", snapshot, "--begin-epoch", "1", "--no-crf"), folder)
    assert result.returncode == 0, result.stderr
    assert_same_weights(weights_of(folder / "whole"), weights_of(snapshot))
    result = execute(command("data", folder / "nothing", "--begin-epoch", "2"), folder)
    assert result.returncode == 2 and "epoch-0001" in result.stderr


def test_second_start_does_not_overwrite(finished):
    folder, _ = finished
    result = execute(command("data", "whole"), folder)
    assert result.returncode == 2
    assert "--resume" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_shards_make_the_same_files(finished):
    folder, _ = finished
    snapshot = folder / "shards"
    snapshot.mkdir()
    (snapshot / "small_icd-0002.params").write_bytes((folder / "whole/small_icd-0002.params").read_bytes())
    for shard in ("1/2", "2/2"):
        result = execute(command("data", snapshot, "--shard", shard), folder)
        assert result.returncode == 0, result.stderr
    for path in sorted((folder / "whole/results/seeds/nocrf").glob("*.png")):
        np.testing.assert_array_equal(
            read_mask(path), read_mask(snapshot / "results/seeds/nocrf" / path.name)
        )


@pytest.mark.slow
def test_only_gen_seeds_with_saliency(finished):
    """As the original's README promises it; there it fails for its image size."""
    folder, _ = finished
    snapshot = folder / "only_seeds"
    for kind in ("cam", "icd"):
        target = snapshot / f"results/scores_{kind}"
        target.mkdir(parents=True)
        for path in (folder / f"whole/results/scores_{kind}").glob("*.npz"):
            (target / path.name).write_bytes(path.read_bytes())
    result = execute(command("data", snapshot, "--only-gen-seeds", "--use-sal"), folder)
    assert result.returncode == 0, result.stderr
    for path in sorted((folder / "whole/results/seeds/sal").glob("*.png")):
        np.testing.assert_array_equal(read_mask(path), read_mask(snapshot / "results/seeds/sal" / path.name))


def broken(folder, name):
    """A data folder of its own, to be damaged."""
    return make_data(folder / name, count=4)


def damage_image(data):
    path = data / "JPEGImages/picture1.jpg"
    path.write_bytes(path.read_bytes()[:400])
    return "picture1.jpg"


def damage_superpixels(data):
    (data / "superpixels").mkdir()
    for number in range(4):
        cv2.imwrite(str(data / f"superpixels/picture{number}.png"), np.zeros((5, 5, 3), np.uint8))
    return "superpixels/picture"


def damage_xml(data):
    (data / "Annotations/picture2.xml").write_text("<annotation></annotation>")
    return "picture2.xml"


def empty_list(data):
    (data / "list.txt").write_text("")
    return "empty list"


def missing_folder(data):
    (data / "JPEGImages").rename(data / "elsewhere")
    return "JPEGImages"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage_image, damage_superpixels, damage_xml, empty_list, missing_folder])
def test_bad_input_is_one_clear_line(tmp_path, damage):
    data = broken(tmp_path, "data")
    word = damage(data)
    result = execute(command("data", "out"), tmp_path)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and word in errors[0] and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--shard", "5/4"), "--shard"),
        (("--num-cls", "7"), "--classes"),
        (("--eval-classes", "cow"), "disc, box"),
        (("--backbone", "vgg16"), "pretrained"),
        (("--batch-size", "99"), "--batch-size"),
        (("--set", "schedule=foo"), "poly_by_epoch"),
        (("--set", "optimizer=adam"), "torch_adam"),
        (("--num-epoch", "0"), "num_epoch"),
        (("--workers", "-1"), "a whole number from 0 on"),
        (("--crf-preset", "foo"), "--crf-preset"),
        (("--set", "teacher.num_epoch=1"), "teacher"),
        (("--infer-list", "nowhere.txt"), "nowhere.txt"),
        (("--backbone", "vgg16_torchvision", "--pretrained", "data/list.txt"), "Take vgg16"),
    ],
)
def test_flags_that_do_not_fit(finished, flags, word):
    folder, _ = finished
    result = execute(command("data", "never", *flags), folder)
    assert result.returncode == 2 and word in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--crf-preset", "psa"), "crf"),
        (("--infer-size", "97"), "presentation"),
        (("--choose-epoch", "best"), "epochs.json"),
    ],
)
def test_results_are_not_mixed_with_those_of_other_settings(finished, flags, word):
    folder, _ = finished
    before = (folder / "whole/run.json").read_bytes()
    result = execute(command("data", "whole", "--use-sal", "--resume", *flags), folder)
    assert result.returncode == 2 and word in result.stderr and "Traceback" not in result.stderr
    if word == "epochs.json":
        assert "trained without --choose-epoch" in result.stderr
    assert (folder / "whole/run.json").read_bytes() == before


def test_help_names_all_flags_of_the_original():
    result = execute([command(".", ".")[0], command(".", ".")[1], "--help"], ".")
    flags = [
        "image-root",
        "annotation-root",
        "superpixel-root",
        "saliency-root",
        "data-list",
        "model",
        "pretrained",
        "num-cls",
        "image-size",
        "batch-size",
        "learning-rate",
        "num-epoch",
        "begin-epoch",
        "num-sample",
        "snapshot",
        "num-save",
        "log-frequency",
        "gpus",
        "use-sal",
        "only-gen-seeds",
        "backbone",
        "seed",
        "resume",
        "workers",
        "infer-size",
        "eval-root",
        "classes",
        "shard",
    ]
    missing = [flag for flag in flags if f"--{flag}" not in result.stdout]
    assert not missing
