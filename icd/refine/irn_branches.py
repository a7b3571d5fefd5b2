"""The two branches of IRN on the taps of any backbone (spec irn 2.3). In: feature maps. Out: boundaries, displacements.

On a ResNet the taps are the stem and layer1 to layer4. On another backbone they are its last two taps on the finest grid
that IRN works on, and its last three on coarser ones, as far as it has them.
"""

from __future__ import annotations

from icd.compat import mx
from icd.errors import InputError

HybridBlock = mx.gluon.HybridBlock
nn = mx.gluon.nn
FINE, COARSE = 2, 3  # taps on the finest grid, taps on coarser ones


class Taps(HybridBlock):
    """The taps of a backbone that the branches stand on.

    Attributes
    ----------
    taps : dict of icd.backbones.base.Tap
        By name, from fine to coarse.
    """

    def __init__(self, backbone, stride: int):
        super().__init__(prefix="")
        self.backbone = backbone
        fine = [name for name, tap in backbone.taps.items() if tap.stride == stride][-FINE:]
        coarse = [name for name, tap in backbone.taps.items() if tap.stride > stride][-COARSE:]
        if not fine or not coarse:
            found = ", ".join(f"{name} {tap.stride}" for name, tap in backbone.taps.items())
            expected = f"taps of stride {stride} and of larger strides"
            raise InputError(f"backbone {type(backbone).__name__} of irn", expected, found)
        self.taps = {name: backbone.taps[name] for name in (*fine, *coarse)}

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to the list of taps."""
        taps = self.backbone.forward_taps(F, images)
        return [F.BlockGrad(taps[name]) for name in self.taps]


class Layer(HybridBlock):
    """A 1x1 convolution, group norm, bilinear enlargement by a whole factor, ReLU."""

    def __init__(self, name, inputs, outputs, groups, factor=1):
        super().__init__(prefix="")
        self.convolution = _convolution(f"{name}_0", inputs, outputs)
        self.norm = GroupNorm(f"{name}_1", outputs, groups)
        self.factor = factor

    def hybrid_forward(self, F, x):
        """Map x (N, inputs, h, w) to (N, outputs, factor h, factor w)."""
        return F.relu(_enlarged(F, self.norm(self.convolution(x)), self.factor))


class GroupNorm(HybridBlock):
    """Group norm with a scale and a shift for every channel; Gluon's own has one for every group.

    Scale and shift are a convolution of every channel by itself, whose gradient MXNet computes far faster than those of a product
    and a sum with `broadcast`.
    """

    def __init__(self, name, channels, groups):
        super().__init__(prefix=f"{name}_")
        self.channels, self.groups, self.epsilon = channels, groups, 1e-5
        self.gamma = self.params.get("gamma", shape=(channels,), init=mx.init.One())
        self.beta = self.params.get("beta", shape=(channels,), init=mx.init.Zero())

    def hybrid_forward(self, F, x, gamma, beta):
        """Map x (N, channels, h, w) to the same shape."""
        ones = F.ones_like(F.slice_axis(gamma, axis=0, begin=0, end=self.groups))
        normal = F.GroupNorm(x, ones, F.zeros_like(ones), num_groups=self.groups, eps=self.epsilon)
        scale = F.reshape(gamma, (-1, 1, 1, 1))
        return F.Convolution(
            F.reshape_like(normal, x),
            scale,
            beta,
            kernel=(1, 1),
            num_filter=self.channels,
            num_group=self.channels,
        )


class BoundaryBranch(HybridBlock):
    """32 channels of every tap on the finest grid, and one boundary logit of all of them."""

    def __init__(self, taps: dict):
        super().__init__(prefix="")
        finest = min(tap.stride for tap in taps.values())
        self.reference = sum(tap.stride == finest for tap in taps.values()) - 1
        self.layers = _register(
            self,
            [
                Layer(f"fc_edge{number}", tap.channels, 32, 4, tap.stride // finest)
                for number, tap in enumerate(taps.values(), 1)
            ],
        )
        inputs = 32 * len(taps)
        bound = mx.init.Uniform(inputs**-0.5)
        self.last = nn.Conv2D(
            1, 1, in_channels=inputs, prefix="fc_edge6_", weight_initializer=bound, bias_initializer=bound
        )

    def hybrid_forward(self, F, *taps):
        """Map taps to the boundary logit (N, 1, h, w)."""
        maps = [layer(tap) for layer, tap in zip(self.layers(), taps)]
        return self.last(F.concat(*(_cut(F, values, maps[self.reference]) for values in maps), dim=1))


class DisplacementBranch(HybridBlock):
    """The coarser taps, joined on the finest of their grids, then all on the finest grid of all; two channels."""

    def __init__(self, taps: dict):
        super().__init__(prefix="")
        finest = min(tap.stride for tap in taps.values())
        fine = [tap for tap in taps.values() if tap.stride == finest]
        coarse = [tap for tap in taps.values() if tap.stride > finest]
        middle = min(tap.stride for tap in coarse)
        layers = []
        for tap, (outputs, groups) in zip(fine, ((64, 8), (128, 16))):
            layers.append(Layer(f"fc_dp{len(layers) + 1}", tap.channels, outputs, groups))
        for tap in coarse:
            layers.append(Layer(f"fc_dp{len(layers) + 1}", tap.channels, 256, 16, tap.stride // middle))
        self.fine, self.layers = len(fine), _register(self, layers)
        self.join = Layer("fc_dp6", 256 * len(coarse), 256, 16, middle // finest)
        self.mix = Layer("fc_dp7", sum((64, 128)[: len(fine)]) + 256, 256, 16)
        self.last = _convolution("fc_dp7_3", 256, 2)

    def hybrid_forward(self, F, *taps):
        """Map taps to displacements (N, 2, h, w)."""
        maps = [layer(tap) for layer, tap in zip(self.layers(), taps)]
        fine, coarse = maps[: self.fine], maps[self.fine :]
        joined = self.join(F.concat(*(_cut(F, values, coarse[0]) for values in coarse), dim=1))
        return self.last(self.mix(F.concat(*fine, _cut(F, joined, fine[-1]), dim=1)))


def _register(block, layers: list):
    """Make layers children of a block; behind a function, because Gluon takes a list of blocks for unregistered ones."""
    for layer in layers:
        block.register_child(layer)
    return lambda: layers


def _convolution(name, inputs, outputs):
    bound = mx.init.Uniform(inputs**-0.5)
    return nn.Conv2D(
        outputs, 1, in_channels=inputs, use_bias=False, prefix=f"{name}_", weight_initializer=bound
    )


def _enlarged(F, x, factor: int):
    if factor == 1:
        return x
    return F.contrib.BilinearResize2D(
        x, scale_height=factor, scale_width=factor, mode="size", align_corners=False
    )


def _cut(F, values, reference):
    """The upper left of the size of a reference: an enlarged map may have a row or column too many."""
    return F.slice_like(values, reference, axes=(2, 3))
