"""Backbones by name. A backbone turns RGB images into feature maps and offers the layers of its classification top."""

from __future__ import annotations

from icd.backbones.base import Backbone, Freezing, Tap
from icd.backbones.mobilenet_v2 import MobileNetV2
from icd.backbones.resnet import (
    ResNet50,
    ResNet50Caffe,
    ResNet50V1,
    ResNet101,
    ResNet101Caffe,
    ResNet101Deep,
    ResNet101V1,
)
from icd.backbones.resnet38 import ResNet38
from icd.backbones.small import Small
from icd.backbones.vgg16 import VGG16
from icd.backbones.vgg16_torchvision import VGG16Torchvision
from icd.errors import InputError

BACKBONES = {
    "vgg16": VGG16,
    "vgg16_torchvision": VGG16Torchvision,
    "resnet38": ResNet38,
    "resnet50": ResNet50,
    "resnet101": ResNet101,
    "resnet101_deep": ResNet101Deep,
    "resnet50_v1": ResNet50V1,
    "resnet101_v1": ResNet101V1,
    "resnet50_caffe": ResNet50Caffe,
    "resnet101_caffe": ResNet101Caffe,
    "mobilenet_v2": MobileNetV2,
    "small": Small,
}


def find_backbone(name: str) -> type:
    """The class of a backbone.

    Raises
    ------
    InputError
        No backbone has that name.
    """
    if name not in BACKBONES:
        raise InputError("backbone", " or ".join(BACKBONES), repr(name))
    return BACKBONES[name]


def create_backbone(name: str, stride: int = None, **options) -> Backbone:
    """Make a backbone with its customary freezing.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`.
    stride : int, optional
        Of its last tap; default: the first of the class's `strides`.
    options
        Of the class: a ResNet's `dilation` and `multi_grid`.

    Raises
    ------
    InputError
        No backbone has that name, or it does not have that stride.
    """
    return find_backbone(name)(stride=stride, prefix="", **options)


__all__ = ["BACKBONES", "Backbone", "Freezing", "Tap", "create_backbone", "find_backbone"]
