"""DeepLab-v2 with three scales, as deeplab-pytorch has it, and DRS's variant, which learns from its own predictions too.

Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
PAMI 2018, in the code of Kazuto Nakashima (kazuto1011/deeplab-pytorch). ICD, EPS and many others train it on their pseudo
masks. DRS: Kim, Han & Kim, AAAI 2021; its loss needs tags beside the masks.

Published numbers, VOC 2012 val, from weights that were trained on COCO's masks, without and with CRF: true masks 76.65 and
77.93 % (deeplab-pytorch), pseudo masks of EPS 71.0 %, of DRS 69.4 and 70.4 % (spec deeplab B8, C). Weights trained on
COCO's masks are supervision beyond tags.
Time: 20,000 steps of twice 5 crops of 321 pixels, each at three scales.
"""

from __future__ import annotations

from dataclasses import dataclass

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

DILATIONS = (6, 12, 18, 24)
MAPS = ("full", "half", "three_quarters", "largest")


@dataclass(frozen=True)
class Recipe(SegmentationRecipe):
    """The hyper-parameters (spec deeplab B1, B4). The rate changes every ten steps."""

    image_size: int = 321
    batch_size: int = 5
    accumulation: int = 2
    num_epoch: int = 0
    num_iterations: int = 20000
    learning_rate: float = 2.5e-4
    rate_every: int = 10
    weight_decay: float = 5e-4
    keep_last_batch: bool = True
    scales: tuple = entry("of the image in training; one is drawn", (0.5, 0.75, 1.0, 1.25, 1.5), least=0.01)
    crf_picture: str = "bgr"  # "wrapped" is what the published number was made with


# Ours, for the embedded set: a small backbone that starts from nothing learns only with a batch norm that learns too.
EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "accumulation": 1,
    "num_epoch": 12,
    "rate_every": 1,
    "learning_rate": 0.01,
    "normalization": "trained",
    "new_layer_multiplier": 1.0,
    "keep_last_batch": False,
    "scales": (0.75, 1.0, 1.25),
}
# Ours, for MobileNetV2 on two processors in about an hour.
SHORT = {
    "image_size": 257,
    "stride": 16,
    "batch_size": 8,
    "accumulation": 1,
    "num_iterations": 1500,
    "rate_every": 1,
    "learning_rate": 2e-3,
    "keep_customary": True,
    "keep_last_batch": False,
}


class DeepLabV2(MaskSegmenter):
    """The sum of four dilated classifiers, at three scales of the image, of which the largest logits count."""

    backbone = "resnet101_caffe"
    recipes = {"voc": Recipe(), "embedded": Recipe(**EMBEDDED), "mobilenet_v2": Recipe(**SHORT)}
    terms = tuple(f"mask_{name}" for name in MAPS)
    weights = (1.0, 1.0, 1.0, 1.0)
    alignment, through_view, sampled = "centres", False, True

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        head = SummedPyramid(backbone.channels, 1 + num_classes)
        self.network = ThreeScales(backbone, head)
        prepare_training(recipe, backbone, head)

    @staticmethod
    def augmentation(recipe):
        """One of the scales, crop, mirror."""
        return PaddedCrop(recipe.image_size, tuple(recipe.scales))


class DeepLabV2DRS(DeepLabV2):
    """DeepLab-v2 with a second loss: the cross entropy with its own best class among background and tags (spec deeplab C)."""

    recipes = {
        "voc": Recipe(batch_size=10, num_iterations=10000, keep_last_batch=False),  # the script for two GPUs
        "voc_one_gpu": Recipe(keep_last_batch=False),
        "embedded": Recipe(**EMBEDDED),
        "mobilenet_v2": Recipe(**SHORT),
    }

    def losses(self, outputs, part, gathered):
        """The cross entropy of every map with the mask, and with its own best present class."""
        terms = super().losses(outputs, part, gathered)
        for name, logits in zip(MAPS, outputs):
            # Nothing is ignored, so the mean over the batch's pixels is the mean of every image's.
            pixels = logits.shape[2] * logits.shape[3]
            terms[f"self_{name}"] = self.pixel_loss(logits, best_present(logits, part["label"])) / pixels
        return terms


def best_present(logits, label):
    """The class of the largest product of logit and tag, of equal ones the lowest.

    An absent class has the product 0, which wins where all present ones are negative: as published.

    Parameters
    ----------
    logits : NDArray, shape (N, 1 + C, h, w)
    label : NDArray, shape (N, C)
        Tags, 1 for the classes of the image.

    Returns
    -------
    NDArray, shape (N, h, w)
        Without gradient.
    """
    present = mx.nd.concat(mx.nd.ones_like(label[:, :1]), label, dim=1).expand_dims(2).expand_dims(3)
    product = mx.nd.broadcast_mul(mx.nd.BlockGrad(logits), present)
    largest = mx.nd.broadcast_equal(product, product.max(axis=1, keepdims=True))
    count = logits.shape[1]
    rank = mx.nd.arange(count, 0, -1, ctx=logits.context).reshape((1, -1, 1, 1))
    return count - mx.nd.broadcast_mul(largest, rank).max(axis=1)


class ThreeScales(SegmentationNetwork):
    """A network on the image, on its half and on three quarters of it: those three maps and the largest logit of them."""

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to four logits, those of the half and of three quarters on their own grids."""
        full, half, three_quarters = (
            self.head(self.backbone(view)) for view in (images, halved(F, images), three_quartered(F, images))
        )
        largest = full
        for logits in (half, three_quarters):
            resized = F.contrib.BilinearResize2D(logits, full, mode="like", align_corners=False)
            largest = F.maximum(largest, resized)
        return [full, half, three_quarters, largest]


def halved(F, images):
    """Images bilinearly at half their size, rounded down: there the interpolation is the mean of 2 x 2 pixels."""
    return F.Pooling(images, kernel=(2, 2), stride=(2, 2), pool_type="avg")


def three_quartered(F, images):
    """Images bilinearly at three quarters of their size, rounded down.

    Row i lies at row 4/3 (i + 1/2) - 1/2, whatever the image's size (spec deeplab B9). With every row three times, each new
    one is the sum of four, weighted 1, 2, 2, 1, and the next begins four rows on. That is 2/3 of the mean of the four and 1/3
    of the mean of the middle two.
    """
    for axis in (2, 3):
        kernel = [(n, 1) if axis == 2 else (1, n) for n in (4, 2)]
        tripled = F.repeat(images, repeats=3, axis=axis)
        inner = F.slice_axis(tripled, axis=axis, begin=1, end=-1)
        all_four, middle_two = (
            F.Pooling(rows, kernel=k, stride=kernel[0], pool_type="avg")
            for rows, k in zip((tripled, inner), kernel)
        )
        images = all_four * (2 / 3) + middle_two * (1 / 3)
    return images


class SummedPyramid(HybridBlock):
    """aspp: four 3x3 convolutions of different dilation, each a classifier, whose outputs are summed."""

    def __init__(self, channels, outputs):
        super().__init__(prefix="")
        self.branches = []
        for number, dilation in enumerate(DILATIONS):
            branch = nn.Conv2D(
                outputs,
                3,
                padding=dilation,
                dilation=dilation,
                in_channels=channels,
                weight_initializer=mx.init.Normal(0.01),
                prefix=f"aspp_c{number}_",
            )
            self.branches.append(branch)
            self.register_child(branch)

    def hybrid_forward(self, F, features):
        """Map features (N, channels, h, w) to logits (N, outputs, h, w)."""
        return sum(branch(features) for branch in self.branches[1:]) + self.branches[0](features)
