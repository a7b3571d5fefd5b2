"""What is trained, ready to train or to work. In: names and settings. Out: a trainable on its devices, with initial weights."""

from __future__ import annotations

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.parameters import load_pretrained
from icd.errors import InputError
from icd.methods import METHODS

PROBE_SIZE = 65  # pixels of the blank image that lets every layer learn its shape


def find_trainable(name: str) -> type:
    """The class of a method, refiner or segmenter.

    Raises
    ------
    InputError
        Nothing that is trained has that name.
    """
    if name not in METHODS:
        raise InputError("trainable", " or ".join(METHODS), repr(name))
    return METHODS[name]


def make_trainable(name: str, backbone: str, num_classes: int, recipe=None):
    """Put a trainable together, without weights; arguments and errors as of `build_trainable`."""
    kind = find_trainable(name)
    return kind(create_backbone(backbone), num_classes, recipe or next(iter(kind.recipes.values())))


def build_trainable(name, backbone, num_classes, contexts, *, seed=0, pretrained=None, recipe=None):
    """Make a trainable with initial weights.

    Parameters
    ----------
    name, backbone : str
        Of the trainable, and a key of `icd.backbones.BACKBONES`.
    num_classes : int
        Foreground classes.
    contexts : list of mxnet.Context
    seed : int
        Of the initial weights of everything that `pretrained` does not hold: N(0, 0.01^2) unless the layer says else.
    pretrained : str or os.PathLike, optional
        `.params` file of the backbone.
    recipe : icd.recipe.BaseRecipe, optional
        Default: the published one.

    Raises
    ------
    InputError
        An unknown name, a backbone that does not suit, or a pretrained file that does not fit.
    """
    mx.random.seed(seed)
    trainable = make_trainable(name, backbone, num_classes, recipe)
    trainable.initialize(mx.init.Normal(0.01), ctx=contexts)
    trainable(mx.nd.zeros((1, 3, PROBE_SIZE, PROBE_SIZE), contexts[0]))
    if pretrained is not None:
        load_pretrained(trainable, pretrained, trainable.network.backbone)
    trainable.start()
    trainable.hybridize()
    return trainable
