"""DRS: suppressing the most telling regions makes a classifier's maps cover the object; a second network refines them.

Kim, Han & Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation", AAAI 2021. Beyond tags the
pseudo labels need saliency maps (the authors': PoolNet), and the authors choose the epoch with the true masks of the
training images; here the last epoch is taken unless `--choose-epoch best` says otherwise.

Published numbers: DeepLab-v2, ResNet-101 from COCO weights, trained on the pseudo labels: VOC 2012 val 70.4 % (released
model, with CRF), headline 71.4 %. None for the maps or pseudo labels themselves. Command: `icd run drs`, which first runs
`drs_classifier`, 15 epochs of 1,059 steps, and then the refinement network, 30 epochs.

Symbols (spec drs 2 and 3): x an activation, u the control of a channel, Z the last map, A localization maps of the classifier, T
their winner-take-all, the target of the refinement network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.classes import IGNORE
from icd.compat import mx
from icd.data.augment import SquareCrop
from icd.data.views import Squares
from icd.files import ScoreMaps
from icd.grid import maps_on_image
from icd.methods.classification import HybridBlock, TagLoss, nn
from icd.recipe import BaseRecipe, entry
from icd.refine.seeds import SeedRule
from icd.trainable import Method, set_rate


@dataclass(frozen=True)
class ClassifierRecipe(BaseRecipe):
    """The classifier's hyper-parameters."""

    image_size: int = 320
    batch_size: int = 10
    num_epoch: int = 15
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    nesterov: bool = True
    schedule: str = "decay_by_epoch"
    decay_epochs: tuple = (5, 10)
    keep_last_batch: bool = True
    resized: int = entry("side of the square that is cropped", 384, least=8)
    infer_sides: tuple = entry("of the square in localization", (256, 320, 384), least=8)
    extra_channels: int = entry("of the three convolutions behind the backbone", 512, least=1)
    control: float = entry(
        "0: learned; else the share of the maximum, 1: no suppression", 0.0, least=0, most=1
    )


@dataclass(frozen=True)
class RefinementRecipe(BaseRecipe):
    """The refinement network's hyper-parameters."""

    image_size: int = 320
    batch_size: int = 10
    num_epoch: int = 30
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    optimizer: str = "torch_adam"
    schedule: str = "decay_by_epoch"
    decay_epochs: tuple = (10, 20)
    keep_last_batch: bool = True
    new_layer_multiplier: float = 1.0
    infer_sides: tuple = entry("of the square in localization", (256, 320, 384), least=8)
    extra_channels: int = entry("of the three convolutions behind the backbone", 512, least=1)


class Network(HybridBlock):
    """A backbone and four convolutions whose output is the map of every class.

    Parameters
    ----------
    width : int
        Channels of the first three.
    make_suppression : callable, optional
        (name, channels) -> what follows every ReLU; of the backbone's those that `Backbone.add_relu` made.
    initial : mxnet.init.Initializer
        Of the four convolutions.
    """

    def __init__(self, backbone, num_classes, width, initial, make_suppression=None):
        super().__init__(prefix="")
        self.backbone = backbone
        self.extra = nn.HybridSequential(prefix="")
        if make_suppression is not None:
            backbone.extend_activations(make_suppression)
        channels = backbone.channels
        for number in (1, 2, 3):
            self.extra.add(_convolution(number, channels, width, 3, initial))
            self.extra.add(nn.Activation("relu", prefix=""))
            if make_suppression is not None:
                self.extra.add(make_suppression(f"extra_relu{number}", width))
            channels = width
        self.extra.add(_convolution(4, channels, num_classes, 1, initial))

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W) to Z (N, C, h, w)."""
        return self.extra(self.backbone(images))


def _convolution(number, channels, outputs, kernel, initial):
    return nn.Conv2D(
        outputs,
        kernel,
        padding=kernel // 2,
        in_channels=channels,
        weight_initializer=initial,
        prefix=f"extra_conv{number}_",
    )


class Suppression(HybridBlock):
    """min(x, u max x): no value of a channel may be more than a share u of the channel's largest one.

    Parameters
    ----------
    control : float
        u; or 0: sigmoid(W g), with g the channels' means and W learned.
    """

    def __init__(self, name, channels, control):
        super().__init__(prefix="")
        self.control, self.fc = control, None
        if not control:
            self.fc = nn.Dense(
                channels,
                use_bias=False,
                in_units=channels,
                weight_initializer=mx.init.Normal(0.01),
                prefix=f"{name}_fc_0_",
            )

    def hybrid_forward(self, F, x):
        """Map activations (N, C, h, w), 0 and more, to suppressed ones."""
        largest = F.max(x, axis=(2, 3), keepdims=True)
        if self.fc is None:
            return F.broadcast_minimum(x, self.control * largest)
        u = F.sigmoid(self.fc(F.mean(x, axis=(2, 3))))
        return F.broadcast_minimum(x, F.broadcast_mul(largest, F.expand_dims(F.expand_dims(u, 2), 3)))


LEAST = 0.2  # alpha, the least value of a class
SALIENT = 50  # what is above it, of 255, is salient
SURE, MOST_SURE = 0.9, 2  # with more than two planes that sure, a pixel is ignored


def drs_seed(maps: ScoreMaps, saliency=None) -> np.ndarray:
    """The pseudo label of DRS (Kim et al., AAAI 2021; spec drs 5.3 and 5.4).

    Every class is worth its value, or nothing below 0.2; the background is worth 1 where the saliency is at most 50 of 255, and
    else nothing. The largest wins. Ignored are pixels where more than two of all these exceed 0.9, and salient pixels that
    no class wins. Values above 1 win even against the background: they are not clipped, as published.

    Parameters
    ----------
    maps : ScoreMaps
        Of the refinement network, raw, or of the classifier.
    saliency : numpy.ndarray, shape (H, W), uint8, optional
        Without it nothing speaks for the background, and the pixels that no class wins are background.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    v = maps_on_image(maps)
    v[v < LEAST] = 0
    salient = np.ones(maps.size, bool) if saliency is None else saliency > SALIENT
    planes = np.concatenate([(~salient[None]).astype(np.float32), v])
    label = np.concatenate([[0], maps.classes]).astype(np.uint8)[planes.argmax(0)]
    ignored = (planes > SURE).sum(0) > MOST_SURE
    if saliency is not None:
        ignored |= salient & (label == 0)
    label[ignored] = IGNORE
    return label


def _drs_rule(maps, saliency=None, companion=None, threshold=None):
    return drs_seed(maps, saliency)


DRS_RULE = SeedRule("drs", _drs_rule, f"fixed {LEAST}, and the saliency where it is used")


class SquareMethod(Method):
    """A method that sees every image squeezed into squares."""

    backbone = "vgg16_torchvision"
    fusion, alignment = "max", "corners"

    @staticmethod
    def presentation(recipe, infer_size):
        """Three sides, all from the square of the training's size."""
        return Squares(recipe.image_size, tuple(recipe.infer_sides))


class DRSClassifier(SquareMethod):
    """Step 1: the classifier with suppression. Its score maps, 8 bits of one training crop's size, are step 2's target.

    Seeds of it alone follow the rule of step 2, as in the authors' tests of it (spec drs 5.3).
    """

    recipes = {
        "voc": ClassifierRecipe(),
        # At 512 channels the three new layers would cost several times what this backbone does.
        "mobilenet_v2": ClassifierRecipe(
            image_size=256,
            resized=304,
            batch_size=16,
            num_epoch=8,
            learning_rate=0.003,
            decay_epochs=(7,),
            backbone_multiplier=0.4,
            infer_sides=(208, 256, 304),
            extra_channels=128,
        ),
        "embedded": ClassifierRecipe(
            image_size=160,
            resized=192,
            batch_size=8,
            num_epoch=24,
            learning_rate=0.002,
            decay_epochs=(18, 22),
            infer_sides=(128, 160, 192),
            extra_channels=64,
        ),
    }
    score_maps = {"cam": DRS_RULE}
    map_type = "uint8"

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)

        suppressions = []

        def make_suppression(name, channels):
            suppressions.append(Suppression(name, channels, recipe.control))
            return suppressions[-1]

        initial = mx.init.MSRAPrelu(factor_type="out", slope=0)
        self.network = Network(backbone, num_classes, recipe.extra_channels, initial, make_suppression)
        self.tag_loss = TagLoss(average=True)
        self.share_of_maximum = ShareOfMaximum(recipe.image_size)
        self._set_groups(suppressions)

    def _set_groups(self, suppressions):
        """Learning rates of the four groups: 1 and 2 for the body's weights and biases, 10 and 20 for what is new (spec drs 2.6)."""
        recipe, network = self.recipe, self.network
        set_rate(network, recipe.backbone_multiplier, 2 * recipe.backbone_multiplier)
        set_rate(network.extra, recipe.new_layer_multiplier, 2 * recipe.new_layer_multiplier)
        for suppression in suppressions:
            set_rate(suppression, recipe.new_layer_multiplier)

    @staticmethod
    def augmentation(recipe):
        """Squeezed into a square, then a smaller crop."""
        return SquareCrop(recipe.image_size, recipe.resized)

    def losses(self, outputs, part, gathered):
        """The tag loss."""
        return {"cam": self.tag_loss(outputs, part["label"])}

    def localize(self, images):
        """Each class's positive part on the training crop's grid, over (its maximum + 1e-5)."""
        return {"cam": self.share_of_maximum(self.network(images))}


class DRS(SquareMethod):
    """Step 2: the refinement network, which learns the winner-take-all maps of step 1 and whose output is the result."""

    recipes = {
        "voc": RefinementRecipe(),
        "mobilenet_v2": RefinementRecipe(
            image_size=256,
            batch_size=16,
            num_epoch=5,
            learning_rate=0.001,
            decay_epochs=(4,),
            backbone_multiplier=0.4,
            infer_sides=(208, 256, 304),
            extra_channels=128,
        ),
        "embedded": RefinementRecipe(
            image_size=160,
            batch_size=8,
            num_epoch=30,
            learning_rate=5e-4,
            decay_epochs=(20, 26),
            infer_sides=(128, 160, 192),
            extra_channels=64,
        ),
    }
    needs = ("target",)
    score_maps = {"drs": DRS_RULE}

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.network = Network(backbone, num_classes, recipe.extra_channels, mx.init.Normal(0.01))
        set_rate(backbone, recipe.backbone_multiplier)
        set_rate(self.network.extra, recipe.new_layer_multiplier)
        self.refinement_loss = RefinementLoss(recipe.image_size)

    @staticmethod
    def augmentation(recipe):
        """Squeezed into a square, target and all."""
        return SquareCrop(recipe.image_size, recipe.image_size)

    def losses(self, outputs, part, gathered):
        """The mean squared distance to the winner-take-all target."""
        return {"refinement": self.refinement_loss(outputs, part["target"] / 255)}

    def localize(self, images):
        """Z, raw."""
        return {"drs": self.network(images)}


class RefinementLoss(HybridBlock):
    """The mean square of Z - T over classes and pixels, summed over the images; Z is resized to `side` first."""

    def __init__(self, side):
        super().__init__(prefix="")
        self.side = side

    def hybrid_forward(self, F, Z, A):
        """Map the network's output (N, C, h, w) and the target maps (N, C, S, S) to the loss (1,)."""
        Z = resize_corners(F, Z, self.side)
        T = A * F.broadcast_equal(A, F.max(A, axis=1, keepdims=True))
        return F.sum(F.mean(F.square(Z - T), axis=(1, 2, 3)))


class ShareOfMaximum(HybridBlock):
    """The positive part of each map, resized to a square, over (its maximum + 1e-5) (spec drs 2.3)."""

    def __init__(self, side):
        super().__init__(prefix="")
        self.side = side

    def hybrid_forward(self, F, Z):
        """Map Z (N, C, h, w) to shares (N, C, S, S), less than 1."""
        maps = resize_corners(F, F.relu(Z), self.side)
        return F.broadcast_div(maps, F.max(maps, axis=(2, 3), keepdims=True) + 1e-5)


def resize_corners(F, maps, side: int):
    """Bilinear to a square, the outermost cells on the outermost pixels."""
    return F.contrib.BilinearResize2D(maps, height=side, width=side, align_corners=True)
