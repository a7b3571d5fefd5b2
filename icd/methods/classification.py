"""What several papers share: the classification branch, the tag loss, ICD's way of showing images.

In: trunk features of a backbone, tags. Out: class activation maps and their loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.compat import mx
from icd.data.augment import ScaledCrop
from icd.data.views import Frame
from icd.recipe import BaseRecipe, entry
from icd.trainable import Method

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn


@dataclass(frozen=True)
class ClassifierRecipe(BaseRecipe):
    """Hyper-parameters of the classification network as published with ICD (CVPR 2020, and the code of its authors)."""

    image_size: int = 321
    batch_size: int = 32
    num_epoch: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    schedule: str = "poly_by_epoch"
    dropout: float = entry("probability before the classifier", 0.5, least=0, most=1)
    scales: tuple = entry("of the image in training; one is drawn", (0.5, 0.75, 1.0, 1.25, 1.5), least=0.01)


EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "num_epoch": 12,
    "learning_rate": 0.003,
    "dropout": 0.0,
    "scales": (0.75, 1.0, 1.25),
}


# MobileNetV2 wants smaller steps than VGG-16: at the published rate the classifier forgets what it was pretrained on. Measured
# on photographs (docs/results.md); for fine-tuning on a CPU.
MOBILENET_V2 = {
    "image_size": 257,
    "batch_size": 16,
    "num_epoch": 8,
    "learning_rate": 5e-4,
    "backbone_multiplier": 0.4,
}
# The same for methods that crop images of a random long side. They have next to no momentum, and losses averaged over the classes,
# hence the rate; measured for EPS and its baseline alone (docs/results.md).
MOBILENET_V2_LONG_SIDE = {**MOBILENET_V2, "learning_rate": 0.1, "shortest": 224, "longest": 416}


class FramedMethod(Method):
    """A method that trains on crops of scaled images and sees whole images in one frame, as ICD's code does."""

    @staticmethod
    def augmentation(recipe):
        """Scale by one of `recipe.scales`, mirror, crop."""
        return ScaledCrop(recipe.image_size, tuple(recipe.scales))

    @staticmethod
    def presentation(recipe, infer_size):
        """The image in a frame of the user's size."""
        return Frame(infer_size)


class TagClassifier(HybridBlock):
    """The classification branch: a top of the backbone and a 1x1 convolution, whose output is the CAM itself.

    The map is averaged over the grid to give one logit a class, so no separate weighting of features is needed.
    Source: Zhou et al., CVPR 2016, in the fully convolutional form of Fan et al., CVPR 2020.
    """

    def __init__(self, backbone, num_outputs, dropout, pooled=True, bias=True):
        super().__init__(prefix="")
        self.top = backbone.make_top(dropout, pooled=pooled)
        # Without bias as in PyTorch's family: Xavier's uniform distribution.
        weight = None if bias else mx.init.Xavier(rnd_type="uniform", factor_type="avg", magnitude=3)
        self.fc8 = nn.Conv2D(
            num_outputs,
            1,
            in_channels=self.top.channels,
            use_bias=bias,
            weight_initializer=weight,
            prefix="fc8_",
        )

    def hybrid_forward(self, F, features):
        """Map trunk features to class activation maps (N, C, h, w)."""
        return self.fc8(self.top(features)[0])


class ClassifierNetwork(HybridBlock):
    """A backbone and a classification branch; arguments as for `TagClassifier`."""

    def __init__(self, backbone, num_outputs, dropout, pooled=True, bias=True):
        super().__init__(prefix="")
        self.backbone = backbone
        self.classifier = TagClassifier(backbone, num_outputs, dropout, pooled, bias)

    def hybrid_forward(self, F, images):
        """Map images (N, 3, S, S) to class activation maps (N, C, h, w)."""
        return self.classifier(self.backbone(images))


class TagLoss(HybridBlock):
    """Binary cross-entropy of the averaged map with the tags, summed over images and summed or averaged over classes.

    Parameters
    ----------
    average : bool
        Over the classes, as PyTorch's multi-label soft margin loss does.
    """

    def __init__(self, average=False):
        super().__init__(prefix="")
        self.average = average

    def hybrid_forward(self, F, cam, label):
        """Map CAM (N, C, h, w) and tags (N, C) to the loss (1,)."""
        loss = binary_cross_entropy(F, F.mean(cam, axis=(2, 3)), label)
        return F.sum(F.mean(loss, axis=1) if self.average else loss)


def binary_cross_entropy(F, logit, target):
    """Element-wise binary cross-entropy of sigmoid(logit); its derivative is sigmoid(logit) - target, also at 0."""
    return F.Activation(logit, act_type="softrelu") - logit * target


def split_background(F, maps, place: str):
    """The background (N, 1, ...) and the classes (N, C, ...) of maps (N, 1 + C, ...); `place` is "first" or "last"."""
    if place == "first":
        return F.slice_axis(maps, axis=1, begin=0, end=1), F.slice_axis(maps, axis=1, begin=1, end=None)
    return F.slice_axis(maps, axis=1, begin=-1, end=None), F.slice_axis(maps, axis=1, begin=0, end=-1)


def join_background(F, background, classes, place: str):
    """What `split_background` took apart."""
    return F.concat(*((background, classes) if place == "first" else (classes, background)), dim=1)


def only_strongest(F, maps):
    """Maps (N, C, ...) with everything below the strongest class of a pixel set to 0; ties stay."""
    return maps * F.broadcast_equal(maps, F.max(maps, axis=1, keepdims=True))


def complement(F, classes):
    """What the classes (N, C, ...) leave for the background, (N, 1, ...): 1 - their maximum."""
    return 1 - F.max(classes, axis=1, keepdims=True)


def resize(maps, size):
    """Bilinear to a size, the outermost cells on the outermost."""
    if maps.shape[2:] == tuple(size):
        return maps
    return mx.nd.contrib.BilinearResize2D(maps, height=size[0], width=size[1], align_corners=True)
