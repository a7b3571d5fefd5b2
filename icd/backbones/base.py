"""What every backbone promises to the methods. In: RGB images 0..255. Out: named feature maps.

The geometry is corner-aligned unless a backbone says otherwise: with an input of S = stride * k + 1 pixels, cell (i, j) of
the grid sits exactly on pixel (stride * i, stride * j).
"""

from __future__ import annotations

from icd.compat import mx
from icd.data.augment import IMAGENET_MEAN, IMAGENET_STD

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn


class Backbone(HybridBlock):
    """A trunk and the recipe of its classification top.

    Attributes
    ----------
    channels : int
        Channels of the trunk's output, the branch point of the methods' heads.
    stride : int
        Pixels from one cell of the grid to the next.
    corner_aligned : bool
        Whether cells sit on pixels as said above.
    pretrained_names : tuple of str
        Beginnings of the names of the parameters that a pretrained file must hold; empty: trained from scratch.

    Calling it maps images (N, 3, S, S), RGB 0..255, to features (N, channels, h, w); the normalisation of the pixel
    values is part of the network.
    """

    channels: int
    stride: int
    corner_aligned = True
    pretrained_names: tuple = ()

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        self.relus = []

    def make_top(self, dropout: float, pooled: bool, suffix: str = "") -> Top:
        """Make a classification top: the layers between the trunk and the classifier.

        Parameters
        ----------
        dropout : float
            Probability after each layer.
        pooled : bool
            Whether the parameterless pooling that precedes the top is included.
        suffix : str
            Appended to the layers' names, so that a network may hold two tops.
        """
        raise NotImplementedError

    def add_relu(self, name: str, channels: int) -> None:
        """Add to the trunk a ReLU that `extend_activations` can put something behind."""
        activation = nn.HybridSequential(prefix="")
        activation.add(nn.Activation("relu", prefix=""))
        self.trunk.add(activation)
        # Its place and not the block itself, which Gluon would take for one that nobody registered.
        self.relus.append((name, channels, len(self.trunk) - 1))

    def extend_activations(self, make) -> None:
        """Put `make(name, channels)` behind every ReLU made by `add_relu`; other backbones stay as they are."""
        for name, channels, place in self.relus:
            self.trunk[place].add(make(name, channels))
        self.relus = []

    def superpixel_features(self, images):
        """Features by which superpixels are merged; images as for the backbone itself."""
        return self(images)

    def pretrained_parameters(self, method) -> list:
        """Names of a method's parameters that a pretrained file must hold."""
        names = method.collect_params()
        return [name for name in names if name.startswith(self.pretrained_names) and "_ft_" not in name]

    def rename_pretrained(self, arrays: dict) -> dict:
        """Give the arrays of a pretrained file the names of this network's parameters."""
        return arrays


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
        return [hidden, *activations]


def imagenet_normalised(F, images):
    """RGB images (N, 3, H, W), 0..255, as networks pretrained on ImageNet want them: zero mean, unit deviation."""
    channels = [
        (F.slice_axis(images, axis=1, begin=c, end=c + 1) - 255 * mean) / (255 * std)
        for c, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD))
    ]
    return F.concat(*channels, dim=1)


def convolution(name, channels, kernel, in_channels, **options):
    """A convolution followed by ReLU whose parameters are called `<name>_weight` and `<name>_bias`."""
    options.setdefault("padding", kernel // 2)
    return nn.Conv2D(
        channels, kernel, in_channels=in_channels, activation="relu", prefix=f"{name}_", **options
    )
