"""VGG-16 as torchvision's pretrained file has it, dilated to stride 8: the backbone of DRS.

In: RGB 0..255 (normalised by ImageNet's mean and deviation inside). Out: "conv5", the activation of the thirteenth
convolution, 512 channels at stride 8. The taps conv1 to conv5 lie before the poolings; at stride 16 the last pooling is
torchvision's and nothing is dilated. There is no top. Source: Simonyan & Zisserman, ICLR 2015; the strides, pooling and dilation are those
of DRS (Kim et al., AAAI 2021, spec drs 2.1). ICD's VGG-16 (`icd.backbones.vgg16`) has other pooling, top and input.

Parameters are called after the keys of torchvision: features.28.weight is features_28_weight.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, imagenet_normalised, nn

# Channels of the convolutions of each stage; before all but the first lies a pooling.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Torchvision(Backbone):
    """VGG-16 with stride 8. See the module's docstring."""

    channels = 512
    strides = (8, 16)
    stride = 8
    corner_aligned = False  # pooling of 2 without padding: a cell lies between pixels

    def __init__(self, stride=None, prefix=""):
        super().__init__(stride, prefix)
        number, previous, total, dilation = 0, 3, 1, 1
        for group, widths in enumerate(STAGES, 1):
            stage = nn.HybridSequential(prefix="")
            if group > 1 and 2 * total <= self.stride:
                total *= 2
                stage.add(nn.MaxPool2D(2, 2, 0, prefix=""))
            elif group > 1:
                dilation *= 2
                stage.add(nn.MaxPool2D(3, 1, 1, prefix=""))
            for index, channels in enumerate(widths, 1):
                name = f"features_{number}_"
                stage.add(nn.Conv2D(channels, 3, 1, dilation, dilation, in_channels=previous, prefix=name))
                self.add_relu(stage, f"layer{group}_relu{index}", channels)  # DRS's own names
                previous, number = channels, number + 2
            number += 1
            self.add_stage(f"conv{group}", stage, channels, total)
        self.freeze(*self.customary)

    def normalised(self, F, images):
        """By ImageNet's mean and deviation."""
        return imagenet_normalised(F, images)

    def names_elsewhere(self):
        """Names of a file that holds torchvision's `features` alone: 28.weight."""
        return {name[len("features_") :]: name for name in self.pretrained_parameters()}
