"""The deterministic weights under which the goldens were made: a pure function of a parameter's name and shape."""

from __future__ import annotations

import functools
import re
import zlib

import numpy as np

ICD_FACTORS = {
    "conv1_2_weight": 1 / 8,
    "conv2_1_weight": 1 / 8,
    "fc7_weight": 1 / 16,
    "fc8_weight": 1 / 8,
}


def set_values(block, value_of) -> None:
    """Set every parameter to `value_of(name, shape)`, float32, or start it as its network does where that is None.

    Nothing gets a random start that is overwritten at once: of a large network it takes longer than the test.
    """
    from icd.compat import mx

    values = {}
    for name, parameter in block.collect_params().items():
        value = value_of(name, parameter.shape)
        if value is None:
            parameter.initialize()
        else:
            values[name] = mx.nd.array(value, dtype="float32")
    block.collect_params().load_dict(values, ctx=mx.cpu(), allow_missing=True)


def kept(value):
    """A function of a name and a shape that computes each array once in a process and gives it out for reading."""

    @functools.lru_cache(maxsize=None)
    def known(*arguments):
        array = value(*arguments)
        array.flags.writeable = False
        return array

    return functools.wraps(value)(lambda name, shape, *more: known(name, tuple(shape), *more))


@kept
def recipe_value(name: str, shape) -> np.ndarray:
    """The value of a parameter, float32, before the exceptions of a method."""
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    last = name.split(".")[-1]
    if last.endswith(("running_mean", "moving_mean")):
        return (0.1 * random.randn(*shape)).astype(np.float32)
    if last.endswith(("running_var", "moving_var")):
        return (1 + 0.1 * abs(random.randn(*shape))).astype(np.float32)
    if len(shape) >= 2:
        fan_in = np.prod(shape[1:], dtype=np.float32)
        return random.randn(*shape).astype(np.float32) * np.float32(np.sqrt(2 / fan_in))
    if last.endswith("gamma") or last == "weight":
        return (1 + 0.1 * random.randn(*shape)).astype(np.float32)
    return (0.01 * random.randn(*shape)).astype(np.float32)


def load_icd_recipe(method, inference: bool = False) -> None:
    """Set the parameters of an ICD network to the goldens' values."""

    def value_of(name, shape):
        # Gluon calls the statistics of batch norm running_*, the original moving_*.
        original = name.replace("running_", "moving_")
        if original == "icd_td_warmup":
            return None
        if original == "icd_accum_resign_moving_mean":
            random = np.random.RandomState(zlib.crc32(original.encode()) & 0x7FFFFFFF)
            return abs(random.randn(*shape)) if inference else np.zeros(shape)
        if original == "feat_bn_gamma":
            return np.ones(shape)
        return recipe_value(original, shape) * np.float32(ICD_FACTORS.get(original, 1))

    set_values(method, value_of)


TORCH_FIELDS = {"gamma": "weight", "beta": "bias"}


def resnet38_key(name: str) -> str:
    """The PyTorch key of a parameter of ResNet-38 or of a head on it: b4_5_bn_branch2b1_gamma, b4_5.bn_branch2b1.weight."""
    match = re.fullmatch(
        r"(b\d(?:_\d)?|bn7|conv1a|fc8)_(?:((?:conv|bn)_branch\w+?)_)?(weight|gamma|beta|running_\w+)", name
    )
    block, layer, field = match.groups()
    return ".".join(part for part in (block, layer, TORCH_FIELDS.get(field, field)) if part)


@kept
def resnet38_value(key: str, shape, factor=0.2) -> np.ndarray:
    """The value of a tensor of ResNet-38 or of a head on it, by its PyTorch key."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    if "bn" not in key:
        value = recipe_value(key, shape)
    elif key.endswith("running_var"):
        value = 1 + 0.1 * abs(random.randn(*shape))
    else:
        value = 0.1 * random.randn(*shape) + (1 if key.endswith("weight") else 0)
    if re.search(r"b[2-5](_\d)?\.conv_branch2b1\.|b[67]\.conv_branch2b2\.", key):
        value = value * np.float32(factor)
    return value.astype(np.float32, copy=False)


def load_resnet38_recipe(block, factor=0.2) -> None:
    """Set the parameters of a ResNet-38 and its head to the goldens' values."""
    set_values(block, lambda name, shape: resnet38_value(resnet38_key(name), shape, factor))


def drs_key(name: str) -> str:
    """The original's name of a parameter of DRS: features_28_weight, features.28.weight."""
    return re.sub(
        r"^(features_\d+|\w+?_relu\d_fc_0|extra_conv\d)_",
        lambda m: re.sub(r"_(?=\d+_|fc_)", ".", m[0])[:-1] + ".",
        name,
    )


def load_drs_recipe(method, refinement=False) -> None:
    """Set the parameters of one of DRS's networks to the goldens' values."""

    def value_of(name, shape):
        key = drs_key(name)
        if key == "extra_conv4.weight":
            factor = 1 / 4 if refinement else 1 / 8
        else:
            factor = 1.25 if len(shape) == 4 and not refinement else 1
        return recipe_value(key, shape) * np.float32(factor)

    set_values(method, value_of)


def unnormalised(image):
    """What a network that normalises by itself must see to have the golden's normalised input inside."""
    import mxnet as mx

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = 255 * (image.astype(np.float64) * std[:, None, None] + mean[:, None, None])
    return mx.nd.array(pixels.astype(np.float32))


RESNET_FIELDS = {"gamma": "weight", "beta": "bias"}


def vwe_key(name: str) -> str:
    """The original's name of a parameter of VWE: layer3_0_bn1_gamma, resnet.layer3.0.bn1.weight."""
    layer, _, field = re.sub("_running_", "_running-", name).rpartition("_")
    key = ".".join([*layer.split("_"), RESNET_FIELDS.get(field, field)]).replace("running-", "running_")
    if name.startswith("codebook"):
        return name
    if name.startswith(("fc_", "VWE_", "classifier_")):
        return re.sub(r"^fc\.", "fc_", key)
    return f"resnet.{key}"


def load_vwe_recipe(method) -> None:
    """Set the parameters of VWE and its variants to the goldens' values."""

    def value_of(name, shape):
        key = vwe_key(name)
        if name == "codebook_filled":
            return None
        few = key in ("classifier.weight", "fc_b.weight")
        factor = 1 / 8 if key.endswith("bn3.weight") else 1 / 4 if few else 1
        return recipe_value(key, shape) * np.float32(factor)

    set_values(method, value_of)


def irn_key(name: str) -> str:
    """The original's name of a parameter of IRN or its CAM network: fc_dp7_1_gamma, fc_dp7.1.weight."""
    if name == "mean_shift_running_mean":
        return "mean_shift.running_mean"
    match = re.fullmatch(r"(fc_(?:edge|dp)\d|classifier)_(?:(\d)_)?(\w+)", name)
    if match is None:
        return vwe_key(name).replace("resnet.", "resnet50.", 1)
    layer, place, field = match.groups()
    return ".".join(part for part in (layer, place, RESNET_FIELDS.get(field, field)) if part)


def load_irn_recipe(trainable) -> None:
    """Set the parameters of IRN or its CAM network to the goldens' values."""

    def value_of(name, shape):
        key = irn_key(name)
        if name.endswith("beta"):
            random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
            return 0.1 * random.randn(*shape)
        return recipe_value(key, shape) * np.float32(0.2 if key.endswith("conv3.weight") else 1)

    set_values(trainable, value_of)
