"""Our ResNets against GluonCV's and the model zoo's with the same weights; and the files that those programs write."""

from __future__ import annotations

import numpy as np
import pytest
from backbone_conformance import lively, pictures

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.build import build_backbone
from icd.engine.parameters import load_pretrained

SIZE, TOLERANCE = 65, 1e-4
pytestmark = pytest.mark.usefixtures("thin")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def gluoncv_network(name, **options):
    try:
        from gluoncv import model_zoo
    except ImportError as error:  # it raises one where torch >= 2 is installed, too, and without libGL
        pytest.skip(f"GluonCV cannot be imported: {error}")
    norm = mx.gluon.nn.BatchNorm  # the thin one, too: by default that of GluonCV's first import
    return model_zoo.get_model(name, pretrained=False, pretrained_base=False, norm_layer=norm, **options)


def inputs():
    """Pictures as we take them, and as networks take them that leave the normalisation to others."""
    images = pictures(SIZE)
    normalised = (images.asnumpy() / 255.0 - MEAN[:, None, None]) / STD[:, None, None]
    return images, mx.nd.array(normalised.astype(np.float32))


def assert_equal(ours, theirs):
    theirs = theirs.asnumpy()
    assert ours.shape == theirs.shape and theirs.std() > 0
    np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def gluoncv_taps(network, images) -> dict:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    taps = {"stem": x}
    for number in (1, 2, 3, 4):
        taps[f"layer{number}"] = x = getattr(network, f"layer{number}")(x)
    return taps


def zoo_taps(network, images) -> dict:
    taps, x = {}, images
    for place, layer in enumerate(list(network.features)[:8]):
        x = layer(x)
        taps["stem" if place == 3 else f"layer{place - 3}"] = x
    return {name: taps[name] for name in ("stem", "layer1", "layer2", "layer3", "layer4")}


def saved(network, path, how: str):
    """The file of a network as one of Gluon's three ways writes it."""
    if how == "save_parameters":
        network.save_parameters(str(path / "n.params"))
        return path / "n.params"
    if how == "collect_params":
        network.collect_params().save(str(path / "n.params"))
        return path / "n.params"
    network.hybridize()
    network(mx.nd.zeros((1, 3, SIZE, SIZE)))
    network.export(str(path / "n"))
    return path / "n-0000.params"


HOW = ("save_parameters", "collect_params", "export")


@pytest.mark.parametrize(
    ("ours", "stride", "theirs", "options", "how"),
    [
        ("resnet50", 8, "resnet50_v1b", {"dilated": True}, "save_parameters"),
        ("resnet50", 32, "resnet50_v1b", {}, "collect_params"),
        ("resnet101_deep", 8, "resnet101_v1s", {"dilated": True}, "export"),
        ("resnet101", 8, "resnet101_v1b", {"dilated": True}, "save_parameters"),
    ],
)
def test_gluoncv(tmp_path, ours, stride, theirs, options, how):
    oracle = lively(gluoncv_network(theirs, **options))
    backbone = build_backbone(ours, [mx.cpu()], pretrained=saved(oracle, tmp_path, how), stride=stride)
    pixels, normalised = inputs()
    found, expected = backbone.forward_taps(mx.nd, pixels), gluoncv_taps(oracle, normalised)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert_equal(found[name], values)


@pytest.mark.parametrize("how", HOW)
def test_model_zoo(tmp_path, how):
    """Whose 1x1 convolutions have biases."""
    oracle = lively(mx.gluon.model_zoo.vision.resnet50_v1(classes=7))
    backbone = create_backbone("resnet50_v1", 32)
    backbone.initialize()
    loaded = load_pretrained(backbone, saved(oracle, tmp_path, how), backbone)
    assert len(loaded.names) == 265 and len(loaded.left) == 2
    assert (loaded.prefix == "") == (how == "save_parameters")
    pixels, normalised = inputs()
    found, expected = backbone.forward_taps(mx.nd, pixels), zoo_taps(oracle, normalised)
    for name, values in expected.items():
        assert_equal(found[name], values)


def test_caffe_form_sees_blue_first(tmp_path):
    """The same network under another input."""
    oracle = lively(mx.gluon.model_zoo.vision.resnet50_v1(classes=7))
    path = saved(oracle, tmp_path, "save_parameters")
    backbone = build_backbone("resnet50_caffe", [mx.cpu()], pretrained=path, stride=32)
    pixels, _ = inputs()
    shifted = mx.nd.array(pixels.asnumpy()[:, ::-1] - np.reshape([103.939, 116.779, 123.68], (3, 1, 1)))
    assert_equal(backbone(pixels), zoo_taps(oracle, shifted)["layer4"])


@pytest.mark.parametrize("how", HOW)
def test_model_zoos_mobilenet(tmp_path, how):
    oracle = lively(mx.gluon.model_zoo.vision.mobilenet_v2_1_0(classes=7))
    backbone = build_backbone("mobilenet_v2", [mx.cpu()], pretrained=saved(oracle, tmp_path, how), stride=32)
    pixels, _ = inputs()
    expected, ends = pixels / 127.5 - 1, (4, 6, 9, 16, 19)
    found = list(backbone.forward_taps(mx.nd, pixels).values())
    for place, layer in enumerate(list(oracle.features)[:19], 1):
        expected = layer(expected)
        if place in ends:
            assert_equal(found[ends.index(place)], expected)
