"""DeepLab-LargeFOV on VGG-16: one 3x3 convolution with a large field of view behind the trunk, as ICD's and EPS's readers know it.

Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", ICLR 2015 (layers), and
"DeepLab", PAMI 2018, table 2 (the polynomial schedule: 20,000 steps of 10 images). Published there with the true masks: 65.88 %
mIoU on VOC 2012 val without CRF. Needs masks. The specification does not cover this network; its numbers are the papers'.

fc6 and fc7 are those of DeepLab's "vgg16_20M", so the same pretrained file fits; fc6 is dilated.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.backbones import VGG16
from icd.backbones.base import convolution
from icd.compat import mx
from icd.data.segment_crops import PaddedCrop
from icd.recipe import entry
from icd.segment.base import (
    HybridBlock,
    MaskSegmenter,
    SegmentationNetwork,
    SegmentationRecipe,
    nn,
    prepare_training,
)
from icd.segment.deeplab_v2 import EMBEDDED, SHORT
from icd.trainable import set_rate

DILATION = 12
WIDTH = 1024


@dataclass(frozen=True)
class Recipe(SegmentationRecipe):
    """The hyper-parameters of the papers."""

    image_size: int = 321
    batch_size: int = 10
    num_epoch: int = 0
    num_iterations: int = 20000
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    dropout: float = entry("probability after each of the two hidden layers", 0.5, least=0, most=0.99)
    scales: tuple = entry("of the image in training; one is drawn", (1.0,), least=0.01)


class LargeFOV(MaskSegmenter):
    """fc6, dilated twelve times, fc7 and the classifier fc8, whose loss is taken on its own grid."""

    backbone = "vgg16"
    recipes = {
        "voc": Recipe(),
        "embedded": Recipe(**EMBEDDED, dropout=0.0),
        "mobilenet_v2": Recipe(**SHORT),
    }
    terms = ("mask",)
    alignment, through_view, sampled = "corners", False, True

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        head = Head(backbone.channels, 1 + num_classes, recipe.dropout)
        self.network = SegmentationNetwork(backbone, head)
        prepare_training(recipe, backbone, head)
        if isinstance(backbone, VGG16):  # whose pretrained file holds these layers
            set_rate(head.hidden, recipe.backbone_multiplier, 2 * recipe.backbone_multiplier)

    @staticmethod
    def augmentation(recipe):
        """One of the scales, crop, mirror."""
        return PaddedCrop(recipe.image_size, tuple(recipe.scales))


class Head(HybridBlock):
    """Two poolings that keep the grid, fc6, fc7, each with ReLU and dropout, and fc8."""

    def __init__(self, channels, outputs, dropout):
        super().__init__(prefix="")
        self.pooling = nn.HybridSequential(prefix="")
        self.pooling.add(nn.MaxPool2D(3, 1, 1, prefix=""), nn.AvgPool2D(3, 1, 1, prefix=""))
        self.hidden = nn.HybridSequential(prefix="")
        initial = mx.init.MSRAPrelu(slope=0)
        self.hidden.add(
            convolution(
                "fc6",
                WIDTH,
                3,
                channels,
                padding=DILATION,
                dilation=DILATION,
                weight_initializer=initial,
            ),
            nn.Dropout(dropout, prefix=""),
            convolution("fc7", WIDTH, 1, WIDTH, weight_initializer=initial),
            nn.Dropout(dropout, prefix=""),
        )
        self.classifier = nn.Conv2D(
            outputs,
            1,
            in_channels=WIDTH,
            weight_initializer=mx.init.Normal(0.01),
            prefix="fc8_",
        )

    def hybrid_forward(self, F, features):
        """Map features (N, channels, h, w) to logits (N, outputs, h, w)."""
        return self.classifier(self.hidden(self.pooling(features)))
