"""ResNet-38 (model A1), dilated to stride 8, with frozen batch norm: the backbone of PSA, SEAM, EPS and PPC.

In: RGB 0..255 (normalised by ImageNet's mean and deviation inside). Out: ReLU(bn7), "conv6", 4096 channels at stride 8.
There is no top: the classifier is a 1x1 convolution on conv6. Batch norm keeps its stored statistics, scale and shift; the
layers up to stride 2 are not trained. Source: Wu, Shen & van den Hengel, "Wider or Deeper", 2016; the dilated variant is
that of PSA (Ahn & Kwak, CVPR 2018); spec resnet38.

Parameters are called after the keys of the PyTorch checkpoints: b4_5.conv_branch2a.weight is b4_5_conv_branch2a_weight.
"""

from __future__ import annotations

import re

from icd.backbones.base import Backbone, HybridBlock, Top, imagenet_normalised, nn

# (name, channels in, between, out, stride, dilation of the first and of the second 3x3 convolution)
PLAIN_BLOCKS = (
    ("b2", 64, 128, 128, 2, 1, 1),
    *((f"b2_{k}", 128, 128, 128, 1, 1, 1) for k in (1, 2)),
    ("b3", 128, 256, 256, 2, 1, 1),
    *((f"b3_{k}", 256, 256, 256, 1, 1, 1) for k in (1, 2)),
    ("b4", 256, 512, 512, 2, 1, 1),
    *((f"b4_{k}", 512, 512, 512, 1, 1, 1) for k in (1, 2, 3, 4, 5)),
    ("b5", 512, 512, 1024, 1, 1, 2),
    *((f"b5_{k}", 1024, 512, 1024, 1, 2, 2) for k in (1, 2)),
)
# (name, channels in, out, dilation, dropout)
BOTTLENECKS = (("b6", 1024, 2048, 4, 0.3), ("b7", 2048, 4096, 4, 0.5))
FROZEN = ("conv1a_", "b2_")
# The blocks whose first activation is a tap.
TAPS = {"conv3": "b4", "conv4": "b5", "conv5": "b6"}


class ResNet38(Backbone):
    """ResNet-38 with stride 8. See the module's docstring."""

    channels = 4096
    stride = 8
    pretrained_names = ("conv1a_", *(f"b{stage}_" for stage in range(2, 8)), "bn7_")

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        self.conv1a = _convolution("conv1a", 3, 64, 3)
        self.blocks = [PlainBlock(*row) for row in PLAIN_BLOCKS] + [Bottleneck(*row) for row in BOTTLENECKS]
        for block in self.blocks:
            self.register_child(block)
        self.bn7 = FrozenNorm("bn7", self.channels)
        for name, parameter in self.collect_params().items():
            if name.startswith(FROZEN):
                parameter.grad_req = "null"

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, H, W), 0..255, to conv6 (N, 4096, h, w)."""
        return self.taps(F, images)["conv6"]

    def taps(self, F, images) -> dict:
        """The named feature maps `conv3`, `conv4`, `conv5` and `conv6` of images as for the backbone itself."""
        names = {block: tap for tap, block in TAPS.items()}
        taps, x = {}, self.conv1a(imagenet_normalised(F, images))
        for block in self.blocks:
            x, activation = block(x)
            if block.name_of_block in names:
                taps[names[block.name_of_block]] = activation
        taps["conv6"] = F.relu(self.bn7(x))
        return taps

    def make_top(self, dropout, pooled, suffix=""):
        """No layers, only channel dropout; see `Backbone.make_top`. Never pooled."""
        return Top([], [], dropout, channel_dropout=True, channels=self.channels)

    def rename_pretrained(self, arrays):
        """Accept the names of MXNet's own file of model A1, "res4b5_branch2a_weight" (spec resnet38 6)."""
        return {_own_name(name): array for name, array in arrays.items()}


def _own_name(name: str) -> str:
    match = re.fullmatch(
        r"(res|bn)(\d)(?:a|b(\d+))_(branch\w+?)_(weight|gamma|beta|running_mean|running_var)", name
    )
    if match is None:
        return name
    kind, stage, number, branch, field = match.groups()
    block = f"b{stage}_{number}" if number else f"b{stage}"
    return f"{block}_{'conv' if kind == 'res' else 'bn'}_{branch}_{field}"


class FrozenNorm(nn.BatchNorm):
    """Batch norm that keeps its stored statistics, scale and shift."""

    def __init__(self, name, channels):
        super().__init__(epsilon=1e-5, use_global_stats=True, in_channels=channels, prefix=f"{name}_")
        self.gamma.grad_req = self.beta.grad_req = "null"


class Block(HybridBlock):
    """A residual block with activation first; calling it gives its output and its first activation.

    The shortcut is a convolution of the activation, or, where the block changes nothing in shape, the input itself.
    """

    def __init__(self, name, channels, outputs, stride=1):
        super().__init__(prefix="")
        self.name_of_block = name
        self.norm = FrozenNorm(f"{name}_bn_branch2a", channels)
        self.shortcut = None
        if channels != outputs or stride != 1:
            self.shortcut = _convolution(f"{name}_conv_branch1", channels, outputs, 1, stride)

    def hybrid_forward(self, F, x):
        """Map x (N, channels, h, w) to the block's output and first activation."""
        activation = F.relu(self.norm(x))
        shortcut = x if self.shortcut is None else self.shortcut(activation)
        return shortcut + self.branch(F, activation), activation


class PlainBlock(Block):
    """Two 3x3 convolutions."""

    def __init__(self, name, channels, between, outputs, stride, first_dilation, dilation):
        super().__init__(name, channels, outputs, stride)
        self.first = _convolution(f"{name}_conv_branch2a", channels, between, 3, stride, first_dilation)
        self.second_norm = FrozenNorm(f"{name}_bn_branch2b1", between)
        self.second = _convolution(f"{name}_conv_branch2b1", between, outputs, 3, dilation=dilation)

    def branch(self, F, activation):
        """What is added to the shortcut."""
        return self.second(F.relu(self.second_norm(self.first(activation))))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions with channel dropout before the last two."""

    def __init__(self, name, channels, outputs, dilation, dropout):
        super().__init__(name, channels, outputs)
        quarter, half = outputs // 4, outputs // 2
        self.first = _convolution(f"{name}_conv_branch2a", channels, quarter, 1)
        self.second_norm = FrozenNorm(f"{name}_bn_branch2b1", quarter)
        self.second = _convolution(f"{name}_conv_branch2b1", quarter, half, 3, dilation=dilation)
        self.third_norm = FrozenNorm(f"{name}_bn_branch2b2", half)
        self.third = _convolution(f"{name}_conv_branch2b2", half, outputs, 1)
        self.dropout = nn.Dropout(dropout, axes=(2, 3), prefix="")

    def branch(self, F, activation):
        """What is added to the shortcut."""
        y = self.second(self.dropout(F.relu(self.second_norm(self.first(activation)))))
        return self.third(self.dropout(F.relu(self.third_norm(y))))


def _convolution(name, channels, outputs, kernel, stride=1, dilation=1):
    return nn.Conv2D(
        outputs,
        kernel,
        stride,
        dilation * (kernel // 2),
        dilation,
        in_channels=channels,
        use_bias=False,
        prefix=f"{name}_",
    )
