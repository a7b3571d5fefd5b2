"""What every method promises to the engine, and the pieces that several papers share.

A step of training is: `outputs = method(images)` on every device, `method.update_state(outputs, parts)` once,
`method.losses(outputs, part)` on every device. Localization is `method.localize(images, labels)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.compat import mx

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn


@dataclass(frozen=True)
class ClassifierRecipe:
    """Hyper-parameters of the classification network as published with ICD (CVPR 2020, and the code of its authors).

    `backbone_multiplier` is ours: it slows the backbone down against the rest, and is 1 in the paper.
    """

    image_size: int = 321
    batch_size: int = 32
    num_epoch: int = 20
    learning_rate: float = 1e-3
    poly_power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 5e-4
    new_layer_multiplier: float = 10.0
    backbone_multiplier: float = 1.0
    dropout: float = 0.5
    scales: tuple = (0.5, 0.75, 1.0, 1.25, 1.5)


class Method(mx.gluon.Block):
    """A network with losses and a localization rule.

    Parameters
    ----------
    backbone : icd.backbones.Backbone
    num_classes : int
        Foreground classes C.
    recipe : dataclass
        The published hyper-parameters, perhaps overridden.

    Attributes
    ----------
    Recipe : type
        Frozen dataclass of the published hyper-parameters.
    needs_superpixels : bool
        Whether a training batch must hold superpixels.
    score_maps : tuple of str
        Names of the score maps that `localize` returns; the last one is the method's own result.
    network : HybridBlock
        What calling the method runs.
    """

    Recipe: type
    needs_superpixels = False
    score_maps: tuple

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(prefix="")
        self.num_classes, self.recipe = num_classes, recipe

    def forward(self, images):
        """Run the network on images (N, 3, S, S), RGB 0..255."""
        return self.network(images)

    def add_state(self, name, shape):
        """A parameter that no gradient changes: checkpointed, restored, the same on every device."""
        return self.params.get(name, shape=shape, grad_req="null", init=mx.init.Zero(), differentiable=False)

    def start(self) -> None:
        """Set up what depends on the initial weights, once they are there and before training."""

    def prepare(self, num_images: int, batch_size: int) -> None:
        """Set up the state that depends on the training set, on a fresh start only."""

    def update_state(self, outputs: list, parts: list) -> None:
        """Update the kept state once a step from the outputs and batch parts of all devices."""

    def losses(self, outputs, part: dict) -> dict:
        """Name the loss terms of one device's part, each an NDArray (1,): the sum over its images.

        Parameters
        ----------
        outputs
            What calling the method on `part["image"]` gave.
        part : dict of NDArray
            `image` (n, 3, S, S), `label` (n, C) multi-hot and, where the method needs superpixels, `superpixel`
            (n, S, S) and `regions` (K), the numbers 0 to the largest id.
        """
        raise NotImplementedError

    def localize(self, images, labels) -> dict:
        """Name the score maps of a batch, each (N, C, h, w); see `score_maps`."""
        raise NotImplementedError


class TagClassifier(HybridBlock):
    """The classification branch: a top of the backbone and a 1x1 convolution, whose output is the CAM itself.

    The map is averaged over the grid to give one logit a class, so no separate weighting of features is needed.
    Source: Zhou et al., CVPR 2016, in the fully convolutional form of Fan et al., CVPR 2020.
    """

    def __init__(self, backbone, num_classes, dropout):
        super().__init__(prefix="")
        self.top = backbone.make_top(dropout, pooled=True)
        self.fc8 = nn.Conv2D(num_classes, 1, in_channels=self.top.widths[-1], prefix="fc8_")

    def hybrid_forward(self, F, features):
        """Map trunk features to class activation maps (N, C, h, w)."""
        return self.fc8(self.top(features)[0])


class TagLoss(HybridBlock):
    """Binary cross-entropy of the averaged map with the tags, summed over classes and images."""

    def hybrid_forward(self, F, cam, label):
        """Map CAM (N, C, h, w) and tags (N, C) to the loss (1,)."""
        logit = F.mean(cam, axis=(2, 3))
        return binary_cross_entropy(F, logit, label).sum()


def binary_cross_entropy(F, logit, target):
    """Element-wise binary cross-entropy of sigmoid(logit); its derivative is sigmoid(logit) - target, also at 0."""
    return F.Activation(logit, act_type="softrelu") - logit * target


def set_multipliers(method, new_layers) -> None:
    """Set the learning-rate and decay multipliers of a recipe.

    The backbone and its own top learn at `backbone_multiplier`, the new layers at `new_layer_multiplier`. Biases and the
    shifts of batch norm are not decayed, as in MXNet's Module (Gluon decays them unless told).
    """
    recipe = method.recipe
    for block in (method.network.backbone, method.network.classifier):
        block.collect_params().setattr("lr_mult", recipe.backbone_multiplier)
    for block in new_layers:
        block.collect_params().setattr("lr_mult", recipe.new_layer_multiplier)
    for name, parameter in method.collect_params().items():
        if name.endswith(("_bias", "_beta")):
            parameter.wd_mult = 0.0
