"""ResNet-38 against the arrays of the original trunk, and its own file of weights."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_weights import load_resnet38_recipe, unnormalised

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.parameters import load_pretrained
from icd.errors import InputError
from icd.methods import create_method


@pytest.fixture(scope="module")
def trunk():
    backbone = create_backbone("resnet38")
    load_resnet38_recipe(backbone)
    return backbone


def block_outputs(trunk, images) -> np.ndarray:
    """Mean, deviation, norm, minimum and maximum of conv1a and of every block."""
    found = []
    layers = [trunk.conv1a, *trunk.blocks]
    hooks = [layer.register_forward_hook(lambda _, __, output: found.append(output)) for layer in layers]
    trunk.forward_taps(mx.nd, images)
    for hook in hooks:
        hook.detach()
    return np.array([statistics(out[0] if isinstance(out, (list, tuple)) else out) for out in found])


def statistics(array) -> list:
    values = array.asnumpy().astype(np.float64)
    return [values.mean(), values.std(), np.sqrt((values**2).sum()), values.min(), values.max()]


@pytest.mark.parametrize("name", ["a", "b"])
def test_taps(golden, trunk, parity, name):
    g = np.load(golden / f"resnet38/trunk_{name}.npz")
    taps = trunk.forward_taps(mx.nd, unnormalised(g["input"]))
    assert list(taps) == ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6"]
    for tap in ("conv3", "conv4", "conv5", "conv6"):
        maps = taps[tap]
        channels = maps.shape[1]
        ours = maps.asnumpy()
        parity("ResNet-38", f"{name}: {tap}", ours[:, :: channels // 64], g[f"{tap}_ch64"], 6e-5)
        parity("ResNet-38", f"{name}: {tap}, statistics", statistics(maps), g[f"{tap}_stats"], 2e-3)
        if tap != "conv3":
            parity("ResNet-38", f"{name}: {tap}, channels", ours.mean((0, 2, 3)), g[f"{tap}_chanmean"], 2e-5)
    stats = block_outputs(trunk, unnormalised(g["input"]))
    parity("ResNet-38", f"{name}: blocks, statistics", stats, g["block_stats"], 3e-3)


def test_names_and_freezing():
    """Spec resnet38 2, 4 and 6.1: counts, and what trains."""
    method = create_method("eps", create_backbone("resnet38"), 20)
    parameters = method.collect_params()
    assert len(list(parameters)) == 192
    trained = {name: p for name, p in parameters.items() if p.grad_req != "null"}
    assert len(trained) == 36 and all(name.endswith("_weight") for name in trained)
    assert not any(name.startswith(("conv1a", "b2_", "bn7")) for name in trained)
    assert sum(np.prod(p.shape) for p in trained.values()) == 104_288_256
    learnable = {name: p for name, p in parameters.items() if "running" not in name}
    assert sum(np.prod(p.shape) for p in learnable.values()) == 105_156_928
    assert {p.lr_mult for name, p in trained.items() if name != "fc8_weight"} == {1.0}
    assert trained["fc8_weight"].lr_mult == 10.0
    assert {p.wd_mult for p in trained.values()} == {1.0}


def own_file(backbone) -> dict:
    """The parameters of the trunk under the names of MXNet's own file of model A1."""
    arrays = {}
    for name, parameter in backbone.collect_params().items():
        block, _, rest = name.partition("_")
        number, _, tail = rest.partition("_")
        if not number.isdigit():
            number, tail = "", rest
        kind, _, layer = tail.partition("_")
        if block in ("conv1a", "bn7"):
            original = name
        else:
            prefix = {"conv": "res", "bn": "bn"}[kind] + block[1:]
            original = f"{prefix}{'b' + number if number else 'a'}_{layer}"
        group = "aux" if "running" in name else "arg"
        arrays[f"{group}:{original.replace('running', 'moving')}"] = parameter.data()
    arrays["arg:linear1000_weight"] = mx.nd.zeros((1000, 4096))
    arrays["arg:linear1000_bias"] = mx.nd.zeros((1000,))
    return arrays


@pytest.mark.usefixtures("thin")
def test_mxnets_own_file_is_loaded_by_name(tmp_path):
    trunk = create_backbone("resnet38")
    trunk.initialize()
    arrays = own_file(trunk)
    assert (
        len(arrays) == 193
        and "arg:res4b5_branch2a_weight" in arrays
        and "aux:bn4b5_branch2b1_moving_var" in arrays
    )
    mx.nd.save(str(tmp_path / "a1.params"), arrays)
    method = create_method("eps", create_backbone("resnet38"), 20)
    method.initialize()
    loaded = load_pretrained(method, tmp_path / "a1.params", method.network.backbone)
    assert len(loaded.names) == 191 and loaded.prefix == ""
    assert sorted(loaded.left) == ["linear1000_bias", "linear1000_weight"]
    ours = method.collect_params()
    for name, parameter in trunk.collect_params().items():
        np.testing.assert_array_equal(ours[name].data().asnumpy(), parameter.data().asnumpy())
    del arrays["aux:bn7_moving_var"], arrays["arg:res4a_branch1_weight"]
    mx.nd.save(str(tmp_path / "less.params"), arrays)
    with pytest.raises(
        InputError, match=r"2 missing: b4_conv_branch1_weight \(.*\), bn7_running_var \(512,\)"
    ):
        load_pretrained(method, tmp_path / "less.params", method.network.backbone)
