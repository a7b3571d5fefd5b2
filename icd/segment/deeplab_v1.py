"""DeepLab-v1 and its variant with atrous spatial pyramid pooling, as SEAM and PPC train them on their pseudo masks.

The code of Yude Wang's segmentation codebase, on ResNet-38 (SEAM) or ResNet-101 (PPC). Chen et al., "Semantic Image
Segmentation with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015, is the idea; the layers are the codebase's own.
What it calls v2, here `deeplab_aspp`, is closer to the pyramid of DeepLab-v3 than to v2's sum of classifiers.

Published numbers, VOC 2012 val, with CRF: SEAM's pseudo masks, ResNet-38, 64.5 % in the paper and 64.754 % in the codebase; SEAM
with PPC 67.7 %, EPS with PPC (ResNet-101) 72.3 %, with the pyramid 72.6 % (spec deeplab A7). Needs masks.
Time: 20,000 steps of 10 crops of 448 pixels, 12 views an image in prediction.

Batch norm is the decisive quirk: the program normalises by each batch's own statistics and trains neither scale nor shift,
because it never leaves the training mode and never gives them to the optimizer (spec deeplab A2). `normalization frozen`
is the other reading.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.backbones import ResNet38
from icd.backbones.base import layers_of
from icd.compat import mx
from icd.data.segment_crops import ColourCrop
from icd.recipe import entry
from icd.segment.base import (
    HybridBlock,
    MaskSegmenter,
    SegmentationNetwork,
    SegmentationRecipe,
    nn,
    prepare_training,
)

FIELD_OF_VIEW = 12  # dilation of the 3x3 convolution
PYRAMID = (6, 12, 18, 24)
KEPT = 0.9997  # of batch norm's old statistics in a step; the program's 0.0003 counts the new ones
KAIMING = {"factor_type": "out", "slope": 0}


@dataclass(frozen=True)
class Recipe(SegmentationRecipe):
    """The hyper-parameters (spec deeplab A1, A4). The rate would be 0 one step after the last."""

    image_size: int = 448
    batch_size: int = 10
    num_epoch: int = 0
    num_iterations: int = 20000
    horizon: int = 20001
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    normalization: str = "batch"
    least_scale: float = entry("of the image in training", 0.5, least=0.01)
    most_scale: float = entry("of the image in training", 1.5, least=0.01)
    colour_shift: int = entry("most by which hue, saturation and value change, of 255", 10, least=0, most=90)
    dropout: float = entry("probability before the classifier", 0.5, least=0, most=0.99)
    infer_scales: tuple = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    infer_mirror: bool = True
    crf_picture: str = "truncated"


# Ours, for the embedded set: a small backbone that starts from nothing learns only with a batch norm that learns too.
EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "num_epoch": 12,
    "horizon": 0,
    "learning_rate": 0.01,
    "normalization": "trained",
    "new_layer_multiplier": 1.0,
    "least_scale": 0.75,
    "most_scale": 1.25,
    "dropout": 0.0,
    "infer_scales": (1.0,),
    "crf_picture": "rgb",
}
# Ours, for MobileNetV2 on two processors in about an hour.
SHORT = {
    "image_size": 257,
    "stride": 16,
    "num_iterations": 2000,
    "horizon": 0,
    "normalization": "trained",
    "keep_customary": True,
    "learning_rate": 2e-3,
    "infer_scales": (0.75, 1.0, 1.25),
    "crf_picture": "rgb",
}


class ReferenceSegmenter(MaskSegmenter):
    """What the codebase's networks share: the groups of parameters, batch norm, the crop."""

    backbone = "resnet101_deep"
    terms = ("mask",)

    def __init__(self, backbone, num_classes, recipe, head):
        super().__init__(backbone, num_classes, recipe)
        self.network = SegmentationNetwork(backbone, head)
        prepare_training(recipe, backbone, head)
        if isinstance(backbone, ResNet38):
            for norm in layers_of(nn.BatchNorm, [backbone]):
                norm._kwargs["momentum"] = KEPT

    @staticmethod
    def augmentation(recipe):
        """Colours, mirror, a random scale, crop."""
        return ColourCrop(recipe.image_size, recipe.least_scale, recipe.most_scale, recipe.colour_shift)


class DeepLabV1(ReferenceSegmenter):
    """A dilated convolution with a large field of view, a 1x1 convolution and the classifier."""

    recipes = {
        "voc": Recipe(),
        "embedded": Recipe(**EMBEDDED),
        "mobilenet_v2": Recipe(**SHORT),
    }

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(
            backbone, num_classes, recipe, FieldOfView(backbone.channels, 1 + num_classes, recipe.dropout)
        )


class DeepLabASPP(ReferenceSegmenter):
    """Four dilated convolutions and the image's mean, concatenated, and the classifier."""

    recipes = DeepLabV1.recipes

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(
            backbone, num_classes, recipe, Pyramid(backbone.channels, 1 + num_classes, recipe.dropout)
        )


class FieldOfView(HybridBlock):
    """conv_fov, conv_fov2, each with batch norm and ReLU, dropout, cls_conv (spec deeplab A2)."""

    def __init__(self, channels, outputs, dropout, width=512):
        super().__init__(prefix="")
        self.layers = nn.HybridSequential(prefix="")
        self.layers.add(
            *_convolution("conv_fov", "bn_fov", channels, width, 3, FIELD_OF_VIEW),
            *_convolution("conv_fov2", "bn_fov2", width, width, 1),
            nn.Dropout(dropout, prefix=""),
            _classifier(width, outputs),
        )

    def hybrid_forward(self, F, features):
        """Map features (N, channels, h, w) to logits (N, outputs, h, w)."""
        return self.layers(features)


class Pyramid(HybridBlock):
    """aspp: branches 1 to 4, the image's mean as branch 5, conv_cat; dropout twice, as published; cls_conv."""

    def __init__(self, channels, outputs, dropout, width=256):
        super().__init__(prefix="")
        self.branches = []
        for number, dilation in enumerate(PYRAMID, 1):
            branch = nn.HybridSequential(prefix="")
            name = f"aspp_branch{number}"
            branch.add(*_convolution(f"{name}_0", f"{name}_1", channels, width, 3, dilation))
            self.branches.append(branch)
            self.register_child(branch)
        self.mean = nn.HybridSequential(prefix="")
        self.mean.add(*_convolution("aspp_branch5_conv", "aspp_branch5_bn", channels, width, 1))
        self.layers = nn.HybridSequential(prefix="")
        self.layers.add(
            *_convolution("aspp_conv_cat_0", "aspp_conv_cat_1", 5 * width, width, 1),
            nn.Dropout(dropout, prefix=""),
            nn.Dropout(dropout, prefix=""),
            _classifier(width, outputs),
        )

    def hybrid_forward(self, F, features):
        """Map features (N, channels, h, w) to logits (N, outputs, h, w)."""
        maps = [branch(features) for branch in self.branches]
        mean = self.mean(F.mean(features, axis=(2, 3), keepdims=True))
        maps.append(F.broadcast_add(F.zeros_like(maps[0]), mean))
        return self.layers(F.concat(*maps, dim=1))


def _convolution(name, norm_name, channels, outputs, kernel, dilation=1):
    yield nn.Conv2D(
        outputs,
        kernel,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        in_channels=channels,
        use_bias=False,
        weight_initializer=mx.init.MSRAPrelu(**KAIMING),
        prefix=f"{name}_",
    )
    yield nn.BatchNorm(in_channels=outputs, momentum=KEPT, prefix=f"{norm_name}_")
    yield nn.Activation("relu", prefix="")


def _classifier(channels, outputs):
    return nn.Conv2D(
        outputs,
        1,
        in_channels=channels,
        weight_initializer=mx.init.MSRAPrelu(**KAIMING),
        bias_initializer=mx.init.Uniform(channels**-0.5),
        prefix="cls_conv_",
    )
