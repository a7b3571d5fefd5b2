"""ResNet-50 and ResNet-101: the backbones of VWE, IRN, SEAM's and PPC's segmentation, and DeepLab.

In: RGB 0..255. Out: "layer4", 2048 channels. There is no top: the classifier is a 1x1 convolution on layer4. Source: He et
al., CVPR 2016. Three forms, which take each other's weights no better than another network's:

- `resnet50`, `resnet101`: torchvision's and GluonCV's v1b. The stride is on a bottleneck's 3x3 convolution; ImageNet's mean
  and deviation (spec vwe 2.1). `resnet101_deep`: three 3x3 convolutions in the place of the 7x7, GluonCV's v1s (spec
  deeplab A2).
- `resnet50_v1`, `resnet101_v1`: MXNet's model zoo. The stride is on the first 1x1; ImageNet's mean and deviation.
- `resnet50_caffe`, `resnet101_caffe`: He et al.'s own. The stride is on the first 1x1; blue, green, red, minus a mean (spec
  deeplab B2).

Parameters are called after torchvision's keys in all forms: layer1.0.conv1.weight is layer1_0_conv1_weight.
"""

from __future__ import annotations

from icd.backbones.base import Backbone, Freezing, HybridBlock, bgr_shifted, imagenet_normalised, nn
from icd.compat import mx

DILATIONS = ("none", "behind", "throughout")
RESNET50, RESNET101 = (3, 4, 6, 3), (3, 4, 23, 3)


class ResNet(Backbone):
    """A ResNet of bottlenecks. See the module's docstring.

    Parameters
    ----------
    stride : int, optional
        8, 16 or 32: the strides of the last stages that would go beyond it become 1.
    dilation : {"none", "behind", "throughout"}, optional
        What a stage whose stride was taken away does instead, for each factor 2. "none": nothing (IRN, VWE). "behind": the
        3x3 convolutions behind the lost stride are dilated twice as much, so the first block's is as before (torchvision,
        GluonCV, spec deeplab A2). "throughout": the first block's as well (deeplab-pytorch, spec deeplab B2).
        Default: what the papers that use the stride do, `dilations`.
    multi_grid : tuple of int, optional
        Factors of the dilation of layer4's blocks, the first included: (1, 2, 4) in deeplab-pytorch's DeepLab-v3.

    Attributes
    ----------
    blocks : tuple of int
        Bottlenecks in layer1 to layer4.
    dilations : dict
        Default of `dilation` by stride.
    early_stride : bool
        Whether a bottleneck strides in its first 1x1 convolution.
    deep_stem : bool
        Three 3x3 convolutions of 64, 64 and 128 channels in the place of one 7x7.
    ceil_mode : bool
        Whether the stem's pooling keeps a last cell that lies half outside, as Caffe does.
    """

    channels = 2048
    strides = (16, 8, 32)
    stride = 16
    blocks: tuple
    dilations = {16: "none", 8: "behind", 32: "none"}
    early_stride = deep_stem = ceil_mode = False
    customary = Freezing("layer3", "statistics")  # IRN, VWE, VWL-L

    def __init__(self, stride=None, dilation=None, multi_grid=None, prefix=""):
        super().__init__(stride, prefix)
        dilation = self.dilations[self.stride] if dilation is None else dilation
        if dilation not in DILATIONS:
            raise ValueError(f"dilation must be one of {DILATIONS}, not {dilation!r}")
        if multi_grid is not None and len(multi_grid) != self.blocks[-1]:
            raise ValueError(f"multi_grid must have {self.blocks[-1]} factors, not {len(multi_grid)}")
        stem = _deep_stem() if self.deep_stem else _stem()
        stem.add(nn.MaxPool2D(3, 2, 1, ceil_mode=self.ceil_mode, prefix=""))
        channels = 128 if self.deep_stem else 64
        self.add_stage("stem", stem, channels, 4)
        plan = stage_plan(self.blocks, self.stride, dilation, multi_grid)
        for number, (step, total, row) in enumerate(plan, 1):
            stage, outputs = nn.HybridSequential(prefix=""), 128 << number
            for index, own_dilation in enumerate(row):
                name, own_step = f"layer{number}_{index}", 1 if index else step
                stage.add(Bottleneck(name, channels, outputs, own_step, own_dilation, self.early_stride))
                channels = outputs
            self.add_stage(f"layer{number}", stage, outputs, total)
        self.freeze(*self.customary)

    def normalised(self, F, images):
        """By ImageNet's mean and deviation."""
        return imagenet_normalised(F, images)

    def names_elsewhere(self):
        """GluonCV's and the model zoo's names in `export` and `collect_params().save`, and the zoo's `save_parameters`."""
        return {
            f"{theirs}_{field}": f"{ours}_{field}"
            for theirs, ours in _layers_elsewhere(self.blocks, self.deep_stem)
            for field in ("weight", "bias", "gamma", "beta", "running_mean", "running_var")
        }

    def adapt_pretrained(self, arrays):
        """Take the biases of the zoo's convolutions into the means that batch norm subtracts, where they do the same."""
        arrays = dict(arrays)
        for name in [name for name in arrays if name.endswith("_bias") and "_conv" in name]:
            mean = name.replace("_conv", "_bn").replace("_bias", "_running_mean")
            if mean in arrays and arrays[mean].shape == arrays[name].shape:
                arrays[mean] = arrays[mean].astype("float32") - arrays.pop(name).astype("float32")
        return arrays


def stage_plan(blocks, target_stride: int, dilation: str, multi_grid=None) -> list:
    """For layer1 to layer4: the first block's stride, the stride of the stage's output, the dilation of every block."""
    plan, total, dilated = [], 4, 1
    for number, count in enumerate(blocks):
        step, before = 1 if number == 0 else 2, dilated
        if total * step > target_stride:
            dilated *= 1 if dilation == "none" else step
            step = 1
        total *= step
        row = [dilated if dilation == "throughout" else before] + [dilated] * (count - 1)
        if multi_grid and number == len(blocks) - 1:
            row = [dilated * factor for factor in multi_grid]
        plan.append((step, total, row))
    return plan


class Bottleneck(HybridBlock):
    """1x1, 3x3 and 1x1 convolutions, each with batch norm, beside the input or its projection; ReLU after the sum."""

    def __init__(self, name, inputs, outputs, stride, dilation, early_stride):
        super().__init__(prefix="")
        middle = outputs // 4
        first, second = (stride, 1) if early_stride else (1, stride)
        self.conv1 = _convolution(f"{name}_conv1", inputs, middle, 1, first)
        self.bn1 = _norm(f"{name}_bn1", middle)
        self.conv2 = _convolution(f"{name}_conv2", middle, middle, 3, second, dilation)
        self.bn2 = _norm(f"{name}_bn2", middle)
        self.conv3 = _convolution(f"{name}_conv3", middle, outputs, 1)
        self.bn3 = _norm(f"{name}_bn3", outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.HybridSequential(prefix="")
            self.downsample.add(_convolution(f"{name}_downsample_0", inputs, outputs, 1, stride))
            self.downsample.add(_norm(f"{name}_downsample_1", outputs))

    def hybrid_forward(self, F, x):
        """Map x (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(ResNet):
    """torchvision's ResNet-50."""

    blocks = RESNET50


class ResNet101(ResNet):
    """torchvision's ResNet-101."""

    blocks = RESNET101


class ResNet101Deep(ResNet101):
    """ResNet-101 with the deep stem, as SEAM and PPC retrain it: everything but batch norm's scale and shift is trained."""

    strides, stride = (8, 16, 32), 8
    deep_stem = True
    customary = Freezing(None, "affine_only")


class ResNet50V1(ResNet50):
    """ResNet-50 of MXNet's model zoo."""

    early_stride = True


class ResNet101V1(ResNet101):
    """ResNet-101 of MXNet's model zoo."""

    early_stride = True


class _Caffe(ResNet):
    """He et al.'s networks, frozen as deeplab-pytorch does."""

    strides, stride = (8, 16, 32), 8
    dilations = {8: "throughout", 16: "throughout", 32: "none"}
    early_stride = ceil_mode = True
    customary = Freezing(None, "affine")
    mean: tuple  # of blue, green and red

    def normalised(self, F, images):
        """Blue, green, red, minus the mean."""
        return bgr_shifted(F, images, self.mean)


class ResNet50Caffe(_Caffe):
    """He et al.'s ResNet-50, with the mean of Keras's port."""

    blocks = RESNET50
    mean = (103.939, 116.779, 123.68)


class ResNet101Caffe(_Caffe):
    """He et al.'s ResNet-101, with DeepLab's mean."""

    blocks = RESNET101
    mean = (104.008, 116.669, 122.675)


def _convolution(name, inputs, outputs, kernel, stride=1, dilation=1):
    return nn.Conv2D(
        outputs,
        kernel,
        stride,
        dilation * (kernel // 2),
        dilation,
        in_channels=inputs,
        use_bias=False,
        weight_initializer=mx.init.MSRAPrelu(factor_type="out", slope=0),  # torchvision's
        prefix=f"{name}_",
    )


def _norm(name, channels):
    return nn.BatchNorm(epsilon=1e-5, momentum=0.9, in_channels=channels, prefix=f"{name}_")


def _stem():
    stem = nn.HybridSequential(prefix="")
    stem.add(_convolution("conv1", 3, 64, 7, 2), _norm("bn1", 64), nn.Activation("relu", prefix=""))
    return stem


def _deep_stem():
    stem, inputs = nn.HybridSequential(prefix=""), 3
    for place, outputs, norm in ((0, 64, "conv1_1"), (3, 64, "conv1_4"), (6, 128, "bn1")):
        stem.add(_convolution(f"conv1_{place}", inputs, outputs, 3, 1 if place else 2), _norm(norm, outputs))
        stem.add(nn.Activation("relu", prefix=""))
        inputs = outputs
    return stem


def _layers_elsewhere(blocks, deep_stem: bool):
    """Layers under names of GluonCV and of the model zoo, and under ours."""
    stem = (("conv1_0", "conv1_1"), ("conv1_3", "conv1_4"), ("conv1_6", "bn1"))
    for number, (convolution, norm) in enumerate(stem if deep_stem else (("conv1", "bn1"),)):
        yield from ((f"conv{number}", convolution), (f"batchnorm{number}", norm))
    yield from (("features_0", "conv1"), ("features_1", "bn1"))
    for stage, count in enumerate(blocks, 1):
        place = 0  # the zoo counts a stage's convolutions, a projection after its block's other three
        for index in range(count):
            ours = f"layer{stage}_{index}"
            for part in range(3):
                pair = f"{ours}_conv{part + 1}", f"{ours}_bn{part + 1}"
                body = (
                    f"features_{stage + 3}_{index}_body_{3 * part}",
                    f"features_{stage + 3}_{index}_body_{3 * part + 1}",
                )
                yield from zip(body, pair)
                yield from zip((f"stage{stage}_conv{place}", f"stage{stage}_batchnorm{place}"), pair)
                cv = 3 * index + part
                yield from zip((f"layers{stage}_conv{cv}", f"layers{stage}_batchnorm{cv}"), pair)
                place += 1
            if index == 0:
                pair = f"{ours}_downsample_0", f"{ours}_downsample_1"
                yield from zip((f"stage{stage}_conv{place}", f"stage{stage}_batchnorm{place}"), pair)
                yield from zip((f"down{stage}_conv0", f"down{stage}_batchnorm0"), pair)
                body = f"features_{stage + 3}_{index}_downsample"
                yield from zip((f"{body}_0", f"{body}_1"), pair)
                place += 1
