"""ONNX Runtime computes what MXNet computes: every method on every backbone, and the operators that methods may use."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from trainable_conformance import with_lively_weights

from icd.compat import mx
from icd.engine import onnx_export
from icd.engine.build import build_trainable
from icd.engine.onnx_export import onnx_model
from icd.errors import InputError
from icd.methods import METHODS

SHAPES = ((1, 3, 65, 65), (3, 3, 49, 70))
QUICK = ("small", "mobilenet_v2", "vgg16")


def run_onnx(model, images):
    """Every output of a model, by name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": images})))


def assert_equal(method, model, shapes=SHAPES):
    for shape in shapes:
        images = np.random.RandomState(0).randint(0, 256, shape).astype(np.float32)
        expected = method.localize(mx.nd.array(images))
        found = run_onnx(model, images)
        assert list(found) == list(method.score_maps)
        for name, values in expected.items():
            values = values.asnumpy()
            assert np.isfinite(values).all() and values.std() > 0
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-4 * np.abs(values).max())


# Every method on the smallest backbone, every other backbone under one of the methods that are published with it, or,
# where those have parameters outside of layers, under another: thin networks say as much and take less time.
PUBLISHED = {method.backbone: name for name, method in METHODS.items() if method.backbone not in QUICK}
THIN = {
    "resnet38": "eps",
    "resnet50": "irn_cam",
    "resnet101": "irn_cam",
    "vgg16": "cam",
    "vgg16_torchvision": "drs_classifier",
}
CASES = [(method, "small") for method in METHODS]
CASES += [("cam", "mobilenet_v2"), ("icd", "mobilenet_v2"), ("icd", "vgg16")]
CASES += [(name, backbone) for backbone, name in PUBLISHED.items() if backbone not in THIN]


@pytest.mark.parametrize(("method", "backbone"), CASES)
def test_methods_on_backbones(method, backbone):
    export_and_compare(method, backbone)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(("backbone", "method"), THIN.items())
def test_methods_on_deep_backbones(method, backbone):
    export_and_compare(method, backbone)


def export_and_compare(method, backbone):
    """What the exported model gives, and what the method gives."""
    built = with_lively_weights(build_trainable(method, backbone, 10, [mx.cpu()]))
    model = onnx_model(built, {})
    onnx.checker.check_model(model, full_check=True)
    assert_equal(built, model)


def test_dimensions_are_free_and_weights_are_no_inputs():
    model = onnx_model(build_trainable("icd", "small", 4, [mx.cpu()]), {})
    (image,) = model.graph.input
    assert dimensions(image) == ["batch", 3, "height", "width"]
    assert [output.name for output in model.graph.output] == ["cam", "icd"]
    assert dimensions(model.graph.output[1]) == ["batch", 4, "icd_height", "icd_width"]
    names = {initializer.name for initializer in model.graph.initializer}
    assert "conv_ft_weight" in names and "icd_bu_weight" not in names  # only training needs the latter


def dimensions(value):
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_no_constant_is_left_over():
    graph = onnx_model(build_trainable("eps", "small", 4, [mx.cpu()]), {}).graph
    assert {constant.name for constant in graph.initializer} <= {
        name for node in graph.node for name in node.input
    }


def test_facts_are_metadata():
    model = onnx_model(
        build_trainable("cam", "small", 2, [mx.cpu()]), {"method": "cam", "classes": ["a", "b c"]}
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"method": "cam", "classes": '["a", "b c"]'}


class Applied(mx.gluon.HybridBlock):
    """A function of operators as a block."""

    def __init__(self, function):
        super().__init__(prefix="")
        self.function = function

    def hybrid_forward(self, F, images):
        return self.function(F, images / 255 - 0.4)


def resized(F, x, **options):
    small = F.Pooling(x, kernel=(3, 3), stride=(4, 4), pool_type="avg")
    return F.contrib.BilinearResize2D(small, **options)


OPERATORS = {
    "softmax over channels": lambda F, x: F.softmax(x, axis=1),
    "one channel left out": lambda F, x: F.slice_axis(F.softmax(x, axis=1), axis=1, begin=0, end=-1),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "spatial maximum": lambda F, x: F.broadcast_div(x, F.max(x, axis=(2, 3), keepdims=True) + 1e-5),
    "spatial minimum": lambda F, x: F.broadcast_sub(x, F.min(x, axis=(2, 3), keepdims=True)),
    "spatial mean": lambda F, x: F.broadcast_mul(x, F.mean(x, axis=(2, 3), keepdims=True)),
    "channel sum": lambda F, x: F.broadcast_div(x, 1 + F.sum(F.abs(x), axis=1, keepdims=True)),
    "suppression": lambda F, x: F.broadcast_minimum(x, 0.5 * F.max(x, axis=(2, 3), keepdims=True)),
    "global pooling": lambda F, x: F.broadcast_add(x, F.Pooling(x, global_pool=True, pool_type="max")),
    "reshape": lambda F, x: F.reshape_like(F.softmax(F.reshape(x, (0, 0, -1)), axis=2), x),
    "scalars": lambda F, x: F.maximum(x, 0) - F.minimum(x, 0.1) ** 2 + 1 / (2 + x),
    "resize, corners aligned": lambda F, x: resized(F, x, height=33, width=40),
    "resize, corners not aligned": lambda F, x: resized(F, x, height=33, width=40, align_corners=False),
    "resize like, corners aligned": lambda F, x: resized(F, x, like=x, mode="like"),
    "resize like, corners not aligned": lambda F, x: resized(F, x, like=x, mode="like", align_corners=False),
    "shrink like, corners not aligned": lambda F, x: F.contrib.BilinearResize2D(
        x, F.Pooling(x, kernel=(3, 3), stride=(2, 2)), mode="like", align_corners=False
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    block = Applied(OPERATORS[name])
    method = SimpleNamespace(
        num_classes=2 if name == "one channel left out" else 3,
        score_maps={"map": "cam"},
        localize=lambda images: {"map": block(images)},
        collect_params=block.collect_params,
    )
    assert_equal(method, onnx_model(method, {}))


def test_resize_by_factor_is_refused():
    block = Applied(lambda F, x: F.contrib.BilinearResize2D(x, scale_height=2, scale_width=2))
    method = SimpleNamespace(
        num_classes=3, score_maps={"map": "cam"}, localize=lambda x: {"map": block(x)}, collect_params=dict
    )
    with pytest.raises(NotImplementedError, match="factor"):
        onnx_model(method, {})


@pytest.mark.parametrize("version", [None, "1.17.0", "1.23.2"])
def test_onnx_that_is_missing_or_too_new(monkeypatch, version):
    installed = None if version is None else SimpleNamespace(__version__=version)
    monkeypatch.setattr(onnx_export, "onnx", installed)
    with pytest.raises(InputError, match="pip install 'onnx"):
        onnx_model(None, {})


def test_the_checkers_default_is_restored():
    before = dict(onnx.checker.DEFAULT_CONTEXT.opset_imports)
    onnx_model(build_trainable("cam", "small", 2, [mx.cpu()]), {})
    assert dict(onnx.checker.DEFAULT_CONTEXT.opset_imports) == before
