"""The deterministic weights under which the goldens were made: a pure function of a parameter's name and shape."""

from __future__ import annotations

import zlib

import numpy as np

ICD_FACTORS = {
    "conv1_2_weight": 1 / 8,
    "conv2_1_weight": 1 / 8,
    "fc7_weight": 1 / 16,
    "fc8_weight": 1 / 8,
}


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
    import mxnet as mx

    method.initialize()
    for name, parameter in method.collect_params().items():
        # Gluon calls the statistics of batch norm running_*, the original moving_*.
        original = name.replace("running_", "moving_")
        if original == "icd_td_warmup":
            continue
        if original == "icd_accum_resign_moving_mean":
            random = np.random.RandomState(zlib.crc32(original.encode()) & 0x7FFFFFFF)
            value = abs(random.randn(*parameter.shape)) if inference else np.zeros(parameter.shape)
        elif original == "feat_bn_gamma":
            value = np.ones(parameter.shape)
        else:
            value = recipe_value(original, parameter.shape) * np.float32(ICD_FACTORS.get(original, 1))
        parameter.set_data(mx.nd.array(value.astype(np.float32)))
