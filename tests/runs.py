"""A tiny data set in VOC's layout and command lines on it, for tests of whole runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import command_server
import cv2
import numpy as np

from icd.files import write_mask
from icd.recipe import BaseRecipe

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("disc", "box")
XML = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name><difficult>0</difficult></object>"


PEAK = """
def peak():
    import re, resource, sys
    from pathlib import Path
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says there includes the program that started this one
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
# Source of a function for a program of its own: the most memory that it ever had, in bytes.


def recipe_of(batch_size: int, **entries) -> BaseRecipe:
    """A recipe for tests that need no paper."""
    entries = {"image_size": 32, "num_epoch": 1, "learning_rate": 0.01, "weight_decay": 0.0, **entries}
    return BaseRecipe(batch_size=batch_size, **entries)


def make_data(folder, count=8, size=72) -> Path:
    """Draw `count` pictures with a disc, a box, or both; returns the folder."""
    folder = Path(folder)
    for name in ("JPEGImages", "Annotations", "saliency", "truth"):
        (folder / name).mkdir(parents=True)
    random = np.random.RandomState(0)
    ids = [f"picture{number}" for number in range(count)]
    for number, image_id in enumerate(ids):
        image = np.uint8(random.randint(80, 120, (size, size + 8, 3)))
        truth = np.zeros(image.shape[:2], np.uint8)
        if number % 3 != 1:
            cv2.circle(image, (24, 30), 14, (30, 60, 220), -1)
            cv2.circle(truth, (24, 30), 14, 1, -1)
        if number % 3 != 0:
            cv2.rectangle(image, (44, 36), (70, 62), (220, 200, 30), -1)
            cv2.rectangle(truth, (44, 36), (70, 62), 2, -1)
        cv2.imwrite(str(folder / "JPEGImages" / f"{image_id}.jpg"), image)
        cv2.imwrite(str(folder / "saliency" / f"{image_id}.png"), np.uint8(255 * (truth > 0)))
        write_mask(folder / "truth" / f"{image_id}.png", truth)
        tags = "".join(OBJECT.format(CLASSES[c - 1]) for c in np.unique(truth) if c)
        (folder / "Annotations" / f"{image_id}.xml").write_text(XML.format(tags))
    (folder / "list.txt").write_text("\n".join(ids) + "\n")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def command(data, snapshot, *more) -> list:
    """The command line of a short ICD run on such a folder."""
    data = Path(data)
    return [
        sys.executable, str(ROOT / "run_icd.py"), "--gpus", "", "--backbone", "small", "--workers", "0",
        "--image-root", str(data / "JPEGImages"), "--annotation-root", str(data / "Annotations"),
        "--data-list", str(data / "list.txt"), "--classes", str(data / "classes.txt"),
        "--superpixel-root", str(data / "superpixels"), "--saliency-root", str(data / "saliency"),
        "--eval-root", str(data / "truth"), "--image-size", "65", "--infer-size", "81", "--batch-size", "2",
        "--num-epoch", "3", "--learning-rate", "0.01", "--snapshot", str(snapshot), *map(str, more),
    ]  # fmt: skip


def horovodrun(count: int) -> list:
    """What starts a command in several processes under Horovod; skips the test where that is not installed."""
    import pytest  # here: other programs use this module too

    reason = "needs Horovod, built with MXNet: examples/cluster/build_horovod.sh"
    pytest.importorskip("horovod", reason=reason)
    run = "from horovod.runner.launch import run_commandline; run_commandline()"
    return [sys.executable, "-c", run, "--gloo", "-np", str(count), "-H", f"localhost:{count}"]


def environment() -> dict:
    """The tests' own environment, one thread, the checkout on the path."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def execute(arguments, cwd) -> subprocess.CompletedProcess:
    """Run a command line of Python in a folder and keep what it prints."""
    return command_server.run(arguments, cwd, environment())


def weights_of(snapshot, model="small_icd", epochs=3) -> dict:
    """The arrays of a run's final weights."""
    from icd.compat import mx

    arrays = mx.nd.load(str(Path(snapshot) / f"{model}-{epochs - 1:04d}.params"))
    return {name: array.asnumpy() for name, array in arrays.items()}


def assert_same_weights(first, second) -> None:
    """The two dictionaries hold the same arrays, to the last bit."""
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
