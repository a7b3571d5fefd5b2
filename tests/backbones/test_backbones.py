"""Every backbone under the shared conformance tests, broken ones that these catch, and what is particular to one."""

from __future__ import annotations

import pytest
from backbone_conformance import BackboneConformance, Taps, lively, pictures, train_once

from icd.backbones import BACKBONES, create_backbone
from icd.backbones.resnet import stage_plan
from icd.backbones.small import Small
from icd.compat import mx


class TestSmall(BackboneConformance):
    name = "small"


class TestVGG16(BackboneConformance):
    name = "vgg16"
    large = True


class TestVGG16Torchvision(BackboneConformance):
    name = "vgg16_torchvision"
    large = True


class TestMobileNetV2(BackboneConformance):
    name = "mobilenet_v2"


class TestResNet50(BackboneConformance):
    name = "resnet50"
    large = True


class CeilMode(BackboneConformance):
    """Caffe's pooling keeps a last cell that lies half outside; the convolutions behind it are as with the others."""

    def cells(self, pixels, stride):
        """Cells a side: half of the pixels, that divided by 2 in ceil mode, then rounded up."""
        pooled = -(-(-(-pixels // 2) - 1) // 2) + 1
        return -(-pooled // (stride // 4))


class TestResNet50Caffe(CeilMode):
    name = "resnet50_caffe"
    cases = ((1, "statistics"),)
    large = True


class TestResNet50V1(BackboneConformance):
    name = "resnet50_v1"
    cases = ((1, "statistics"),)
    large = True


class TestResNet38(BackboneConformance):
    name = "resnet38"
    large = True


class Deeper:
    """Of the blocks of a backbone that has its own class above: what takes long would test the same code again."""

    test_frozen_stays_and_the_rest_moves = None
    test_the_grid_is_as_symmetric_as_the_image = None


class TestResNet101(Deeper, BackboneConformance):
    name = "resnet101"
    large = True


class TestResNet101V1(Deeper, BackboneConformance):
    name = "resnet101_v1"
    cases = ((1, "statistics"),)
    large = True


class TestResNet101Caffe(Deeper, CeilMode):
    name = "resnet101_caffe"
    cases = ((1, "statistics"),)
    large = True


class TestResNet101Deep(BackboneConformance):
    name = "resnet101_deep"
    large = True


def test_every_backbone_has_its_conformance_class():
    classes = [*BackboneConformance.__subclasses__(), *CeilMode.__subclasses__()]
    assert {cls.name for cls in classes if hasattr(cls, "name")} == set(BACKBONES)


# Broken backbones


class Broken(BackboneConformance):
    """A small backbone with something wrong."""

    name = "small"


class ForgetsTheStatistics(Broken):
    """Takes the weights of frozen layers for all that is to be frozen."""

    def build(self, stride=None, freezing=None):
        backbone = super().build(stride, freezing)
        for tap in backbone._frozen:
            for block in backbone.stage_blocks(tap):
                block[1]._kwargs["use_global_stats"] = False
        return backbone


class LetsGradientsThrough(Broken):
    """Does not train what is frozen, but computes its gradient."""

    def build(self, stride=None, freezing=None):
        backbone = super().build(stride, freezing)
        backbone._frozen = frozenset()
        return backbone


class SaysAnotherStride(Broken):
    """Leaves a stride in its place and says otherwise."""

    def build(self, stride=None, freezing=None):
        backbone = super().build(None, freezing)
        if stride is not None and stride != backbone.stride:
            backbone.stride = stride
            backbone.taps = {k: t._replace(stride=min(t.stride, stride)) for k, t in backbone.taps.items()}
        return backbone


class Lopsided(Broken):
    """Pads one side only: cells lie beside the pixels that the geometry says."""

    def build(self, stride=None, freezing=None):
        backbone = super().build(stride, freezing)

        def shifted(F, images):
            images = (images - 127) / 64
            return F.concat(F.slice_axis(images, axis=3, begin=1, end=None),
                            F.slice_axis(images, axis=3, begin=-1, end=None), dim=3)  # fmt: skip

        backbone.normalised = shifted
        return backbone


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (ForgetsTheStatistics, "test_frozen_stays_and_the_rest_moves"),
        (LetsGradientsThrough, "test_frozen_stays_and_the_rest_moves"),
        (SaysAnotherStride, "test_taps_have_their_channels_and_strides"),
        (Lopsided, "test_the_grid_is_as_symmetric_as_the_image"),
    ],
)
def test_suite_catches(broken, test):
    getattr(Broken(), test)()
    with pytest.raises(AssertionError):
        getattr(broken(), test)()


# What is particular to one


def test_dilations():
    """Spec deeplab A2 and B2, irn 2.1: (stride of the first block, stride of the output, dilation of each block)."""
    blocks = (3, 4, 6, 3)
    torchvision = stage_plan(blocks, 8, "behind")
    assert torchvision[2] == (1, 8, [1, 2, 2, 2, 2, 2]) and torchvision[3] == (1, 8, [2, 4, 4])
    caffe = stage_plan(blocks, 8, "throughout")
    assert caffe[1] == (2, 8, [1, 1, 1, 1]) and caffe[2] == (1, 8, [2] * 6) and caffe[3] == (1, 8, [4, 4, 4])
    assert stage_plan(blocks, 8, "throughout", (1, 2, 4))[3] == (1, 8, [4, 8, 16])
    irn = stage_plan(blocks, 16, "none")
    assert irn[2] == (2, 16, [1] * 6) and irn[3] == (1, 16, [1, 1, 1])
    assert [row[:2] for row in stage_plan(blocks, 32, "none")] == [(1, 4), (2, 8), (2, 16), (2, 32)]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet50", {}, [1, 1, 1]),
        ("resnet50", {"stride": 8}, [2, 4, 4]),
        ("resnet50", {"stride": 16, "dilation": "behind"}, [1, 2, 2]),
        ("resnet50_caffe", {}, [4, 4, 4]),
        ("resnet50_caffe", {"multi_grid": (1, 2, 4)}, [4, 8, 16]),
    ],
)
def test_layer4_is_dilated_as_said(name, options, expected):
    (stage,) = create_backbone(name, **options).stage_blocks("layer4")
    assert [block.conv2._kwargs["dilate"][0] for block in stage] == expected


def test_resnet_refuses_other_dilations():
    with pytest.raises(ValueError, match="dilation must be one of"):
        create_backbone("resnet50", dilation="some")
    with pytest.raises(ValueError, match="multi_grid"):
        create_backbone("resnet50", multi_grid=(1, 2))


def test_where_bottlenecks_stride():
    def strides(name):
        (stage,) = create_backbone(name).stage_blocks("layer2")
        return [layer._kwargs["stride"][0] for layer in (stage[0].conv1, stage[0].conv2, stage[0].conv3)]

    assert strides("resnet50") == [1, 2, 1] and strides("resnet50_v1") == strides("resnet50_caffe") == [
        2,
        1,
        1,
    ]


def test_a_frozen_tap_is_a_constant_to_a_head():
    """IRN's heads read all taps of a frozen backbone."""
    backbone = create_backbone("small")
    backbone.freeze("top", "affine")
    changed, gradient = train_once(lively(Taps(backbone)), pictures())
    assert not changed and not gradient.any()


def test_what_follows_a_relu_is_not_asked_of_a_pretrained_file():
    backbone = create_backbone("vgg16_torchvision")
    own = set(backbone.pretrained_parameters())
    names = []

    def make(name, channels):
        names.append((name, channels))
        return mx.gluon.nn.Conv2D(channels, 1, in_channels=channels, prefix=f"{name}_")

    backbone.extend_activations(make)
    assert names[0] == ("layer1_relu1", 64) and len(names) == 13
    assert set(backbone.pretrained_parameters()) == own < set(backbone.collect_params())


def test_stride_of_the_class_is_that_of_an_instance():
    for backbone in BACKBONES.values():
        assert backbone.stride == backbone.strides[0]
    assert Small().stride == 8 and Small(4).stride == 4
