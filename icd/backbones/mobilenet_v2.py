"""MobileNetV2 1.0 with stride 16: the backbone for machines without a GPU.

In: RGB 0..255 (divided by 127.5, minus 1, inside). Out: the last bottleneck but one, 160 channels at stride 16. The top is
the last bottleneck and the 1x1 convolution to 1280 channels. Source: Sandler et al., CVPR 2018; the layers are Gluon's
own (model zoo), the last stride replaced by dilation. Batch norm keeps its stored statistics, scale and shift; the layers
up to stride 8 are not trained at all, which saves a third of a step's time.

The branch point lies before the last bottleneck because behind it every cell has seen so much of its surroundings that a
direction in feature space no longer tells an object from what is next to it (`docs/results.md`).
"""

from __future__ import annotations

from mxnet.gluon.model_zoo.vision import mobilenet_v2_1_0

from icd.backbones.base import Backbone, Top, nn

TRUNK_LAYERS = 19  # in the zoo's `features`: a convolution with batch norm and ReLU6, and sixteen of seventeen bottlenecks
FROZEN_LAYERS = 9  # the first convolution with batch norm and ReLU6, and six bottlenecks: up to stride 8


class MobileNetV2(Backbone):
    """MobileNetV2 with stride 16. See the module's docstring."""

    channels = 160
    stride = 16
    pretrained_names = ("features_",)

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        layers = _zoo_layers("", self.stride)
        self.frozen = nn.HybridSequential(prefix="")
        self.frozen.add(*layers[:FROZEN_LAYERS])
        self.trunk = nn.HybridSequential(prefix="")
        self.trunk.add(*layers[FROZEN_LAYERS:TRUNK_LAYERS])
        # Behind a function, because the layers belong to the top once it is made.
        self._top_layers = lambda: layers[TRUNK_LAYERS:]
        self.frozen.collect_params().setattr("grad_req", "null")

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, S, S), 0..255, to the last bottleneck but one (N, 160, h, w)."""
        return self.trunk(F.BlockGrad(self.frozen(images / 127.5 - 1)))

    def make_top(self, dropout, pooled, suffix=""):
        """The last bottleneck and the 1x1 convolution to 1280 channels; see `Backbone.make_top`. Never pooled."""
        layer = nn.HybridSequential(prefix="")
        layer.add(
            *(_zoo_layers(f"top{suffix}_", self.stride)[TRUNK_LAYERS:] if suffix else self._top_layers())
        )
        return Top([layer], [1280], dropout)

    def rename_pretrained(self, arrays):
        """Accept Gluon's own names, "features.3.out.0.weight", as `save_parameters` of the model zoo writes them."""
        layers = [*self.frozen._children.values(), *self.trunk._children.values(), *self._top_layers()]
        names = {}
        for index, layer in enumerate(layers):
            for path, parameter in layer._collect_params_with_prefix().items():
                names[f"features.{index}.{path}"] = parameter.name
        return {names.get(name, name): array for name, array in arrays.items()}


def _zoo_layers(prefix: str, stride: int) -> list:
    """The zoo's layers up to the pooling, with strides beyond `stride` replaced and batch norm fixed."""
    layers = list(mobilenet_v2_1_0(classes=1, prefix=prefix).features)[:-1]
    _replace_last_strides(layers, stride)
    for norm in _layers_of(nn.BatchNorm, layers):
        norm._kwargs["use_global_stats"] = True
        norm.gamma.grad_req = norm.beta.grad_req = "null"
    return layers


def _layers_of(kind, layers):
    for layer in layers:
        if isinstance(layer, kind):
            yield layer
        else:
            yield from _layers_of(kind, layer._children.values())


def _replace_last_strides(layers, target_stride: int) -> None:
    """Replace every stride beyond `target_stride` by dilation of the convolutions that follow it."""
    stride, dilation = 1, 1
    for convolution in _layers_of(nn.Conv2D, layers):
        options = convolution._kwargs
        own_stride, kernel = options["stride"][0], options["kernel"][0]
        if kernel > 1:
            options["dilate"] = options["pad"] = (dilation, dilation)
        if own_stride > 1 and stride * own_stride > target_stride:
            options["stride"] = (1, 1)
            dilation *= own_stride
        else:
            stride *= own_stride
