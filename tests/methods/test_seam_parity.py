"""SEAM against the arrays of the original program: PCM, losses, network, inference; and the PCM in blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from recipe_weights import recipe_value, unnormalised
from resnet38_heads import gradient_norms, load_recipe, reached, statistics
from runs import PEAK

from icd.backbones import create_backbone
from icd.compat import mx
from icd.data.views import Pyramid
from icd.engine.localize import score_maps_of
from icd.files import read_score_maps, write_score_maps
from icd.grid import share_of_range, shares_on_image
from icd.methods import create_method, make_recipe
from icd.methods.classification import resize
from icd.methods.seam import SEAM_RULE, PixelCorrelation, cleaned, correlate
from icd.methods.seam_losses import (
    largest,
    max_norm,
    minimum_pooling,
    regularization,
    tag_selection,
    tagged,
    with_mean_of,
)

NDArray = mx.nd.array


@pytest.fixture(scope="module")
def network():
    method = create_method("seam", create_backbone("resnet38"), 20)
    load_recipe(method)
    return method


@pytest.fixture(scope="module")
def small_method():
    return create_method("seam", create_backbone("small"), 20)


def with_gradient(array):
    array = NDArray(array)
    array.attach_grad()
    return array


def test_correlation_module(golden, parity):
    g = np.load(golden / "seam/pcm.npz")
    tap = SimpleNamespace(channels=4, stride=8)
    module = PixelCorrelation(tap, tap, 8)
    module.f9.initialize()
    module.f9.weight.set_data(NDArray(recipe_value("f9.weight", (192, 195, 1, 1))))
    z, features = with_gradient(g["cam"]), with_gradient(g["features"])
    with mx.autograd.record():
        r = correlate(mx.nd, z, module.embed(mx.nd, features))
        total = (r * NDArray(g["weight_map"])).sum()
    total.backward()
    parity("SEAM", "PCM: maps", r.asnumpy(), g["cam_rv"], 2e-6)
    parity("SEAM", "PCM: gradient of the maps", z.grad.asnumpy(), g["grad_cam"], 2e-6)
    gradient = features.grad.asnumpy()
    parity("SEAM", "PCM: gradient of the features", gradient[:, ::3], g["grad_features"], 4e-7)
    parity("SEAM", "PCM: its norm", np.linalg.norm(gradient), g["grad_features_norm"][0], 4e-6)
    gradient = module.f9.weight.grad().asnumpy()[:, :, 0, 0]
    parity("SEAM", "PCM: gradient of f9", gradient[::3], g["grad_f9"], 2e-6)
    parity("SEAM", "PCM: its norm", np.linalg.norm(gradient), g["grad_f9_norm"][0], 2e-5)


def test_norm(golden, parity):
    g = np.load(golden / "seam/maxnorm.npz")
    x = with_gradient(g["x"])
    with mx.autograd.record():
        norm = max_norm(x)
        (norm * NDArray(g["weight_map"])).sum().backward()
    parity("SEAM", "norm", norm.asnumpy(), g["norm"], 2e-6)
    parity("SEAM", "norm: gradient", x.grad.asnumpy(), g["grad_x"], 3e-6)


@pytest.mark.parametrize(("name", "size"), [("a", (128, 160)), ("b", (224, 224))])
def test_losses(golden, parity, small_method, name, size):
    g = np.load(golden / f"seam/loss_{name}.npz")
    count, label = len(g["label"]), NDArray(g["label"])
    part = {"image": mx.nd.zeros((count, 3, *size)), "label": label}
    outputs = [with_gradient(g[key]) for key in ("cam1_low", "rv1_low", "cam2_low", "rv2_low")]
    groups = {"cls": ("cam", "minimum"), "er": ("equivariance",), "ecr": ("cross_equivariance",)}
    tolerances = {
        "a": {"cls": (4e-10, 2e-8, 4e-9, 8e-8), "er": (8e-9, 0, 8e-9, 0), "ecr": (0, 4e-7, 0, 2e-7)},
        "b": {"cls": (3e-10, 3e-8, 3e-9, 2e-7), "er": (3e-8, 0, 5e-8, 0), "ecr": (0, 3e-7, 0, 3e-7)},
    }[name]
    for group, terms in groups.items():
        for output in outputs:
            output.grad[:] = 0
        with mx.autograd.record():
            losses = small_method.losses(outputs, part, {})
            sum(losses[term] for term in terms).backward()
        keys = ("cam1", "rv1", "cam2", "rv2")
        for key, output, tolerance in zip(keys, outputs, tolerances[group]):
            expected = g.get(f"grad_{group}_{key}", np.zeros(output.shape, np.float32))
            gradient = output.grad.asnumpy() / count
            parity("SEAM", f"losses {name}: gradient of {group} in {key}", gradient, expected, tolerance)
    values = {key: value.asscalar() / count for key, value in losses.items()}
    ours = [values["equivariance"], values["cam"] + values["minimum"], values["cross_equivariance"]]
    parity("SEAM", f"losses {name}: ER, bracket, ECR", ours, g["losses"][[4, 7, 8]], 3e-6)
    parity("SEAM", f"losses {name}: total", sum(values.values()), g["losses"][9], 3e-6)
    single = []
    for (cam, maps), side in zip((outputs[:2], outputs[2:]), (size, small_method.network.second_size(size))):
        planes = resize(tagged(maps, tag_selection(label), "first"), side)
        terms = small_method.tag_loss_of(cam, side, label), minimum_pooling(planes, 0.25, "first")
        single.append([term.asscalar() / count for term in terms])
    parity("SEAM", f"losses {name}: each view's", np.array(single).T.ravel(), g["losses"][:4], 3e-6)


@pytest.mark.parametrize("name", ["a", "b"])
def test_network(golden, parity, network, name):
    g = np.load(golden / f"seam/network_{name}.npz")
    images = unnormalised(g["input"])
    inner = network.network
    taps, hidden = inner.features(mx.nd, images)
    cam = inner.classifier.fc8(hidden)
    parity("SEAM", f"network {name}: c", cam.asnumpy(), g["cam_low"], 5e-5)
    z = cleaned(mx.nd, cam, "first")
    parity("SEAM", f"network {name}: z", z.asnumpy(), g["cam_clean"], 3e-5)
    normalised = inner.backbone.normalised(mx.nd, images)
    features = inner.correlation.describe(mx.nd, z, taps["conv4"], taps["conv5"], normalised)
    parity(
        "SEAM", f"network {name}: what the PCM sees", features.asnumpy()[:, ::3],
        g["pcm_features_ch65"], {"a": 3e-4, "b": 5e-5}[name],
    )  # fmt: skip
    cam, maps, *_ = network(images)
    parity("SEAM", f"network {name}: r", maps.asnumpy(), g["cam_rv_low"], 3e-6)
    for what, values, tolerances in (("cam", cam, (5e-5, 9e-4)), ("cam_rv", maps, (3e-6, 8e-5))):
        whole = resize(values, g["input"].shape[2:])
        ours = whole.asnumpy()[:, :, ::4, ::4]
        parity("SEAM", f"network {name}: {what} of the input's size", ours, g[f"{what}_sub4"], tolerances[0])
        parity("SEAM", f"network {name}: {what}, statistics", statistics(whole), g[f"{what}_stats"], tolerances[1])  # fmt: skip
    second = inner.shrunk(mx.nd, NDArray(g["input"]))
    assert second.shape[2:] == inner.second_size(g["input"].shape[2:])
    parity("SEAM", f"network {name}: second view", second.asnumpy(), g["input_times_0.3"], {"a": 2e-4, "b": 5e-5}[name])  # fmt: skip


@pytest.mark.parametrize("name", ["a", "b"])
def test_training_graph(golden, parity, network, name):
    g = np.load(golden / f"seam/network_{name}.npz")
    images = unnormalised(g["input"])
    part = {"image": images, "label": NDArray(g["train_label"])}
    with mx.autograd.record(train_mode=False):  # the dropouts of the golden are off, batch norm is frozen
        losses = network.losses(network(images), part, {})
        total = sum(losses.values())
    total.backward(train_mode=False)
    values = {key: value.asscalar() for key, value in losses.items()}
    ours = [values["equivariance"], values["cam"] + values["minimum"], values["cross_equivariance"]]
    parity("SEAM", f"training {name}: ER, bracket, ECR", ours, g["train_losses"][[4, 7, 8]], 6e-6)
    parity("SEAM", f"training {name}: total", total.asscalar(), g["train_losses"][9], 6e-6)
    norms = gradient_norms(network, ("fc8", "f8_3", "f8_4", "f9"))
    # In b a value before a ReLU of block b3 lies at 0 within rounding; from there on gradients agree to 1e-6.
    expected = g["train_grad_norms"]
    parity("SEAM", f"training {name}: gradient norms of b3", norms[:3], expected[:3], {"a": 4e-3, "b": 1e-4}[name])  # fmt: skip
    parity("SEAM", f"training {name}: gradient norms", norms[3:36], expected[3:36], {"a": 4e-3, "b": 3e-5}[name])  # fmt: skip
    # So does, on processors without AVX-512, one before a ReLU of f8_4.
    parity("SEAM", f"training {name}: gradient norms of the PCM", norms[36:], expected[36:], {"a": 4e-3, "b": 1e-4}[name])  # fmt: skip
    gradient = network.collect_params()["fc8_weight"].grad().asnumpy()[:, ::64, 0, 0]
    parity("SEAM", f"training {name}: gradient of fc8", gradient, g["train_grad_fc8_ch64"], {"a": 2e-6, "b": 3e-7}[name])  # fmt: skip
    assert not gradient[0].any()


@pytest.mark.parametrize(
    ("term", "groups"),
    [
        ("cam", {"trunk", "fc8"}),
        ("equivariance", {"trunk", "fc8"}),
        ("minimum", {"PCM"}),
        ("cross_equivariance", {"PCM"}),
    ],
)
def test_where_gradients_go(term, groups):
    """Spec seam 2.2."""
    mx.random.seed(0)
    method = create_method("seam", create_backbone("small"), 3, make_recipe("seam", {"second_view": 0.5}))
    method.initialize(mx.init.Normal(0.1))
    random = np.random.RandomState(0)
    images = NDArray(random.randint(0, 256, (2, 3, 97, 97)))
    part = {"image": images, "label": NDArray([[1, 0, 0], [0, 1, 1]])}
    assert reached(method, part, term) == groups


def test_published_recipe():
    """Spec seam 3 and 4: sizes, counts, schedule."""
    recipe = make_recipe("seam")
    method = create_method("seam", create_backbone("resnet38"), 20)
    assert method.network.second_size((448, 448)) == (134, 134)
    assert int(21 * 134 * 134 * recipe.hard_share) == 75415
    assert int(448 * 448 * recipe.least_share) == 50176 and int(134 * 134 * recipe.least_share) == 4489
    assert recipe.num_epoch * (10582 // recipe.batch_size) == 10576
    parameters = method.collect_params()
    assert len(list(parameters)) == 195
    heads = {
        "fc8_weight": (21, 4096),
        "f8_3_weight": (64, 512),
        "f8_4_weight": (128, 1024),
        "f9_weight": (192, 195),
    }
    for name, shape in heads.items():
        assert parameters[name].shape == (*shape, 1, 1) and parameters[name].lr_mult == 10.0
    assert parameters["b3_conv_branch2a_weight"].lr_mult == 1.0


def test_largest_shares_ties():
    values = NDArray([[3, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_allclose(
        largest(values, 2).asnumpy(), [[1, 0, 1 / 3, 1 / 3, 1 / 3, 0], [1 / 3] * 6], rtol=1e-6
    )


def test_regularization_of_equal_views_has_no_er():
    maps = NDArray(np.random.RandomState(0).rand(2, 4, 6, 6))
    er, ecr = regularization((maps, maps), (maps, maps), 3, 0.2, "first", "first")
    assert er.asscalar() == 0 and ecr.asscalar() > 0


@pytest.mark.parametrize("place", ["first", "last"])
def test_the_planes_of_tags(place):
    """Of every image its own, in their order, and 0 where another image has more tags."""
    random = np.random.RandomState(0)
    maps, label = random.rand(3, 5, 2, 2).astype(np.float32), np.zeros((3, 4))
    label[0, [1, 3]] = label[1, 2] = 1  # the third image has none
    chosen = tagged(NDArray(maps), tag_selection(NDArray(label)), place).asnumpy()
    background, classes = (maps[:, :1], maps[:, 1:]) if place == "first" else (maps[:, 4:], maps[:, :4])
    ours = (chosen[:, :1], chosen[:, 1:]) if place == "first" else (chosen[:, 2:], chosen[:, :2])
    np.testing.assert_array_equal(ours[0], background)
    np.testing.assert_array_equal(ours[1][0], classes[0, [1, 3]])
    np.testing.assert_array_equal(ours[1][1, 0], classes[1, 2])
    assert not ours[1][1, 1].any() and not ours[1][2].any()


def test_the_first_class_has_a_plane_of_its_own():
    """In ECR on EPS it is spared as published: also where an image does not have it, no other class is."""
    label = NDArray([[0, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(
        tag_selection(label, first_class=True).asnumpy(), [[[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]]
    )


@pytest.mark.parametrize("size", [(7, 9), (5, 23), (40, 31)])
def test_the_mean_of_enlarged_maps(size):
    maps = NDArray(np.random.RandomState(0).rand(2, 3, 5, 9))
    ours = with_mean_of(maps, size).mean(axis=(2, 3)).asnumpy()
    np.testing.assert_allclose(ours, resize(maps, size).mean(axis=(2, 3)).asnumpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 2, 8, 8), (2, 1, 1, 3), (1, 4, 33, 2)])
@pytest.mark.parametrize("blocks", [2, 7, 32])
def test_blocks_change_nothing(shape, blocks):
    random = np.random.RandomState(0)
    z = NDArray(random.rand(*shape))
    e = mx.nd.L2Normalization(NDArray(random.randn(shape[0], 16, *shape[2:])), mode="channel")
    whole = correlate(mx.nd, z, e)
    np.testing.assert_allclose(
        correlate(mx.nd, z, e, blocks).asnumpy(), whole.asnumpy(), rtol=1e-5, atol=1e-6
    )


LARGE = (
    PEAK
    + """
from icd.compat import mx
from icd.methods.seam import BLOCKS, correlate
class Correlate(mx.gluon.HybridBlock):
    def hybrid_forward(self, F, z, e):
        return correlate(F, z, e, BLOCKS)
block = Correlate()
block.hybridize()
mx.random.seed(0)
small = [mx.nd.random.uniform(shape=(2, k, 5, 5)) for k in (21, 192)]
block(*small).wait_to_read()
large = [mx.nd.random.uniform(shape=(2, k, 125, 125)) for k in (21, 192)]
mx.nd.waitall()
before = peak()
block(*large).wait_to_read()
print(peak() - before)
"""
)


def test_memory_of_a_large_photograph():
    """A photograph of 500 x 500 pixels at scale 2 and its mirror image, whose affinities would take 2 GB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LARGE], env=environment, capture_output=True, text=True, check=True
    )
    assert 10e6 < int(done.stdout.split()[-1]) < 300e6


@pytest.mark.parametrize("name", ["a", "b"])
def test_fusion_of_scales(golden, parity, small_method, tmp_path, name):
    g = np.load(golden / f"seam/fusion_{name}.npz")
    size = tuple(int(side) for side in g["image_size"])
    shown = Pyramid((0.5, 1.0, 1.5, 2.0))(np.zeros((*size, 3), np.uint8))
    np.testing.assert_array_equal([view.shape[2:] for view in shown.views for _ in range(2)], g["pass_sizes"])
    outputs = [
        {"seam": np.concatenate([g[f"rv_low_{i}"], g[f"rv_low_{i + 1}"]])[:, 1:]} for i in (0, 2, 4, 6)
    ]
    batch = {"views": shown.views, "label": g["label"][None], "sizes": [shown.size], "frames": [shown.frame]}
    scores = score_maps_of(small_method, batch, outputs, 0)["seam"]
    write_score_maps(tmp_path / "image.npz", scores)
    scores = read_score_maps(tmp_path / "image.npz")
    assert scores.views == tuple(view.shape[2:] for view in shown.views) and scores.normalization == "range"
    parity("SEAM", f"inference {name}: maps", shares_on_image(scores), g["norm_cam"], 3e-6)
    parity("SEAM", f"inference {name}: label map", SEAM_RULE.seed(scores), g["pred"], 5e-4)


def test_worked_example_of_the_range():
    """Spec seam 9."""
    maps = np.random.RandomState(9).random_sample((1, 4, 5)).astype(np.float32) + np.float32(0.3)
    shares = share_of_range(maps)
    np.testing.assert_allclose([shares.min(), shares.max()], [-0.329985, 0.999979], atol=1e-6)
    assert (share_of_range(np.zeros((1, 2, 2), np.float32)) == -1).all()
