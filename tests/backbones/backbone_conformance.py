"""What every backbone must do; a backbone's test class inherits it and names the backbone."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from thin import thin_layers
from trainable_conformance import with_lively_norms

from icd.backbones import BACKBONES, create_backbone
from icd.backbones.base import NORMS, nn
from icd.compat import mx
from icd.engine.parameters import load_pretrained, save_arrays, to_arrays
from icd.errors import InputError

SIDE = 33  # pixels of a training image
STATISTICS = ("running_mean", "running_var")


class Taps(mx.gluon.HybridBlock):
    """A network that uses every tap of a backbone in its own graph."""

    def __init__(self, backbone):
        super().__init__(prefix="")
        self.backbone = backbone

    def hybrid_forward(self, F, images):
        """Return all taps."""
        return list(self.backbone.forward_taps(F, images).values())


def pictures(height=SIDE, width=None, seed=0):
    """Two noisy pictures (2, 3, height, width), RGB 0..255."""
    shape = (2, 3, height, width or height)
    return mx.nd.array(np.random.RandomState(seed).randint(0, 256, shape), dtype="float32")


def lively(block):
    """Weights under which every layer of a network of ReLUs matters."""
    mx.random.seed(0)
    block.initialize(mx.init.MSRAPrelu(factor_type="out", slope=0), force_reinit=True)
    block(pictures())
    return with_lively_norms(block)


def values_of(block) -> dict:
    """Every parameter as numpy array, by name."""
    return {name: p.data().asnumpy() for name, p in block.collect_params().items()}


def train_once(block, images) -> dict:
    """Take a step that every tap calls for; returns the names of the parameters that it changed, and the images' gradient."""
    before = values_of(block)
    images.attach_grad()
    with mx.autograd.record():
        # Squares about 1, because sums of what batch norm gave have no gradient.
        loss = sum(((tap - 1) ** 2).mean() for tap in block(images))
    loss.backward()
    for parameter in block.collect_params().values():
        if parameter.grad_req != "null":
            gradient = parameter.grad()
            size = gradient.norm().asscalar()
            parameter.set_data(parameter.data() - 0.1 * gradient / max(size, 1e-20))
    after = values_of(block)
    return {name for name in before if not np.array_equal(before[name], after[name])}, images.grad.asnumpy()


class BackboneConformance:
    """Inherit, set `name`, and every test below runs for the backbone; a `large` one is thin, but where channels count."""

    name: str
    large = False
    sizes = ((65, 65), (48, 48), (49, 70), (9, 9))
    cases = (
        (None, None),
        (1, "statistics"),
        (2, "affine"),
        (1, "affine_only"),
        (-1, None),
        ("top", "statistics"),
    )

    @pytest.fixture(autouse=True)
    def thin_if_large(self, request):
        """Wiring, not values, is asked for."""
        counts_channels = request.function.__name__ == "test_taps_have_their_channels_and_strides"
        with thin_layers() if self.large and not counts_channels else contextlib.nullcontext():
            yield

    def build(self, stride=None, freezing=None):
        """The backbone; `freezing` as for `freeze`, its tap by number."""
        backbone = create_backbone(self.name, stride)
        if freezing is not None:
            backbone.freeze(*freezing)
        return backbone

    def cells(self, pixels: int, stride: int) -> int:
        """How many cells a side of an image gets."""
        corner_aligned = BACKBONES[self.name].corner_aligned
        return -(-pixels // stride) if corner_aligned else pixels // stride

    def freezings(self):
        """The cases as pairs of a tap's name, or None, and a norm."""
        names = list(create_backbone(self.name).taps)
        for below, norm in self.cases:
            yield names[below] if isinstance(below, int) else below, norm

    def test_taps_have_their_channels_and_strides(self):
        for stride in BACKBONES[self.name].strides:
            backbone = self.build(stride)
            last = list(backbone.taps.values())[-1]
            assert last == (backbone.channels, backbone.stride) and backbone.stride == stride
            for height, width in self.sizes:
                if min(height, width) < stride and not backbone.corner_aligned:
                    continue  # not one cell
                maps = backbone.forward_taps(mx.sym, mx.sym.var("image"))
                assert list(maps) == list(backbone.taps)
                _, shapes, _ = mx.sym.Group(maps.values()).infer_shape(image=(2, 3, height, width))
                for (name, tap), shape in zip(backbone.taps.items(), shapes):
                    cells = self.cells(height, tap.stride), self.cells(width, tap.stride)
                    assert shape == (2, tap.channels, *cells), (name, height, width)

    def test_the_grid_is_as_symmetric_as_the_image(self):
        """Of mirrored images, under mirrored filters, come mirrored maps: cells lie where the geometry says."""
        for stride in BACKBONES[self.name].strides:
            backbone = lively(self.build(stride))
            for parameter in backbone.collect_params().values():
                if len(parameter.shape) == 4:
                    parameter.set_data((parameter.data() + parameter.data()[:, :, :, ::-1]) / 2)
            images = pictures(2 * stride + 1 if backbone.corner_aligned else 2 * stride)
            maps = backbone(images).asnumpy()
            mirrored = backbone(images[:, :, :, ::-1]).asnumpy()[:, :, :, ::-1]
            np.testing.assert_allclose(mirrored, maps, rtol=0, atol=1e-4 * np.abs(maps).max())

    def test_a_call_gives_the_last_tap(self):
        backbone = lively(self.build())
        images = pictures()
        last = list(backbone.forward_taps(mx.nd, images).values())[-1]
        np.testing.assert_array_equal(backbone(images).asnumpy(), last.asnumpy())
        assert np.isfinite(last.asnumpy()).all() and last.asnumpy().std() > 0

    def test_hybridized_equals_imperative(self):
        network = lively(Taps(self.build()))
        images = pictures()
        expected = network(images)
        network.hybridize()
        for one, other in zip(expected, network(images)):
            scale = np.abs(one.asnumpy()).max()
            np.testing.assert_allclose(other.asnumpy(), one.asnumpy(), rtol=0, atol=1e-5 * scale)

    def test_the_class_freezes_as_is_customary(self):
        backbone = self.build()
        assert backbone.freezing == backbone.customary
        again = self.build(freezing=backbone.customary)
        requests = [[p.grad_req for p in b.collect_params().values()] for b in (backbone, again)]
        assert requests[0] == requests[1]

    def test_every_layer_belongs_to_one_stage(self):
        backbone = self.build()
        names = [
            name
            for tap in backbone.taps
            for block in backbone.stage_blocks(tap)
            for name in block.collect_params()
        ]
        assert sorted(names) == sorted(backbone.collect_params())

    def test_frozen_stays_and_the_rest_moves(self):
        for below, norm in self.freezings():
            for hybrid in (False, True):
                self.check_freezing(below, norm, hybrid)

    def check_freezing(self, below, norm, hybrid):
        """Train for one step; what changes is what `Freezing` says."""
        backbone = self.build(freezing=(below, norm))
        network = lively(Taps(backbone))
        if hybrid:
            network.hybridize()
        changed, gradient = train_once(network, pictures())
        order = [*backbone.taps, "top"]
        frozen = order[: order.index(below)] if below else []
        expected = set()
        for tap in backbone.taps:
            for block in backbone.stage_blocks(tap):
                for name in block.collect_params():
                    moves = tap not in frozen
                    if name.endswith(STATISTICS):
                        moves = moves and norm in (None, "affine_only")
                    elif name.endswith(("_gamma", "_beta")):
                        moves = moves and norm in (None, "statistics")
                    expected |= {name} if moves else set()
        assert changed == expected, (below, norm, hybrid)
        assert gradient.any() == (not frozen), "no gradient is computed below the frozen stages"

    def test_freezing_again_replaces_what_was_said(self):
        backbone = self.build(freezing=("top", "affine"))
        backbone.freeze(None, None)
        differentiable = [p for n, p in backbone.collect_params().items() if not n.endswith(STATISTICS)]
        assert {p.grad_req for p in differentiable} == {"write"}
        assert {p.grad_req for n, p in backbone.collect_params().items() if n.endswith(STATISTICS)} <= {
            "null"
        }
        changed, gradient = train_once(lively(Taps(backbone)), pictures())
        assert changed == set(backbone.collect_params()) and gradient.any()

    def test_freezing_changes_no_value(self):
        """While nothing is recorded, a network gives the same whatever of it is frozen."""
        maps = [
            lively(self.build(freezing=case))(pictures()).asnumpy()
            for case in ((None, None), ("top", "affine"))
        ]
        np.testing.assert_array_equal(*maps)

    def test_wrong_words_are_refused(self):
        backbone = self.build()
        with pytest.raises(ValueError, match="below must be None or one of"):
            backbone.freeze("conv99")
        with pytest.raises(ValueError, match="norm must be one of"):
            backbone.freeze(None, "frozen")
        backbone.hybridize()
        with pytest.raises(RuntimeError, match="before hybridize"):
            backbone.freeze()

    def test_other_strides_are_refused(self):
        with pytest.raises(InputError, match=" or ".join(map(str, BACKBONES[self.name].strides))):
            create_backbone(self.name, 7)

    def test_tops_follow_the_norm_and_only_the_plain_one_is_pretrained(self):
        for norm in NORMS:
            backbone = self.build()
            trunk = set(backbone.pretrained_parameters())
            assert trunk == set(backbone.collect_params())
            first = backbone.make_top(0.5, False)
            backbone.freeze("top", norm)
            second = backbone.make_top(0.5, False, suffix="_ft")
            assert set(backbone.pretrained_parameters()) == trunk | set(first.collect_params())
            assert not set(second.collect_params()) & set(backbone.pretrained_parameters())
            for top in (first, second):
                for layer in norms_in(top):
                    assert layer._kwargs["use_global_stats"] == (norm in ("statistics", "affine"))
                    assert (layer.gamma.grad_req == "null") == (norm in ("affine", "affine_only"))

    def test_a_file_fills_all_of_it_and_a_part_of_a_file_is_refused(self, tmp_path):
        backbone = lively(self.build())
        arrays = to_arrays(backbone)
        save_arrays(tmp_path / "whole.params", arrays)
        other = self.build()
        other.initialize()
        other(pictures())
        loaded = load_pretrained(other, tmp_path / "whole.params", other)
        assert set(loaded.names) == set(backbone.collect_params()) and loaded.left == []
        expected, found = values_of(backbone), values_of(other)
        assert all(np.array_equal(expected[name], found[name]) for name in expected)
        first, *_, last = arrays
        save_arrays(tmp_path / "part.params", {n: a for n, a in arrays.items() if n not in (first, last)})
        with pytest.raises(InputError, match="2 missing: "):
            load_pretrained(other, tmp_path / "part.params", other)


def norms_in(block):
    """All batch norms in a block."""
    if isinstance(block, nn.BatchNorm):
        yield block
    for child in block._children.values():
        yield from norms_in(child)
