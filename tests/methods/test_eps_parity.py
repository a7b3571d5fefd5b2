"""EPS against the arrays of the original program: losses, networks, fusion of scales, whole inference, optimizer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from recipe_weights import load_resnet38_recipe, resnet38_key, unnormalised

from icd.backbones import create_backbone
from icd.compat import mx
from icd.data.views import Pyramid
from icd.engine.fit import make_trainer
from icd.engine.localize import localize_views, score_maps_of
from icd.engine.schedules import Length, learning_rate
from icd.grid import maps_on_image, share_of_maximum
from icd.methods import create_method, make_recipe
from icd.methods.eps import SaliencyLoss, nearest_indices
from icd.refine.seeds import cam_seed

NDArray = mx.nd.array
LOSSES = ("loss_voc_a", "loss_voc_b", "loss_crop321", "loss_coco")


def make_network(name, num_classes, **changes):
    method = create_method(name, create_backbone("resnet38"), num_classes, make_recipe(name, changes))
    load_resnet38_recipe(method)
    return method


def test_nearest_rows_of_the_coco_crop():
    """Spec resnet38 9."""
    listed = [0, 7, 15, 23, 31, 39, 46, 54, 62, 70, 78, 86, 93, 101, 109, 117, 125, 133, 140, 148, 156, 164, 172, 180, 187,
              195, 203, 211, 219, 227, 234, 242, 250, 258, 266, 274, 281, 289, 297, 305, 313]  # fmt: skip
    assert nearest_indices(321, 41, mx.cpu()).asnumpy().astype(int).tolist() == listed
    assert nearest_indices(448, 56, mx.cpu()).asnumpy().astype(int).tolist() == list(range(0, 448, 8))


@pytest.mark.parametrize("name", LOSSES)
def test_losses(golden, parity, name):
    g = np.load(golden / f"eps/{name}.npz")
    count, num_classes = g["label"].shape
    cam, label = NDArray(g["cam"]), NDArray(g["label"])
    part = {"saliency": NDArray(g["saliency"][:, 0]), "label": label}
    for index, (tau, share) in enumerate(g["variants"]):
        what = f"{name}, tau {tau:.1f}, lambda {share:.1f}"
        recipe = make_recipe("eps", {"overlap_threshold": float(tau), "foreground_share": float(share)})
        method = create_method("eps", create_backbone("small"), num_classes, recipe)
        cam.attach_grad()
        with mx.autograd.record():
            terms = method.losses(cam, part, {})
        terms["saliency"].backward()
        ours = np.array([terms["cam"].asscalar(), terms["saliency"].asscalar()]) / count
        parity("EPS losses", f"{what}: both terms", ours, g["losses"][index, :2], 2e-6)
        channels = np.arange(0, num_classes + 1, 4) if name == "loss_crop321" else slice(None)
        gradient = cam.grad.asnumpy()[:, channels] / count
        parity(
            "EPS losses", f"{what}: gradient of the saliency term", gradient, g["grad_sal_cam"][index], 3e-8
        )
        if index == 0:
            with mx.autograd.record():
                total = sum(method.losses(cam, part, {}).values())
            total.backward()
            gradient = cam.grad.asnumpy()[:, channels] / count
            parity("EPS losses", f"{what}: gradient of the sum", gradient, g["grad_total_cam"], 2e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_the_saliency_loss(golden, parity, name):
    g = np.load(golden / f"eps/{name}.npz")
    num_classes = g["label"].shape[1]
    cam, label = NDArray(g["cam"]), NDArray(g["label"])
    s = NDArray(g["saliency_small"][:, 0])
    p = mx.nd.softmax(cam, axis=1).slice_axis(axis=1, begin=0, end=num_classes)
    for index, (tau, share) in enumerate(g["variants"]):
        loss = SaliencyLoss(num_classes, float(tau), float(share))
        what = f"{name}, tau {tau:.1f}, lambda {share:.1f}"
        parity(
            "EPS losses",
            f"{what}: overlap",
            loss.overlap(mx.nd, p, s).asnumpy(),
            g["overlap_ratio"][index],
            4e-6,
        )
        foreground, background = loss.areas(mx.nd, cam, s, label)
        parity("EPS losses", f"{what}: foreground", foreground.asnumpy(), g["fg_map"][index][:, 0], 6e-6)
        rest = 1 - background.asnumpy()
        parity("EPS losses", f"{what}: 1 - background", rest, g["one_minus_bg_map"][index][:, 0], 6e-6)
        estimate = loss.estimate(mx.nd, cam, s, label).asnumpy()
        parity("EPS losses", f"{what}: estimate", estimate, g["estimated_saliency"][index][:, 0], 6e-6)


def test_worked_example(parity):
    """Spec eps 9."""
    cam = (2 * np.random.RandomState(1).standard_normal((2, 21, 7, 9))).astype(np.float32)
    for image, channel in ((0, 0), (0, 3), (1, 5), (1, 19)):
        cam[image, channel] += 3
    saliency = np.random.RandomState(2).random_sample((2, 56, 72)).astype(np.float32)
    label = np.zeros((2, 20), np.float32)
    label[0, [0, 3, 7]] = label[1, [5, 19]] = 1
    for tau, share, expected, gradient in (
        (0.4, 0.5, 0.13140206, 0.10988726), (0.4, 0.9, 0.17768654, 0.16258538),
        (0.5, 0.5, 0.13874544, 0.11241478), (0.6, 0.5, 0.17012505, 0.11242780),
    ):  # fmt: skip
        recipe = make_recipe("eps", {"overlap_threshold": tau, "foreground_share": share})
        method = create_method("eps", create_backbone("small"), 20, recipe)
        maps = NDArray(cam)
        maps.attach_grad()
        with mx.autograd.record():
            terms = method.losses(maps, {"saliency": NDArray(saliency), "label": NDArray(label)}, {})
        terms["saliency"].backward()
        what = f"EPS 9, tau {tau}, lambda {share}"
        ours = [terms["cam"].asscalar() / 2, terms["saliency"].asscalar() / 2]
        parity("worked examples", f"{what}: losses", ours, [0.65384293, expected], 1e-6)
        parity("worked examples", f"{what}: gradient", abs(maps.grad.asnumpy()).sum() / 2, gradient, 1e-6)


@pytest.mark.parametrize("name", ["a", "b"])
def test_networks(golden, parity, name):
    g = np.load(golden / f"eps/network_{name}.npz")
    images = unnormalised(g["input"])
    for kind, method, num_classes in (("eps", "eps", 20), ("cls", "eps_cam", 20), ("coco", "eps", 80)):
        cam = make_network(method, num_classes)(images)
        logits = cam.mean(axis=(2, 3)).asnumpy()
        parity("EPS networks", f"{name}: {kind}, logits", logits, g[f"{kind}_logits"], 2e-5)
        maps = mx.nd.relu(cam) if kind == "cls" else cam
        parity("EPS networks", f"{name}: {kind}, maps", maps.asnumpy(), g[f"{kind}_cam"], 7e-5)


@pytest.mark.parametrize("name", ["a", "b"])
def test_training_graph(golden, parity, name):
    g = np.load(golden / f"eps/network_{name}.npz")
    method = make_network("eps", 20)
    part = {"saliency": NDArray(g["train_saliency"][:, 0]), "label": NDArray(g["train_label"])}
    with mx.autograd.record(
        train_mode=False
    ):  # the dropouts of the golden are off, batch norm is frozen anyway
        terms = method.losses(method(unnormalised(g["input"])), part, {})
        total = sum(terms.values())
    total.backward(train_mode=False)
    ours = [terms["cam"].asscalar(), terms["saliency"].asscalar(), total.asscalar()]
    parity("EPS networks", f"{name}: losses", ours, g["train_losses"], 3e-6)
    parameters = {
        resnet38_key(name): p for name, p in method.collect_params().items() if p.grad_req != "null"
    }
    order = [*(key for key in parameters if key != "fc8.weight"), "fc8.weight"]
    norms = {key: np.linalg.norm(parameters[key].grad().asnumpy().astype(np.float64)) for key in order}
    # The golden lists a block's convolutions as 2a, 2b1, 2b2, 1; sorting by that order makes both comparable.
    places = {"branch2a": 0, "branch2b1": 1, "branch2b2": 2, "branch1": 3}
    order.sort(key=lambda key: (key.split(".")[0], places.get(key.split("_")[-1].split(".")[0], 9)))
    parity(
        "EPS networks", f"{name}: gradient norms", [norms[key] for key in order], g["train_grad_norms"], 4e-4
    )
    gradient = parameters["fc8.weight"].grad().asnumpy()[:, ::64, 0, 0]
    parity("EPS networks", f"{name}: gradient of fc8", gradient, g["train_grad_fc8_ch64"], 5e-7)


class Replay:
    """A method that gives maps that are known."""

    def __init__(self, name, num_classes, maps):
        self.method = create_method(name, create_backbone("small"), num_classes)
        self.method.__dict__["network"] = lambda images: maps.pop(0)
        for name in ("score_maps", "fusion", "mirror_fusion", "alignment", "normalization"):
            setattr(self, name, getattr(self.method, name))

    def localize(self, images):
        return self.method.localize(images)


@pytest.mark.parametrize(("name", "method"), [("cls", "eps_cam"), ("eps", "eps"), ("coco", "eps")])
def test_fusion_of_scales(golden, parity, name, method):
    g = np.load(golden / f"eps/fusion_{name}.npz")
    size = tuple(int(side) for side in g["image_size"])
    shown = Pyramid((0.5, 1.0, 1.5, 2.0))(np.zeros((*size, 3), np.uint8))
    np.testing.assert_array_equal([view.shape[2:] for view in shown.views for _ in range(2)], g["pass_sizes"])
    maps = [
        NDArray(np.concatenate([g[f"cam_in_{i}"][None], g[f"cam_in_{i + 1}"][None]])) for i in (0, 2, 4, 6)
    ]
    label = g["label"][None]
    replay = Replay(method, label.shape[1], maps)
    batch = {"views": shown.views, "label": label, "sizes": [shown.size], "frames": [shown.frame]}
    outputs = localize_views(replay, batch, mx.cpu())
    (scores,) = score_maps_of(replay, batch, outputs, 0).values()
    assert scores.classes.tolist() == (np.flatnonzero(g["label"]) + 1).tolist()
    total = maps_on_image(scores)
    parity("EPS inference", f"{name}: sum of scales", total, g["fused_sum"], 5e-6, scale=g["fused_sum"].max())
    parity("EPS inference", f"{name}: maps", share_of_maximum(total), g["fused_cam"], 5e-6)
    parity("EPS inference", f"{name}: label map", cam_seed(scores), g["label_map"], 5e-4)


def test_whole_inference(golden, parity):
    g = np.load(golden / "eps/pipeline.npz")
    shown = Pyramid((0.5, 1.0, 1.5, 2.0))(g["picture"])
    for index, scale in ((0, "0.5"), (2, "1.5"), (3, "2.0")):
        ours = shown.views[index][0].transpose(1, 2, 0)
        parity("EPS inference", f"picture resized by {scale}", ours, g[f"picture_scale_{scale}"], 0)
    batch = {"views": shown.views, "label": g["label"][None], "sizes": [shown.size], "frames": [shown.frame]}
    for kind, name in (("eps", "eps"), ("cls", "eps_cam")):
        method = make_network(name, 20)
        outputs = localize_views(method, batch, mx.cpu())
        (scores,) = score_maps_of(method, batch, outputs, 0).values()
        ours = share_of_maximum(maps_on_image(scores))
        parity("EPS inference", f"whole picture, {kind}: maps", ours, g[f"{kind}_fused_cam"], 6e-5)
        parity(
            "EPS inference",
            f"whole picture, {kind}: label map",
            cam_seed(scores),
            g[f"{kind}_label_map"],
            5e-4,
        )
        (half,) = score_maps_of(method, batch, outputs, 0, "float16").values()
        parity(
            "EPS inference", f"the same from float16, {kind}", cam_seed(half), g[f"{kind}_label_map"], 2e-3
        )


@pytest.mark.parametrize("horizon", [4, 20000])
def test_optimizer_steps(golden, parity, horizon):
    g = np.load(golden / f"eps/poly_T{horizon}.npz")
    recipe = make_recipe("eps")
    assert recipe.momentum == pytest.approx(g["momentum"][0])
    names = [f"g{group}" for group in range(4)]
    params = mx.gluon.ParameterDict()
    for name, (rate, decay) in zip(names, ((1, 1), (2, 0), (10, 1), (20, 0))):
        parameter = params.get(name, shape=g[f"{name}_start"].shape, lr_mult=rate, wd_mult=decay)
        parameter.initialize()
        parameter.set_data(NDArray(g[f"{name}_start"]))
    trainer = make_trainer(SimpleNamespace(recipe=recipe, collect_params=lambda: params))
    length = Length(1, horizon)
    for step in range(len(g["lrs"])):
        rate = learning_rate(recipe, 0, step, length)
        trainer.set_learning_rate(rate)
        parity(
            "EPS optimizer",
            f"T {horizon}: rate {step}",
            rate * np.array([1, 2, 10, 20]),
            g["lrs"][step],
            5e-7,
        )
        for name in names:
            parameter = params[name]
            with mx.autograd.record():
                loss = (parameter.data() * NDArray(g[f"{name}_grads"][step])).sum()
            loss.backward()
        trainer.step(1)
        for name in names:
            ours = params[name].data().asnumpy()
            parity(
                "EPS optimizer",
                f"T {horizon}: {name} after step {step}",
                ours,
                g[f"{name}_after"][step],
                6e-6,
            )
