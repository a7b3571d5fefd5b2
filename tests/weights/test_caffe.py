"""The numbers of a .caffemodel are read in both of its formats."""

from __future__ import annotations

import numpy as np
import pytest
from caffe_files import caffemodel, field
from hypothesis import given, settings
from hypothesis import strategies as st
from state_dicts import SIZES, network_of, shape_of

from icd.errors import InputError
from icd.weights.caffe import read_caffemodel
from icd.weights.mapping import to_ours


def small_network():
    random = np.random.RandomState(0)
    weight, bias = random.randn(2, 3, 1, 1).astype("f4"), random.randn(2).astype("f4")
    mean, variance = random.randn(300).astype("f4"), random.rand(300).astype("f4")
    return {
        "data": [],
        "conv1": [weight, bias],
        "bn_conv1": [4 * mean, 4 * variance, np.array([4], "f4")],
        "scale_conv1": [variance, mean],
    }


@pytest.mark.parametrize("form", ["present", "before"])
def test_layers_are_read(tmp_path, form):
    layers = small_network()
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(layers, form))
    found = read_caffemodel(tmp_path / "a.caffemodel")
    np.testing.assert_array_equal(found["conv1.weight"], layers["conv1"][0])
    np.testing.assert_array_equal(found["conv1.bias"], layers["conv1"][1])
    np.testing.assert_array_equal(found["bn_conv1.running_mean"], layers["scale_conv1"][1])
    np.testing.assert_array_equal(found["bn_conv1.running_var"], layers["scale_conv1"][0])
    np.testing.assert_array_equal(found["scale_conv1.weight"].reshape(-1), layers["scale_conv1"][0])
    assert len(found) == 6


def test_statistics_without_weight_are_zero(tmp_path):
    """Caffe's rule for batch norm that has seen no batch."""
    layers = {"bn": [np.ones(2, "f4"), np.ones(2, "f4"), np.zeros(1, "f4")]}
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(layers))
    assert not read_caffemodel(tmp_path / "a.caffemodel")["bn.running_mean"].any()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<!DOCTYPE html>", b"\x80\x02.", field(1, b"a name alone"), b"\xff" * 12, field(100, field(1, b"x"))[:-1],
        field(100, field(1, b"x") + field(7, field(7, field(1, b"\x05")) + field(5, bytes(8)))),
        field(100, field(1, b"x") + b"".join(field(7, field(7, field(1, b"\1")) + field(5, bytes(4))) for _ in range(4))),
    ],
)  # fmt: skip
def test_other_and_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.caffemodel").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.caffemodel"):
        read_caffemodel(tmp_path / "a.caffemodel")
    with pytest.raises(InputError, match="nothing there"):
        read_caffemodel(tmp_path / "b.caffemodel")


@settings(max_examples=200)
@given(data=st.data())
def test_damage_anywhere_gives_an_error_or_arrays(tmp_path_factory, data):
    content = bytearray(caffemodel(small_network()))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.caffemodel"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = read_caffemodel(path)
    except InputError:
        return
    assert all(array.dtype == np.float32 for array in found.values())


def test_deeplabs_names():
    """The classifiers carry the data set's name, the copies for scaled images are left aside."""
    network = network_of("deeplab-caffe", "DeepLab-v2")
    arrays = {}
    for entry in network.entries:
        key = entry.key.replace("fc1_c", "fc1_voc12_c")
        arrays[key] = np.broadcast_to(np.float32(len(arrays)), shape_of(entry, {**SIZES, "classes": 21}))
    extra = {f"{name}.weight": np.zeros(1) for name in ("res2a_branch1_res05", "fc1_voc12_c0_res075")}
    ours, fit = to_ours("deeplab-caffe", {**arrays, **extra}, "a.caffemodel")
    assert fit.sizes == {"classes": 21} and fit.ignored == {"the copies for scaled images": 2}
    assert ours["aspp_c2_bias"].flat[0] == list(arrays).index("fc1_voc12_c2.bias")
    torch_names = {entry.name for entry in network_of("deeplab-pytorch", "DeepLab-v2").entries}
    assert ours.keys() == torch_names
