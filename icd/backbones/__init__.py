"""Backbones by name. A backbone turns RGB images into feature maps and offers the layers of its classification top."""

from __future__ import annotations

from icd.backbones.base import Backbone
from icd.backbones.mobilenet_v2 import MobileNetV2
from icd.backbones.resnet38 import ResNet38
from icd.backbones.small import Small
from icd.backbones.vgg16 import VGG16
from icd.backbones.vgg16_torchvision import VGG16Torchvision
from icd.errors import InputError

BACKBONES = {
    "vgg16": VGG16,
    "vgg16_torchvision": VGG16Torchvision,
    "resnet38": ResNet38,
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


def create_backbone(name: str) -> Backbone:
    """Make a backbone; `name` and errors as for `find_backbone`."""
    return find_backbone(name)(prefix="")


__all__ = ["BACKBONES", "Backbone", "create_backbone", "find_backbone"]
