"""The tables have the keys, shapes and numbers of keys and parameters that the specifications counted on the originals."""

from __future__ import annotations

import csv
import math
import re

import pytest
from state_dicts import network_of, shape_of

from icd.weights.families import FAMILIES
from icd.weights.tables import gluon_name

NETWORKS = [(name, network) for name, family in FAMILIES.items() for network in family.networks]

# Family, network, arrays, keys with aliases, keys with batch norm's counters, learnt parameters; None: the spec has no number.
COUNTED = [
    ("eps", "CAM network", 192, None, None, 105_156_928),  # resnet38 2, with 21 outputs
    ("psa", "AffinityNet", 195, None, None, None),
    ("seam", "SEAM", 195, None, None, None),  # resnet38 6.2
    ("seam", "DeepLab-v1", None, None, None, 124_220_245),  # deeplab A2
    ("ppc", "SEAM and PPC", 196, None, 233, 105_882_496),  # ppc 3.4 and 11
    ("ppc", "DeepLab-v1 on ResNet-101", None, None, None, 52_336_085),  # deeplab A2
    ("irn", "CAM network", None, None, 956, None),  # irn 2.2
    ("irn", "IRN", None, None, 1035, 23_508_032 + 125_409 + 1_269_120),  # irn 2.3 and 2.4
    ("vwe", "VWE or VWL-L, ResNet-50", 269, None, 962, 24_602_688),  # vwe 2.7
    ("vwe", "VWL-M, ResNet-50", None, None, 960, None),
    ("vwe", "VWE or VWL-L, ResNet-101", None, None, 1880, 43_594_816),
    ("drs", "classifier with learnt", 50, 76, 76, 24_401_236),  # drs 2.7
    ("drs", "classifier with fixed", 34, 60, 60, 21_804_372),
    ("deeplab-pytorch", "DeepLab-v2", None, None, 632, 44_048_532),  # deeplab B2
    ("resnet38-mxnet", "model A1", 191, 191, None, 105_070_912),  # resnet38 2 and 6
]


@pytest.mark.parametrize(("family", "title", "arrays", "keys", "counted", "parameters"), COUNTED)
def test_counts_of_the_specifications(family, title, arrays, keys, counted, parameters):
    network = network_of(family, title)
    classes = 20 if family in ("irn", "vwe", "drs") else 21
    all_keys = [key for entry in network.entries for key in (entry.key, *entry.aliases)]
    norms = sum(key.endswith(".running_var") for key in all_keys)
    learnt = sum(
        math.prod(shape_of(entry, {"classes": classes, "words": 256}))
        for entry in network.entries
        if "running" not in entry.key
    )
    found = (len(network.entries), len(all_keys), len(all_keys) + norms, learnt)
    for ours, theirs in zip(found, (arrays, keys, counted, parameters)):
        assert theirs is None or ours == theirs


@pytest.mark.parametrize(("family", "network"), NETWORKS)
def test_no_key_and_no_name_occurs_twice(family, network):
    keys = [key for entry in network.entries for key in (entry.key, *entry.aliases)]
    assert len(set(keys)) == len(keys)
    assert len({entry.name for entry in network.entries}) == len(network.entries)


@pytest.mark.parametrize(
    ("key", "normalises", "name"),
    [
        ("b4_5.bn_branch2b1.running_var", True, "b4_5_bn_branch2b1_running_var"),
        ("b2.conv_branch1.weight", False, "b2_conv_branch1_weight"),
        ("bn7.weight", True, "bn7_gamma"),
        ("fc_edge1.1.bias", True, "fc_edge1_1_beta"),
        ("features.28.bias", False, "features_28_bias"),
        ("layer1_relu1.fc.0.weight", False, "layer1_relu1_fc_0_weight"),
    ],
)
def test_names(key, normalises, name):
    assert gluon_name(key, normalises) == name


# Spec resnet38 6.1.
RESNET38 = {
    "conv1a": (64, 3, 3), "b2.conv_branch2a": (128, 64, 3), "b2.conv_branch1": (128, 64, 1), "b2_2.conv_branch2b1": (128, 128, 3),
    "b3.conv_branch2a": (256, 128, 3), "b3.conv_branch1": (256, 128, 1), "b3_1.conv_branch2a": (256, 256, 3),
    "b4.conv_branch2a": (512, 256, 3), "b4.conv_branch1": (512, 256, 1), "b4_5.conv_branch2b1": (512, 512, 3),
    "b5.conv_branch2a": (512, 512, 3), "b5.conv_branch2b1": (1024, 512, 3), "b5.conv_branch1": (1024, 512, 1),
    "b5_2.conv_branch2a": (512, 1024, 3), "b5_2.conv_branch2b1": (1024, 512, 3),
    "b6.conv_branch2a": (512, 1024, 1), "b6.conv_branch2b1": (1024, 512, 3), "b6.conv_branch2b2": (2048, 1024, 1),
    "b6.conv_branch1": (2048, 1024, 1), "b7.conv_branch2a": (1024, 2048, 1), "b7.conv_branch2b1": (2048, 1024, 3),
    "b7.conv_branch2b2": (4096, 2048, 1), "b7.conv_branch1": (4096, 2048, 1),
}  # fmt: skip
NORMS = {"b2.bn_branch2a": 64, "b2_1.bn_branch2b1": 128, "b5.bn_branch2a": 512, "b6.bn_branch2a": 1024,
         "b6.bn_branch2b2": 1024, "b7.bn_branch2b1": 1024, "b7.bn_branch2b2": 2048, "bn7": 4096}  # fmt: skip


def test_shapes_of_resnet38():
    shapes = {entry.key: entry.shape for entry in network_of("psa", "CAM network").entries}
    for layer, (outputs, inputs, kernel) in RESNET38.items():
        assert shapes[f"{layer}.weight"] == (outputs, inputs, kernel, kernel)
    for layer, channels in NORMS.items():
        assert shapes[f"{layer}.running_mean"] == shapes[f"{layer}.weight"] == (channels,)
    assert sum(len(shape) == 4 for shape in shapes.values()) == 43 + 1
    assert sum(key.endswith("running_var") for key in shapes) == 37
    assert "b2_1.conv_branch1.weight" not in shapes


def test_names_of_our_networks():
    """What a conversion writes is what the package's networks are called."""
    pytest.importorskip("icd.backbones")
    from icd.backbones import create_backbone
    from icd.methods import create_method

    eps = create_method("eps", create_backbone("resnet38"), 20)
    icd = create_method("icd", create_backbone("vgg16"), 20)
    for method, family, title in ((eps, "eps", "CAM network"), (icd, "vgg16-caffe", "vgg16_20M")):
        ours = {name: parameter.shape for name, parameter in method.collect_params().items()}
        theirs = {entry.name: shape_of(entry, {"classes": 21}) for entry in network_of(family, title).entries}
        assert theirs.items() <= ours.items()
        assert method is icd or theirs == ours


@pytest.mark.parametrize(
    ("name", "backbone", "family", "title"),
    [
        ("irn_cam", "resnet50", "irn", "CAM network"),
        ("irn", "resnet50", "irn", "IRN"),
        ("vwe", "resnet50", "vwe", "VWE or VWL-L, ResNet-50"),
        ("vwl_l", "resnet101", "vwe", "VWE or VWL-L, ResNet-101"),
        ("vwl_m", "resnet101", "vwe", "VWL-M, ResNet-101"),
    ],
)
def test_names_of_vwe_and_irn(name, backbone, family, title):
    from icd.backbones import create_backbone
    from icd.engine.build import make_trainable

    trainable = make_trainable(name, create_backbone(backbone), 20)
    unpublished = {state.name for state in trainable.unpublished_states}
    ours = {n: p.shape for n, p in trainable.collect_params().items() if n not in unpublished}
    assert {entry.name: shape_of(entry) for entry in network_of(family, title).entries} == ours


@pytest.mark.parametrize(
    ("backbone", "family", "title"),
    [
        ("resnet50", "torchvision-resnet50", "ResNet-50"),
        ("resnet101", "torchvision-resnet101", "ResNet-101"),
        ("resnet101_deep", "encoding-resnet101s", "ResNet-101"),
        ("resnet101_caffe", "deeplab-pytorch", "DeepLab-v1"),
        ("resnet101_caffe", "deeplab-caffe", "DeepLab-v1"),
        ("resnet38", "resnet38-mxnet", "model A1"),
        ("vgg16_torchvision", "torchvision-vgg16", "VGG-16"),
    ],
)
def test_names_of_our_backbones(backbone, family, title):
    """What a conversion writes is what the backbone must find in its file."""
    create_backbone = pytest.importorskip("icd.backbones").create_backbone
    ours = {name: p.shape for name, p in create_backbone(backbone).pretrained_parameters().items()}
    assert ours == {entry.name: entry.shape for entry in network_of(family, title).entries}


def test_names_in_mxnets_own_file():
    """The examples of spec resnet38 6; `icd.backbones.resnet38.original_name` names them from our side."""
    entries = {entry.name: entry.key for entry in network_of("resnet38-mxnet", "model A1").entries}
    assert entries["b4_5_bn_branch2b1_running_var"] == "bn4b5_branch2b1_running_var"
    assert entries["b2_conv_branch1_weight"] == "res2a_branch1_weight"
    assert entries["b7_conv_branch1_weight"] == "res7a_branch1_weight"
    assert entries["bn7_gamma"] == "bn7_gamma" and entries["conv1a_weight"] == "conv1a_weight"
    pytest.importorskip("icd.backbones")
    from icd.backbones.resnet38 import original_name

    assert all(original_name(ours) == key for ours, key in entries.items())


def test_names_in_caffes_files():
    """Spec deeplab B2: Caffe's and deeplab-pytorch's names of one layer, and ours."""
    caffe, torch = network_of("deeplab-caffe", "DeepLab-v2"), network_of("deeplab-pytorch", "DeepLab-v2")
    theirs = {entry.name: entry.key for entry in caffe.entries}
    keys = {entry.name: entry.key for entry in torch.entries}
    assert theirs.keys() == keys.keys()
    for ours, key, name in (
        ("conv1_weight", "layer1.conv1.conv.weight", "conv1.weight"),
        ("bn1_running_mean", "layer1.conv1.bn.running_mean", "bn_conv1.running_mean"),
        ("bn1_gamma", "layer1.conv1.bn.weight", "scale_conv1.weight"),
        ("layer1_2_conv2_weight", "layer2.block3.conv3x3.conv.weight", "res2c_branch2b.weight"),
        ("layer2_1_conv1_weight", "layer3.block2.reduce.conv.weight", "res3b1_branch2a.weight"),
        ("layer3_22_bn3_beta", "layer4.block23.increase.bn.bias", "scale4b22_branch2c.bias"),
        ("layer4_0_downsample_1_running_var", "layer5.block1.shortcut.bn.running_var", "bn5a_branch1.running_var"),
        ("aspp_c3_bias", "aspp.c3.bias", "fc1_c3.bias"),
    ):  # fmt: skip
        assert (keys[ours], theirs[ours]) == (f"base.{key}", name)


def test_aliases():
    """Spec irn 2.4, vwe 2.7, drs 2.7."""
    irn, cam = network_of("irn", "IRN"), network_of("irn", "CAM network")
    learnable, dictionary = network_of("drs", "classifier with learnt"), network_of("vwe", "VWL-M, ResNet-50")
    aliases = {(n.title, e.key): e.aliases for n in (irn, cam, learnable, dictionary) for e in n.entries}
    for network, key, expected in (
        (irn, "resnet50.layer1.2.conv3.weight", ("stage2.0.2.conv3.weight", "backbone.1.0.2.conv3.weight")),
        (irn, "mean_shift.running_mean", ("fc_dp7.4.running_mean", "dp_layers.6.4.running_mean")),
        (irn, "fc_edge6.bias", ("edge_layers.5.bias",)),
        (cam, "resnet50.layer1.2.bn1.bias", ("stage1.4.2.bn1.bias", "backbone.0.4.2.bn1.bias")),
        (cam, "classifier.weight", ("newly_added.0.weight",)),
        (learnable, "features.28.bias", ("layer5_conv3.bias",)),
        (learnable, "layer5_relu3.fc.0.weight", ()),
        (dictionary, "fc_b.weight", ("newly_added.2.weight",)),
    ):
        assert aliases[network.title, key] == expected


@pytest.mark.parametrize(
    ("file", "family", "title"),
    [
        ("drs/classifier_groups.csv", "drs", "classifier with learnt"),
        ("vwe/vwe/groups.csv", "vwe", "VWE or VWL-L, ResNet-50"),
    ],
)
def test_parameters_listed_by_the_originals(shared, file, family, title):
    with open(shared / "golden" / file, newline="") as lines:
        theirs = [row["name"] for row in csv.DictReader(lines)]
    ours = [entry.key for entry in network_of(family, title).entries if "running" not in entry.key]
    assert sorted(theirs) == sorted(ours)


def test_what_is_left_aside_is_no_array_of_the_network():
    for _, network in NETWORKS:
        for pattern, meaning in network.ignored:
            assert meaning and not any(re.fullmatch(pattern, entry.key) for entry in network.entries)
