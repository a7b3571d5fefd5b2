"""`icd run icd --images photos --tags tags.csv` and nothing else; what it says, what it writes, and at which size."""

from __future__ import annotations

import ast
import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from runs import ROOT, execute

from icd.files import read_list, read_mask, read_score_maps, read_superpixels, write_mask

ICD = [sys.executable, "-m", "icd.cli.main"]
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".png")
QUICK = ["--backbone", "small", "--gpus", "", "--workers", "0", "--image-size", "65", "--infer-size", "81", "--num-epoch", "1",
         "--max-side", "100"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photographs, the first larger than the bound; one without tags."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "photos").mkdir()
    random, rows = np.random.RandomState(0), ["id,tags"]
    for number, suffix in enumerate(SUFFIXES):
        size = (300, 400) if number == 0 else (72, 80)
        image = random.randint(80, 120, (*size, 3)).astype(np.uint8)
        centre = (size[1] // 2, size[0] // 2)
        cv2.circle(image, centre, size[0] // 4, ((220, 60, 30), (30, 60, 220))[number % 2], -1)
        Image.fromarray(image).save(folder / "photos" / f"my photo {number}{suffix}", quality=95)
        rows.append(f"my photo {number}{suffix},{('disc', 'ball')[number % 2]}")
    Image.fromarray(image).save(folder / "photos" / "bare.jpg")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    result = execute([*ICD, "run", "icd", "--images", "photos", "--tags", "tags.csv", *QUICK], folder)
    assert result.returncode == 0, result.stderr
    result.seeds = folder / "snapshot" / "icd" / "results" / "seeds" / "crf"
    return result


def test_what_follows_from_the_files_is_said_and_kept(folder, finished):
    assert "photographs: 4 with tags; 1 without tags, left out (bare)" in finished.stdout
    assert "Classes: 1 ball, 2 disc" in finished.stdout
    assert "train: --batch-size 4, since there are only 4 photographs" in finished.stdout
    out = folder / "snapshot" / "icd"
    assert read_list(out / "list.txt") == [f"my photo {number}" for number in range(4)]
    assert read_list(out / "classes.txt") == ["ball", "disc"]
    run = json.loads((out / "run.json").read_text())
    assert run["classes"] == ["ball", "disc"] and run["data_list"]["ids"] == 4


def test_a_training_of_few_steps_is_remarked_on_once(finished):
    (line,) = [line for line in finished.stdout.splitlines() if "optimizer steps" in line]
    assert "only 1 optimizer steps (4 images, 4 a step, 1 epochs)" in line and "--num-epoch 400" in line
    assert finished.stdout.index(line) < finished.stdout.index("train: trained")


def test_a_large_photograph_is_worked_on_small_and_its_masks_are_large(folder, finished):
    out, name = folder / "snapshot" / "icd", "my photo 0"
    assert read_superpixels(out / "superpixels" / f"{name}.png").shape == (75, 100)
    assert read_score_maps(out / "results" / "scores_icd" / f"{name}.npz").size == (300, 400)
    for variant in ("nocrf", "crf"):
        assert read_mask(out / "results" / "seeds" / variant / f"{name}.png").shape == (300, 400)
        assert read_mask(out / "results" / "seeds" / variant / "my photo 1.png").shape == (72, 80)


def test_the_same_call_goes_on_and_another_bound_is_refused(folder, finished):
    call = [*ICD, "run", "icd", "--images", "photos", "--tags", "tags.csv", *QUICK]
    assert execute([*call, "--resume"], folder).returncode == 0
    result = execute([*call[:-1], "90", "--resume"], folder)
    assert result.returncode == 2 and "max_side = 90" in result.stderr and "--redo" in result.stderr


def test_the_check_needs_no_list_and_remarks_on_ignored_truth(folder, tmp_path):
    truth = np.full((72, 80), 255, np.uint8)
    for number in range(4):
        write_mask(tmp_path / f"my photo {number}.png", truth if number else np.zeros((300, 400), np.uint8))
    (tmp_path / "classes.txt").write_text("ball\ndisc\n")
    flags = [
        "--images",
        "photos",
        "--tags",
        "tags.csv",
        "--truth",
        tmp_path,
        "--classes",
        tmp_path / "classes.txt",
    ]
    result = execute([*ICD, "data", "check", "--workers", "0", *map(str, flags)], folder)
    assert result.returncode == 0, result.stderr
    assert "4 images checked: all is well" in result.stdout and "4 with tags" in result.stdout
    assert "WARNING 3 of 4 truths have ignored pixels (255) and no object." in result.stdout
    assert "% of the truth's pixels are 255 and not scored." in result.stdout


def test_redirected_logs_hold_no_progress_bars(finished):
    for text in (finished.stdout, finished.stderr):
        assert "\r" not in text and "image/s" not in text and "it/s" not in text


def test_every_progress_bar_asks_whether_there_is_a_terminal():
    calls = [
        (path, call)
        for path in (ROOT / "icd").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "tqdm"
    ]
    assert len(calls) > 5
    for path, call in calls:
        given = {word.arg: word.value for word in call.keywords}.get("disable")
        asks = given.body if isinstance(given, ast.IfExp) else given  # where it is shown at all
        assert isinstance(asks, ast.Constant) and asks.value is None, f"{path}, line {call.lineno}"


def test_steps_and_empty_masks_are_said(finished):
    assert "train: trained 1 steps in 1 epochs; weights" in finished.stdout
    out = [read_mask(path) for path in finished.seeds.glob("*.png")]
    empty = sum(not ((mask > 0) & (mask < 255)).any() for mask in out)
    assert (f"masks icd crf: {empty} of 4 masks are empty" in finished.stdout) == (empty > 0)
