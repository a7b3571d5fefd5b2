"""The weights under which the segmentation goldens were made: a pure function of the published names of the parameters."""

from __future__ import annotations

import re
import zlib

import numpy as np
from recipe_weights import kept, set_values

_FIELDS = {"gamma": "weight", "beta": "bias"}
_PARTS = {
    "conv1": "reduce.conv", "bn1": "reduce.bn", "conv2": "conv3x3.conv", "bn2": "conv3x3.bn",
    "conv3": "increase.conv", "bn3": "increase.bn", "downsample_0": "shortcut.conv", "downsample_1": "shortcut.bn",
}  # fmt: skip


def _split(name: str) -> tuple:
    """The layer and PyTorch's field of one of our names."""
    layer, field = re.fullmatch(r"(.*?)_(weight|bias|gamma|beta|running_mean|running_var)", name).groups()
    return layer, _FIELDS.get(field, field)


def kazuto_key(name: str) -> str:
    """deeplab-pytorch's name of a parameter of `deeplab_v2` on ResNet-101."""
    layer, field = _split(name)
    if layer in ("conv1", "bn1"):
        return f"base.layer1.conv1.{'bn' if layer == 'bn1' else 'conv'}.{field}"
    block = re.fullmatch(r"layer(\d)_(\d+)_(\w+)", layer)
    if block:
        stage, index, part = block.groups()
        return f"base.layer{int(stage) + 1}.block{int(index) + 1}.{_PARTS[part]}.{field}"
    return f"base.{layer.replace('_', '.')}.{field}"


def codebase_key(name: str) -> str:
    """The segmentation codebase's name of a parameter of `deeplab_v1` or `deeplab_aspp`."""
    layer, field = _split(name)
    if layer.startswith(("conv_fov", "bn_fov", "cls_conv")):
        return f"{layer}.{field}"
    if layer.startswith("aspp"):
        return (
            re.sub(r"^aspp_(branch\d|conv_cat)(?:_(\d))?", r"aspp.\1.\2", layer).replace("._", "_")
            + f".{field}"
        )
    if layer.startswith(("layer", "conv1_")):
        layer = re.sub(r"_(\d+)(?=_|$)", r".\1", layer).replace("_", ".")
    elif re.match(r"b\d", layer):  # ResNet-38
        layer = re.sub(r"_(conv|bn)_", r".\1_", layer)
    return f"backbone.{layer}.{field}"


@kept
def golden_value(key: str, shape, is_norm: bool) -> np.ndarray:
    """The value of a parameter, float32, by its published name."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    field = key.split(".")[-1]
    if len(shape) >= 2:
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:], dtype=np.float64)))
        value = random.randn(*shape).astype(np.float32) * scale
    elif field == "running_var":
        value = 1 + 0.1 * abs(random.randn(*shape))
    elif is_norm:
        value = 0.1 * random.randn(*shape) + (1 if field == "weight" else 0)
    else:
        value = 0.01 * random.randn(*shape)
    return value.astype(np.float32) * np.float32(_factor(key))


def _factor(key: str) -> float:
    if re.search(r"^base\.layer[2-5]\.block\d+\.increase\.conv\.weight", key):
        return 0.2
    if re.search(r"^base\.aspp\.c\d\.weight", key):
        return 0.02
    resnet38 = r"^backbone\.(b[2-5](_\d)?\.conv_branch2b1|b[67]\.conv_branch2b2)\.weight"
    if re.search(resnet38 + r"|^backbone\.layer\d\.\d+\.bn3\.weight", key):
        return 0.2
    return 1


def load_golden(segmenter, to_key) -> None:
    """Set all parameters of a segmenter to the goldens' values; `to_key` as above."""

    def value_of(name, shape):
        stem = name.rsplit("_running_mean", 1)[0].rsplit("_running_var", 1)[0]
        is_norm = name.endswith(("_gamma", "_beta")) or stem != name
        return golden_value(to_key(name), shape, is_norm)

    set_values(segmenter, value_of)
