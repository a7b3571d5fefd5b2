"""A method or a backbone, ready for use. In: names and settings. Out: the network on its devices, with initial weights."""

from __future__ import annotations

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.parameters import load_pretrained
from icd.methods import create_method

PROBE_SIZE = 65  # pixels of the blank image that lets every layer learn its shape


def build_method(name, backbone, num_classes, contexts, *, seed=0, pretrained=None, recipe=None):
    """Make a method with initial weights.

    Parameters
    ----------
    name, backbone : str
        Keys of `icd.methods.METHODS` and `icd.backbones.BACKBONES`.
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
        An unknown name, or a pretrained file that does not fit.
    """
    mx.random.seed(seed)
    network = create_backbone(backbone)
    method = create_method(name, network, num_classes, recipe)
    method.initialize(mx.init.Normal(0.01), ctx=contexts)
    method(mx.nd.zeros((1, 3, PROBE_SIZE, PROBE_SIZE), contexts[0]))
    if pretrained is not None:
        load_pretrained(method, pretrained, network)
    method.start()
    method.hybridize()
    return method


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
