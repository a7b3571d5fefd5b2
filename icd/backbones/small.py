"""A small network that is trained from scratch in minutes: for the embedded data set and for tests.

In: RGB 0..255 (127 subtracted, divided by 64, inside). Out: 64 channels at stride 8. The top is one 3x3 convolution.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Top, convolution, nn
from icd.compat import mx

# (channels, stride) of the 3x3 convolutions, each followed by batch norm and ReLU
LAYERS = ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1))


class Small(Backbone):
    """Six convolutions with batch norm. See the module's docstring."""

    channels = LAYERS[-1][0]
    stride = 8

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        self.trunk = nn.HybridSequential(prefix="")
        previous = 3
        for index, (channels, stride) in enumerate(LAYERS, 1):
            self.trunk.add(
                nn.Conv2D(
                    channels, 3, stride, 1, in_channels=previous, use_bias=False, prefix=f"conv{index}_"
                ),
                nn.BatchNorm(in_channels=channels, prefix=f"conv{index}_bn_"),
                nn.Activation("relu", prefix=""),
            )
            previous = channels

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, S, S), 0..255, to features (N, 64, h, w)."""
        return self.trunk((images - 127.0) / 64.0)

    def make_top(self, dropout, pooled, suffix=""):
        """fc6, a 3x3 convolution with ReLU; see `Backbone.make_top`. Never pooled."""
        layer = convolution(f"fc6{suffix}", 128, 3, self.channels, weight_initializer=mx.init.MSRAPrelu())
        return Top([layer], [128], dropout)
