"""VGG-16 as torchvision's pretrained file has it, dilated to stride 8: the backbone of DRS.

In: RGB 0..255 (normalised by ImageNet's mean and deviation inside). Out: the activation of the thirteenth convolution, 512
channels at stride 8. There is no top. Source: Simonyan & Zisserman, ICLR 2015; the strides, pooling and dilation are those
of DRS (Kim et al., AAAI 2021, spec drs 2.1). ICD's VGG-16 (`icd.backbones.vgg16`) has other pooling, top and input.

Parameters are called after the keys of torchvision: features.28.weight is features_28_weight.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Top, imagenet_normalised, nn

# (channels of the convolutions, dilation, kernel and stride of the pooling that follows)
STAGES = (
    ((64, 64), 1, (2, 2)),
    ((128, 128), 1, (2, 2)),
    ((256, 256, 256), 1, (2, 2)),
    ((512, 512, 512), 1, (3, 1)),
    ((512, 512, 512), 2, None),
)


class VGG16Torchvision(Backbone):
    """VGG-16 with stride 8. See the module's docstring."""

    channels = 512
    stride = 8
    corner_aligned = False  # pooling of 2 without padding: a cell lies between pixels
    pretrained_names = ("features_",)

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        self.trunk = nn.HybridSequential(prefix="")
        number, previous = 0, 3
        for stage, (widths, dilation, pooling) in enumerate(STAGES, 1):
            for index, channels in enumerate(widths, 1):
                name = f"features_{number}_"
                self.trunk.add(
                    nn.Conv2D(channels, 3, 1, dilation, dilation, in_channels=previous, prefix=name)
                )
                self.add_relu(f"layer{stage}_relu{index}", channels)  # DRS's own names
                previous, number = channels, number + 2
            number += 1
            if pooling:
                kernel, stride = pooling
                self.trunk.add(nn.MaxPool2D(kernel, stride, kernel // 3, prefix=""))

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, H, W), 0..255, to ReLU(conv5_3) (N, 512, h, w)."""
        return self.trunk(imagenet_normalised(F, images))

    def make_top(self, dropout, pooled, suffix=""):
        """No layers, only dropout; see `Backbone.make_top`. Never pooled."""
        return Top([], [], dropout, channels=self.channels)
