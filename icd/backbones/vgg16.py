"""VGG-16 as ICD uses it: stride 8, fc6 and fc7 as 1024-channel convolutions (DeepLab's "vgg16_20M").

In: RGB 0..255 (127 is subtracted inside, no scaling). Out: ReLU(conv5_3), 512 channels at stride 8.
Source: Simonyan & Zisserman, ICLR 2015; Chen et al., ICLR 2015; Fan et al., CVPR 2020 (layer table).
Parameter names are those of the original checkpoints: conv1_1_weight ... fc7_bias.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Top, convolution, nn

# (number of convolutions, channels, stride of the pooling that follows, dilation of the convolutions)
STAGES = ((2, 64, 2, 1), (2, 128, 2, 1), (3, 256, 2, 1), (3, 512, 1, 1), (3, 512, None, 2))
MEAN = 127.0


class VGG16(Backbone):
    """VGG-16 with stride 8. See the module's docstring."""

    channels = 512
    stride = 8
    pretrained_names = ("conv1_", "conv2_", "conv3_", "conv4_", "conv5_", "fc6_", "fc7_")

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        self.trunk = nn.HybridSequential(prefix="")
        previous = 3
        for stage, (count, channels, pool_stride, dilation) in enumerate(STAGES, 1):
            for index in range(1, count + 1):
                name = f"conv{stage}_{index}"
                layer = convolution(name, channels, 3, previous, padding=dilation, dilation=dilation)
                self.trunk.add(layer)
                previous = channels
            if pool_stride:
                self.trunk.add(nn.MaxPool2D(3, pool_stride, 1, prefix=""))

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, S, S), 0..255, to ReLU(conv5_3) (N, 512, h, w)."""
        return self.trunk(images - MEAN)

    def superpixel_features(self, images):
        """ReLU(conv5_3) of the unshifted image: the original does not subtract 127 here (spec 5.2, quirk 13)."""
        return self.trunk(images)

    def make_top(self, dropout, pooled, suffix=""):
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
