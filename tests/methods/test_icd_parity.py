"""ICD against the arrays of the original program: operators, the training graph, optimizer steps, inference."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from recipe_weights import load_icd_recipe
from tables import compare_tables, decays

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, train_step
from icd.engine.world import World
from icd.methods import create_method, make_recipe
from icd.methods.classification import TagLoss
from icd.methods.icd import BottomUpLoss, Network, SignStatistics, SuperpixelRefinement, TopDownLoss

NDArray = mx.nd.array


def make_icd(inference=False):
    """VGG-16 ICD with dropout off and the goldens' weights."""
    method = create_method("icd", create_backbone("vgg16"), 20, make_recipe("icd", {"dropout": 0.0}))
    load_icd_recipe(method, inference)
    method.hybridize()
    return method


def make_part(inputs):
    """The batch of graph/inputs.npz."""
    return {
        "image": NDArray(inputs["image"].astype(np.float32)),
        "label": NDArray(inputs["label"]),
        "superpixel": NDArray(inputs["superpixel"].astype(np.float32)),
        "regions": mx.nd.arange(int(inputs["superpixel"].max()) + 1),
    }


def bottom_up(x, w):
    """The score and the gradient of the loss with respect to the directions, through the network's own code."""
    network = Network.__new__(Network)
    network.__dict__["num_classes"] = w.shape[0]
    return Network.bottom_up(network, mx.nd, x, w)


def test_bottom_up_operator(golden, parity):
    g = np.load(golden / "icd/operators/bottom_up.npz")
    random = np.random.RandomState(int(g["data_seed"]))
    x = np.maximum(random.randn(4, 512, 21, 21), -1).astype(np.float32)
    np.testing.assert_array_equal(x.ravel()[:8], g["data_first8"])
    x, w, label = NDArray(x), NDArray(g["weight"]), NDArray(g["label"])
    w.attach_grad()
    loss = BottomUpLoss(10.0)
    with mx.autograd.record():
        s = bottom_up(x, w)
        value = loss(s, label)
    value.backward()
    parity("operators", "bottom-up score", s.asnumpy(), g["output"], 5e-6)
    parity("operators", "bottom-up gradient of w", w.grad.asnumpy(), g["grad_weight"], 5e-6)


def test_bottom_up_worked_example(parity):
    """Spec A1."""
    x = np.array([[[[1, -2], [0.5, 3]], [[2, 1], [-1, 0]], [[0, 1], [1, -1]]],
                  [[[2, 0], [1, 1]], [[-1, 1], [2, 0.5]], [[1, 1], [0, -2]]],
                  [[[1, 1], [1, 1]], [[0, 1], [2, 3]], [[-1, 0], [1, 2]]]])  # fmt: skip
    w = NDArray([[0.3, -0.1, 0.2], [0.05, 0.4, -0.2]])
    w.attach_grad()
    with mx.autograd.record():
        s = bottom_up(NDArray(x), w)
        value = BottomUpLoss(10.0)(s, NDArray([[1, 0], [0, 1], [1, 1]]))
    value.backward()
    first = [
        [[0.2672613, -1.3363063], [1.2026756, 1.8708286]],
        [[1.8888890, 0.2222222], [-1.2777778, 0.7777778]],
    ]
    gradient = [[-24.718327, 1.2455826, 37.686329], [-1.7988486, 1.3495979, 2.2572346]]
    parity("worked examples", "A1 bottom-up score", s[0].asnumpy(), first, 1e-6)
    parity("worked examples", "A1 gradient", w.grad.asnumpy(), gradient, 2e-6, scale=np.abs(gradient).max())


def accumulate(method, cam, s, label):
    method.gather([(cam, s, None)], [{"label": label}], World())


def small_icd(num_classes):
    """Any ICD with that many classes, for its state."""
    method = create_method("icd", create_backbone("small"), num_classes)
    method.initialize()
    return method


def test_sign_buffer(golden, parity):
    g = np.load(golden / "icd/operators/accum_resign.npz")
    method = small_icd(20)
    for b in range(4):
        s = NDArray(g[f"score_{b}"])
        accumulate(method, NDArray(g[f"cam_{b}"]), s, NDArray(g[f"label_{b}"]))
        parity(
            "operators",
            f"sign buffer after pass {b}",
            method.sign_buffer.data().asnumpy(),
            g[f"buffer_after_{b}"],
            1e-6,
        )
        sign = method.rectify(mx.nd.ones_like(s))[0, :, 0, 0]
        parity(
            "operators", f"signs after pass {b}", sign.asnumpy().astype(int), g[f"sign_{b}"].astype(int), 0
        )
    output = method.rectify(NDArray(g["inference_score"]))
    parity("operators", "rectified score at inference", output.asnumpy(), g["inference_output"], 0)


def test_sign_worked_example(parity):
    """Spec A2."""
    score = np.array([[[[1, -1], [2, -3]], [[1, 1], [-1, 0]]], [[[-2, 1], [0, 4]], [[-1, 2], [3, -1]]]])
    cam = np.array([[[[5, 1], [-2, 4]], [[1, 0], [6, 2]]], [[[3, 1], [2, -1]], [[2, 1], [1, 8]]]])
    method = small_icd(2)
    expected = {((1, 0), (1, 0)): [[0.15, 0.275], [0, 0]], ((0, 1), (1, 1)): [[0.185, 0.5475], [0.075, 0.55]]}
    for labels, buffer in expected.items():
        accumulate(method, NDArray(cam), NDArray(score), NDArray(labels))
        parity(
            "worked examples",
            f"A2 sign buffer, labels {labels}",
            method.sign_buffer.data().asnumpy(),
            buffer,
            1e-6,
        )


@pytest.mark.parametrize("size", [161, 321])
def test_superpixel_refinement(golden, parity, size):
    g = np.load(golden / f"icd/operators/sp_refine_{size}.npz")
    regions = mx.nd.arange(int(g["superpixel"].max()) + 1)
    T = SuperpixelRefinement(8)(
        NDArray(g["data"]), NDArray(g["superpixel"].astype("f")), regions, NDArray(g["label"])
    )
    parity("operators", f"superpixel refinement, {size} px", T.asnumpy(), g["output"], 2e-6)


def test_superpixel_refinement_worked_example(parity):
    """Spec A3."""
    score = [[[[2, -1, 1], [3, -2, 0], [-1, -1, 4]], [[-1, 2, -1], [1, 1, -3], [2, -2, -1]], [[9] * 3] * 3]]
    T = SuperpixelRefinement(1)(
        NDArray(score), NDArray([[[0, 0, 1], [0, 2, 1], [3, 2, 3]]]), mx.nd.arange(4), NDArray([[1, 1, 0]])
    )
    a, b, c = 5 / 3, 0.5, 1.5
    third = 1 / 3
    expected = [[[[a, a, b], [a, -c, b], [-b, -c, -b]],
                 [[-third, -third, -2], [-third, -1, -2], [-b, -1, -b]], [[0] * 3] * 3]]  # fmt: skip
    parity("worked examples", "A3 superpixel refinement", T.asnumpy(), expected, 1e-6)


def warmed_gradient(method, loss, z, T, label):
    """The gradient of one top-down call, the warm-up counted down as in training."""
    accumulate(method, mx.nd.zeros_like(z), mx.nd.zeros_like(z), label)
    z.attach_grad()
    with mx.autograd.record():
        value = method.warmup_factor(z.context) * loss(z, T, label)
    value.backward()
    return z.grad.asnumpy()


def test_top_down_operator(golden, parity):
    g = np.load(golden / "icd/operators/top_down.npz")
    method, loss = small_icd(20), TopDownLoss(0.2)
    method.warmup.set_data(NDArray([int(g["warmup"]) + 1, int(g["warmup"])]))
    for k in range(5):
        gradient = warmed_gradient(
            method, loss, NDArray(g[f"data_{k}"]), NDArray(g["score"]), NDArray(g["label"])
        )
        expected = g[f"grad_data_{k}"]
        parity(
            "operators",
            f"top-down gradient, call {k}",
            gradient,
            expected,
            3e-6,
            scale=np.abs(expected).max(),
        )


def test_top_down_worked_example(parity):
    """Spec A4."""
    a, b, third = 5 / 3, 0.5, 1 / 3
    T = NDArray([[[[a, a, b], [a, -1.5, b], [-b, -1.5, -b]],
                  [[-third, -third, -2], [-third, -1, -2], [-b, -1, -b]], [[0] * 3] * 3]])  # fmt: skip
    z = NDArray(
        [[[[0.5, -1, 2], [0, 0.1, -2], [1, 1, 1]], [[-0.5, 0.5, 0], [1, -1, 2], [0, 0, 0]], [[1] * 3] * 3]]
    )
    method, loss = small_icd(3), TopDownLoss(0.2)
    method.warmup.set_data(NDArray([5, 4]))
    sums = [np.abs(warmed_gradient(method, loss, z, T, NDArray([[1, 1, 0]]))).sum() for _ in range(6)]
    expected = np.array([4.275913e-5, 5.209129e-4, 6.346018e-3, 7.731032e-2, 0.9418325, 0.9418325])
    parity("worked examples", "A4 top-down gradient, six calls", sums, expected, 2e-6, scale=expected)


def test_cam_loss(golden, parity):
    g = np.load(golden / "icd/operators/cam_loss.npz")
    logit = NDArray(g["logit"][:, :, None, None])
    logit.attach_grad()
    with mx.autograd.record():
        value = TagLoss()(logit, NDArray(g["label"]))
    value.backward()
    parity("operators", "CAM loss gradient", logit.grad.asnumpy()[:, :, 0, 0], g["grad_logit"], 1e-6)


@pytest.mark.slow
def test_forward_and_gradients_of_the_whole_graph(golden, parity):
    inputs = np.load(golden / "icd/graph/inputs.npz")
    g = np.load(golden / "icd/graph/forward_backward.npz")
    method, part = make_icd(), make_part(inputs)
    method.warmup.set_data(NDArray([0, 1]))
    with mx.autograd.record():
        outputs = method(part["image"])
        with mx.autograd.pause():
            gathered = method.gather([outputs], [part], World())
        losses = method.losses(outputs, part, gathered)
        total = sum(losses.values())
    total.backward()
    cam, s, z = outputs
    T = method.refinement(method.rectify(s), part["superpixel"], part["regions"], part["label"])
    values = {
        "cam": cam, "bottom_up_raw": s, "top_down_logit": z, "out_bottom_up": method.rectify(s), "sp_refined": T,
        "out_cam_sigmoid": mx.nd.sigmoid(cam.mean((2, 3))), "out_top_down_sigmoid": mx.nd.sigmoid(z),
    }  # fmt: skip
    for name, value in values.items():
        parity("training graph", name, value.asnumpy(), g[name], 2e-4)
    parameters = method.collect_params()
    names = [str(n) for n in g["names"]]
    trained = [i for i, name in enumerate(names) if parameters[name].grad_req != "null"]
    assert [names[i] for i in range(len(names)) if i not in trained] == ["feat_bn_gamma"]
    gradients = [parameters[names[i]].grad().asnumpy() for i in trained]
    compare_tables(
        parity,
        "training graph",
        "gradients",
        g["grad"][trained],
        gradients,
        3e-3,
        5e-2,
        [names[i] for i in trained],
    )


@pytest.mark.slow
def test_three_optimizer_steps(golden, parity):
    g = np.load(golden / "icd/graph/sgd_steps.npz")
    method, part = make_icd(), make_part(np.load(golden / "icd/graph/inputs.npz"))
    method.warmup.set_data(NDArray([3, 2]))
    trainer = make_trainer(method)
    parameters = method.collect_params()
    names = [str(n) for n in g["names"]]
    trained = [i for i, name in enumerate(names) if parameters[name].grad_req != "null"]
    initial = {names[i]: parameters[names[i]].data().asnumpy().astype(np.float64) for i in trained}
    limits = {1: (3e-3, 0.05), 2: (2e-3, 0.15), 3: (5e-3, 0.15)}
    for step in (1, 2, 3):
        losses = train_step(method, trainer, [[part]])
        chosen = [names[i] for i in trained]
        deltas = [parameters[n].data().asnumpy() - initial[n] for n in chosen]
        gradients = [parameters[n].grad().asnumpy() for n in chosen]
        title = f"optimizer step {step}"
        compare_tables(
            parity, title, "gradients", g[f"grad_{step}"][trained], gradients, *limits[step], chosen
        )
        norm, first = limits[step]
        compare_tables(
            parity, title, "updates", g[f"delta_{step}"][trained], deltas, norm, max(first, 0.15), chosen
        )
        decay_of_weights(parity, title, g[f"decay_{step}"], names, trained, deltas, initial)
        compare_state(parity, title, g, step, parameters)
        parity(
            title, "classification loss", losses["cam"].asnumpy().ravel(), g[f"cls_loss_{step}"].ravel(), 1e-3
        )


def decay_of_weights(parity, title, expected, names, trained, deltas, initial):
    chosen = [(i, delta) for i, delta in zip(trained, deltas) if names[i].endswith("_weight")]
    ours = decays([delta for _, delta in chosen], [initial[names[i]] for i, _ in chosen])
    theirs = np.array([expected[i] for i, _ in chosen])
    deviations = np.abs(ours - theirs) / (1e-9 + 1e-3 * np.abs(theirs))
    parity(title, "decay of weights (of 1e-9 + 0.1 %)", deviations, np.zeros(len(deviations)), 1)


def compare_state(parity, title, g, step, parameters):
    names = {
        "feat_bn_moving_mean": "feat_bn_running_mean",
        "feat_bn_moving_var": "feat_bn_running_var",
        "icd_accum_resign_moving_mean": "icd_accum_resign_moving_mean",
    }
    for original, ours in names.items():
        expected = g[f"aux_{original}_{step}"]
        parity(
            title, original, parameters[ours].data().asnumpy(), expected, 1e-3, scale=np.abs(expected).max()
        )


def test_multipliers(golden):
    method = create_method("icd", create_backbone("vgg16"), 20)
    parameters = method.collect_params()
    with open(golden / "icd/graph/multipliers.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    for row in rows:
        name, rate, decay = list(row.values())[:3]
        if name != "feat_bn_gamma":  # fixed to 1 in the layer: its decay has no effect
            assert parameters[name].lr_mult == float(rate), name
            assert parameters[name].wd_mult * method.recipe.weight_decay == pytest.approx(float(decay)), name


@pytest.mark.slow
def test_inference_scores(golden, parity):
    inputs = np.load(golden / "icd/graph/inputs.npz")
    g = np.load(golden / "icd/graph/inference.npz")
    method, part = make_icd(inference=True), make_part(inputs)
    cam, s, z = method(part["image"])
    T = method.refinement(method.rectify(s), part["superpixel"], part["regions"], part["label"])
    maps = method.localize(part["image"])
    values = {"cam": maps["cam"], "top_down": maps["icd"], "bottom_up": method.rectify(s), "sp_refined": T}
    for name, value in values.items():
        parity("inference graph", name, value.asnumpy(), g[name], 2e-4)


def test_two_devices_count_as_one():
    """The sign buffer and the warm-up come out the same however the batch is split."""
    random = np.random.RandomState(0)
    cam, s = (NDArray(random.randn(4, 3, 5, 5)) for _ in range(2))
    label = NDArray((random.rand(4, 3) > 0.5).astype(np.float32))
    whole, split = small_icd(3), small_icd(3)
    accumulate(whole, cam, s, label)
    halves = [slice(0, 1), slice(1, 4)]
    split.gather([(cam[h], s[h], None) for h in halves], [{"label": label[h]} for h in halves], World())
    np.testing.assert_allclose(
        whole.sign_buffer.data().asnumpy(), split.sign_buffer.data().asnumpy(), atol=1e-7
    )


def test_sign_statistics_ignore_zero_scores():
    cam, s = mx.nd.ones((1, 1, 2, 2)), NDArray([[[[0, 0], [1, -1]]]])
    sums, count = SignStatistics(prefix="")(cam, s, mx.nd.ones((1, 1)))
    assert sums.asnumpy().tolist() == [[1.0, 1.0]] and count.asnumpy().tolist() == [1.0]
