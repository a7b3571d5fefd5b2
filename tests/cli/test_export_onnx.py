"""`icd export-onnx` from a fresh folder, and the page about it: docs/onnx.md."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from runs import CLASSES, ROOT, command, execute, make_data

import icd
from icd.cli.main import main
from icd.engine import onnx_export
from icd.files import read_score_maps
from icd.methods import METHODS
from icd.provenance import file_sha256, read_run

ICD = [sys.executable, "-m", "icd.cli.main"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with data, one finished run and its model; what the command printed."""
    folder = tmp_path_factory.mktemp("run")
    make_data(folder / "data")
    result = execute(command("data", "whole", "--no-crf"), folder)
    assert result.returncode == 0, result.stderr
    result = execute([*ICD, "export-onnx", "whole"], folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


@pytest.fixture
def run_folder(exported, tmp_path):
    """A copy of the run's facts and final weights, to be damaged."""
    for name in ("run.json", "small_icd-0002.params"):
        shutil.copy(exported[0] / "whole" / name, tmp_path / name)
    return tmp_path


def test_the_printed_lines_work(exported, monkeypatch):
    folder, printed = exported
    monkeypatch.chdir(folder)
    lines = [line.strip() for line in printed.splitlines() if line.startswith("    ")]
    names = {"images": np.zeros((2, 3, 33, 41), np.float32)}
    exec("\n".join(lines), names)  # what the user is told to do
    assert names["cam"].shape == names["icd"].shape == (2, len(CLASSES), 5, 6)


def test_metadata(exported):
    folder, _ = exported
    whole = folder / "whole"
    model = onnx.load(whole / "small_icd-0002.onnx")
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert "RGB, 0..255" in facts.pop("input")
    assert json.loads(facts.pop("recipe")) == read_run(whole)["recipe"]
    assert facts == {
        "method": "icd",
        "backbone": "small",
        "classes": json.dumps(CLASSES),
        "stride": "8",
        "weights_sha256": file_sha256(whole / "small_icd-0002.params"),
        "icd_version": icd.__version__,
        "presentation": '{"Frame": {"size": 81, "fill": 127}}',
        "fusion": "sum",
        "mirror_fusion": "sum",
        "normalization": "maximum",
        "alignment": "centres",
        "map_type": "float32",
    }
    assert (model.producer_name, model.producer_version) == ("icd", icd.__version__)


@pytest.mark.parametrize("method", ["icd", "eps"])
def test_the_documented_script_writes_the_files_of_the_run(exported, method):
    """It must not need MXNet, and gives the score maps that MXNet gave: of one view, and of four mirrored pairs."""
    folder, _ = exported
    snapshot, weights = folder / "whole", "small_icd-0002"
    if method == "eps":
        snapshot, weights = folder / "eps", "small_eps-0002"
        flags = command("data", snapshot, "--recipe", "embedded", "--no-crf")[2:]
        result = execute([*ICD, "run", "eps", *flags], folder)
        assert result.returncode == 0, result.stderr
        assert main(["export-onnx", str(snapshot)]) == 0
    script = re.search(r"```python\n(.*?)```", (ROOT / "docs/onnx.md").read_text(), re.S).group(1)
    (folder / "localize.py").write_text("import sys\nsys.modules['mxnet'] = None\n" + script)
    arguments = [snapshot / f"{weights}.onnx", "data/JPEGImages", "data/Annotations", "data/list.txt", method]
    result = execute([sys.executable, "localize.py", *map(str, arguments)], folder)
    assert result.returncode == 0, result.stderr
    for kind in METHODS[method].score_maps:
        paths = sorted((snapshot / f"results/scores_{kind}").glob("*.npz"))
        assert len(paths) == 8
        for path in paths:
            assert_same_scores(
                read_score_maps(folder / method / f"scores_{kind}" / path.name), read_score_maps(path)
            )


def assert_same_scores(ours, theirs):
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    same = ("size", "frame", "fusion", "alignment")
    assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    assert len(ours.grids) == len(theirs.grids)
    for found, expected in zip(ours.grids, theirs.grids):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_flags_instead_of_a_run_folder(exported, tmp_path):
    folder, _ = exported
    weights, target = folder / "whole/small_icd-0002.params", tmp_path / "new" / "model.onnx"
    assert main([*explicit(folder, weights), "--target", str(target)]) == 0
    of_run = onnx.load(folder / "whole/small_icd-0002.onnx")
    # The names of nodes count up in a process, so the two files are compared by what they compute.
    images = np.random.RandomState(0).randint(0, 256, (1, 3, 81, 81)).astype(np.float32)
    for first, second in zip(*(run_onnx(model, images) for model in (of_run, onnx.load(target)))):
        np.testing.assert_array_equal(first, second)


def explicit(folder, weights, classes="classes.txt"):
    return [
        "export-onnx", "--method", "icd", "--backbone", "small", "--weights", str(weights),
        "--classes", str(folder / "data" / classes),
    ]  # fmt: skip


def run_onnx(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})


def refused(capsys, arguments, *words):
    """The command ends with one line that holds the words."""
    assert main(["export-onnx", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error


def test_unfinished_run(run_folder, capsys):
    (run_folder / "small_icd-0002.params").unlink()
    refused(capsys, [run_folder], "small_icd-0002.params", "nothing there")
    (run_folder / "run.json").unlink()
    refused(capsys, [run_folder], "run.json", "Train first")


def test_other_weights_of_a_run(run_folder):
    shutil.copy(run_folder / "small_icd-0002.params", run_folder / "other.params")
    assert main(["export-onnx", str(run_folder), "--weights", str(run_folder / "other.params")]) == 0
    assert (run_folder / "other.onnx").is_file()


def test_flags_that_do_not_fit(exported, run_folder, capsys):
    data = exported[0] / "data"
    refused(capsys, [run_folder, "--classes", data / "classes.txt"], "--classes", "Leave it out")
    refused(capsys, [], "run folder", "--method, --backbone, --weights")
    missing = run_folder / "nowhere.params"
    refused(capsys, explicit(exported[0], missing)[1:], "nowhere.params", "nothing there")
    (data / "three.txt").write_text("disc\nbox\ncone\n")
    weights = run_folder / "small_icd-0002.params"
    refused(capsys, explicit(exported[0], weights, "three.txt")[1:], "fc8_weight", "(3, 128, 1, 1)")
    assert not list(run_folder.glob("*.onnx"))


def test_without_onnx_the_remedy_is_named(run_folder, capsys, monkeypatch):
    monkeypatch.setattr(onnx_export, "onnx", None)
    refused(capsys, [run_folder], "onnx", "not installed", "pip install 'onnx")
