"""MobileNetV2 1.0 with stride 16: the backbone for machines without a GPU.

In: RGB 0..255 (divided by 127.5, minus 1, inside). Out: "conv5", the last bottleneck but one, 160 channels at stride 16. The
taps conv1 to conv5 are the last layers of each stride. The top is the last bottleneck and the 1x1 convolution to 1280
channels. Source: Sandler et al., CVPR 2018; the layers are Gluon's own (model zoo), strides beyond the asked one replaced by
dilation of what follows them. Customarily batch norm keeps its stored statistics, scale and shift, and the layers up to
stride 8 are not trained at all, which saves a third of a step's time.

The branch point lies before the last bottleneck because behind it every cell has seen so much of its surroundings that a
direction in feature space no longer tells an object from what is next to it (`docs/results.md`).
"""

from __future__ import annotations

from mxnet.gluon.model_zoo.vision import mobilenet_v2_1_0

from icd.backbones.base import Backbone, Freezing, Top, layers_of, nn

# (tap, the layer of the zoo's `features` behind its last one, channels, stride). The first three layers are a convolution
# with batch norm and ReLU6, the others bottlenecks, of which the last belongs to the top.
STAGES = (
    ("conv1", 4, 16, 2),
    ("conv2", 6, 24, 4),
    ("conv3", 9, 32, 8),
    ("conv4", 16, 96, 16),
    ("conv5", 19, 160, 32),
)


class MobileNetV2(Backbone):
    """MobileNetV2 with stride 16. See the module's docstring."""

    channels = 160
    strides = (16, 8, 32)
    stride = 16
    customary = Freezing("conv4", "affine")

    def __init__(self, stride=None, prefix=""):
        super().__init__(stride, prefix)
        layers, begin = _zoo_layers("", self.stride), 0
        for name, end, channels, own_stride in STAGES:
            stage = nn.HybridSequential(prefix="")
            stage.add(*layers[begin:end])
            self.add_stage(name, stage, channels, min(own_stride, self.stride))
            begin = end
        # Behind a function, because the layers belong to the top once it is made.
        self._top_layers = lambda: layers[begin:]
        self._zoo_names = {
            f"features_{index}_{path.replace('.', '_')}": parameter.name
            for index, layer in enumerate(layers)
            for path, parameter in layer._collect_params_with_prefix().items()
        }
        self.freeze(*self.customary)

    def normalised(self, F, images):
        """Over 127.5, minus 1."""
        return images / 127.5 - 1

    def new_top(self, dropout, pooled, suffix):
        """The last bottleneck and the 1x1 convolution to 1280 channels; see `Backbone.make_top`. Never pooled."""
        layers = self._top_layers()
        if suffix:
            layers = _zoo_layers(f"top{suffix}_", self.stride)[-len(layers) :]
        layer = nn.HybridSequential(prefix="")
        layer.add(*layers)
        return Top([layer], [1280], dropout)

    def names_elsewhere(self):
        """Gluon's own names, features.3.out.0.weight, as `save_parameters` of the model zoo writes them."""
        return self._zoo_names


def _zoo_layers(prefix: str, stride: int) -> list:
    """The zoo's layers up to the pooling, with strides beyond `stride` replaced."""
    layers = list(mobilenet_v2_1_0(classes=1, prefix=prefix).features)[:-1]
    _replace_last_strides(layers, stride)
    return layers


def _replace_last_strides(layers, target_stride: int) -> None:
    """Replace every stride beyond `target_stride` by dilation of the convolutions that follow it."""
    stride, dilation = 1, 1
    for convolution in layers_of(nn.Conv2D, layers):
        options = convolution._kwargs
        own_stride, kernel = options["stride"][0], options["kernel"][0]
        if kernel > 1:
            options["dilate"] = options["pad"] = (dilation, dilation)
        if own_stride > 1 and stride * own_stride > target_stride:
            options["stride"] = (1, 1)
            dilation *= own_stride
        else:
            stride *= own_stride
