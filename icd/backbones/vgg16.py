"""VGG-16 as ICD uses it: stride 8, fc6 and fc7 as 1024-channel convolutions (DeepLab's "vgg16_20M").

In: RGB 0..255 (127 is subtracted inside, no scaling). Out: "conv5", ReLU(conv5_3), 512 channels at stride 8. The taps conv1
to conv5 lie before the poolings. At stride 16 the last pooling strides and nothing is dilated.
Source: Simonyan & Zisserman, ICLR 2015; Chen et al., ICLR 2015; Fan et al., CVPR 2020 (layer table).
Parameter names are those of the original checkpoints: conv1_1_weight ... fc7_bias.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Top, convolution, nn
from icd.compat import mx

# (number of convolutions, channels, stride of the pooling before them in the classifier's VGG-16)
STAGES = ((2, 64, None), (2, 128, 2), (3, 256, 2), (3, 512, 2), (3, 512, 2))
MEAN = 127.0


class VGG16(Backbone):
    """VGG-16 with stride 8. See the module's docstring."""

    channels = 512
    strides = (8, 16)
    stride = 8

    def __init__(self, stride=None, prefix=""):
        super().__init__(stride, prefix)
        previous, total, dilation = 3, 1, 1
        for number, (count, channels, step) in enumerate(STAGES, 1):
            stage = nn.HybridSequential(prefix="")
            if step:
                if total * step > self.stride:
                    step, dilation = 1, dilation * step
                total *= step
                stage.add(nn.MaxPool2D(3, step, 1, prefix=""))
            for index in range(1, count + 1):
                name = f"conv{number}_{index}"
                stage.add(convolution(name, channels, 3, previous, padding=dilation, dilation=dilation))
                previous = channels
            self.add_stage(f"conv{number}", stage, channels, total)
        self.freeze(*self.customary)

    def normalised(self, F, images):
        """Minus 127."""
        return images - MEAN

    def superpixel_features(self, images):
        """ReLU(conv5_3) of the unshifted image: the original does not subtract 127 here (spec 5.2, quirk 13)."""
        return self.run_stages(mx.nd, images)["conv5"]

    def new_top(self, dropout, pooled, suffix):
        """fc6 (3x3, not dilated) and fc7 (1x1), both 1024 channels with ReLU; see `Backbone.make_top`."""
        pooling = None
        if pooled:
            pooling = nn.HybridSequential(prefix="")
            pooling.add(nn.MaxPool2D(3, 1, 1, prefix=""))
            # The zero padding counts in the mean, as in MXNet's default.
            pooling.add(nn.AvgPool2D(3, 1, 1, count_include_pad=True, prefix=""))
        layers = [
            convolution(f"fc6{suffix}", 1024, 3, self.channels),
            convolution(f"fc7{suffix}", 1024, 1, 1024),
        ]
        return Top(layers, [1024, 1024], dropout, pooling)
