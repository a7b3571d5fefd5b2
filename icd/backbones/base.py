"""What every backbone promises to the methods. In: RGB images 0..255. Out: named feature maps, its taps.

The geometry is corner-aligned unless a backbone says otherwise: with an input of S = stride * k + 1 pixels, cell (i, j) of
the grid sits exactly on pixel (stride * i, stride * j).
"""

from __future__ import annotations

from typing import NamedTuple

from icd.compat import mx
from icd.data.augment import IMAGENET_MEAN, IMAGENET_STD
from icd.errors import InputError

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn

NORMS = (None, "statistics", "affine", "affine_only")
TOP = "top"  # as `below`: the whole trunk


class Tap(NamedTuple):
    """A named feature map: its channels, and the pixels from one cell of its grid to the next."""

    channels: int
    stride: int


class Freezing(NamedTuple):
    """What of a backbone is not trained.

    Attributes
    ----------
    below : str, optional
        A tap: every layer before the stage that ends in it is frozen. "top": the whole trunk is. None: nothing is.
        Frozen layers keep weights and biases, and of batch norm statistics, scale and shift; no gradient is computed for
        them, and taps among them are constants to whoever uses them.
    norm : {None, "statistics", "affine", "affine_only"}
        Of all other batch norms, those of the tops included.

        =================  ============================================  ============
        norm               while training, normalised by                 scale, shift
        =================  ============================================  ============
        None               the batch's statistics; the stored ones move  trained
        ``"statistics"``   the stored statistics, which stay             trained
        ``"affine"``       the stored statistics, which stay             fixed
        ``"affine_only"``  the batch's statistics; the stored ones move  fixed
        =================  ============================================  ============
    """

    below: str | None = None
    norm: str | None = None


class Backbone(HybridBlock):
    """A trunk of stages, each of which ends in a tap, and the recipe of its classification top.

    Parameters
    ----------
    stride : int, optional
        Of the last tap, one of `strides`; default: the first of them.

    Attributes
    ----------
    strides : tuple of int
        What the class can do.
    taps : dict of Tap
        Of the instance, from shallow to deep.
    channels, stride : int
        Of the last tap, the trunk's output and the branch point of the methods' heads.
    corner_aligned : bool
        Whether cells sit on pixels as said above.
    pretrained : bool
        Whether it starts from a pretrained file; else from nothing.
    constant_apart : bool
        Of the instance, whether frozen stages run outside of what is recorded, see `icd.engine.build.hybridize`.
    customary : Freezing
        What its papers leave untrained; so the backbone starts, and a method may call `freeze` for another choice.

    Calling it maps images (N, 3, S, S), RGB 0..255, to features (N, channels, h, w); the normalisation of the pixel
    values is part of the network.

    Raises
    ------
    InputError
        The class does not have this stride.
    """

    channels: int
    stride: int
    strides: tuple
    corner_aligned = True
    pretrained = True
    customary = Freezing()

    def __init__(self, stride=None, prefix=""):
        super().__init__(prefix=prefix)
        if stride is not None and stride not in self.strides:
            expected = " or ".join(map(str, self.strides))
            raise InputError(f"stride of {type(self).__name__}", expected, stride)
        self.stride = stride or self.strides[0]
        self.taps, self.freezing, self.constant_apart = {}, Freezing(), False
        self._relus, self._frozen, self._pretrained, self._tops = [], frozenset(), {}, _Tops()

    # The trunk

    def add_stage(self, name: str, stage, channels: int, stride: int) -> None:
        """Add a stage to the trunk, a HybridBlock that ends in the tap `name`."""
        self.register_child(stage, name)
        self.taps[name] = Tap(channels, stride)
        self._pretrained.update(stage.collect_params().items())

    def normalised(self, F, images):
        """Images (N, 3, H, W), RGB 0..255, as the first stage wants them."""
        raise NotImplementedError

    def forward_taps(self, F, images) -> dict:
        """Map images (N, 3, H, W), RGB 0..255, to all taps by name, from shallow to deep; F as in `hybrid_forward`."""
        return self.run_stages(F, self.normalised(F, images))

    def run_stages(self, F, x) -> dict:
        """Map normalised images to all taps."""
        taps = {}
        for name in self.taps:
            stage = self._children[name]
            if name not in self._frozen:
                x = stage(x)
            elif self.constant_apart and F is mx.nd:
                with mx.autograd.pause(train_mode=False):
                    x = stage(x)
            else:
                x = F.BlockGrad(stage(x))
            taps[name] = x
        return taps

    @property
    def constant_stages(self) -> list:
        """The frozen stages, as far as they are blocks of their own, without anything random."""
        return [self._children[name] for name in self.taps if name in self._frozen]

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to the last tap (N, channels, h, w)."""
        return list(self.forward_taps(F, images).values())[-1]

    def superpixel_features(self, images):
        """Features by which superpixels are merged; images as for the backbone itself."""
        return self(images)

    # ReLUs that something may follow

    def add_relu(self, stage, name: str, channels: int) -> None:
        """Add to a stage (HybridSequential) a ReLU that `extend_activations` can put something behind."""
        activation = nn.HybridSequential(prefix="")
        activation.add(nn.Activation("relu", prefix=""))
        stage.add(activation)
        # Behind a function, because Gluon takes a list of blocks for blocks that nobody registered.
        self._relus.append((name, channels, lambda: activation))

    def extend_activations(self, make) -> None:
        """Put `make(name, channels)` behind every ReLU made by `add_relu`; other backbones stay as they are."""
        for name, channels, activation in self._relus:
            activation().add(make(name, channels))
        self._relus = []

    # Tops

    def make_top(self, dropout: float, pooled: bool, suffix: str = "") -> Top:
        """Make a classification top: the layers between the trunk and the classifier.

        Parameters
        ----------
        dropout : float
            Probability after each layer.
        pooled : bool
            Whether the parameterless pooling that precedes the top is included.
        suffix : str
            Appended to the layers' names, so that a network may hold two tops. A top with a suffix is new: no pretrained
            file has it.
        """
        top = self.new_top(dropout, pooled, suffix)
        self._tops.blocks.append(top)
        set_norms(top, self.freezing.norm)
        if not suffix:
            self._pretrained.update(top.collect_params().items())
        return top

    def new_top(self, dropout, pooled, suffix) -> Top:
        """The top that `make_top` hands out; here without layers and never pooled."""
        return Top([], [], dropout, channels=self.channels)

    # What is trained

    def freeze(self, below: str = None, norm: str = None) -> None:
        """Say what is not trained, in the place of what was said before; `Freezing` explains the words.

        To be called before the network that holds the backbone is hybridized.

        Raises
        ------
        ValueError
            No tap or norm is called so.
        RuntimeError
            The backbone is hybridized; its graph would not change.
        """
        names = [*self.taps, TOP]
        if below is not None and below not in names:
            raise ValueError(f"below must be None or one of {names}, not {below!r}")
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {NORMS}, not {norm!r}")
        if self._active:
            raise RuntimeError("freeze must be called before hybridize")
        self.freezing = Freezing(below, norm)
        self._frozen = frozenset(names[: names.index(below)] if below else ())
        for name in self.taps:
            for block in self.stage_blocks(name):
                block.collect_params().setattr("grad_req", "null" if name in self._frozen else "write")
                if name not in self._frozen:
                    set_norms(block, norm)
                else:
                    set_norms(block, "affine")
        for top in self._tops.blocks:
            set_norms(top, norm)

    def stage_blocks(self, name: str) -> list:
        """The blocks with the layers of the stage that ends in a tap."""
        return [self._children[name]]

    # Pretrained files

    def pretrained_parameters(self) -> dict:
        """The parameters that a pretrained file must hold, by name: the trunk's and those of the top without suffix."""
        return dict(self._pretrained)

    def names_elsewhere(self) -> dict:
        """Names that pretrained files of other programs use, with "_" for ".", and ours for each.

        Beside them are known: our own names, and those with PyTorch's fields of batch norm; a prefix that all names of a
        file share makes no difference.
        """
        return {}

    def adapt_pretrained(self, arrays: dict) -> dict:
        """Change arrays that have our names already, where another program's network differs from ours."""
        return arrays


class _Tops:
    """Tops belong to the networks that asked for them. In a plain list Gluon would take them for unregistered children."""

    def __init__(self):
        self.blocks = []


def set_norms(block, norm) -> None:
    """Set how the batch norms in a block are trained; `norm` as in `Freezing`."""
    for layer in layers_of(nn.BatchNorm, [block]):
        layer._kwargs["use_global_stats"] = norm in ("statistics", "affine")
        layer.gamma.grad_req = layer.beta.grad_req = "null" if norm in ("affine", "affine_only") else "write"


def layers_of(kind, blocks):
    """All layers of a kind in some blocks, in their order."""
    for block in blocks:
        if isinstance(block, kind):
            yield block
        else:
            yield from layers_of(kind, block._children.values())


class Top(HybridBlock):
    """Optional pooling, then layers; its output is the list of every layer's activation, without dropout.

    Parameters
    ----------
    layers : list of HybridBlock
        Each ends with its non-linearity.
    widths : list of int
        Output channels of the layers.
    dropout : float
        After every layer, before the next one; the last dropped-out map is the first element of the output.
    channel_dropout : bool
        Whole channels are dropped.
    channels : int, optional
        Of the features, where there are no layers.

    Attributes
    ----------
    channels : int
        Of the output for the classifier.
    """

    def __init__(self, layers, widths, dropout=0.0, pooling=None, channel_dropout=False, channels=None):
        super().__init__(prefix="")
        self.widths = list(widths)
        self.channels = self.widths[-1] if layers else channels
        self.pooling = pooling
        axes = (2, 3) if channel_dropout else ()
        self.dropout = nn.Dropout(dropout, axes=axes, prefix="") if dropout else None
        self.layers = layers
        for layer in layers:
            self.register_child(layer)

    def hybrid_forward(self, F, features):
        """Return [output for the classifier, activation of layer 1, activation of layer 2, ...]."""
        hidden = features if self.pooling is None else self.pooling(features)
        activations = []
        if not self.layers and self.dropout is not None:
            hidden = self.dropout(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
            activations.append(hidden)
            if self.dropout is not None:
                hidden = self.dropout(hidden)
        if hidden is features:
            # Compiled by itself, a block that returns what it got has no derivative in MXNet.
            hidden = F.identity(features)
        return [hidden, *activations]


def imagenet_normalised(F, images):
    """RGB images (N, 3, H, W), 0..255, as networks pretrained on ImageNet want them: zero mean, unit deviation."""
    channels = [
        (F.slice_axis(images, axis=1, begin=c, end=c + 1) - 255 * mean) / (255 * std)
        for c, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD))
    ]
    return F.concat(*channels, dim=1)


def bgr_shifted(F, images, mean):
    """RGB images (N, 3, H, W), 0..255, as networks from Caffe want them: blue, green, red, minus `mean` in that order."""
    channels = [F.slice_axis(images, axis=1, begin=c, end=c + 1) for c in (2, 1, 0)]
    return F.concat(*(channel - value for channel, value in zip(channels, mean)), dim=1)


def convolution(name, channels, kernel, in_channels, **options):
    """A convolution followed by ReLU whose parameters are called `<name>_weight` and `<name>_bias`."""
    options.setdefault("padding", kernel // 2)
    return nn.Conv2D(
        channels, kernel, in_channels=in_channels, activation="relu", prefix=f"{name}_", **options
    )


def new_convolution(name, inputs, outputs, gain=None):
    """A 1x1 convolution without bias; Kaiming's normal distribution, or Xavier's uniform one with a gain (spec resnet38 7)."""
    initial = mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2)
    if gain is not None:
        initial = mx.init.Xavier(rnd_type="uniform", factor_type="avg", magnitude=3 * gain**2)
    return nn.Conv2D(
        outputs, 1, in_channels=inputs, use_bias=False, weight_initializer=initial, prefix=f"{name}_"
    )


def resize_like(F, maps, other):
    """Bilinear to the size of another array, the outermost cells on the outermost."""
    return F.contrib.BilinearResize2D(maps, F.BlockGrad(other), mode="like", align_corners=True)
