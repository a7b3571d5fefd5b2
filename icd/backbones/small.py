"""A small network that is trained from scratch in minutes: for the embedded data set and for tests.

In: RGB 0..255 (127 subtracted, divided by 64, inside). Out: "conv6", 64 channels at stride 8. The top is one 3x3 convolution.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Top, convolution, nn
from icd.compat import mx

# (channels, stride) of the 3x3 convolutions, each followed by batch norm and ReLU
LAYERS = ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1))


class Small(Backbone):
    """Six convolutions with batch norm, each a tap; at stride 4, those behind the last stride are dilated twice."""

    channels = LAYERS[-1][0]
    strides = (8, 4)
    stride = 8
    pretrained = False

    def __init__(self, stride=None, prefix=""):
        super().__init__(stride, prefix)
        previous, total, dilation = 3, 1, 1
        for index, (channels, step) in enumerate(LAYERS, 1):
            own_dilation = dilation
            if total * step > self.stride:
                step, dilation = 1, dilation * step
            total *= step
            stage = nn.HybridSequential(prefix="")
            stage.add(
                nn.Conv2D(
                    channels,
                    3,
                    step,
                    own_dilation,
                    own_dilation,
                    in_channels=previous,
                    use_bias=False,
                    prefix=f"conv{index}_",
                ),
                nn.BatchNorm(in_channels=channels, prefix=f"conv{index}_bn_"),
                nn.Activation("relu", prefix=""),
            )
            self.add_stage(f"conv{index}", stage, channels, total)
            previous = channels
        self.freeze(*self.customary)

    def normalised(self, F, images):
        """Minus 127, over 64."""
        return (images - 127.0) / 64.0

    def new_top(self, dropout, pooled, suffix):
        """fc6, a 3x3 convolution with ReLU; see `Backbone.make_top`. Never pooled."""
        layer = convolution(f"fc6{suffix}", 128, 3, self.channels, weight_initializer=mx.init.MSRAPrelu())
        return Top([layer], [128], dropout)
