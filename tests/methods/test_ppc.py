"""What PPC must do apart from the arrays: counts, schedules, gradients, ties, odd batches, several devices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conformance import make_batch
from resnet38_heads import reached

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, step_seed, train_step
from icd.engine.parts import split_batch
from icd.engine.schedules import learning_rate, training_length
from icd.engine.world import World
from icd.methods import create_method, make_recipe, ppc

NDArray = mx.nd.array
ONE = (mx.cpu(),)
CHANGES = {"second_view": 33.0, "contrast_grid": 5, "dropout": 0.0}


def build(name, contexts=ONE, num_classes=3, **changes):
    mx.random.seed(0)
    backbone = create_backbone("small")
    backbone.freeze(norm="statistics")
    changes = {**({"second_view": 0.5, "dropout": 0.0} if name == "seam" else CHANGES), **changes}
    method = create_method(name, backbone, num_classes, make_recipe(name, changes))
    method.initialize(mx.init.Xavier(), ctx=list(contexts))
    method(mx.nd.zeros((1, 3, 65, 65), contexts[0]))
    method.hybridize()
    return method


def numpy_batch(seed=0):
    batch = {
        name: values.asnumpy()
        for name, values in make_batch(seed).items()
        if name in ("image", "label", "saliency")
    }
    return {**batch, "ids": list("abcd")}


@pytest.mark.parametrize("name", ["seam", "ppc", "ppc_eps"])
def test_two_devices_equal_one(name):
    found, losses = [], []
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)], [mx.cpu(0), mx.cpu(1), mx.cpu(2)]):
        method = build(name, contexts)
        trainer = make_trainer(method)
        for step in range(2):
            mx.random.seed(step_seed(0, 0, step))
            terms = train_step(method, trainer, [split_batch(numpy_batch(step), contexts)])
        losses.append({key: value.asscalar() for key, value in terms.items()})
        found.append({key: p.data(contexts[-1]).asnumpy() for key, p in method.collect_params().items()})
    start = {key: p.data().asnumpy() for key, p in build(name).collect_params().items()}
    for number in (1, 2):
        for term, value in losses[0].items():
            np.testing.assert_allclose(losses[number][term], value, rtol=1e-3, err_msg=term)
        for key, value in found[0].items():
            moved = np.abs(value - start[key]).max()
            np.testing.assert_allclose(
                found[number][key], value, rtol=0, atol=1e-2 * moved + 1e-7, err_msg=key
            )


class OtherProcess(World):
    """The second of two processes; the first one's rows come first."""

    rank, size = 1, 2

    def __init__(self, others):
        self.others = list(others)

    def concat(self, arrays):
        first = self.others.pop(0)
        if isinstance(first, type(None)):  # the table of counts: two images on one device
            first = NDArray([[0, 2]])
        return mx.nd.concat(first, super().concat(arrays), dim=0)

    def sum(self, arrays):
        return super().sum(arrays) + 12345  # the first process's seed; this one's counts for nothing


class FirstProcess(World):
    """Both processes' images on one device, with the seed that `OtherProcess` gets."""

    def sum(self, arrays):
        return super().sum(arrays) * 0 + 12345


def test_two_processes_equal_one():
    method = build("ppc")
    batch = numpy_batch()
    whole = split_batch(batch, [mx.cpu()])[0]
    outputs = method(whole["image"])
    expected = method.gather([outputs], [whole], FirstProcess())
    own = [values[2:] for values in outputs]
    firsts = [whole["label"][:2], None]
    for view in (outputs[:3], outputs[3:]):
        firsts += [method.on_grid(view)[place][:2] for place in (1, 2)]
    part = {name: values[2:] for name, values in whole.items()}
    found = method.gather([own], [part], OtherProcess(firsts))
    for number in (0, 1):
        np.testing.assert_allclose(
            found[f"P {number}"].asnumpy(), expected[f"P {number}"].asnumpy(), atol=1e-6
        )
        for name in ("y", "weight"):
            ours, all_of_them = (g[f"{name} {number} cpu(0)"].asnumpy() for g in (found, expected))
            np.testing.assert_allclose(ours, all_of_them[len(all_of_them) // 2 :], atol=1e-6)


@pytest.mark.parametrize(
    ("term", "groups"),
    [
        ("cam", {"trunk", "fc8"}),
        ("equivariance", {"trunk", "fc8"}),
        ("minimum", {"PCM"}),
        ("cross_equivariance", {"PCM"}),
        *((term, {"trunk", "projection"}) for term in ("cross_prototype", "cross_cam", "intra_view")),
    ],
)
@pytest.mark.parametrize("name", ["ppc", "ppc_eps"])
def test_where_gradients_go(name, term, groups):
    """Spec ppc 3.4."""
    method = build(name)
    batch = split_batch(numpy_batch(), [mx.cpu()])[0]
    assert reached(method, batch, term) == groups


def test_saliency_reaches_classifier_and_correlation():
    """Spec ppc 6.5: the loss of r cannot make a class foreground, but it trains the PCM."""
    batch = split_batch(numpy_batch(), [mx.cpu()])[0]
    assert reached(build("ppc_eps"), batch, "saliency") == {"trunk", "fc8", "PCM"}


def test_counts_of_parameters():
    """Spec ppc 3.4 and 11."""
    method = create_method("ppc", create_backbone("resnet38"), 20)
    parameters = method.collect_params()
    learnable = {name: p for name, p in parameters.items() if "running" not in name}
    assert sum(np.prod(p.shape) for p in learnable.values()) == 105_882_496
    trained = {name: p for name, p in parameters.items() if p.grad_req != "null"}
    assert sum(np.prod(p.shape) for p in trained.values()) == 105_013_824
    heads = {"fc8_weight", "fc_proj_weight", "f8_3_weight", "f8_4_weight", "f9_weight"}
    assert {name for name, p in trained.items() if p.lr_mult == 10.0} == heads
    assert len(trained) == 35 + len(heads) and parameters["fc_proj_weight"].shape == (128, 4096, 1, 1)
    assert len(list(parameters)) + 37 == 233  # the published file has a counter for every batch norm
    on_eps = create_method("ppc_eps", create_backbone("resnet38"), 20).collect_params()
    assert "proj_fc_weight" in on_eps and "fc_proj_weight" not in on_eps


def test_published_recipes():
    """Spec ppc 5, 6.6, 7 and 15."""
    recipe, on_eps = make_recipe("ppc"), make_recipe("ppc_eps")
    methods = [create_method(name, create_backbone("small"), 20) for name in ("ppc", "ppc_eps")]
    assert [method.prototype_size for method in methods] == [32, 16]
    assert int(21 * 128 * 128 * recipe.hard_share) == 68812 and int(21 * 256 * on_eps.hard_share) == 1075
    assert int(448 * 448 / 4) == 50176 and int(128 * 128 * recipe.least_share) == 4096
    assert methods[0].network.second_size((448, 448)) == (128, 128)
    length = training_length(recipe, 10582 // recipe.batch_size)
    assert length.steps == 10576 and (recipe.shortest, recipe.longest, recipe.dropout) == (448, 768, 0.5)
    rates = [learning_rate(recipe, 0, step, length) for step in (0, 5288)]
    np.testing.assert_allclose(rates, [0.01, 0.005359], rtol=1e-4)
    length = training_length(on_eps, 10582 // on_eps.batch_size)
    assert length.steps == 20000 and on_eps.horizon == 15 * 1322 == 19830
    late = [learning_rate(on_eps, 0, step, length) for step in (19829, 19830, 19999)]
    assert late[0] == late[1] == late[2] > 0
    assert (on_eps.overlap_threshold, on_eps.foreground_share) == (0.4, 0.5)
    for entries in (recipe, on_eps):
        assert (entries.momentum, entries.weight_decay, entries.learning_rate) == (5e-4, 5e-4, 0.01)
        assert (entries.temperature, entries.contrast_weight, entries.projection) == (0.1, 0.1, 128)
    assert (recipe.background_score, on_eps.background_score, on_eps.dropout) == (0.2, 0.1, 0.0)


def test_sanity_values():
    """Spec ppc 5.4: where all similarities are equal, the terms are 0.1 ln 21, 0.1 ln 21 and 0.1 ln 11."""
    method = create_method(
        "ppc", create_backbone("small"), 20, make_recipe("ppc", {"projection": 8, "contrast_grid": 4})
    )
    f = mx.nd.ones((2, 8, 4, 4))
    r = mx.nd.random.uniform(shape=(2, 21, 4, 4))
    outputs = [r, r, f] * 2
    part = {"image": mx.nd.zeros((2, 3, 32, 32)), "label": NDArray(np.eye(20)[[3, 7]])}
    terms = method.contrast_losses(outputs, method.gather([outputs], [part], World()))
    values = [value.asscalar() / 2 for value in terms.values()]
    np.testing.assert_allclose(values, [0.1 * math.log(21)] * 2 + [0.1 * math.log(11)], rtol=1e-5)


def test_a_fresh_network_is_near_the_sanity_values():
    method = build("ppc", num_classes=20, contrast_grid=8, second_view=65.0)
    label = np.zeros((4, 20), np.float32)
    label[range(4), range(4)] = 1
    part = {
        "image": NDArray(np.random.RandomState(0).randint(0, 256, (4, 3, 65, 65))),
        "label": NDArray(label),
    }
    outputs = method(part["image"])
    terms = method.contrast_losses(outputs, method.gather([outputs], [part], World()))
    for term, expected in (("cross_prototype", 0.3045), ("cross_cam", 0.3045), ("intra_view", 0.2398)):
        assert 0.5 * expected < terms[term].asscalar() / 4 < 1.5 * expected


def test_equal_scores_are_background_on_seam_and_the_class_on_eps():
    """Spec ppc 15: the first channel wins, and the background comes first on SEAM, last on EPS."""
    r = np.zeros((1, 3, 1, 4), np.float32)
    label = np.float32([[1, 0]])
    for place, classes, expected in (
        ("first", slice(1, 3), [0, 0, 1, 0]),
        ("last", slice(0, 2), [2, 0, 0, 2]),
    ):
        u = np.zeros_like(r)
        u[0, classes] = [[[0.1, 0.2, 0.9, -1]], [[1, 1, 1, 1]]]  # the second class is not among the tags
        u[0, 0 if place == "first" else 2] = 0.2
        assert ppc.pseudo_labels(u, label, place).tolist() == expected


def test_prototypes_of_ties_take_the_first_pixels():
    u = np.full((2, 1, 2, 2), 0.2, np.float32)
    f = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2) * [1]
    f = np.concatenate([f, 1 + 0 * f], 1)
    P = ppc.prototypes(u, f.astype(np.float32), 3)
    expected = np.array([0 + 1 + 2, 3]) / np.hypot(3, 3)
    np.testing.assert_allclose(P, [expected], rtol=1e-6)
    np.testing.assert_allclose(ppc.prototypes(-u, f.astype(np.float32), 3), [expected], rtol=1e-6)


def test_weights_of_pixels():
    """Ten pixels of one class, one of another: 0.6 n = 6, so hard are the ranks 1 to 5; the lone pixel counts nothing."""
    angle = np.linspace(1.5, 0, 10)
    f = np.stack([np.cos(angle), np.sin(angle)], 0)[None, :, None, :].astype(np.float32)
    f = np.concatenate([f, f[..., :1]], 3)
    y = np.array([0] * 10 + [1])
    keys = np.concatenate([np.arange(10)[::-1], [0]]) / 10
    weight = ppc.pixel_weights(y, f, np.float32([[1, 0], [0, 1]]), keys)
    expected = np.zeros(11)
    expected[1:6] += 1 / (2 * 5 * 2)
    expected[5:10] += 1 / (2 * 5 * 2)
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    assert weight.sum() == pytest.approx(0.5)


def test_semi_hard_prototypes_by_hand():
    """Of 21 equal or falling similarities the ranks 4 to 13 count, and equal ones rank by their number."""
    P = np.zeros((21, 21), np.float32)
    np.fill_diagonal(P, np.linspace(1, -1, 21))
    v = np.ones((1, 21), np.float32)
    for table, s in ((P, np.linspace(1, -1, 21)), (0 * P, np.zeros(21))):
        scores = np.exp(s / 0.1)
        for label in (0, 5, 20):
            expected = -np.log(scores[label] / (scores[label] + scores[3:13].sum()))
            found = ppc.intra_contrast(NDArray(v), NDArray(table), NDArray([label]), 0.1).asscalar()
            assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["ppc", "ppc_eps"])
def test_odd_batches(name):
    """One image; no image with some class; an image without tags; images that are all alike."""
    batch = numpy_batch()
    cases = [
        {key: values[:1] for key, values in batch.items()},
        {**batch, "label": np.tile(np.float32([1, 0, 0]), (4, 1))},
        {**batch, "label": np.zeros((4, 3), np.float32)},
        {**batch, "image": np.full((4, 3, 65, 65), 77, np.float32)},
    ]
    for case in cases:
        method = build(name)
        losses = train_step(method, make_trainer(method), [split_batch(case, [mx.cpu()])])
        assert all(np.isfinite(value.asscalar()) for value in losses.values())
        for key, parameter in method.collect_params().items():
            if parameter.grad_req != "null":
                assert np.isfinite(parameter.grad().asnumpy()).all(), key


def test_the_slip_of_ecr_can_be_put_right():
    """On EPS the published program lets the background compete and spares class 1; the entry `shifted` says so."""
    published, right = build("ppc_eps"), build("ppc_eps", shifted=False)
    assert (published.untouched, right.untouched) == ("first", "last")
    part = split_batch(numpy_batch(), [mx.cpu()])[0]
    values = []
    for method in (published, right):
        outputs = method(part["image"])
        losses = method.losses(outputs, part, method.gather([outputs], [part], World()))
        values.append(losses["cross_equivariance"].asscalar())
    assert values[0] != values[1]


@pytest.mark.parametrize("name", ["seam", "ppc", "ppc_eps"])
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "vgg16", "resnet50"])
def test_a_step_on_other_backbones(name, backbone):
    """Taps of other strides than the last one's are resized."""
    mx.random.seed(0)
    changes = {"second_view": 0.5} if name == "seam" else CHANGES
    method = create_method(name, create_backbone(backbone), 3, make_recipe(name, changes))
    method.initialize(mx.init.MSRAPrelu())
    losses = train_step(method, make_trainer(method), [split_batch(numpy_batch(), [mx.cpu()])])
    assert all(np.isfinite(value.asscalar()) for value in losses.values())
