"""A trained network as an ONNX model: the way to devices for which MXNet's wheels have no kernels.

In: a method or a segmenter with its weights. Out: a checked model that maps images (N, 3, H, W), RGB 0..255, to the score maps
that `localize` names, or to the logits of `predict`, for any N, H and W. These functions themselves are traced, so that nothing
describes a network twice. MXNet's exporter converts the operators; what it gets wrong is put right here.
"""

from __future__ import annotations

import contextlib
import json
import re

import icd
from icd import wheels
from icd.compat import mx
from icd.engine.build import PROBE_SIZE
from icd.errors import InputError

try:
    import onnx
except ImportError:
    onnx = None

INPUT, LOGITS = "image", "logits"
# The newest operator set that MXNet 1.9.1 converts to, and the file format of its time, which every runtime reads.
OPSET, IR_VERSION = 13, 7

_MXNetGraph = mx.onnx.mx2onnx._export_onnx.MXNetGraph


def onnx_model(trainable, facts: dict):
    """Convert the localization of a method or the prediction of a segmenter.

    Parameters
    ----------
    trainable : icd.trainable.Method or icd.trainable.Segmenter
        With its weights.
    facts : dict
        Kept as the model's metadata: strings as they are, anything else as JSON.

    Returns
    -------
    onnx.ModelProto
        Input `image` float32 (N, 3, H, W). Of a method an output float32 (N, C, h, w) for every name in `score_maps`, in that
        order; of a segmenter the output `logits` float32 (N, 1 + C, h, w).

    Raises
    ------
    InputError
        The package onnx is missing or too new, or the network has an operator that cannot be converted.
    """
    check_onnx()
    maps, channels = _traced(trainable)
    symbol = mx.sym.Group([mx.sym.identity(values, name=name) for name, values in maps.items()])
    try:
        converted = _converted(symbol, trainable)
    except (AttributeError, NotImplementedError) as error:
        if not re.search("No conversion function|not yet implemented", str(error)):
            raise
        found = " ".join(str(error).split())[:200]  # the exporter's own words, of an operator that it lacks
        raise InputError("the network", "operators that MXNet can export", found) from None
    model = onnx.helper.make_model(
        _tidy(converted, maps, channels),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="icd",
        producer_version=icd.__version__,
    )
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model


def _traced(trainable) -> tuple:
    """The outputs as symbols by name, and their channels."""
    image = mx.sym.var(INPUT)
    if hasattr(trainable, "predict"):
        return {LOGITS: trainable.predict(image)}, 1 + trainable.num_classes
    maps = trainable.localize(image)
    return {name: maps[name] for name in trainable.score_maps}, trainable.num_classes


def _converted(symbol, trainable):
    with _checker_for(OPSET):
        return _MXNetGraph().create_onnx_graph_proto(
            symbol,
            _arrays(symbol, trainable.collect_params()),
            in_shapes=[(1, 3, PROBE_SIZE, PROBE_SIZE)],
            in_types=[onnx.TensorProto.FLOAT],
            opset_version=OPSET,
        )


def check_onnx() -> None:
    """Refuse an onnx that MXNet's exporter cannot work with, before the exporter fails on it obscurely."""
    version = "not installed" if onnx is None else onnx.__version__
    if onnx is None or tuple(map(int, version.split(".")[:2])) >= (1, 17):
        raise InputError("onnx", "a version below 1.17", version, f"Run: pip install '{wheels.ONNX[0]}'")


def _arrays(symbol, parameters) -> dict:
    """The arrays that a graph reads, by name.

    The exporter does not know that a batch norm with `fix_gamma` takes gamma as 1 whatever it holds; so 1 it holds.
    """
    wanted = set(symbol.list_inputs()) - {INPUT}
    arrays = {name: parameters[name].list_data()[0] for name in wanted}
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        if node["op"] == "BatchNorm" and node["attrs"].get("fix_gamma", "True") == "True":
            gamma = nodes[node["inputs"][1][0]]["name"]
            arrays[gamma] = mx.nd.ones_like(arrays[gamma])
    return arrays


@contextlib.contextmanager
def _checker_for(opset: int):
    """Let onnx check by one operator set what the exporter makes; by default it takes its newest, in which names differ."""
    context = onnx.checker.DEFAULT_CONTEXT
    newest = context.opset_imports
    context.opset_imports = {"": opset}
    try:
        yield
    finally:
        context.opset_imports = newest


def _tidy(graph, names, channels):
    """The same graph with named free dimensions, outputs in the order of `names`, and constants only where they are used.

    The exporter declares weights as inputs that a caller may replace, which keeps runtimes from folding them, and leaves
    constants behind that runtimes warn of.
    """

    def tensor(name, *shape):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    image = tensor(INPUT, "batch", 3, "height", "width")
    outputs = [tensor(name, "batch", channels, f"{name}_height", f"{name}_width") for name in names]
    used = {name for node in graph.node for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    return onnx.helper.make_graph(graph.node, "network", [image], outputs, constants)


@_MXNetGraph.register("_contrib_BilinearResize2D", OPSET)
def _convert_bilinear_resize(node, initializer, outputs_lookup, **_):
    """Convert `BilinearResize2D` to a given size or to that of another array.

    MXNet's own conversion knows the first only, and takes corners as aligned whatever `align_corners` says.
    """
    name, attributes = node["name"], node["attrs"]
    inputs = [outputs_lookup[index][output].name for index, output, *_ in node["inputs"]]
    mode = attributes.get("mode", "size")
    if mode not in ("size", "like") or "scale_height" in attributes:
        raise NotImplementedError(f"{name}: BilinearResize2D by mode {mode!r} or a factor has no conversion")

    def constant(suffix, *values):
        initializer.append(
            onnx.helper.make_tensor(name + suffix, onnx.TensorProto.INT64, [len(values)], values)
        )
        return name + suffix

    make_node, nodes = onnx.helper.make_node, []
    zero, two, four = constant("_zero", 0), constant("_two", 2), constant("_four", 4)
    if mode == "like":
        nodes += [
            make_node("Shape", [inputs[1]], [name + "_like"]),
            make_node("Slice", [name + "_like", two, four], [name + "_grid"]),
        ]
    else:
        constant("_grid", int(attributes["height"]), int(attributes["width"]))
    aligned = attributes.get("align_corners", "True") in ("True", "1")
    return [
        *nodes,
        make_node("Shape", [inputs[0]], [name + "_shape"]),
        make_node("Slice", [name + "_shape", zero, two], [name + "_head"]),
        make_node("Concat", [name + "_head", name + "_grid"], [name + "_sizes"], axis=0),
        make_node(
            "Resize",
            [inputs[0], "", "", name + "_sizes"],
            [name],
            mode="linear",
            coordinate_transformation_mode="align_corners" if aligned else "half_pixel",
        ),
    ]
