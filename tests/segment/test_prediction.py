"""Prediction of whole images, from MXNet and from ONNX Runtime, and the files between."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from trainable_conformance import with_lively_weights

from icd.compat import mx
from icd.data.batches import InferenceBatches
from icd.data.dataset import ImageDataset
from icd.engine.build import build_trainable
from icd.engine.onnx_export import onnx_model
from icd.engine.predict import OnnxSegmenter, predict, predict_views, prediction_facts
from icd.errors import InputError
from icd.files import ImageLogits, read_logits, write_atomic, write_logits
from icd.fusion import Fusion, logits_on_image, mask_of, softmax
from icd.grid import interpolation
from icd.segment import SEGMENTERS, segmentation_recipe

CHANGES = {"infer_scales": (0.5, 1.0), "infer_mirror": True}
EXPORTED = [*SEGMENTERS, pytest.param("gluoncv:deeplab_resnet50", marks=pytest.mark.slow)]


def make_segmenter(name="deeplab_v1", **changes):
    """A segmenter whose layers all matter."""
    recipe = segmentation_recipe(name, {**CHANGES, **changes}, "embedded")
    backbone = None if ":" in name else "small"
    return with_lively_weights(build_trainable(name, backbone, 3, [mx.cpu()], recipe=recipe))


@pytest.fixture
def photograph():
    return np.random.RandomState(0).randint(0, 256, (51, 70, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three photographs of different sizes."""
    from PIL import Image

    for number, size in enumerate(((51, 70), (40, 33), (64, 64))):
        pixels = np.random.RandomState(number).randint(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg", quality=95)
    return tmp_path


def test_images_get_logits_at_the_networks_stride(folder, tmp_path):
    segmenter = make_segmenter()
    dataset = ImageDataset(folder, None, ["0", "1", "2"], ["a", "b", "c"])
    results = {}
    for contexts in ([mx.cpu(0)], [mx.cpu(0)] * 2):
        batches = InferenceBatches(dataset, 4, segmenter.presentation(segmenter.recipe), skip={"1"})
        found = {}
        predict(segmenter, batches, contexts, found.__setitem__)
        results[len(contexts)] = found
    assert list(results[1]) == list(results[2]) == ["0", "2"]
    logits = results[1]["0"]
    assert logits.size == (51, 70) and logits.views == ((26, 35), (51, 70))
    assert [grid.shape for grid in logits.grids] == [(2, 4, 4, 5), (2, 4, 7, 9)]
    np.testing.assert_array_equal(logits.grids[1], results[2]["0"].grids[1])
    maps = logits_on_image(logits, segmenter.fusion)
    assert maps.shape == (4, 51, 70) and maps.std((1, 2)).min() > 0
    mask = mask_of(maps)
    assert mask.shape == (51, 70) and mask.dtype == np.uint8


def test_kept_logits_give_the_same_mask(tmp_path, photograph):
    segmenter = make_segmenter()
    shown = segmenter.presentation(segmenter.recipe)(photograph)
    logits = ImageLogits(
        tuple(predict_views(segmenter, shown.views, mx.cpu())), ((26, 35), (51, 70)), (51, 70)
    )
    write_logits(tmp_path / "a.npz", logits)
    kept = read_logits(tmp_path / "a.npz")
    assert kept.grids[0].dtype == np.float16 and (kept.views, kept.size) == (logits.views, logits.size)
    maps, again = (logits_on_image(given, segmenter.fusion) for given in (logits, kept))
    np.testing.assert_allclose(maps, again, atol=2e-3 * np.abs(maps).max())
    assert (mask_of(maps) != mask_of(again)).mean() < 0.01


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "nothing there"),
        ({"logits_0": np.zeros((1, 3, 4, 4), "f2"), "views": [[9, 9]]}, "damaged or other"),
        ({"logits_0": np.zeros((3, 4, 4), "f2"), "views": [[9, 9]], "size": [9, 9]}, "of one C"),
        ({"logits_0": np.full((1, 3, 4, 4), np.nan, "f2"), "views": [[9, 9]], "size": [9, 9]}, "NaN"),
        ({"views": np.zeros((0, 2), int), "size": [9, 9]}, "none"),
    ],
)
def test_bad_files_of_logits(tmp_path, content, message):
    if content is not None:
        np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(InputError, match=message):
        read_logits(tmp_path / "a.npz")


# Fusion


def test_means_of_logits_and_of_probabilities():
    grids = (np.float32([[[[0.0]], [[2.0]]]]), np.float32([[[[3.0]], [[0.0]]]]))
    logits = ImageLogits(grids, ((1, 1), (1, 1)), (1, 1))
    of_logits = softmax(logits_on_image(logits, Fusion(average="logits")))
    np.testing.assert_allclose(of_logits[0], 1 / (1 + np.exp(-0.5)), rtol=1e-6)
    of_probabilities = softmax(logits_on_image(logits, Fusion(average="probabilities")))
    np.testing.assert_allclose(
        of_probabilities[0], (1 / (1 + np.exp(2)) + 1 / (1 + np.exp(-3))) / 2, rtol=1e-6
    )


def test_mirror_images_are_turned_back():
    grid = np.random.RandomState(0).rand(1, 3, 5, 7).astype(np.float32)
    both = np.concatenate([grid, grid[..., ::-1]])
    for fusion in (Fusion(), Fusion("corners", True), Fusion("corners", False)):
        alone, fused = (
            logits_on_image(ImageLogits((g,), ((40, 56),), (43, 50)), fusion) for g in (grid, both)
        )
        np.testing.assert_allclose(alone, fused, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(5, 33), (9, 9), (40, 17), (1, 8)])
@pytest.mark.parametrize("alignment", ["centres", "corners"])
def test_interpolation_is_mxnets(old, new, alignment):
    rows = np.random.RandomState(0).rand(1, 1, old, 1).astype(np.float32)
    expected = mx.nd.contrib.BilinearResize2D(
        mx.nd.array(rows), height=new, width=1, align_corners=alignment == "corners"
    )
    found = interpolation(old, new, alignment) @ rows[0, 0]
    np.testing.assert_allclose(found, expected.asnumpy()[0, 0], atol=1e-6)


# ONNX


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")

    def export(name):
        segmenter, path = make_segmenter(name), folder / (name.replace(":", "_") + ".onnx")
        facts = {**prediction_facts(segmenter), "classes": ["a", "b", "c"]}
        write_atomic(path, onnx_model(segmenter, facts).SerializeToString())
        return segmenter, path

    return export


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_runtime_predicts_what_mxnet_does(exported, photograph, name):
    segmenter, path = exported(name)
    runtime = OnnxSegmenter(path)
    assert runtime.classes == ("a", "b", "c") and runtime.fusion == segmenter.fusion
    for image in (photograph, photograph[:33, :65]):  # of any size
        shown = segmenter.presentation(segmenter.recipe)(image)
        for view, ours in zip(shown.views, runtime.logits(image).grids):
            expected = segmenter.predict(mx.nd.array(view)).asnumpy()
            assert expected.std() > 0
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    mask, refined = runtime.mask(photograph), runtime.mask(photograph, crf=True)
    assert mask.shape == refined.shape == (51, 70) and mask.max() <= 3


def test_prediction_by_onnx_needs_no_mxnet(exported, photograph, tmp_path):
    _, path = exported("deeplab_v2")
    np.save(tmp_path / "image.npy", photograph)
    program = (
        "import sys; sys.modules['mxnet'] = None\n"
        "import numpy as np; from icd.engine.predict import OnnxSegmenter\n"
        f"print(OnnxSegmenter({str(path)!r}).mask(np.load({str(tmp_path / 'image.npy')!r}), crf=True).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "(51, 70)", done.stderr


def test_models_that_are_none_of_ours(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="an ONNX model"):
        OnnxSegmenter(tmp_path / "a.onnx")
    write_atomic(tmp_path / "b.onnx", onnx_model(make_segmenter(), {}).SerializeToString())
    with pytest.raises(InputError, match="does not say how it predicts"):
        OnnxSegmenter(tmp_path / "b.onnx")


@pytest.mark.usefixtures("thin")
def test_networks_that_cannot_be_exported():
    with pytest.raises(InputError, match="AdaptiveAvgPooling2D"):
        onnx_model(make_segmenter("gluoncv:psp_resnet50"), {})
