"""Our ResNets against the arrays of the originals: IRN's ResNet-50, SEAM's deep ResNet-101, deeplab-pytorch's ResNet-101."""

from __future__ import annotations

import re

import numpy as np
import pytest
from recipe_weights import recipe_value, set_values, unnormalised

from icd.backbones import create_backbone
from icd.compat import mx
from icd.weights.families import FAMILIES


def with_recipe(backbone, family, title, shrunk):
    """Set a backbone to the goldens' weights; those whose keys match `shrunk` are multiplied by 0.2."""
    (network,) = (network for network in FAMILIES[family].networks if network.title == title)
    keys = {entry.name: entry.key for entry in network.entries}

    def value_of(name, shape):
        # All biases are of batch norms, whose recipe has 0.1 where that of convolutions has 0.01.
        factor = 10 if name.endswith("_beta") else 0.2 if re.search(shrunk, keys[name]) else 1
        return recipe_value(keys[name], shape) * np.float32(factor)

    set_values(backbone, value_of)
    return backbone


def statistics(maps) -> np.ndarray:
    values = maps.asnumpy().astype(np.float64)
    return np.array([values.mean(), values.std(), np.sqrt((values**2).sum()), values.min(), values.max()])


def test_irn(golden, parity):
    """Spec irn 2.3: five taps of a frozen ResNet-50 at stride 16 without dilation."""
    backbone = with_recipe(create_backbone("resnet50"), "irn", "IRN", r"conv3\.weight$")
    g = np.load(golden / "irn/network_a.npz")
    taps = backbone.forward_taps(mx.nd, unnormalised(g["input"]))
    for number, (name, maps) in enumerate(taps.items(), 1):
        ours = maps.asnumpy()[:, :: maps.shape[1] // 16]
        parity("ResNet-50", f"IRN's x{number} ({name})", ours, g[f"x{number}_ch16"], 6e-5)
        parity("ResNet-50", f"IRN's x{number}, statistics", statistics(maps), g[f"x{number}_stats"], 2e-3)


@pytest.mark.slow
def test_deep_resnet101_of_seam(golden, parity):
    """Spec deeplab A2: stride 8 by dilation, and batch norm that trains its statistics and nothing else."""
    backbone = create_backbone("resnet101_deep")
    with_recipe(backbone, "ppc", "DeepLab-v1 on ResNet-101", r"bn3\.weight$")
    g = np.load(golden / "deeplab/y_v1_resnet101.npz")
    images = unnormalised(g["input"])
    maps = backbone(images)
    parity("ResNet-101, deep stem", "layer4", maps.asnumpy()[:1, ::32], g["backbone_ch64"], 2e-4)
    parity("ResNet-101, deep stem", "layer4, statistics", statistics(maps), g["backbone_stats"], 4e-3)
    layers = {"conv1_1": 2 * 33 * 41, "layer3_9_bn1": 2 * 9 * 11}  # and the values that a statistic is of
    parameters = backbone.collect_params()
    before = {name: parameters[f"{name}_running_var"].data().asnumpy() for name in layers}
    with mx.autograd.record():
        maps = backbone(images)
    maps.backward()  # MXNet moves the statistics on the way back
    for field, tolerance in (("mean", 9e-7), ("var", 5e-6)):
        found = {name: parameters[f"{name}_running_{field}"].data().asnumpy() for name in layers}
        if field == "var":  # PyTorch divides by one value less
            found = {n: v + (v - 0.9 * before[n]) / (layers[n] - 1) for n, v in found.items()}
        found = np.concatenate(list(found.values()))
        # The rest of the array is of the head.
        expected = g[f"running_{field}_after"][: len(found)]
        parity("ResNet-101, deep stem", f"running_{field} after a step", found, expected, tolerance)


@pytest.mark.slow
def test_resnet101_of_deeplab_pytorch(golden, parity):
    """Spec deeplab B2: stride on the 1x1, blue first, pooling in ceil mode, whole stages dilated."""
    backbone = create_backbone("resnet101_caffe")
    with_recipe(backbone, "deeplab-pytorch", "DeepLab-v2", r"increase\.conv\.weight$")
    g = np.load(golden / "deeplab/k_network_b.npz")
    shifted = g["input"].astype(np.float64) + np.reshape(backbone.mean, (3, 1, 1))
    taps = backbone.forward_taps(mx.nd, mx.nd.array(shifted[:, ::-1].astype(np.float32)))
    for row, (name, maps) in enumerate(taps.items()):
        parity("ResNet-101, Caffe", f"{name}, statistics", statistics(maps), g["layer_stats"][row], 2e-1)
        scale = np.abs(g["layer_stats"][row])
        parity(
            "ResNet-101, Caffe", f"{name}, relative", statistics(maps), g["layer_stats"][row], 2e-5, scale + 1
        )
