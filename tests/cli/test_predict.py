"""From a trained segmentation network to masks of photographs that were never seen, without MXNet: `icd predict --onnx`."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from runs import CLASSES, execute, make_data

from icd.files import read_classes, read_mask
from icd.provenance import file_sha256

ICD = [sys.executable, "-m", "icd.cli.main"]
BLOCKED = (
    "import sys; sys.modules['mxnet'] = None; from icd.cli.main import main; sys.exit(main(sys.argv[1:]))"
)
WITHOUT_MXNET = [sys.executable, "-c", BLOCKED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, a trained network, its model, and photographs of another size."""
    folder = tmp_path_factory.mktemp("predict")
    data = make_data(folder / "data")
    for number in (6, 7):  # prediction needs no tags
        (data / f"Annotations/picture{number}.xml").unlink()
    (data / "tagged.txt").write_text("".join(f"picture{number}\n" for number in range(6)))
    places = ["--images", data / "JPEGImages", "--tags", data / "Annotations", "--list", data / "tagged.txt", "--classes",
              data / "classes.txt", "--val-list", data / "list.txt", "--masks", data / "truth", "--truth", data / "truth",
              "--out", "trained"]  # fmt: skip
    short = ["--backbone", "small", "--recipe", "embedded", "--gpus", "", "--workers", "0", "--num-epoch", "1",
             "--batch-size", "2", "--network", "largefov"]  # fmt: skip
    result = execute([*ICD, "run", "segment", *map(str, places), *short], folder)
    assert result.returncode == 0, result.stderr
    result = execute([*ICD, "export-onnx", "trained", "--target", "model.onnx"], folder)
    assert result.returncode == 0, result.stderr
    assert "icd predict --onnx model.onnx" in result.stdout
    make_data(folder / "seen", count=3, size=90)
    return folder


def predict(folder, *flags):
    return execute([*WITHOUT_MXNET, "predict", "--onnx", "model.onnx", *map(str, flags)], folder)


@pytest.mark.parametrize("crf", [(), ("--crf",)])
def test_masks_overlays_and_names(folder, tmp_path, crf):
    result = predict(folder, "seen/JPEGImages", tmp_path / "out", *crf)
    assert result.returncode == 0, result.stderr
    assert "Masks of 3 of 3" in result.stdout
    assert read_classes(tmp_path / "out/classes.txt") == CLASSES
    for image_id in ("picture0", "picture1", "picture2"):
        mask = read_mask(tmp_path / f"out/masks/{image_id}.png", (90, 98))
        shown = np.array(Image.open(tmp_path / f"out/overlays/{image_id}.jpg"))
        assert mask.max() <= len(CLASSES) and shown.shape == (90, 98, 3)


def test_masks_are_those_of_mxnet(folder, tmp_path):
    """The chain's own masks of the same photographs; sums of another order may turn a pixel that lies on the border."""
    assert predict(folder, "data/JPEGImages", tmp_path / "out").returncode == 0
    for path in (folder / "trained/val/masks").glob("*.png"):
        assert (read_mask(path) != read_mask(tmp_path / "out/masks" / path.name)).mean() < 0.001


def test_what_is_there_is_not_made_again_and_other_models_are_refused(folder, tmp_path):
    (tmp_path / "list.txt").write_text("picture1\npicture2\n")
    out, mask = tmp_path / "out", tmp_path / "out/masks/picture1.png"
    assert predict(folder, "seen/JPEGImages", out, "--shard", "2/2").returncode == 0
    before = file_sha256(mask), mask.stat().st_mtime_ns
    result = predict(folder, "seen/JPEGImages", out, "--list", tmp_path / "list.txt")
    assert result.returncode == 0 and "2 of 2" in result.stdout, result.stderr
    assert (file_sha256(mask), mask.stat().st_mtime_ns) == before
    assert not (out / "masks/picture0.png").exists()
    result = predict(folder, "seen/JPEGImages", out, "--crf")
    assert result.returncode == 2 and "crf" in result.stderr and result.stderr.count("\n") == 1


def test_a_damaged_photograph_does_not_cost_the_others(folder, tmp_path):
    images = shutil.copytree(folder / "seen/JPEGImages", tmp_path / "images")
    content = (images / "picture0.jpg").read_bytes()
    (images / "picture0.jpg").write_bytes(content[: len(content) // 2])
    (images / "._picture1.jpg").write_bytes(b"a Mac's")
    result = predict(folder, images, tmp_path / "out")
    assert result.returncode == 1 and "picture0.jpg" in result.stdout + result.stderr
    assert "Masks of 2 of 3" in result.stdout


@pytest.mark.parametrize(
    ("images", "model", "found"),
    [
        ("nowhere", "model.onnx", "nothing there"),
        (".", "model.onnx", "none"),
        ("seen/JPEGImages", "no.onnx", "missing"),
    ],
)
def test_bad_input(folder, tmp_path, images, model, found):
    result = execute(
        [*WITHOUT_MXNET, "predict", "--onnx", model, str(folder / images), str(tmp_path / "out")], folder
    )
    assert result.returncode == 2 and found in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out/masks").exists()


def test_a_training_inside_a_run_is_exported(folder, tmp_path):
    """`snapshot/icd/segment` has no run.json of its own."""
    shutil.copytree(folder / "trained", tmp_path / "segment")
    (tmp_path / "segment/run.json").unlink()
    result = execute([*ICD, "export-onnx", str(tmp_path / "segment")], folder)
    assert result.returncode == 0, result.stderr
    [model] = (tmp_path / "segment").glob("*.onnx")
    assert model.stat().st_size == (folder / "model.onnx").stat().st_size


def test_a_large_photograph_comes_back_at_its_size(folder, tmp_path):
    result = predict(folder, "seen/JPEGImages", tmp_path / "out", "--max-side", 40)
    assert result.returncode == 0, result.stderr
    mask = read_mask(tmp_path / "out/masks/picture0.png", (90, 98))
    shown = np.array(Image.open(tmp_path / "out/overlays/picture0.jpg"))
    assert mask.max() <= len(CLASSES) and max(shown.shape[:2]) == 40
