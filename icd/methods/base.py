"""What every method promises to the engine, and the pieces that several papers share.

A step of training is: `outputs = method(images)` on every device, `method.update_state(outputs, parts)` once,
`method.losses(outputs, part)` on every device. Localization is `method.localize(images)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.compat import mx
from icd.data.augment import ScaledCrop
from icd.data.views import Frame
from icd.errors import InputError

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn


OPTIMIZERS = ("sgd", "torch_sgd", "torch_adam")
SCHEDULES = ("poly_by_epoch", "poly_by_step", "decay_by_epoch")


@dataclass(frozen=True)
class BaseRecipe:
    """What the engine reads of every recipe; a method's recipe adds its own and sets the published values.

    Attributes
    ----------
    image_size : int
        Side of the training crop.
    num_epoch, num_iterations : int
        Length of the training; steps count where `num_epoch` is 0.
    keep_last_batch : bool
        Whether an epoch ends with the smaller batch of the images that are left.
    schedule, optimizer : str
        Names in `icd.engine.schedules` and `icd.engine.optimizers`, which say what they read.
    new_layer_multiplier : float
        Learning rate of new layers against that of the backbone.
    backbone_multiplier : float
        Slows the backbone down against the rest. Ours: 1 in all papers.
    """

    image_size: int
    batch_size: int
    num_epoch: int
    learning_rate: float
    weight_decay: float
    num_iterations: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    optimizer: str = "torch_sgd"
    schedule: str = "poly_by_step"
    poly_power: float = 0.9
    decay_epochs: tuple = ()
    keep_last_batch: bool = False
    new_layer_multiplier: float = 10.0
    backbone_multiplier: float = 1.0

    def __post_init__(self):
        for key, names in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, key) not in names:
                raise InputError(
                    f"recipe entry {key}", "one of " + ", ".join(names), repr(getattr(self, key))
                )
        for key, least in (("image_size", 1), ("batch_size", 1), ("num_epoch", 0), ("learning_rate", 0)):
            if getattr(self, key) < least:
                raise InputError(f"recipe entry {key}", f"{least} or more", repr(getattr(self, key)))
        if not self.num_epoch and self.num_iterations < 1:
            raise InputError("recipe entry num_epoch", "1 or more, or num_iterations", "0")
        if self.nesterov and self.optimizer != "torch_sgd":
            raise InputError("recipe entry nesterov", "the optimizer torch_sgd", self.optimizer)


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
    backbone : str
        The published backbone, of `icd.backbones.BACKBONES`.
    recipes : dict of BaseRecipe
        The published hyper-parameters by name of the published run, the first being the default; and "embedded", what the
        embedded set needs instead, which is small and whose network starts from nothing.
    needs : tuple of str
        The planes, of `icd.data.dataset.PLANES`, that a training batch must hold.
    score_maps : dict of str
        Names of the score maps that `localize` returns, and for each the rule of its seeds, of `icd.refine.seed_stage`; the
        last one is the method's own result.
    map_type : str
        Stored type of the score maps, of `icd.files.ScoreMaps`.
    fusion, alignment : str
        How the score maps of several views become one, and how they lie on the image: see `icd.files.ScoreMaps`.
    teacher : str or None
        Name of the method that is trained and localizes before this one and whose score maps are its `target`.
    network : HybridBlock
        What calling the method runs.
    """

    backbone: str
    recipes: dict
    needs: tuple = ()
    score_maps: dict
    map_type = "float32"
    fusion, alignment = "sum", "centres"
    teacher = None

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(prefix="")
        self.num_classes, self.recipe = num_classes, recipe

    def forward(self, images):
        """Run the network on images (N, 3, S, S), RGB 0..255."""
        return self.network(images)

    @staticmethod
    def augmentation(recipe):
        """The random crop of training, from `icd.data.augment`."""
        raise NotImplementedError

    @staticmethod
    def presentation(recipe, infer_size: int):
        """How a whole image is shown for localization, from `icd.data.views`; `infer_size` is the user's frame."""
        raise NotImplementedError

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
            `image` (n, 3, S, S), `label` (n, C) multi-hot, and the planes that the method needs; with `superpixel`
            (n, S, S) there is `regions` (K), the numbers 0 to the largest id.
        """
        raise NotImplementedError

    def localize(self, images) -> dict:
        """Name the score maps of a batch of views, each (N, C, h, w); see `score_maps`.

        `icd.engine.onnx_export` traces this function with a Symbol for `images`. So it calls hybrid blocks and what arrays
        and symbols share (`x.relu()`, not `mx.nd.relu(x)`).
        """
        raise NotImplementedError


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
    dropout: float = 0.5
    scales: tuple = (0.5, 0.75, 1.0, 1.25, 1.5)


EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "num_epoch": 12,
    "learning_rate": 0.003,
    "dropout": 0.0,
    "scales": (0.75, 1.0, 1.25),
}


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


def set_multipliers(method, pretrained, new_layers) -> None:
    """Set the learning-rate multipliers of a recipe on the blocks that start from pretrained weights and on new layers."""
    for block in pretrained:
        block.collect_params().setattr("lr_mult", method.recipe.backbone_multiplier)
    for block in new_layers:
        block.collect_params().setattr("lr_mult", method.recipe.new_layer_multiplier)


def leave_biases_undecayed(method) -> None:
    """Decay neither biases nor the shifts of batch norm, as MXNet's Module does (Gluon decays them unless told)."""
    for name, parameter in method.collect_params().items():
        if name.endswith(("_bias", "_beta")):
            parameter.wd_mult = 0.0
