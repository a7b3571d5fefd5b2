"""Pretrained files: which names are understood, what is refused and how that is said, and the real files."""

from __future__ import annotations

import numpy as np
import pytest
from backbone_conformance import lively, pictures, values_of

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.build import build_backbone, build_trainable
from icd.engine.parameters import load_pretrained, save_arrays
from icd.errors import InputError

FIELDS = {"gamma": "weight", "beta": "bias"}


@pytest.fixture(scope="module")
def resnet():
    return lively(create_backbone("resnet50", 32))


def torch_keys(backbone) -> dict:
    """The parameters under torchvision's keys, with the counters and the classifier that its files hold."""
    arrays = {}
    for name, parameter in backbone.collect_params().items():
        layer, _, field = name.rpartition("_running_")
        if not layer:
            layer, _, field = name.rpartition("_")
        else:
            field = f"running_{field}"
            arrays[layer.replace("_", ".") + ".num_batches_tracked"] = mx.nd.zeros((1,))
        arrays[f"{layer.replace('_', '.')}.{FIELDS.get(field, field)}"] = parameter.data()
    return {**arrays, "fc.weight": mx.nd.zeros((1000, 2048)), "fc.bias": mx.nd.zeros((1000,))}


def assert_filled(backbone, expected):
    for name, value in values_of(backbone).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
def test_pytorchs_keys_with_any_prefix(resnet, tmp_path, prefix):
    arrays = {prefix + key: array for key, array in torch_keys(resnet).items()}
    assert f"{prefix}layer1.0.downsample.1.running_var" in arrays
    mx.nd.save(str(tmp_path / "a.params"), arrays)
    backbone = create_backbone("resnet50", 32)
    backbone.initialize()
    loaded = load_pretrained(backbone, tmp_path / "a.params", backbone)
    assert loaded.prefix == prefix.replace(".", "_") and sorted(loaded.left) == ["fc_bias", "fc_weight"]
    assert_filled(backbone, values_of(resnet))


def test_torchvisions_features_alone(tmp_path):
    """The names of a file that holds VGG-16's convolutions alone: 28.weight."""
    vgg = lively(create_backbone("vgg16_torchvision"))
    arrays = {f"{n.split('_')[1]}.{n.split('_')[2]}": p.data() for n, p in vgg.collect_params().items()}
    assert list(arrays)[:2] == ["0.weight", "0.bias"]
    mx.nd.save(str(tmp_path / "a.params"), arrays)
    backbone = build_backbone("vgg16_torchvision", [mx.cpu()], pretrained=tmp_path / "a.params", stride=16)
    assert_filled(backbone, values_of(vgg))


def test_every_mismatch_is_counted_and_few_are_named(resnet, tmp_path):
    arrays = {f"net_{name}": parameter.data() for name, parameter in resnet.collect_params().items()}
    lost = [name for name in arrays if name.startswith("net_layer2_0")]
    for name in lost:
        del arrays[name]
    arrays["net_conv1_weight"] = mx.nd.zeros((64, 3, 3, 3))
    arrays["net_bn1_gamma"] = arrays["net_bn1_gamma"] * float("nan")
    arrays["net_layer3_6_conv1_weight"] = mx.nd.zeros((256, 1024, 1, 1))
    mx.nd.save(str(tmp_path / "a.params"), arrays)
    backbone = create_backbone("resnet50", 32)
    backbone.initialize()
    before = values_of(backbone)
    with pytest.raises(InputError) as caught:
        load_pretrained(backbone, tmp_path / "a.params", backbone)
    message = str(caught.value)
    assert len(lost) == 20 and "20 missing: layer2_0_conv1_weight (128, 256, 1, 1), " in message
    assert "and 15 more" in message and "\n" not in message and len(message) < 1000
    assert "1 of another shape: conv1_weight is (64, 3, 3, 3), not (64, 3, 7, 7)" in message
    assert "1 not finite: bn1_gamma" in message
    assert "1 unknown behind the prefix net_: layer3_6_conv1_weight" in message
    assert_filled(backbone, before)


def test_a_deeper_network_is_refused(resnet, tmp_path):
    """All that ResNet-50 needs is in a file of ResNet-101."""
    deeper = create_backbone("resnet101")
    arrays = {n: mx.nd.zeros(p.shape) for n, p in deeper.pretrained_parameters().items()}
    save_arrays(tmp_path / "a.params", arrays)
    backbone = create_backbone("resnet50")
    backbone.initialize()
    with pytest.raises(InputError, match=r"found 255 unknown: layer3_6_conv1_weight, .* and 250 more"):
        load_pretrained(backbone, tmp_path / "a.params", backbone)


def test_a_file_of_something_else_is_refused(tmp_path):
    mx.nd.save(str(tmp_path / "a.params"), {"arg:embedding_weight": mx.nd.zeros((3, 4))})
    backbone = create_backbone("small")
    backbone.initialize()
    with pytest.raises(InputError, match="30 missing: conv1_weight"):
        load_pretrained(backbone, tmp_path / "a.params", backbone)


def test_heads_of_another_method_are_left_aside(tmp_path):
    method = build_trainable("icd", "small", 3, [mx.cpu()])
    save_arrays(tmp_path / "a.params", {n: p.data() for n, p in method.collect_params().items()})
    backbone = build_backbone("small", [mx.cpu()])
    loaded = load_pretrained(backbone, tmp_path / "a.params", backbone)
    assert set(loaded.names) == set(backbone.collect_params())
    assert {"fc8_weight", "fc6_weight", "fc6_ft_weight"} <= set(loaded.left)


def test_a_method_also_wants_the_top_of_its_file(tmp_path):
    backbone = build_backbone("vgg16", [mx.cpu()])
    save_arrays(tmp_path / "a.params", {n: p.data() for n, p in backbone.collect_params().items()})
    with pytest.raises(InputError, match="4 missing: fc6_weight .*, fc6_bias .*, fc7_weight .*, fc7_bias"):
        build_trainable("icd", "vgg16", 3, [mx.cpu()], pretrained=tmp_path / "a.params")


def test_build_backbone_is_seeded_and_hybrid():
    first, second, other = (build_backbone("small", [mx.cpu()], seed=seed) for seed in (1, 1, 2))
    images = pictures()
    np.testing.assert_array_equal(first(images).asnumpy(), second(images).asnumpy())
    assert (first(images).asnumpy() != other(images).asnumpy()).any()
    assert build_backbone("small", [mx.cpu()], stride=4).taps["conv6"] == (64, 4)
    with pytest.raises(RuntimeError, match="before hybridize"):
        first.freeze()


# The real files


def test_real_resnet50(shared):
    path = shared / "weights/resnet50_v1-imagenet-keras-fp16.params"
    backbone = build_backbone("resnet50_caffe", [mx.cpu()], pretrained=path, stride=32)
    zoo = mx.gluon.model_zoo.vision.resnet50_v1(classes=1000)
    zoo.load_parameters(str(path), cast_dtype=True, dtype_source="current")
    images = pictures(97)
    means = mx.nd.array([103.939, 116.779, 123.68]).reshape((1, 3, 1, 1))
    expected = mx.nd.stack(*[images[:, c] for c in (2, 1, 0)], axis=1) - means
    for layer in list(zoo.features)[:-1]:
        expected = layer(expected)
    expected = expected.asnumpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(backbone(images).asnumpy(), expected, rtol=0, atol=1e-4 * expected.max())


def test_real_mobilenet(shared):
    path = shared / "weights/mobilenetv2_1.0-imagenet-fp16.params"
    method = build_trainable("cam", "mobilenet_v2", 2, [mx.cpu()])
    loaded = load_pretrained(method, path, method.network.backbone)
    assert set(loaded.names) == set(method.network.backbone.pretrained_parameters())
    assert len(loaded.names) == 265 and loaded.left == ["output_0_weight"]


def test_real_vgg16(shared):
    path = shared / "weights/vgg16_conv-imagenet-torchvision-fp16.params"
    backbone = build_backbone("vgg16_torchvision", [mx.cpu()], pretrained=path)
    weight = backbone.collect_params()["features_0_weight"].data().asnumpy()
    np.testing.assert_allclose(weight[0, 0, 0], [-0.5537, 0.1427, 0.5288], atol=1e-3)
