"""IRN's CAM: the baseline whose maps IRN refines, and what VWE changes.

Ahn, Cho & Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019, section 3.1.
Needs tags only. Published numbers: 48.3 % mIoU on VOC 2012 train (paper); re-runs of the public code give 48.1 and 48.6 %.
Time: 3,305 steps of 16 images at 512 x 512. Command: `icd run irn_cam`.

A ResNet-50 of stride 16, its features averaged, a 1x1 convolution without bias: the classifier. Its weights applied to
every cell are the CAM. Of a ResNet, layers up to layer2 and all statistics of batch norm stay as pretrained (spec irn 2.2, 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.compat import mx
from icd.data.augment import LongSideCrop
from icd.data.views import Pyramid
from icd.methods.classification import MOBILENET_V2_LONG_SIDE, HybridBlock, TagLoss, nn
from icd.recipe import BaseRecipe, entry
from icd.refine.seeds import share_rule
from icd.trainable import Method, set_rates

IRN_CAM_RULE = share_rule("irn_cam", 0.15)  # spec irn 6
FRAME_MULTIPLE = 16  # IRN resizes its maps to the next multiple of this, and cuts the image out


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """The hyper-parameters of IRN's CAM network. The momentum is no slip of ours: see spec vwe 4.2."""

    image_size: int = 512
    batch_size: int = 16
    num_epoch: int = 5
    learning_rate: float = 0.1
    momentum: float = 1e-4
    weight_decay: float = 1e-4
    shortest: int = entry("least long side of an image in training", 320, least=1)
    longest: int = entry("largest long side of an image in training", 640, least=1)
    infer_scales: tuple = entry("of the image in localization", (1.0, 0.5, 1.5, 2.0), least=0.01)
    frozen: str = entry(
        "what of the backbone keeps its weights: what is customary, or its first stage",
        "customary",
        choices=("customary", "stem"),
    )


EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "num_epoch": 12,
    "learning_rate": 0.1,
    "shortest": 120,
    "longest": 200,
}


class Features(HybridBlock):
    """A backbone and, where it has one, its classification top."""

    def __init__(self, backbone):
        super().__init__(prefix="")
        self.backbone = backbone
        self.top = backbone.make_top(dropout=0.0, pooled=False)
        self.channels = self.top.channels

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to features x (N, channels, h, w)."""
        return self.top(self.backbone(images))[0]


def uniform_convolution(name, outputs, inputs, kernel=1):
    """A convolution without bias as PyTorch initializes it: uniform within 1 / sqrt(inputs of an output)."""
    bound = (inputs * kernel * kernel) ** -0.5
    return nn.Conv2D(
        outputs, kernel, in_channels=inputs, use_bias=False, prefix=f"{name}_",
        weight_initializer=mx.init.Uniform(bound),
    )  # fmt: skip


class IRNCAM(Method):
    """The classifier: its outputs are the features x, of which losses and maps are made."""

    backbone = "resnet50"
    recipes = {
        "voc": Recipe(),
        "mobilenet_v2": Recipe(**MOBILENET_V2_LONG_SIDE),
        "embedded": Recipe(**EMBEDDED),
    }
    score_maps = {"cam": IRN_CAM_RULE}
    frame_multiple = FRAME_MULTIPLE

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        if recipe.frozen == "stem":
            backbone.freeze(below=list(backbone.taps)[1], norm=backbone.freezing.norm)
        self.network = Features(backbone)
        self.classifier = uniform_convolution("classifier", num_classes, self.network.channels)
        set_rates(self, (self.network,), (self.classifier,))
        self.tag_loss = TagLoss(average=True)

    @staticmethod
    def augmentation(recipe):
        """A random long side, mirror, crop; colours stay."""
        return LongSideCrop(recipe.image_size, recipe.shortest, recipe.longest, jitter=False)

    @classmethod
    def presentation(cls, recipe, infer_size):
        """All scales of the recipe, each with its mirror image."""
        return Pyramid(tuple(recipe.infer_scales), cls.frame_multiple)

    def pool(self, x):
        """The features' mean, (N, channels, 1, 1)."""
        return x.mean(axis=(2, 3), keepdims=True)

    def losses(self, outputs, part, gathered):
        """The tag loss."""
        return {"image": self.tag_loss(self.classifier(self.pool(outputs)), part["label"])}

    def localize(self, images):
        """The positive part of the activation maps."""
        (name,) = self.score_maps
        return {name: self.classifier(self.network(images)).relu()}
