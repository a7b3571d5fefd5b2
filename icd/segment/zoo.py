"""Any segmentation network of GluonCV, by name, trained on masks: `gluoncv:deeplab_resnet101_voc`.

A name is `<family>_<trunk>`, and may go on with the data set of the zoo's weights. The weights are read from the user's
`.params` file, GluonCV's own; the number of classes is the user's, and a classifier of another number starts anew.

===================  ============================================================  ==============================
family               network                                                       losses beside the result's
===================  ============================================================  ==============================
`fcn`                Long, Shelhamer & Darrell, CVPR 2015                          auxiliary, on the third stage
`psp`                Zhao et al., CVPR 2017                                        auxiliary
`deeplab`            DeepLab-v3: Chen et al., arXiv 1706.05587                     auxiliary
`danet`              Fu et al., CVPR 2019                                          of position, of channels
`deeplab_v3b_plus`   DeepLab-v3+ on a wide ResNet-38: Chen et al., ECCV 2018       none
===================  ============================================================  ==============================

Trunks: resnet50, resnet101, resnet152 (v1s), resnest50, resnest101, resnest200, resnest269; `wideresnet` for the last family.
GluonCV fixes the input's size when it makes a network. Here every resizing inside it takes the size from the image instead,
so any size goes in, and the model can be exported.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import NamedTuple

from icd.backbones.base import imagenet_normalised, set_norms
from icd.compat import load_gluoncv, mx
from icd.data.segment_crops import ColourCrop
from icd.errors import InputError
from icd.recipe import entry
from icd.segment.base import NORMALIZATIONS, HybridBlock, MaskSegmenter, SegmentationRecipe
from icd.trainable import set_rate, shifts

PREFIX = "gluoncv:"
HEADS = ("head", "auxlayer")


@dataclass(frozen=True)
class Recipe(SegmentationRecipe):
    """What GluonCV's own script trains with on VOC, as far as we know it, on the crops of `deeplab_v1`."""

    image_size: int = 480
    batch_size: int = 16
    num_epoch: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    normalization: str = "trained"
    auxiliary_weight: float = entry("of the auxiliary loss", 0.5, least=0)
    least_scale: float = entry("of the image in training", 0.5, least=0.01)
    most_scale: float = entry("of the image in training", 2.0, least=0.01)
    colour_shift: int = entry("most by which hue, saturation and value change, of 255", 0, least=0, most=90)
    infer_scales: tuple = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    infer_mirror: bool = True


class Family(NamedTuple):
    """How the networks of a family are made and run.

    Attributes
    ----------
    make : callable
        (gluoncv.model_zoo, outputs, trunk) -> network.
    run : callable
        (F, network, normalised images) -> list of logits on the network's grids, the result last.
    terms : tuple of str
        The losses, in the order of the logits.
    trunks : tuple of str
        Beginnings of the trunks' names.
    """

    make: object
    run: object
    terms: tuple
    trunks: tuple = ("resnet50", "resnet101", "resnet152", "resnest")


def _with_auxiliary(make_class, pooled):
    """A family with an auxiliary loss; `pooled(head)` lists the blocks that resize to the grid of the head's input."""

    def make(zoo, outputs, trunk):
        return make_class(zoo)(outputs, backbone=trunk, aux=True, pretrained_base=False)

    def run(F, network, x):
        third, last = network.base_forward(x)
        with _resizing_like(pooled(network.head), last):
            logits = network.head(last)
        return [network.auxlayer(third), logits]

    return Family(make, run, ("auxiliary", "mask"))


def _make_danet(zoo, outputs, trunk):
    return zoo.danet.DANet(outputs, backbone=trunk, pretrained_base=False)


def _run_danet(F, network, x):
    _, last = network.base_forward(x)
    both, position, channel = network.head(last)
    return [position, channel, both]


def _make_plus(zoo, outputs, trunk):
    return zoo.deeplabv3b_plus.DeepLabWV3Plus(outputs, backbone=trunk, pretrained_base=False)


def _run_plus(F, network, x):
    early = network.mod2(network.pool2(network.mod1(x)))
    x = network.mod3(network.pool3(early))
    for module in (network.mod4, network.mod5, network.mod6, network.mod7):
        x = module(x)
    with _resizing_like([network.head], early), _resizing_like([network.head.aspp.b4], x):
        return [network.head(x, early)]


@contextlib.contextmanager
def _resizing_like(blocks, like):
    """While it lasts, blocks of GluonCV resize to the size of an array and not to one fixed before."""
    before = [block._up_kwargs for block in blocks]
    for block in blocks:
        block._up_kwargs = {"like": like, "mode": "like", "align_corners": True}
    try:
        yield
    finally:
        for block, options in zip(blocks, before):
            block._up_kwargs = options


FAMILIES = {
    "deeplab_v3b_plus": Family(_make_plus, _run_plus, ("mask",), ("wideresnet",)),
    "fcn": _with_auxiliary(lambda zoo: zoo.FCN, lambda head: []),
    "psp": _with_auxiliary(lambda zoo: zoo.PSPNet, lambda head: [head.psp]),
    "deeplab": _with_auxiliary(lambda zoo: zoo.DeepLabV3, lambda head: [head.aspp.concurent[-1]]),
    "danet": Family(_make_danet, _run_danet, ("position", "channel", "mask")),
}


def zoo_segmenter(name: str) -> type:
    """The segmenter around a network of GluonCV.

    Parameters
    ----------
    name : str
        `gluoncv:<family>_<trunk>`, for example gluoncv:deeplab_resnet101_voc.

    Raises
    ------
    InputError
        There is no such family or trunk.
    """
    rest = name[len(PREFIX) :]
    for family, description in FAMILIES.items():
        if rest.startswith(family + "_"):
            trunk = rest[len(family) + 1 :].split("_")[0]
            if trunk.startswith(description.trunks):
                return type("ZooSegmenter", (ZooSegmenter,), {"family": description, "trunk": trunk})
            break
    known = ", ".join(f"{PREFIX}{family}_<{' or '.join(d.trunks)}>" for family, d in FAMILIES.items())
    raise InputError("network", known, repr(name))


class ZooSegmenter(MaskSegmenter):
    """A network of GluonCV; the class is made by `zoo_segmenter`, and needs no backbone of ours.

    Raises
    ------
    icd.compat.MXNetUnavailable
        GluonCV cannot be imported, in one line that says why and what to install.
    """

    backbone = None
    recipes = {
        "voc": Recipe(),
        "embedded": Recipe(
            image_size=129,
            batch_size=4,
            num_epoch=4,
            most_scale=1.25,
            infer_scales=(1.0,),
            infer_mirror=False,
        ),
        "mobilenet_v2": Recipe(
            image_size=257,
            batch_size=4,
            num_epoch=0,
            num_iterations=1500,
            normalization="frozen",
            infer_scales=(1.0,),
        ),
    }
    family: Family
    trunk: str

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.terms = self.family.terms
        self.weights = tuple(recipe.auxiliary_weight if term == "auxiliary" else 1.0 for term in self.terms)
        zoo = load_gluoncv().model_zoo
        # GluonCV counts the networks that a process made, and names parameters after the count.
        with mx.name.NameManager(), contextlib.redirect_stdout(io.StringIO()):
            network = self.family.make(zoo, 1 + num_classes, self.trunk)
        self.network = ZooNetwork(network, self.family.run)
        self._prepare_training(network)

    def _prepare_training(self, network):
        recipe = self.recipe
        set_norms(network, NORMALIZATIONS[recipe.normalization])
        set_rate(network, recipe.backbone_multiplier)
        for name in HEADS:
            if hasattr(network, name):
                set_rate(getattr(network, name), recipe.new_layer_multiplier)
        for parameter in shifts(network):
            parameter.wd_mult = 0.0

    @staticmethod
    def augmentation(recipe):
        """Mirror, a random scale, crop."""
        return ColourCrop(recipe.image_size, recipe.least_scale, recipe.most_scale, recipe.colour_shift)

    def initialize(self, init=None, ctx=None, verbose=False, force_reinit=False):
        """As Gluon's; but GluonCV has initialized some layers already, on one device."""
        super().initialize(init, ctx, verbose, force_reinit=True)

    # What `icd.engine.parameters.load_pretrained` asks of a backbone.

    def pretrained_parameters(self) -> dict:
        """The parameters that a pretrained file must hold, by name: all but the heads'."""
        names = self._paths().items()
        return {name: parameter for path, (name, parameter) in names if path.split(".")[0] not in HEADS}

    def names_elsewhere(self) -> dict:
        """The names in GluonCV's own files, "layer1.0.conv1.weight", with "_" for ".", and this network's."""
        return {path.replace(".", "_"): name for path, (name, _) in self._paths().items()}

    def adapt_pretrained(self, arrays: dict) -> dict:
        """The arrays as they are."""
        return arrays

    def new_top(self, dropout, pooled, suffix):
        """Nothing: files hold no layers beside the network's."""
        return mx.gluon.nn.HybridSequential(prefix="")

    def _paths(self) -> dict:
        parameters = self.network.network._collect_params_with_prefix()
        return {path: (parameter.name, parameter) for path, parameter in parameters.items()}


class ZooNetwork(HybridBlock):
    """A network of GluonCV up to its last resizing, with the normalisation that its weights want."""

    def __init__(self, network, run):
        super().__init__(prefix="")
        self.network, self._run = network, run

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to all logits of the family, on their own grids."""
        return self._run(F, self.network, imagenet_normalised(F, images))
