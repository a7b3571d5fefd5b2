"""Whole files: an original's state dict of the goldens' weights becomes ours array by array, and goes back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from caffe_files import caffemodel
from recipe_weights import recipe_value, resnet38_value, unnormalised
from state_dicts import file_of_2017, make_state, network_of, shape_of

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.parameters import load_arrays, load_checkpoint_weights, load_pretrained
from icd.errors import InputError
from icd.foreign.torchfile import read_torch, write_torch
from icd.methods import create_method, make_recipe
from icd.weights.convert import convert, convert_back
from icd.weights.families import FAMILIES

FILES = [
    ("drs", "classifier with learnt", {}),
    ("irn", "IRN", {}),
    ("vwe", "VWE or VWL-L, ResNet-50", {}),
    pytest.param("deeplab-pytorch", "DeepLab-v2", {"classes": 21}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("family", "title", "sizes"), FILES)
def test_checkpoints_there_and_back(tmp_path, family, title, sizes):
    network, wrapper = network_of(family, title), FAMILIES[family].wrapper
    sizes = {"classes": 20, "words": 256, **sizes}
    state = make_state(network, recipe_value, sizes, counters=FAMILIES[family].counters)
    saved = {f"module.{key}": array for key, array in state.items()} if family == "vwe" else state
    write_torch(tmp_path / "a.pth", {wrapper: saved, "epoch": 3} if wrapper else saved)
    done = convert(family, tmp_path / "a.pth", tmp_path / "a.params")
    beside = (["epoch"] if wrapper else []) + (["the prefix module."] if family == "vwe" else [])
    assert done.network == network.title and done.beside == beside
    assert done.arrays + done.aliases + sum(done.ignored.values()) == len(state)
    ours = load_arrays(tmp_path / "a.params")
    assert ours.keys() == {entry.name for entry in network.entries}
    for entry in network.entries:
        np.testing.assert_array_equal(ours[entry.name].asnumpy(), state[entry.key])
    stored = mx.nd.load(str(tmp_path / "a.params"))
    assert {name[:4] for name in stored if name.endswith(("_moving_mean", "_moving_var"))} <= {"aux:"}
    convert_back(family, tmp_path / "a.params", tmp_path / "b.pth")
    back = read_torch(tmp_path / "b.pth")
    _assert_same(back[wrapper] if wrapper else back, state)
    _assert_torch_reads(tmp_path / "b.pth", wrapper, state)


def _assert_same(found: dict, state: dict):
    assert found.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype and found[key].shape == array.shape


def _assert_torch_reads(path, wrapper, state):
    try:
        import torch
    except ImportError:
        return
    loaded = torch.load(path, weights_only=True)
    _assert_same(
        {key: tensor.numpy() for key, tensor in (loaded[wrapper] if wrapper else loaded).items()}, state
    )


def test_torchvisions_vgg16(monkeypatch, tmp_path):
    """In the format of 2017, as vgg16-397923af.pth is; its classifier is left aside."""
    network = network_of("torchvision-vgg16", "VGG-16")
    state = make_state(network, recipe_value)
    ways = ("tensor", "before 0.2", "before 0.4")
    old = {key: (ways[n % 3], array) for n, (key, array) in enumerate(state.items())}
    old["classifier.6.bias"] = ("tensor", np.zeros(1000, np.float32))
    with monkeypatch.context() as patch:
        (tmp_path / "a.pth").write_bytes(file_of_2017(patch, old))
    done = convert("torchvision-vgg16", tmp_path / "a.pth", tmp_path / "a.params")
    assert done.ignored == {"the ImageNet classifier": 1} and done.arrays == 26
    ours = load_arrays(tmp_path / "a.params")
    for key, array in state.items():
        np.testing.assert_array_equal(ours[key.replace(".", "_")].asnumpy(), array)


def test_caffes_vgg16_in_icd(tmp_path):
    """Blue comes first with Caffe, red with ICD; everything else is the same array."""
    layers, expected = {}, {}
    for entry in network_of("vgg16-caffe", "vgg16_20M").entries:
        array = recipe_value(entry.name, shape_of(entry))
        expected[entry.name] = array
        layers.setdefault(entry.key.split(".")[0], []).append(
            array[:, ::-1] if entry.name == "conv1_1_weight" else array
        )
    layers["fc8"] = [np.zeros((1000, 1024, 1, 1), np.float32), np.zeros(1000, np.float32)]
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(layers, "before"))
    done = convert("vgg16-caffe", tmp_path / "a.caffemodel", tmp_path / "a.params")
    assert done.ignored == {"the classifier": 2}
    method = create_method("icd", create_backbone("vgg16"), 20)
    method.initialize()
    loaded = load_pretrained(method, tmp_path / "a.params", method.network.backbone)
    assert set(loaded.names) == expected.keys()
    parameters = method.collect_params()
    for name, array in expected.items():
        np.testing.assert_array_equal(parameters[name].data().asnumpy(), array)


@pytest.fixture(scope="module")
def eps(tmp_path_factory):
    """EPS's state dict of the goldens' weights, its file, and what became of it."""
    folder = tmp_path_factory.mktemp("eps")
    network = network_of("eps", "CAM network")
    state = make_state(network, resnet38_value, {"classes": 21})
    write_torch(folder / "eps.pth", state)
    done = convert("eps", folder / "eps.pth", folder / "eps.params")
    yield SimpleNamespace(folder=folder, network=network, state=state, done=done)
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "b"])
def test_eps_gives_the_goldens(golden, parity, eps, name):
    assert (eps.done.arrays, eps.done.sizes) == (192, {"classes": 21})
    g = np.load(golden / f"eps/network_{name}.npz")
    method = create_method("eps", create_backbone("resnet38"), 20, make_recipe("eps", {}))
    load_checkpoint_weights(_initialized(method), eps.folder / "eps.params")
    cam = method(unnormalised(g["input"]))
    parity(
        "converted checkpoints",
        f"EPS, {name}: logits",
        cam.mean(axis=(2, 3)).asnumpy(),
        g["eps_logits"],
        2e-5,
    )
    parity("converted checkpoints", f"EPS, {name}: maps", cam.asnumpy(), g["eps_cam"], 7e-5)


def _initialized(method):
    method.initialize()
    return method


@pytest.mark.slow
def test_eps_goes_back(eps):
    convert_back("eps", eps.folder / "eps.params", eps.folder / "back.pth")
    _assert_same(read_torch(eps.folder / "back.pth"), eps.state)
    _assert_torch_reads(eps.folder / "back.pth", "", eps.state)


@pytest.mark.slow
def test_mxnets_own_file_of_resnet38(eps):
    """Its 193 arrays become the 191 of the backbone, and the same network as through PyTorch."""
    network = network_of("resnet38-mxnet", "model A1")
    keys = {entry.name: entry.key for entry in eps.network.entries}
    arrays = {
        ("aux:" if "running" in e.key else "arg:") + e.key.replace("running", "moving"): eps.state[
            keys[e.name]
        ]
        for e in network.entries
    }
    arrays["arg:linear1000_weight"] = np.zeros((1000, 4096), np.float32)
    arrays["arg:linear1000_bias"] = np.zeros(1000, np.float32)
    assert len(arrays) == 193
    path = eps.folder / "ilsvrc-cls_rna-a1_cls1000_ep-0001.params"
    mx.nd.save(str(path), {name: mx.nd.array(array) for name, array in arrays.items()})
    done = convert("resnet38-mxnet", path, eps.folder / "resnet38.params")
    assert done.arrays == 191 and done.ignored == {"the ImageNet classifier": 2}
    ours = load_arrays(eps.folder / "resnet38.params")
    for entry in network.entries:
        np.testing.assert_array_equal(ours[entry.name].asnumpy(), eps.state[keys[entry.name]])
    convert_back("resnet38-mxnet", eps.folder / "resnet38.params", eps.folder / "back.params")
    back = mx.nd.load(str(eps.folder / "back.params"))
    assert back.keys() == {name for name in arrays if "linear" not in name}


def test_half_and_double_precision_become_single(tmp_path):
    network = network_of("drs", "classifier with fixed")
    types = (np.float16, np.float64, np.float32)
    state = make_state(network, lambda key, shape: np.full(shape, 0.5, types[len(key) % 3]), aliases=False)
    write_torch(tmp_path / "a.pth", state)
    convert("drs", tmp_path / "a.pth", tmp_path / "a.params")
    for array in load_arrays(tmp_path / "a.params").values():
        assert array.dtype == np.float32 and array[0].asnumpy().flat[0] == 0.5


def test_nothing_is_written_where_the_source_is_refused(tmp_path):
    write_torch(tmp_path / "a.pth", {"a.weight": np.ones(3, np.float32)})
    for family in FAMILIES:
        with pytest.raises(InputError, match=r"a\.pth"):
            convert(family, tmp_path / "a.pth", tmp_path / "a.params")
    with pytest.raises(InputError, match="the source itself"):
        convert("eps", tmp_path / "a.pth", tmp_path / "x" / ".." / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_the_codebook_of_a_memory_bank_comes_along(tmp_path):
    """VWL-M writes it to a file of its own (spec vwe 1.2 and 2.7); converted, it is the bank of our network."""
    network = network_of("vwe", "VWL-M, ResNet-50")
    state = make_state(
        network, lambda key, shape: np.full(shape, 0.5, np.float32), {"classes": 3, "words": 8}
    )
    bank = np.random.RandomState(0).rand(8, 2048).astype(np.float32)
    source = tmp_path / "resnet_cam_ep_5.pth"
    write_torch(source, {f"module.{key}": array for key, array in state.items()})
    assert not convert("vwe", source, tmp_path / "without.params").codebook
    np.save(tmp_path / "resnet_cam_ep_5_codebook.npy", bank)
    done = convert("vwe", source, tmp_path / "ours.params")
    assert done.codebook.endswith("resnet_cam_ep_5_codebook.npy")
    method = create_method("vwl_m", create_backbone("resnet50"), 3, make_recipe("vwl_m", {"words": 8}))
    method.initialize()
    load_checkpoint_weights(method, tmp_path / "ours.params")
    np.testing.assert_array_equal(method.codebook.data().asnumpy().reshape(8, -1), bank)
    assert method.bank_filled.data().asscalar() == 1
    back = convert_back("vwe", tmp_path / "ours.params", tmp_path / "back.pth")
    np.testing.assert_array_equal(np.load(back.codebook), bank)
    load_checkpoint_weights(method, tmp_path / "without.params")  # the original's checkpoint alone
    np.save(tmp_path / "resnet_cam_ep_5_codebook.npy", bank[:7])
    with pytest.raises(InputError, match=r"shape \(8, 2048\).* found float32 \(7, 2048\)"):
        convert("vwe", source, tmp_path / "ours.params")
