"""The registry: its entries are whole, files are checked by their digests, and missing ones are explained."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields, replace

import pytest

from icd.errors import InputError
from icd.weights.families import FAMILIES
from icd.weights.registry import (
    MISSING,
    REGISTRY,
    RIGHT,
    UNCHECKED,
    WRONG,
    WeightFile,
    backbone_file,
    explain,
    find,
    known_weights,
    supervision_of_weights,
)

ENTRIES = list(known_weights().values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_whole(entry):
    assert entry.what and entry.file and entry.origin
    assert (entry.family is None) == (entry.gives is None)
    assert entry.family is None or (entry.family in FAMILIES and entry.gives.endswith(".params"))
    assert entry.family is not None or entry.file.endswith((".params", ".onnx"))
    if entry.digest:
        algorithm, digits = entry.digest.split(":")
        assert algorithm in hashlib.algorithms_guaranteed and re.fullmatch("[0-9a-f]{8,64}", digits)


def test_torchvisions_digests_are_those_of_the_names():
    for entry in ENTRIES:
        match = re.search(r"-([0-9a-f]{8})\.pth$", entry.file)
        if match and "torchvision" in entry.name:
            assert entry.digest == f"sha256:{match[1]}"


def test_every_field_is_explained_in_the_file():
    head = REGISTRY.read_text(encoding="utf-8").split("\n\n")[0]
    for field in fields(WeightFile):
        assert field.name == "name" or re.search(rf"^#   {field.name} ", head, re.MULTILINE)


def test_weights_that_learned_from_masks_are_extra_supervision():
    expected = ["masks of COCO in the initial weights"]
    assert supervision_of_weights("anywhere/deeplabv1_resnet101-coco.params") == expected
    assert supervision_of_weights("mobilenet_v2.params") == supervision_of_weights("my_own.params") == []


def test_states(tmp_path):
    content = b"weights"
    digest = hashlib.md5(content).hexdigest()
    entry = replace(ENTRIES[0], file="a.params", digest=f"md5:{digest[:8]}")
    assert entry.state(tmp_path) == MISSING
    (tmp_path / "a.params").write_bytes(content)
    assert entry.state(tmp_path) == RIGHT
    assert replace(entry, digest=f"md5:{digest}").state(tmp_path) == RIGHT
    assert replace(entry, digest=f"sha256:{digest[:8]}").state(tmp_path) == WRONG
    assert replace(entry, digest=None).state(tmp_path) == UNCHECKED


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "vgg16-torchvision",
            ("https://download.pytorch.org/models/vgg16-397923af.pth", "icd convert torchvision-vgg16"),
        ),
        (
            "data/pretrained/vgg16_torchvision.params",
            ("vgg16-397923af.pth", "data/pretrained/vgg16_torchvision.params"),
        ),
        ("resnet38", ("ilsvrc-cls_rna-a1_cls1000_ep-0001.params", "ademxapp")),
        ("vgg16_20M.params", ("Google Drive", " Or: ", "icd convert vgg16-caffe")),
        ("unheard of", ("icd weights",)),
    ],
)
def test_missing_weights_are_explained(name, parts):
    text = explain(name)
    assert all(part in text for part in parts), text


def test_backbones():
    assert backbone_file("vgg16").as_posix() == "data/pretrained/vgg16_20M.params"
    assert backbone_file("vgg16_torchvision").as_posix() == "data/pretrained/vgg16_torchvision.params"
    assert find("resnet38")[0].digest == "md5:ff21f45d6bf03284100dcbec571edfad"
    with pytest.raises(InputError, match="--pretrained"):
        backbone_file("unheard of")


def test_every_backbone_with_pretrained_weights_has_an_entry():
    backbones = pytest.importorskip("icd.backbones").BACKBONES
    for name, backbone in backbones.items():
        if backbone.pretrained:
            assert backbone_file(name)
