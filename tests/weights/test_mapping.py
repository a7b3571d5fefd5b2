"""Every key is used once or reported; nothing else gets through."""

from __future__ import annotations

import re

import numpy as np
import pytest
from state_dicts import constant, make_state, network_of

from icd.errors import InputError
from icd.weights.families import FAMILIES
from icd.weights.mapping import state_dict_of, to_ours, to_theirs

WRITTEN = [
    (n, w.title) for n, family in FAMILIES.items() if family.format != "caffe" for w in family.networks
]
PYTORCH = [(name, title) for name, title in WRITTEN if FAMILIES[name].format == "torch"]


def drs_state(**options) -> dict:
    return make_state(network_of("drs", "classifier with learnt"), constant, **options)


@pytest.mark.parametrize(("family", "title"), WRITTEN)
def test_there_and_back(family, title):
    counters = FAMILIES[family].counters
    state = make_state(network_of(family, title), constant, counters=counters)
    ours, fit = to_ours(family, state, "a.pth")
    assert (fit.network.title, len(ours)) == (title, len(fit.network.entries))
    used = sum(map(len, fit.found.values())) + sum(fit.ignored.values())
    assert used == len(state)
    back, _ = to_theirs(family, ours, "a.params")
    assert back.keys() == state.keys()
    for key, array in state.items():
        assert back[key].shape == array.shape and back[key].dtype == array.dtype
        assert back[key].flat[0] == array.flat[0]


def test_sizes_are_decided_by_the_file():
    state = make_state(network_of("eps", "CAM network"), constant, {"classes": 81})
    _, fit = to_ours("eps", state, "a.pth")
    assert fit.sizes == {"classes": 81}
    state = make_state(network_of("vwe", "VWL-M, ResNet-50"), constant, {"classes": 5, "words": 64})
    _, fit = to_ours("vwe", state, "a.pth")
    assert fit.sizes == {"classes": 5, "words": 64}


def test_all_problems_of_keys_are_listed():
    state = drs_state()
    del state["extra_conv4.bias"], state["features.0.weight"], state["layer1_conv1.weight"]
    state["features.2.weight"] = np.zeros((64, 64, 3), np.float32)
    state["features.5.bias"] = 3.5
    state["extra_conv1.weight"] = np.zeros((512, 512, 1, 1), np.float32)
    state["unheard.of"] = np.zeros(1, np.float32)
    with pytest.raises(InputError) as caught:
        to_ours("drs", state, "checkpoint.pth")
    message = str(caught.value)
    for part in (
        "checkpoint.pth", "drs (classifier with learnt suppression)", "2 missing: features.0.weight, extra_conv4.bias",
        "1 unknown: unheard.of", "features.2.weight is 64 x 64 x 3, not 64 x 64 x 3 x 3", "features.5.bias is a float",
        "extra_conv1.weight is 512 x 512 x 1 x 1, not 512 x 512 x 3 x 3",
    ):  # fmt: skip
        assert part in message


def test_sizes_must_agree_with_each_other():
    state = drs_state()
    state["extra_conv4.bias"] = np.zeros(21, np.float32)
    with pytest.raises(InputError, match="extra_conv4.bias is 21, not 20"):
        to_ours("drs", state, "a.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.nan, a), "not finite"),
        (lambda a: a + np.float32(np.inf), "not finite"),
        (lambda a: np.zeros(a.shape, np.int64), "holds int64"),
    ],
)
def test_values_must_be_finite_numbers(change, message):
    state = drs_state()
    state["extra_conv2.bias"] = change(state["extra_conv2.bias"])
    with pytest.raises(InputError, match=f"extra_conv2.bias.*{message}"):
        to_ours("drs", state, "a.pth")


def test_aliases_must_agree():
    state = drs_state()
    state["layer2_conv1.bias"] = state["layer2_conv1.bias"] + np.float32(1e-6)
    with pytest.raises(InputError, match=r"layer2_conv1\.bias differs from features\.5\.bias"):
        to_ours("drs", state, "a.pth")


def test_one_name_of_an_array_is_enough():
    whole, _ = to_ours("drs", drs_state(), "a.pth")
    for keep in ("features", "layer"):
        dropped = {"features": r"layer\d_conv\d\..*", "layer": r"features\..*"}[keep]
        state = {key: array for key, array in drs_state().items() if not re.fullmatch(dropped, key)}
        ours, _ = to_ours("drs", state, "a.pth")
        assert ours.keys() == whole.keys()
        assert all(ours[name].flat[0] == whole[name].flat[0] for name in ours)


@pytest.mark.parametrize(
    ("family", "title", "more", "meaning"),
    [
        ("irn", "IRN", {"path_indices0": np.zeros(3, np.int64), "disp_target": np.zeros((1, 2, 152, 1))}, "the training's path indices"),
        ("eps", "CAM network", {"bn7.num_batches_tracked": np.array(9)}, "counters of batch norm"),
        ("torchvision-resnet50", "ResNet-50", {"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}, "the ImageNet classifier"),
        ("torchvision-vgg16", "VGG-16", {"classifier.6.bias": np.zeros(1000)}, "the ImageNet classifier"),
        ("deeplab-pytorch", "DeepLab-v1", {"fc.weight": np.zeros((91, 2048, 1, 1))}, "the classifier of COCO"),
    ],
)  # fmt: skip
def test_what_the_tables_leave_aside(family, title, more, meaning):
    state = make_state(network_of(family, title), constant)
    _, fit = to_ours(family, {**state, **more}, "a.pth")
    assert fit.ignored == {meaning: len(more)}


def test_another_family_is_named():
    state = make_state(network_of("seam", "SEAM"), constant)
    with pytest.raises(InputError, match="The file fits: seam$") as caught:
        to_ours("eps", state, "a.pth")
    assert "3 unknown: f8_3.weight, f8_4.weight, f9.weight" in str(caught.value)
    ours, _ = to_ours("drs", drs_state(), "a.pth")
    with pytest.raises(InputError, match="The file fits: drs$"):
        to_theirs("irn", ours, "a.params")


def test_wrong_families_are_refused():
    """A file fits its own family and those that hold the same network, no other."""
    same = {"eps": {"psa"}, "psa": {"eps", "seam", "ppc"}, "seam": {"psa", "ppc"}, "ppc": {"psa", "seam"}}
    for family, title in dict(PYTORCH).items():  # one network of each
        state = make_state(network_of(family, title), constant)
        for other in dict(PYTORCH).keys() - {family} - same.get(family, set()):
            with pytest.raises(InputError, match="missing|unknown"):
                to_ours(other, state, "a.pth")


@pytest.mark.parametrize("content", [3, [], {}, {"model": {}}, {1: np.zeros(1)}, np.zeros(2)])
def test_what_is_no_state_dict(content):
    with pytest.raises(InputError, match=r"a\.pth: expected a state dict"):
        state_dict_of(content, "a.pth")


def test_caffes_files_are_only_read():
    with pytest.raises(InputError, match="only read"):
        to_theirs("vgg16-caffe", {}, "a.params")
