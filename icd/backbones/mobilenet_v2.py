"""MobileNetV2 1.0 with stride 16: the backbone for machines without a GPU.

In: RGB 0..255 (divided by 127.5, minus 1, inside). Out: the last bottleneck, 320 channels at stride 16. The top is the
1x1 convolution to 1280 channels. Source: Sandler et al., CVPR 2018; the layers are Gluon's own (model zoo), the last
stride replaced by dilation. Batch norm keeps its stored statistics, scale and shift; the layers up to stride 8 are not
trained at all, which saves a third of a step's time.
"""

from __future__ import annotations

from mxnet.gluon.model_zoo.vision import mobilenet_v2_1_0

from icd.backbones.base import Backbone, Top, nn

TRUNK_LAYERS = (
    20  # in the zoo's `features`; then follow the 1x1 convolution, its batch norm, ReLU6, and the pooling
)
FROZEN_LAYERS = 9  # the first convolution with batch norm and ReLU6, and six bottlenecks: up to stride 8


class MobileNetV2(Backbone):
    """MobileNetV2 with stride 16. See the module's docstring."""

    channels = 320
    stride = 16
    pretrained_names = ("features_",)

    def __init__(self, prefix=""):
        super().__init__(prefix=prefix)
        layers = list(mobilenet_v2_1_0(classes=1, prefix="").features)
        self.frozen = nn.HybridSequential(prefix="")
        self.frozen.add(*layers[:FROZEN_LAYERS])
        self.trunk = nn.HybridSequential(prefix="")
        self.trunk.add(*layers[FROZEN_LAYERS:TRUNK_LAYERS])
        # Behind a function, because the layers belong to the top once it is made.
        self._top_layers = lambda: layers[TRUNK_LAYERS:-1]
        _replace_last_strides(self, self.stride)
        _fix_batch_norms(layers)
        self.frozen.collect_params().setattr("grad_req", "null")

    def hybrid_forward(self, F, images):
        """Map RGB images (N, 3, S, S), 0..255, to the last bottleneck (N, 320, h, w)."""
        return self.trunk(F.BlockGrad(self.frozen(images / 127.5 - 1)))

    def make_top(self, dropout, pooled, suffix=""):
        """The 1x1 convolution to 1280 channels with batch norm and ReLU6; see `Backbone.make_top`. Never pooled."""
        layer = nn.HybridSequential(prefix="")
        if suffix:
            layer.add(
                nn.Conv2D(1280, 1, in_channels=320, use_bias=False, prefix=f"features_conv1{suffix}_"),
                nn.BatchNorm(in_channels=1280, prefix=f"features_batchnorm1{suffix}_"),
                nn.HybridLambda(lambda F, x: F.clip(x, 0, 6), prefix=""),
            )
            _fix_batch_norms(layer)
        else:
            layer.add(*self._top_layers())
        return Top([layer], [1280], dropout)

    def rename_pretrained(self, arrays):
        """Accept Gluon's own names, "features.3.out.0.weight", as `save_parameters` of the model zoo writes them."""
        layers = [*self.frozen._children.values(), *self.trunk._children.values(), *self._top_layers()]
        names = {}
        for index, layer in enumerate(layers):
            for path, parameter in layer._collect_params_with_prefix().items():
                names[f"features.{index}.{path}"] = parameter.name
        return {names.get(name, name): array for name, array in arrays.items()}


def _convolutions(layers):
    for layer in layers:
        if isinstance(layer, nn.Conv2D):
            yield layer
        else:
            yield from _convolutions(layer._children.values())


def _replace_last_strides(backbone, target_stride):
    """Replace every stride beyond `target_stride` by dilation of the convolutions that follow it."""
    stride, dilation = 1, 1
    for convolution in _convolutions(backbone._children.values()):
        options = convolution._kwargs
        own_stride, kernel = options["stride"][0], options["kernel"][0]
        if kernel > 1:
            options["dilate"] = options["pad"] = (dilation, dilation)
        if own_stride > 1 and stride * own_stride > target_stride:
            options["stride"] = (1, 1)
            dilation *= own_stride
        else:
            stride *= own_stride


def _fix_batch_norms(layers):
    for layer in layers if isinstance(layers, list) else layers._children.values():
        if isinstance(layer, nn.BatchNorm):
            layer._kwargs["use_global_stats"] = True
            layer.gamma.grad_req = layer.beta.grad_req = "null"
        else:
            _fix_batch_norms(layer)
