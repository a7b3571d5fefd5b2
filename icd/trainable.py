"""The contract between the training loop and a paper: what is trained, and what it does once it is.

A step of training is, with all devices of this process in `outputs` and `parts`:

    outputs = [trainable(part["image"]) for part in parts]
    gathered = trainable.gather(outputs, parts, world)          no gradient; what the paper takes over the whole batch
    losses = [trainable.losses(o, p, gathered) for o, p in ...] each device's share of the batch's loss

A `Method` gives score maps of tagged images, a `Refiner` affinities by which score maps spread, a `Segmenter` the classes
of every pixel.
"""

from __future__ import annotations

from icd.compat import mx
from icd.recipe import BaseRecipe


class Trainable(mx.gluon.Block):
    """A network with losses.

    Parameters
    ----------
    backbone : icd.backbones.Backbone
    num_classes : int
        Foreground classes C.
    recipe : icd.recipe.BaseRecipe
        The published hyper-parameters, perhaps overridden.

    Attributes
    ----------
    backbone : str
        The published backbone, of `icd.backbones.BACKBONES`.
    recipes : dict of BaseRecipe
        The published hyper-parameters by name of the published run, the first being the default; and "embedded", what the
        embedded set needs instead, which is small and whose network starts from nothing.
    needs : tuple of str
        The planes, of `icd.data.planes.PLANES`, that a training batch must hold.
    network : HybridBlock
        What calling the trainable runs.
    """

    backbone: str
    recipes: dict
    needs: tuple = ()

    def __init__(self, backbone, num_classes, recipe: BaseRecipe):
        super().__init__(prefix="")
        self.num_classes, self.recipe = num_classes, recipe
        self.states, self.unpublished_states = [], []

    def forward(self, images):
        """Run the network on images (N, 3, S, S), RGB 0..255."""
        return self.network(images)

    @staticmethod
    def augmentation(recipe):
        """The random crop of training, from `icd.data.augment`."""
        raise NotImplementedError

    def add_state(self, name, shape, published=True):
        """A parameter that no gradient changes: checkpointed, restored, the same on every device and in every process.

        Checkpoints of the original hold it, unless it is not `published`.
        """
        state = self.params.get(name, shape=shape, grad_req="null", init=mx.init.Zero(), differentiable=False)
        self.states.append(state)
        if not published:
            self.unpublished_states.append(state)
        return state

    def start(self) -> None:
        """Set up what depends on the initial weights, once they are there and before training."""

    def prepare(self, num_images: int, batch_size: int) -> None:
        """Set up the state that depends on the training set, on a fresh start only."""

    def conclude(self, batches, world) -> None:
        """Set up the state that depends on the trained weights, once, after the last step.

        Parameters
        ----------
        batches : icd.data.batches.InferenceBatches
            This process's share of the training images, shown as `presentation` says where the trainable has one.
        world : icd.engine.world.World
            As for `gather`.
        """

    def gather(self, outputs: list, parts: list, world) -> dict:
        """Compute what the paper takes over the whole batch, and update the kept state, once a step and without gradient.

        Parameters
        ----------
        outputs, parts : list
            As for `losses`, one entry a device of this process.
        world : icd.engine.world.World
            `world.sum(arrays)` and `world.concat(arrays)` take one array a device and give the sum, or the rows in the
            order of the batch, over all devices of all processes.

        Returns
        -------
        dict of NDArray
            `losses` gets it on its own device.
        """
        return {}

    def losses(self, outputs, part: dict, gathered: dict) -> dict:
        """Name the loss terms of one device's part, each an NDArray (1,): the sum over its images.

        The loop divides the sum over all devices by the batch size. A term that the paper averages over something else, such
        as all pairs of the batch, is scaled with what `gather` counted.

        Parameters
        ----------
        outputs
            What calling the trainable on `part["image"]` gave.
        part : dict of NDArray
            `image` (n, 3, S, S), `label` (n, C) multi-hot, and the planes that the trainable needs; with `superpixel`
            (n, S, S) there is `regions` (K), the numbers 0 to the largest id.
        gathered : dict of NDArray
            From `gather`, on this device.
        """
        raise NotImplementedError


class Method(Trainable):
    """A trainable that localizes the tags of an image.

    Attributes
    ----------
    score_maps : dict of icd.refine.seeds.SeedRule
        Names of the score maps that `localize` returns, and for each the rule of its seeds; the last one is the method's
        own result.
    map_type : str
        Stored type of the score maps, of `icd.files.ScoreMaps`.
    fusion, alignment, normalization : str
        How the score maps of several views become one, how they lie on the image, and what makes shares of them: see
        `icd.files.ScoreMaps`.
    mirror_fusion : {"sum", "max"}
        How the score maps of an image and of its mirror image become one, before scales do.
    """

    score_maps: dict
    map_type = "float32"
    fusion, alignment, normalization = "sum", "centres", "maximum"
    mirror_fusion = "sum"

    @staticmethod
    def presentation(recipe, infer_size: int):
        """How a whole image is shown for localization, from `icd.data.views`; `infer_size` is the user's frame."""
        raise NotImplementedError

    def localize(self, images) -> dict:
        """Name the score maps of a batch of views, each (N, C, h, w); see `score_maps`.

        `icd.engine.onnx_export` traces this function with a Symbol for `images`. So it calls hybrid blocks and what arrays
        and symbols share (`x.relu()`, not `mx.nd.relu(x)`).
        """
        raise NotImplementedError


class Refiner(Trainable):
    """A trainable whose affinities say how the score maps of an image spread."""

    def affinities(self, images) -> tuple:
        """What `icd.refine.random_walk` needs of one image (1, 3, H, W), RGB 0..255: affinities (D, h, w) and offsets (D, 2)."""
        raise NotImplementedError

    def spread(self, image, scores, **settings):
        """Let the score maps of an image walk along its affinities.

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB.
        scores : icd.files.ScoreMaps
            Or anything else that has `classes` (L,) and, with the image's size, `planes` (L, H, W): shares of 1.
        settings
            Of the walk; see the refiner.

        Returns
        -------
        icd.files.LabelStack
            The background and the classes of the scores, float32 planes (1 + L, H, W).
        """
        raise NotImplementedError


class Segmenter(Trainable):
    """A trainable that gives every pixel a class, background 0 and foreground 1..C."""

    def predict(self, images):
        """Map a batch of views (N, 3, H, W), RGB 0..255, to logits (N, 1 + C, h, w)."""
        raise NotImplementedError


def shifts(block, fields=("bias", "beta")):
    """The shifts of a block's layers: biases of convolutions and dense layers, and, as `beta`, those of normalizations."""
    for layer in _layers(block):
        for field in fields:
            parameter = getattr(layer, field, None)
            if isinstance(parameter, mx.gluon.Parameter):
                yield parameter


def _layers(block):
    yield block
    for child in block._children.values():
        yield from _layers(child)


def leave_biases_undecayed(trainable) -> None:
    """Decay neither biases nor the shifts of batch norm, as MXNet's Module does (Gluon decays them unless told)."""
    for parameter in shifts(trainable):
        parameter.wd_mult = 0.0


def set_rate(block, multiplier: float, bias_multiplier: float = None) -> None:
    """Set the learning-rate multiplier of a block's parameters, and another one of its biases."""
    block.collect_params().setattr("lr_mult", multiplier)
    for parameter in shifts(block, ("bias",)) if bias_multiplier is not None else ():
        parameter.lr_mult = bias_multiplier


def set_rates(method, pretrained, new_layers) -> None:
    """Set the learning-rate multipliers of a recipe on the blocks that start from pretrained weights and on new layers."""
    for block in pretrained:
        set_rate(block, method.recipe.backbone_multiplier)
    for block in new_layers:
        set_rate(block, method.recipe.new_layer_multiplier)
