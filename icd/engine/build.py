"""What is trained, ready to train or to work. In: names and settings. Out: a trainable on its devices, with initial weights."""

from __future__ import annotations

from icd.backbones import create_backbone
from icd.backbones.base import Backbone, layers_of
from icd.compat import mx
from icd.engine.parameters import load_pretrained
from icd.errors import InputError
from icd.methods import METHODS
from icd.refine.trained import REFINERS
from icd.segment import SEGMENTERS, find_segmenter
from icd.segment.zoo import PREFIX

PROBE_SIZE = 65  # pixels of the blank image that lets every layer learn its shape


def find_trainable(name: str) -> type:
    """The class of a method, refiner or segmenter.

    Raises
    ------
    InputError
        Nothing that is trained has that name.
    """
    if name in METHODS:
        return METHODS[name]
    if name in REFINERS:
        return REFINERS[name]
    if name in SEGMENTERS or name.startswith(PREFIX):
        return find_segmenter(name)
    known = ", ".join((*METHODS, *REFINERS, *SEGMENTERS))
    raise InputError("trainable", f"one of {known}, or {PREFIX}NAME", repr(name))


def make_trainable(name: str, backbone, num_classes: int, recipe=None):
    """Put a trainable together, without weights; `backbone` is a block, the rest and the errors as of `build_trainable`."""
    kind = find_trainable(name)
    return kind(backbone, num_classes, recipe or next(iter(kind.recipes.values())))


def backbone_for(name: str, backbone: str, recipe):
    """The backbone of a trainable, with the stride that its recipe says; None for networks of GluonCV, which have their own."""
    if find_trainable(name).backbone is not None:
        return create_backbone(backbone, getattr(recipe, "stride", None))
    if backbone is not None:
        raise InputError("backbone", f"none, since {name} has its own", repr(backbone))
    return None


def build_trainable(name, backbone, num_classes, contexts, *, seed=0, pretrained=None, recipe=None):
    """Make a trainable with initial weights.

    Parameters
    ----------
    name : str
        Of the trainable.
    backbone : str or None
        A key of `icd.backbones.BACKBONES`; None: the published one. Networks of GluonCV have their own.
    num_classes : int
        Foreground classes.
    contexts : list of mxnet.Context
    seed : int
        Of the initial weights of everything that `pretrained` does not hold: N(0, 0.01^2) unless the layer says else.
    pretrained : str or os.PathLike, optional
        `.params` file of the backbone; for a network of GluonCV, GluonCV's file of the network or of its trunk.
    recipe : icd.recipe.BaseRecipe, optional
        Default: the published one. The backbone has its `stride`, where it has one.

    Raises
    ------
    InputError
        An unknown name, a backbone that does not suit, or a pretrained file that does not fit.
    """
    mx.random.seed(seed)
    recipe = recipe or next(iter(find_trainable(name).recipes.values()))
    network = backbone_for(name, backbone, recipe)
    trainable = make_trainable(name, network, num_classes, recipe)
    trainable.initialize(mx.init.Normal(0.01), ctx=contexts)
    trainable(mx.nd.zeros((1, 3, PROBE_SIZE, PROBE_SIZE), contexts[0]))
    if pretrained is not None:
        load_pretrained(trainable, pretrained, trainable if network is None else network)
    trainable.start()
    hybridize(trainable, contexts)
    return trainable


def hybridize(trainable, contexts) -> None:
    """Compile a trainable for training.

    What frozen stages of the backbone compute needs no derivative. On processors they therefore run as in a trained network, see
    `fuse_for_inference`, and the rest is compiled in parts: the blocks that hold the backbone are run layer by layer.
    With EPS on MobileNetV2, a step takes 0.85 of the time of one graph (docs/performance.md).

    Parameters
    ----------
    trainable : icd.trainable.Trainable
    contexts : list of mxnet.Context
        Its devices. On GPUs, with an MXNet without oneDNN, and where nothing is frozen, it becomes one graph.
    """
    backbones = [backbone for backbone in layers_of(Backbone, [trainable]) if backbone.constant_stages]
    if not backbones or not _has_fused_layers(contexts):
        trainable.hybridize()
        return
    _hybridize_parts(trainable)
    for backbone in backbones:
        backbone.constant_apart = True
        for stage in backbone.constant_stages:
            stage.hybridize(backend="MKLDNN")


def _hybridize_parts(block) -> None:
    """Compile the largest parts of a block that hold no backbone, and the stages of backbones."""
    for child in block._children.values():
        if any(True for _ in layers_of(Backbone, [child])):
            _hybridize_parts(child)
        else:
            child.hybridize()


def _has_fused_layers(contexts) -> bool:
    on_processors = all(context.device_type == "cpu" for context in contexts)
    return on_processors and mx.runtime.Features().is_enabled("MKLDNN")


def fuse_for_inference(trainable, contexts) -> None:
    """Let a trainable that is not trained any more run with oneDNN's fused layers, on processors.

    Batch norm, ReLU, ReLU6 and sums become part of the convolution before them. This spares both the passes over the arrays
    and the arrays themselves: MobileNetV2 takes a quarter of the time and half of the memory. The weights are multiplied
    beforehand, so results differ in rounding, by some 1e-6 of the largest; where there is no batch norm, not at all.

    To be called when the weights are there; training goes on with another trainable.

    Parameters
    ----------
    trainable : icd.trainable.Trainable
    contexts : list of mxnet.Context
        Its devices. On GPUs, and with an MXNet without oneDNN, nothing changes.
    """
    if _has_fused_layers(contexts):
        trainable.hybridize(backend="MKLDNN")


def build_backbone(name: str, contexts, *, pretrained=None, stride=None, seed=0, **options):
    """Make a backbone alone, with initial weights.

    Parameters
    ----------
    name : str
        A key of `icd.backbones.BACKBONES`.
    contexts : list of mxnet.Context
    pretrained : str or os.PathLike, optional
        `.params` file, which must hold every parameter of the trunk; its top and classifier are left aside.
    stride, options
        As for `icd.backbones.create_backbone`.
    seed : int
        Of the initial weights where there is no file.

    Raises
    ------
    InputError
        An unknown name or stride, or a pretrained file that does not fit.
    """
    mx.random.seed(seed)
    backbone = create_backbone(name, stride, **options)
    backbone.initialize(mx.init.Normal(0.01), ctx=contexts)
    backbone(mx.nd.zeros((1, 3, PROBE_SIZE, PROBE_SIZE), contexts[0]))
    if pretrained is not None:
        load_pretrained(backbone, pretrained, backbone)
    backbone.hybridize()
    return backbone
