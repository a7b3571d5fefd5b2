"""AffinityNet: labels, pairs, loss, network and walk against the originals' arrays; the refiners' conformance."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "methods"))

from recipe_weights import unnormalised
from refiner_conformance import KINDS_OF_BACKBONE, AffinityNetConformance, IRNConformance, RefinerConformance
from resnet38_heads import gradient_norms, load_recipe, statistics
from thin import thinner

from icd.backbones import create_backbone
from icd.compat import mx
from icd.data.affinity_labels import affinity_labels
from icd.data.augment import AffinityCrop
from icd.engine.fit import make_trainer, train_step
from icd.engine.schedules import training_length
from icd.engine.world import World
from icd.errors import InputError
from icd.files import LabelStack
from icd.recipe import changed_recipe
from icd.refine.affinitynet import (
    AffinityNet,
    PairAffinities,
    Pairs,
    affinities_of,
    affinity_losses,
    cell_means,
    elu,
    pair_kinds,
    walked_stack,
)
from icd.refine.random_walk import place_pairs, random_walk
from icd.refine.stack_crf import background_plane
from icd.refine.trained import REFINERS

NDArray = mx.nd.array


class TestAffinityNet(AffinityNetConformance):
    pass


class TestIRN(IRNConformance):
    pass


def test_every_refiner_has_its_conformance_class():
    assert {cls.kind for cls in RefinerConformance.__subclasses__()} >= set(REFINERS.values())


def test_geometry():
    """Spec psa 3.2."""
    pairs = Pairs(5, 56, 56)
    assert len(pairs.offsets) == 34 and (pairs.rows, pairs.columns) == (52, 48) and 52 * 48 == 2496
    places = mx.nd.arange(56 * 56).reshape((1, 1, 56, 56))
    source = pairs.at(places).asnumpy().ravel()
    assert source[:3].tolist() == [4, 5, 6]
    assert pairs.at(places, 0, 1).asnumpy().ravel()[:3].tolist() == [5, 6, 7]


@pytest.mark.parametrize("name", ["a", "b"])
def test_labels_and_losses(golden, parity, name):
    g = np.load(golden / f"psa/loss_{name}.npz")
    count = len(g["label_map"])
    labels = np.stack([affinity_labels(g[f"la_{i}"], g[f"ha_{i}"]) for i in range(count)])
    parity("AffinityNet", f"labels {name}", labels, g["label_map"], 0)
    pairs = Pairs(5, *labels.shape[1:])
    kinds = pair_kinds(NDArray(labels), pairs)
    for kind, key in zip(kinds, ("bg_pos", "fg_pos", "neg")):
        parity("AffinityNet", f"pairs {name}: {key}", kind.asnumpy().astype(np.uint8), g[key], 0)
    counts = NDArray([kind.sum().asscalar() for kind in kinds]) + 1e-5
    parity("AffinityNet", f"pairs {name}: counts", counts.asnumpy(), g["counts"], 2e-3)
    a = NDArray(g["affinity"])
    a.attach_grad()
    with mx.autograd.record():
        terms = affinity_losses(a, kinds, counts)
        total = sum(terms.values())
    total.backward()
    values = [
        terms["background"].asscalar() * 4,
        terms["foreground"].asscalar() * 4,
        terms["negative"].asscalar() * 2,
    ]
    parity("AffinityNet", f"losses {name}", [*values, total.asscalar()], g["losses"], 3e-6)
    parity("AffinityNet", f"losses {name}: gradient", a.grad.asnumpy(), g["grad_affinity"], {"a": 2e-5, "b": 6e-5}[name])  # fmt: skip


def test_worked_example(parity):
    """Spec psa 9."""
    label = np.random.RandomState(5).choice([0, 0, 1, 2, 255], size=(56, 56)).astype(np.uint8)
    kinds = pair_kinds(NDArray(label[None]), Pairs(5, 56, 56))
    counts = [int(kind.sum().asscalar()) for kind in kinds]
    assert counts == [14240, 6894, 34585]
    a = NDArray(np.random.RandomState(6).random_sample((1, 34, 2496)).astype(np.float32))
    terms = affinity_losses(a, kinds, NDArray(counts) + 1e-5)
    ours = [
        terms["background"].asscalar() * 4,
        terms["foreground"].asscalar() * 4,
        terms["negative"].asscalar() * 2,
    ]
    parity("worked examples", "PSA 9: losses", ours, [1.008734, 1.002078, 0.992668], 2e-6)


def test_derivative_of_affinities():
    """The derivative written by hand against MXNet's own."""
    random = np.random.RandomState(0)
    f, weight = NDArray(random.randn(2, 5, 9, 12)), NDArray(random.randn(2, 34, 5 * 4))
    pairs, gradients = Pairs(5, 9, 12), []
    for function in (lambda values: affinities_of(values, pairs), PairAffinities(pairs)):
        f.attach_grad()
        with mx.autograd.record():
            (function(f) * weight).sum().backward()
        gradients.append(f.grad.asnumpy())
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6)
    assert np.abs(gradients[0]).max() > 0.01


@pytest.fixture(scope="module")
def network():
    refiner = AffinityNet(create_backbone("resnet38"), 20, AffinityNet.recipes["voc"])
    load_recipe(refiner)
    return refiner


def dense(planes, offsets) -> np.ndarray:
    """The symmetric matrix of all affinities, ones on the diagonal."""
    height, width = planes.shape[1:]
    matrix = np.eye(height * width)
    for plane, (dy, dx) in zip(planes, offsets):
        for y, x in zip(*np.nonzero(plane)):
            one, other = y * width + x, (y + dy) * width + x + dx
            matrix[one, other] = matrix[other, one] = plane[y, x]
    return matrix


@pytest.mark.parametrize("name", ["a", "b"])
def test_network(golden, parity, network, name):
    g = np.load(golden / f"psa/network_{name}.npz")
    images = unnormalised(g["input"])
    before = network.network.before_activation(mx.nd, images)
    parity("AffinityNet", f"network {name}: f9", before.asnumpy()[:, ::7], g["f9_out_ch64"], {"a": 7e-5, "b": 2e-4}[name])  # fmt: skip
    parity("AffinityNet", f"network {name}: f9, statistics", statistics(before), g["f9_stats"], {"a": 7e-4, "b": 2e-3}[name])  # fmt: skip
    f = network(images)
    np.testing.assert_array_equal(f.asnumpy(), elu(mx.nd, before).asnumpy())
    a = affinities_of(f, network.pairs(*f.shape[2:])).asnumpy()
    parity("AffinityNet", f"network {name}: affinities", a, g["affinity"], {"a": 3e-6, "b": 4e-6}[name])
    planes, offsets = network.affinities(images)
    matrix = dense(planes, offsets)
    assert (matrix == matrix.T).all()
    parity("AffinityNet", f"network {name}: dense rows", matrix.sum(1), g["dense_row_sums"], {"a": 6e-5, "b": 8e-5}[name])  # fmt: skip
    ours = [len(matrix), np.count_nonzero(matrix), matrix.sum()]
    parity("AffinityNet", f"network {name}: dense", ours, g["dense_stats"], {"a": 3e-3, "b": 9e-3}[name])


@pytest.mark.parametrize("name", ["a", "b"])
def test_training_graph(golden, parity, network, name):
    g = np.load(golden / f"psa/network_{name}.npz")
    part = {"image": unnormalised(g["input"]), "affinity": NDArray(g["train_label_map"][None])}
    with mx.autograd.record(train_mode=False):
        f = network(part["image"])
        with mx.autograd.pause():
            gathered = network.gather([f], [part], World())
        terms = network.losses(f, part, gathered)
        total = sum(terms.values())
    total.backward(train_mode=False)
    ours = [
        terms["background"].asscalar() * 4,
        terms["foreground"].asscalar() * 4,
        terms["negative"].asscalar() * 2,
    ]
    parity("AffinityNet", f"training {name}: losses", [*ours, total.asscalar()], g["train_losses"], 2e-6)
    norms = gradient_norms(network, ("f8_3", "f8_4", "f8_5", "f9"))
    # In b some values before ReLUs lie at 0 within rounding: on one processor or another, norms differ by 1e-4 of themselves.
    limit = {"a": 5e-7, "b": 2e-5}[name]
    parity("AffinityNet", f"training {name}: gradient norms", norms, g["train_grad_norms"], limit)


def test_counts_of_parameters(network):
    parameters = network.collect_params()
    assert len(list(parameters)) == 195
    trained = [p for p in parameters.values() if p.grad_req != "null"]
    assert len(trained) == 39
    for name in ("f8_3_weight", "f8_4_weight", "f8_5_weight", "f9_weight"):
        assert parameters[name].lr_mult == 10.0


def test_small_grid_of_seam(golden, parity):
    g = np.load(golden / "seam/affinity_small.npz")
    refiner = AffinityNet(create_backbone("resnet38"), 20, AffinityNet.recipes["seam"])
    load_recipe(refiner)
    images = unnormalised(g["input"])
    f = refiner(images)
    parity("AffinityNet", "small grid: affinities", affinities_of(f, refiner.pairs(*f.shape[2:])).asnumpy(), g["affinity"], 3e-6)  # fmt: skip
    parity("AffinityNet", "small grid: dense", dense(*refiner.affinities(images)), g["dense"], 3e-6)


WALKS = [
    ("psa", "rw_12x14", {"power": 16}, (0, 2, 6, 8)),
    ("psa", "rw_16x20", {"power": 16}, (6, 8)),
    ("psa", "rw_47x63", {"power": 16}, (6, 8)),
    ("seam", "rw_small", {"power": 6}, (6,)),
    ("ppc", "walk", 0.27, (6,)),
]
PRESENT = {
    "rw_12x14": [0, 7, 14], "rw_16x20": [4], "rw_47x63": [1, 14], "rw_small": [2, 14], "walk": [1, 14],
}  # fmt: skip


@pytest.mark.parametrize(("paper", "name", "background", "powers"), WALKS)
def test_walks(golden, parity, paper, name, background, powers):
    """From features to masks, by the refiner's own steps."""
    g = np.load(golden / paper / f"{name}.npz")
    recipe = changed_recipe("affinitynet", AffinityNet.recipes, published="voc" if paper == "psa" else "seam")
    refiner = AffinityNet(create_backbone("small"), 20, recipe)
    f = NDArray(g["features"])
    pairs = refiner.pairs(*f.shape[2:])
    a = affinities_of(f, pairs).asnumpy()
    if "affinity" in g.files:
        step = 5 if name == "rw_47x63" else 1
        parity("AffinityNet", f"walk {name}: affinities", a[:, :, ::step], g["affinity"], 2e-6)
    planes = place_pairs(a[0], pairs.offsets, *f.shape[2:])
    v = g["cam_u8"] / np.float32(255)
    labels = np.int16([0, *(index + 1 for index in PRESENT[name])])
    stack = LabelStack(labels, np.concatenate([background_plane(v, background)[None], v]))
    cells = cell_means(stack.planes, 8)
    if "avg_pooled" in g.files:
        parity("AffinityNet", f"walk {name}: start", cells, g["avg_pooled"], 5e-6)
    for power in powers:
        walked = walked_stack(stack, planes, pairs.offsets, 8, 8, 2**power)
        suffix = f"_logt{power}" if paper == "psa" else ""
        ours = random_walk(cells, planes, pairs.offsets, 8, 2**power)
        tolerance = {0: 5e-6, 2: 6e-6, 6: 4e-5, 8: 2e-4}[power]
        parity("AffinityNet", f"walk {name}, 2^{power} steps", ours, g[f"walked{suffix}"], tolerance)
        parity("AffinityNet", f"walk {name}, 2^{power} steps: label map", walked.mask(), g[f"label_map{suffix}"], 5e-4)  # fmt: skip


def test_spread_is_network_pairs_and_walk():
    mx.random.seed(0)
    recipe = changed_recipe("affinitynet", AffinityNet.recipes, {"walk_steps": 4})
    refiner = AffinityNet(create_backbone("small"), 3, recipe)
    refiner.initialize(mx.init.Xavier())
    random = np.random.RandomState(0)
    image = random.randint(0, 256, (62, 90, 3)).astype(np.uint8)
    stack = LabelStack(np.int16([0, 2]), random.rand(2, 62, 90).astype(np.float32))
    found = refiner.spread(image, stack)
    padded = np.empty((64, 96, 3), np.float32)
    padded[:] = 255 * np.float32([0.485, 0.456, 0.406])
    padded[:62, :90] = image
    planes, offsets = refiner.affinities(NDArray(padded.transpose(2, 0, 1)[None]))
    expected = walked_stack(stack, planes, offsets, 8, 8, 4)
    np.testing.assert_array_equal(found.planes, expected.planes)
    with pytest.raises(InputError, match="62 x 90"):
        refiner.spread(image, LabelStack(np.int16([0]), np.zeros((1, 90, 62), np.float32)))


def test_the_loss_counts_over_the_whole_batch():
    """Two images of which only one has pairs of two classes: its term is the mean over its own pairs, on one device or two."""
    pairs = Pairs(5, 12, 14)
    label = np.zeros((2, 12, 14), np.uint8)
    label[1, :, 7:] = 1
    a = np.random.RandomState(0).rand(2, 34, 48).astype(np.float32)
    kinds = pair_kinds(NDArray(label), pairs)
    counts = NDArray([kind.sum().asscalar() for kind in kinds]) + 1e-5
    whole = affinity_losses(NDArray(a), kinds, counts)
    halves = [
        affinity_losses(NDArray(a[i : i + 1]), [kind[i : i + 1] for kind in kinds], counts) for i in (0, 1)
    ]
    for name, value in whole.items():
        np.testing.assert_allclose(value.asscalar(), sum(half[name].asscalar() for half in halves), rtol=1e-5)
    assert halves[0]["negative"].asscalar() == 0


def test_batch_without_any_pair():
    conformance = TestAffinityNet()
    refiner = conformance.build()
    batch = conformance.make_batch(0)
    batch["affinity"][:] = 255
    conformance.make_batch = lambda step: batch
    losses = conformance.train(refiner, make_trainer(refiner), [0])
    assert set(losses.values()) == {0.0}


@pytest.mark.parametrize("backbone", KINDS_OF_BACKBONE)
@pytest.mark.usefixtures("thin")
def test_every_backbone(backbone):
    refiner = AffinityNet(create_backbone(backbone), 3, AffinityNet.recipes["embedded"])
    refiner.initialize(mx.init.Xavier())
    f = refiner(mx.nd.zeros((1, 3, 72, 96)))
    channels = thinner(64) + thinner(128) + thinner(256)
    assert f.shape in ((1, channels, 9, 12), (1, channels, 10, 13))  # Caffe's pooling rounds up
    planes, offsets = refiner.affinities(mx.nd.zeros((1, 3, 72, 96)))
    assert planes.shape == (len(offsets), 9, 12)


def test_taps_of_different_strides_train():
    """MobileNetV2, whose third-last tap has twice the grid of the others."""
    mx.random.seed(0)
    refiner = AffinityNet(create_backbone("mobilenet_v2"), 3, AffinityNet.recipes["embedded"])
    refiner.initialize(mx.init.MSRAPrelu())
    batch = TestAffinityNet().make_batch(0)
    part = {name: NDArray(batch[name]) for name in ("image", "affinity")}
    losses = train_step(refiner, make_trainer(refiner), [[part]])
    assert all(np.isfinite(value.asscalar()) for value in losses.values())
    for name in ("f8_3_weight", "f8_4_weight", "f8_5_weight", "f9_weight"):
        assert refiner.collect_params()[name].grad().asnumpy().any()


def test_published_recipe():
    recipe = AffinityNet.recipes["voc"]
    assert training_length(recipe, 10582 // recipe.batch_size).steps == 10576
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.01, 5e-4, 5e-4)
    assert (recipe.background_power, recipe.beta, recipe.walk_steps) == (16, 8, 256)
    seam = AffinityNet.recipes["seam"]
    assert (seam.background_power, seam.beta, seam.walk_steps, seam.shrinks) == (6, 8, 64, True)


def test_cells_must_be_the_backbones():
    with pytest.raises(InputError, match="cell: expected 8; found 16"):
        AffinityNet(create_backbone("small"), 3, changed_recipe("a", AffinityNet.recipes, {"cell": 16}))


def stack_of(label, planes=3, sure=0.9):
    return np.float32([np.where(label == k, sure, (1 - sure) / 2) for k in range(planes)])


def test_crop():
    """Image, stacks and labels lie on each other; outside of the image all is black and ignored."""
    label = np.zeros((40, 48), int)
    label[:, 24:] = 2
    image = np.zeros((40, 48, 3), np.uint8)
    image[:, 24:] = 200
    planes = {name: stack_of(label).transpose(1, 2, 0) for name in ("low", "high")}
    seen = set()
    for seed in range(20):
        crop, found = AffinityCrop(64, 8)(image, planes, np.random.RandomState(seed))
        assert crop.shape == (64, 64, 3) and crop.dtype == np.uint8 and set(found) == {"affinity"}
        affinity = found["affinity"]
        assert affinity.shape == (8, 8) and affinity.dtype == np.uint8
        bright = crop.max(2).reshape(8, 8, 8, 8).min((1, 3)) > 50  # cells wholly in the right half
        assert bright.any() and (affinity[bright] == 2).all()
        assert (affinity == 255).any() and (affinity == 0).any()
        dark = np.flatnonzero((affinity == 0).any(0))
        seen.add(bool(dark.min() < np.flatnonzero(bright.any(0)).min()))
    assert len(seen) == 2  # mirrored and not


def test_labels_by_hand():
    low, high = np.zeros((2, 3, 1, 4), np.float32)
    for column, (in_low, in_high) in enumerate([(1, 1), (0, 0), (0, 1)]):
        low[in_low, 0, column] = high[in_high, 0, column] = 0.5
    assert affinity_labels(low, high, 1).tolist() == [[1, 0, 255, 255]]


def test_swapped_or_different_stacks_are_refused():
    label = np.zeros((32, 32), int)
    label[:16] = 1
    more = label.copy()
    more[:24] = 1
    low, high = stack_of(label), stack_of(more)
    assert set(np.unique(affinity_labels(low, high))) == {0, 1, 255}
    with pytest.raises(InputError, match="other's folder"):
        affinity_labels(high, low)
    assert set(np.unique(affinity_labels(low, low))) == {0, 1}
    with pytest.raises(InputError, match="3 and 2 planes"):
        affinity_labels(low, high[:2])
