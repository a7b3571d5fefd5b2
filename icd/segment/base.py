"""What all segmentation networks share: their recipe, the pixel loss, the groups of parameters, the way to predict.

In: a network's logits and a mask (255 = ignored) of every image. Out: named losses; or logits for whole images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.backbones.base import Freezing, set_norms
from icd.classes import IGNORE
from icd.compat import mx
from icd.data.views import FloatPyramid
from icd.fusion import AVERAGES, Fusion
from icd.recipe import BaseRecipe, entry
from icd.refine.crf import CRF_PICTURES, CRF_PRESETS
from icd.trainable import Segmenter, set_rate, shifts

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn

# For each what `icd.backbones.base.Freezing` calls `norm`.
NORMALIZATIONS = {"frozen": "affine", "batch": "affine_only", "trained": None}


@dataclass(frozen=True)
class SegmentationRecipe(BaseRecipe):
    """What the recipe of every segmentation network says beside its training's length and rates."""

    normalization: str = entry(
        "batch norm: frozen (stored statistics, scale and shift), batch (the batch's statistics, fixed scale and shift) or "
        "trained (the batch's statistics)",
        "frozen",
        choices=tuple(NORMALIZATIONS),
    )
    stride: int = entry("of the backbone's last grid in pixels", 8, choices=(4, 8, 16, 32))
    keep_customary: bool = entry(
        "whether the layers that the backbone's papers leave untrained stay so", False
    )
    infer_scales: tuple = entry("of the image in prediction", (1.0,), least=0.01)
    infer_mirror: bool = entry("whether prediction sees mirror images too", False)
    average: str = entry("of what prediction takes the mean over its views", "logits", choices=AVERAGES)
    crf: str = entry("preset of the CRF behind prediction", "deeplab-r101", choices=tuple(CRF_PRESETS))
    crf_picture: str = entry("what the CRF sees of the image", "rgb", choices=CRF_PICTURES)


class MaskSegmenter(Segmenter):
    """A segmenter that learns from masks by the cross entropy of pixels.

    A subclass builds `network`, whose output is a list of logits (N, 1 + C, h, w), the last of which is the result. Each is
    a map of the loss.

    Attributes
    ----------
    terms : tuple of str
        Names of the maps' losses.
    weights : tuple of float
        Of the maps in the loss.
    alignment : {"centres", "corners"}
        How the logits' grid lies on the image; see `icd.files.ScoreMaps`.
    through_view : bool
        Whether prediction resizes logits to the view's size before the image's.
    sampled : bool
        Whether the loss is taken on the logits' grid, where the mask is sampled; else at full size.
    """

    needs = ("mask",)
    terms: tuple
    weights: tuple = (1.0,)
    alignment, through_view, sampled = "corners", True, False

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.pixel_loss = PixelLoss()

    @staticmethod
    def presentation(recipe):
        """The whole image at the recipe's scales, each with its mirror image if the recipe says so."""
        return FloatPyramid(tuple(recipe.infer_scales), recipe.infer_mirror)

    @property
    def fusion(self) -> Fusion:
        """How the logits of all views become one."""
        return Fusion(self.alignment, self.through_view, self.recipe.average)

    def predict(self, images):
        """The network's result on its own grid; see `Segmenter.predict`."""
        return self.network(images)[-1]

    def gather(self, outputs, parts, world):
        """For each map, how many images stand for one valid pixel of the batch: their losses are means over valid pixels."""
        images = world.sum([mx.nd.array([len(part["mask"])], part["mask"].context) for part in parts])
        targets = [self.targets(output, part["mask"]) for output, part in zip(outputs, parts)]
        shares = {}
        for index, term in enumerate(self.terms):
            valid = world.sum([mx.nd.sum(labels[index] != IGNORE).reshape(1) for labels in targets])
            shares[term] = images / mx.nd.maximum(valid, 1)
        return shares

    def targets(self, outputs, mask) -> list:
        """The mask (N, S, S) as each map of the loss sees it."""
        if not self.sampled:
            return [mask] * len(outputs)
        return [sample(mask, logits.shape[2:], self.alignment) for logits in outputs]

    def maps(self, outputs, mask) -> list:
        """The logits of every map where the loss compares them with its target."""
        if self.sampled:
            return outputs
        return [resize(mx.nd, logits, mask.shape[1:], self.alignment) for logits in outputs]

    def losses(self, outputs, part, gathered):
        """The weighted cross entropy of every map."""
        compared = zip(
            self.terms,
            self.weights,
            self.maps(outputs, part["mask"]),
            self.targets(outputs, part["mask"]),
        )
        return {
            term: weight * self.pixel_loss(logits, target) * gathered[term]
            for term, weight, logits, target in compared
        }


class PixelLoss(HybridBlock):
    """Softmax cross entropy, summed over the pixels that are not ignored."""

    def __init__(self):
        super().__init__(prefix="")

    def hybrid_forward(self, F, logits, label):
        """Map logits (N, 1 + C, h, w) and labels (N, h, w), 0..C or 255, to the loss (1,)."""
        valid = label != IGNORE
        # `pick` clips the number 255 to the last class; the mask takes that out again.
        likelihood = F.pick(F.log_softmax(logits, axis=1), label, axis=1)
        return -F.sum(likelihood * valid).reshape((1,))


def sample(labels, size, alignment):
    """Resize labels by nearest neighbours.

    Parameters
    ----------
    labels : NDArray, shape (N, H, W)
    size : tuple of int
    alignment : {"centres", "corners"}
        "centres": row i comes from row floor((i + 1/2) old / new), as Pillow does (spec deeplab B3); "corners": the outermost
        rows come from the outermost.

    Returns
    -------
    NDArray, shape (N, h, w)
    """
    for axis, (old, new) in enumerate(zip(labels.shape[1:], size), 1):
        if alignment == "corners":
            places = np.rint(np.linspace(0, old - 1, new))
        else:
            places = np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        labels = mx.nd.take(labels, mx.nd.array(places, labels.context), axis=axis)
    return labels


def resize(F, logits, size, alignment):
    """Resize logits (N, K, h, w) bilinearly to a size (H, W); see `MaskSegmenter` for `alignment`."""
    height, width = size
    return F.contrib.BilinearResize2D(
        logits, height=height, width=width, align_corners=alignment == "corners"
    )


class SegmentationNetwork(HybridBlock):
    """A backbone and a head; the list of one map (N, 1 + C, h, w)."""

    def __init__(self, backbone, head):
        super().__init__(prefix="")
        self.backbone, self.head = backbone, head

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to logits on the backbone's grid."""
        return [self.head(self.backbone(images))]


def prepare_training(recipe, backbone, head) -> None:
    """Say what of a network is trained, and at which rates.

    There are four groups: the backbone's weights and biases at the rates 1 and 2, the head's at 10 and 20 (spec deeplab A2,
    B2). Biases are not decayed.
    """
    norm = NORMALIZATIONS[recipe.normalization]
    backbone.freeze(*(backbone.customary if recipe.keep_customary else Freezing(None, norm)))
    set_norms(head, norm)
    for block, multiplier in ((backbone, recipe.backbone_multiplier), (head, recipe.new_layer_multiplier)):
        set_rate(block, multiplier, 2 * multiplier)
        for parameter in shifts(block):
            parameter.wd_mult = 0.0
