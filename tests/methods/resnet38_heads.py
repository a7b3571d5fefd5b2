"""The goldens' weights for heads on ResNet-38, and gradients in the goldens' order."""

from __future__ import annotations

import numpy as np
from recipe_weights import resnet38_key, resnet38_value, set_values

HEADS = ("fc8", "fc_proj", "proj_fc", "f8_3", "f8_4", "f8_5", "f9")


def key_of(name: str) -> str:
    """The PyTorch key of a parameter."""
    head, _, field = name.rpartition("_")
    return f"{head}.{field}" if head in HEADS else resnet38_key(name)


def load_recipe(block) -> None:
    """Set the parameters of a ResNet-38 and its heads to the goldens' values."""
    set_values(block, lambda name, shape: resnet38_value(key_of(name), shape))


def gradient_norms(method, heads) -> list:
    """Norms of the gradients of all trained tensors as the goldens list them: trunk by block, 2a, 2b1, 2b2, 1; then heads."""
    trained = {key_of(name): p for name, p in method.collect_params().items() if p.grad_req != "null"}
    places = {"branch2a": 0, "branch2b1": 1, "branch2b2": 2, "branch1": 3}

    def order(key):
        block, layer, _ = (key.split(".") + [""])[:3]
        if block in heads:
            return 1, heads.index(block), 0
        return 0, block, places[layer.split("_")[-1]]

    keys = sorted(trained, key=order)
    return [np.linalg.norm(trained[key].grad().asnumpy().astype(np.float64)) for key in keys]


def statistics(array) -> list:
    """Mean, deviation, norm, minimum and maximum, in double precision."""
    values = array.asnumpy().astype(np.float64)
    return [values.mean(), values.std(), np.sqrt((values**2).sum()), values.min(), values.max()]


def reached(method, part, term):
    """Which groups of parameters a loss term gives a gradient to."""
    import mxnet as mx

    from icd.engine.world import World

    parameters = {n: p for n, p in method.collect_params().items() if p.grad_req != "null"}
    with mx.autograd.record():
        outputs = method(part["image"])
        with mx.autograd.pause():
            gathered = method.gather([outputs], [part], World())
        loss = method.losses(outputs, part, gathered)[term]
    loss.backward()
    heads = {
        "fc8": "fc8",
        "fc_proj": "projection",
        "proj_fc": "projection",
        "f8_3": "PCM",
        "f8_4": "PCM",
        "f9": "PCM",
    }
    found = set()
    for name, parameter in parameters.items():
        if parameter.grad().asnumpy().any():
            found.add(next((group for head, group in heads.items() if name.startswith(head + "_")), "trunk"))
    return found
