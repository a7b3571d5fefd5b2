"""Saliency maps by ONNX models: the arithmetic around the network, its interface, and the command."""

from __future__ import annotations

import shutil
import sys

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from runs import execute

from icd.engine.saliency import SIDE, SaliencyModel, prepared, stretched
from icd.errors import InputError
from icd.files import mask_path, read_saliency
from icd.stages.record import read_record

ICD = [sys.executable, "-m", "icd.cli.main"]


def model(path, weights=(1.0, 0.5, -0.25), size=(32, 32), channels=3, batch=1, bias=0.0):
    """A network with U^2-Net's interface: a sum of the colours, and a side output that says something else."""
    image = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, channels, *size])
    names = ("d0", "d1")
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 1, *size]) for name in names]
    arrays = {
        "w": np.reshape(np.resize(np.float32(weights), channels), (1, channels, 1, 1)),
        "b": np.float32([bias]),
        "minus": -np.ones((1, channels, 1, 1), np.float32),
    }
    constants = [helper.make_tensor(k, TensorProto.FLOAT, v.shape, v.ravel()) for k, v in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["input.1", "w", "b"], ["d0"]),
        helper.make_node("Conv", ["input.1", "minus"], ["d1"]),
    ]
    graph = helper.make_graph(nodes, "saliency", [image], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())
    return path


def picture(height=48, width=64):
    image = np.random.RandomState(0).randint(40, 90, (height, width, 3)).astype(np.uint8)
    cv2.circle(image, (width // 2, height // 2), height // 4, (210, 40, 30), -1)
    return image


def test_a_map_is_the_stretched_first_output(tmp_path):
    image = picture()
    found = SaliencyModel(model(tmp_path / "m.onnx"))(image)
    squeezed = np.asarray(Image.fromarray(image).resize((32, 32), Image.LANCZOS)).astype(np.float64)
    shown = (squeezed / squeezed.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    values = shown @ (1.0, 0.5, -0.25)
    values = (values - values.min()) / (values.max() - values.min())
    expected = 255 * cv2.resize(values, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert found.shape == (48, 64) and found.dtype == np.uint8
    assert np.abs(found - expected).max() < 0.51
    assert found[24, 32] > 200 > 100 > found[2, 2]


def test_a_free_size_is_u2nets_and_a_fixed_one_its_own(tmp_path):
    free = SaliencyModel(model(tmp_path / "free.onnx", size=("h", "w"), batch="n"))
    np.testing.assert_array_equal(
        free(picture()), SaliencyModel(model(tmp_path / "fixed.onnx", size=(SIDE, SIDE)))(picture())
    )
    assert SaliencyModel(model(tmp_path / "wide.onnx", size=(16, 48)))(picture()).shape == (48, 64)


def test_one_value_everywhere_is_not_salient():
    assert not stretched(np.full((4, 4), 0.7, np.float32), (8, 8)).any()
    assert np.isfinite(prepared(np.zeros((5, 5, 3), np.uint8), (8, 8))).all()


@pytest.mark.parametrize("changes", [{"channels": 1}, {"batch": 4}, {"bias": float("nan")}])
def test_other_networks_are_refused(tmp_path, changes):
    with pytest.raises(InputError, match=r"m\.onnx: expected a saliency network as U"):
        SaliencyModel(model(tmp_path / "m.onnx", **changes))(picture())


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="nothing there. Look there"):
        SaliencyModel(tmp_path / "u2netp.onnx", origin="Look there.")
    (tmp_path / "page.onnx").write_text("<html>404</html>")
    with pytest.raises(InputError, match="page.onnx: expected an ONNX model"):
        SaliencyModel(tmp_path / "page.onnx")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    sizes = {"a.JPG": (48, 64), "b.png": (300, 400), "c.jpeg": (64, 48)}
    for name, size in sizes.items():
        Image.fromarray(picture(*size)).save(tmp_path / "photos" / name)
    (tmp_path / "data" / "pretrained").mkdir(parents=True)
    model(tmp_path / "data" / "pretrained" / "u2netp.onnx")
    return tmp_path


def test_the_command_makes_what_is_missing_and_takes_nothing_from_another_network(folder):
    call = [*ICD, "saliency", "photos", "maps", "--max-side", "100"]
    result = execute(call, folder)
    assert result.returncode == 0, result.stderr
    assert "Saliency: maps (made: 3, there before: 0). It counts as extra supervision." in result.stdout
    maps = folder / "maps"
    for image_id, size in (("a", (48, 64)), ("b", (300, 400)), ("c", (64, 48))):
        values = read_saliency(mask_path(maps, image_id), size)
        assert values.min() < 20 and values.max() > 240
    assert not list(maps.glob("*.part")) and read_record(maps)["kind"] == "saliency"

    kept = (maps / "a.png").stat().st_mtime_ns
    (maps / "b.png").unlink()
    assert "(made: 1, there before: 2)" in execute(call, folder).stdout
    assert (maps / "a.png").stat().st_mtime_ns == kept and (maps / "b.png").is_file()

    model(folder / "data" / "pretrained" / "u2netp.onnx", weights=(0, 0, 1))
    result = execute(call, folder)
    assert result.returncode == 2 and "maps: expected files made with model =" in result.stderr
    assert (maps / "a.png").stat().st_mtime_ns == kept


def test_the_command_without_a_model_says_where_to_get_one(folder):
    result = execute([*ICD, "saliency", "photos", "maps", "--model", "nowhere.onnx"], folder)
    assert result.returncode == 2 and "rembg" in result.stderr and "Traceback" not in result.stderr
    assert not (folder / "maps").exists()


def test_u2netp_finds_what_stands_out(shared, tmp_path):
    source = shared / "weights" / "u2netp.onnx"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    shutil.copy(source, tmp_path / "u2netp.onnx")
    image = picture(240, 320)
    found = SaliencyModel(tmp_path / "u2netp.onnx")(image).astype(float)
    inside = np.zeros(found.shape, np.uint8)
    cv2.circle(inside, (160, 120), 60, 1, -1)
    assert found[inside == 1].mean() > 200 and found[inside == 0].mean() < 50
