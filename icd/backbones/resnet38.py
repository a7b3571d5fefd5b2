"""ResNet-38 (model A1), dilated to stride 8, with frozen batch norm: the backbone of PSA, SEAM, EPS and PPC.

In: RGB 0..255 (normalised by ImageNet's mean and deviation inside). Out: ReLU(bn7), "conv6", 4096 channels at stride 8.
There is no top: the classifier is a 1x1 convolution on conv6. Customarily batch norm keeps its stored statistics, scale and
shift, and the layers up to stride 2 are not trained. The taps conv1 to conv5 are activations before a block's convolutions.
Source: Wu, Shen & van den Hengel, "Wider or Deeper", 2016; the dilated variant is that of PSA (Ahn & Kwak, CVPR 2018); spec
resnet38.

Parameters are called after the keys of the PyTorch checkpoints: b4_5.conv_branch2a.weight is b4_5_conv_branch2a_weight.
"""

from __future__ import annotations

import re

from icd.backbones.base import Backbone, Freezing, HybridBlock, Tap, Top, imagenet_normalised, nn

# (name, channels in, between, out, the factor 2 by which the classifier's network strides)
PLAIN_BLOCKS = (
    ("b2", 64, 128, 128, 2),
    *((f"b2_{k}", 128, 128, 128, 1) for k in (1, 2)),
    ("b3", 128, 256, 256, 2),
    *((f"b3_{k}", 256, 256, 256, 1) for k in (1, 2)),
    ("b4", 256, 512, 512, 2),
    *((f"b4_{k}", 512, 512, 512, 1) for k in (1, 2, 3, 4, 5)),
    ("b5", 512, 512, 1024, 2),
    *((f"b5_{k}", 1024, 512, 1024, 1) for k in (1, 2)),
)
# (name, channels in, out, dropout); the 3x3 convolution of the first is dilated instead of striding
BOTTLENECKS = (("b6", 1024, 2048, 0.3), ("b7", 2048, 4096, 0.5))
# The blocks whose first activation is a tap: what comes before it, its own first batch norm included, is the tap's stage.
TAPS = {"b2": "conv1", "b3": "conv2", "b4": "conv3", "b5": "conv4", "b6": "conv5"}


class ResNet38(Backbone):
    """ResNet-38 with stride 8, or with 16 where b5 strides. See the module's docstring."""

    channels = 4096
    strides = (8, 16)
    stride = 8
    customary = Freezing("conv3", "affine")

    def __init__(self, stride=None, prefix=""):
        super().__init__(stride, prefix)
        self.conv1a = _convolution("conv1a", 3, 64, 3)
        self.blocks = [*self._plain_blocks()]
        dilation = 32 // self.stride
        self.blocks += [Bottleneck(name, *row, dilation, dropout) for name, *row, dropout in BOTTLENECKS]
        self._stages, stage, total = {}, [self.conv1a], 1
        for block in self.blocks:
            self.register_child(block)
            if block.name_of_block in TAPS:
                tap = TAPS[block.name_of_block]
                self.taps[tap] = Tap(block.channels, total)
                self._stages[tap] = lambda own=(*stage, block.norm): own
                stage = block.layers_behind_activation()
            else:
                stage.append(block)
            total *= block.stride
        self.bn7 = _norm("bn7", self.channels)
        self.taps["conv6"] = Tap(self.channels, total)
        self._stages["conv6"] = lambda own=(*stage, self.bn7): own
        self._pretrained.update(self.collect_params().items())
        self.freeze(*self.customary)

    def _plain_blocks(self):
        total, dilation = 1, 1
        for name, channels, between, outputs, step in PLAIN_BLOCKS:
            first = dilation  # the convolution that would stride is not dilated yet
            if total * step > self.stride:
                step, dilation = 1, dilation * step
            total *= step
            yield PlainBlock(name, channels, between, outputs, step, first, dilation)

    def stage_blocks(self, name):
        """The layers before a tap, which need not be whole blocks."""
        return list(self._stages[name]())

    def normalised(self, F, images):
        """By ImageNet's mean and deviation."""
        return imagenet_normalised(F, images)

    @property
    def constant_stages(self):
        """None: a block reads what the one before has not finished."""
        return []

    def run_stages(self, F, x):
        """Map normalised images to all taps."""
        taps, x = {}, self.conv1a(x)
        for block in self.blocks:
            x, activation = block(x)
            if block.name_of_block in TAPS:
                taps[TAPS[block.name_of_block]] = activation
        taps["conv6"] = _relu(F, self.bn7(x))
        if "conv6" in self._frozen:
            taps["conv6"] = F.BlockGrad(taps["conv6"])
        return taps

    def freeze(self, below=None, norm=None):
        """See `Backbone.freeze`."""
        super().freeze(below, norm)
        for block in self.blocks:
            block.blocks_gradient = TAPS.get(block.name_of_block) in self._frozen

    def new_top(self, dropout, pooled, suffix):
        """No layers, only channel dropout; see `Backbone.make_top`. Never pooled."""
        return Top([], [], dropout, channel_dropout=True, channels=self.channels)

    def names_elsewhere(self):
        """The names of MXNet's own file of model A1, res4b5_branch2a_weight (spec resnet38 6)."""
        return {original_name(name): name for name in self.pretrained_parameters()}


def original_name(name: str) -> str:
    """The name that MXNet's own file of model A1 has for one of our parameters."""
    match = re.fullmatch(r"b(\d)(?:_(\d))?_(conv|bn)_(branch\w+)", name)
    if match is None:
        return name
    stage, number, kind, rest = match.groups()
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{f'b{number}' if number else 'a'}_{rest}"


def _norm(name, channels):
    # The momentum of SEAM's segmentation (spec deeplab A2); all others keep the stored statistics.
    return nn.BatchNorm(epsilon=1e-5, momentum=0.9997, in_channels=channels, prefix=f"{name}_")


def _relu(F, x):
    # Not F.relu: between a batch norm and BlockGrad its gradient, asked for, ends the process (MXNet 1.9.1).
    return F.Activation(x, act_type="relu")


class Block(HybridBlock):
    """A residual block with activation first; calling it gives its output and its first activation.

    The shortcut is a convolution of the activation, or, where the block changes nothing in shape, the input itself.
    """

    def __init__(self, name, channels, outputs, stride=1):
        super().__init__(prefix="")
        self.name_of_block, self.channels, self.stride = name, channels, stride
        self.blocks_gradient = False
        self.norm = _norm(f"{name}_bn_branch2a", channels)
        self.shortcut = None
        if channels != outputs or stride != 1:
            self.shortcut = _convolution(f"{name}_conv_branch1", channels, outputs, 1, stride)

    def layers_behind_activation(self):
        """All layers but the first batch norm."""
        return [layer for layer in self._children.values() if layer is not self.norm]

    def hybrid_forward(self, F, x):
        """Map x (N, channels, h, w) to the block's output and first activation."""
        activation = _relu(F, self.norm(x))
        if self.blocks_gradient:
            activation = F.BlockGrad(activation)
        shortcut = x if self.shortcut is None else self.shortcut(activation)
        return shortcut + self.branch(F, activation), activation


class PlainBlock(Block):
    """Two 3x3 convolutions."""

    def __init__(self, name, channels, between, outputs, stride, first_dilation, dilation):
        super().__init__(name, channels, outputs, stride)
        self.first = _convolution(f"{name}_conv_branch2a", channels, between, 3, stride, first_dilation)
        self.second_norm = _norm(f"{name}_bn_branch2b1", between)
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
        self.second_norm = _norm(f"{name}_bn_branch2b1", quarter)
        self.second = _convolution(f"{name}_conv_branch2b1", quarter, half, 3, dilation=dilation)
        self.third_norm = _norm(f"{name}_bn_branch2b2", half)
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
