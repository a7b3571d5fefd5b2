"""DRS against the arrays of the original program: the module, both networks, losses, steps, localization, pseudo labels."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image
from recipe_weights import drs_key, load_drs_recipe, unnormalised
from tables import compare_tables, decays

from icd.backbones import create_backbone
from icd.compat import mx
from icd.data.images import read_image
from icd.engine.fit import make_trainer
from icd.engine.localize import localize_views, score_maps_of
from icd.files import ScoreMaps, encode_mask, read_mask
from icd.methods import create_method, make_recipe
from icd.methods.drs import Suppression, drs_seed, resize_corners

NDArray = mx.nd.array


def make_drs(name, **changes):
    method = create_method(name, create_backbone("vgg16_torchvision"), 20, make_recipe(name, changes))
    load_drs_recipe(method, refinement=name == "drs")
    return method


@pytest.fixture(scope="module")
def inputs(golden):
    return np.load(golden / "drs/net_inputs.npz")


@pytest.mark.parametrize("kind", ["learnable", "fixed"])
def test_suppression(golden, parity, kind):
    g = np.load(golden / "drs/drs_module.npz")
    module = Suppression("x", 24, 0.0 if kind == "learnable" else float(g["delta"]))
    module.initialize()
    if kind == "learnable":
        module.fc.weight.set_data(NDArray(g["fc_weight"]))
    x = NDArray(g["x"])
    x.attach_grad()
    with mx.autograd.record():
        out = module(mx.nd.relu(x))
    out.backward(NDArray(g["upstream"]))
    parity("DRS module", f"{kind}: output", out.asnumpy(), g[f"{kind}_out"], 2e-6)
    parity("DRS module", f"{kind}: gradient of x", x.grad.asnumpy(), g[f"{kind}_grad_x"], 2e-6)
    if kind == "learnable":
        parity(
            "DRS module",
            f"{kind}: gradient of W",
            module.fc.weight.grad().asnumpy(),
            g["learnable_grad_fc"],
            1e-5,
        )


def test_worked_examples(parity):
    """Spec drs 2.2 and 2.3."""
    x = np.array([[1, -2, 3], [4, 0.5, -1], [2, 2.2, 8]])
    fixed = Suppression("x", 1, 0.55)(mx.nd.relu(NDArray(x[None, None])))
    expected = [[1, 0, 3], [4, 0.5, 0], [2, 2.2, 4.4]]
    parity("worked examples", "DRS 2.2 fixed", fixed.asnumpy()[0, 0], expected, 1e-6)
    learned = Suppression("x", 2, 0.0)
    learned.initialize()
    learned.fc.weight.set_data(NDArray([[0.1, -0.2], [0.3, 0.05]]))
    out = learned(mx.nd.relu(NDArray(np.stack([x, x.T / 2 - 1])[None]))).asnumpy()[0]
    parity("worked examples", "DRS 2.2 learned", out.max((1, 2)), [4.2552085, 2.0148828], 1e-6)
    Z = NDArray([[[[-1, 0, 1, 2], [3, 4, 5, 6], [0, 0, 1, 1], [2, 2, 2, 8]]]])
    maps = resize_corners(mx.nd, mx.nd.relu(Z), 7).asnumpy()[0, 0]
    maps /= maps.max() + 1e-5
    share = 8 / (8 + 1e-5)
    parity("worked examples", "DRS 2.3 last row", maps[6], [0.25] * 5 + [0.6249993, 0.9999988], 2e-6)
    row = np.array([0.375, 0.4375, 0.5, 0.5625, 0.625, 0.6875, 0.75]) * share
    parity("worked examples", "DRS 2.3 row 2", maps[2], row, 1e-6)


def maps_at(Z, size, label):
    """The CAM of spec 2.3 at a target size, for the present classes in row-major order."""
    maps = mx.nd.contrib.BilinearResize2D(
        mx.nd.relu(Z), height=size[0], width=size[1], align_corners=True
    ).asnumpy()
    maps = maps / (maps.max((2, 3), keepdims=True) + np.float32(1e-5))
    return maps[label > 0]


@pytest.mark.parametrize(("kind", "control"), [("learnable", 0.0), ("fixed", 0.55)])
def test_classifier(golden, parity, inputs, kind, control):
    g = np.load(golden / "drs/classifier_forward.npz")
    method = make_drs("drs_classifier", control=control)
    cases = [("96", "96", None), ("128x160", "128x160", None), ("128x160", "128x160_to_100x130", (100, 130))]
    for image, suffix, size in cases:
        if f"{kind}_logit_{suffix}" not in g:
            continue
        Z = method(unnormalised(inputs[f"image_{image}"]))
        parity(
            "DRS networks",
            f"classifier, {kind}, {suffix}: logits",
            Z.mean((2, 3)).asnumpy(),
            g[f"{kind}_logit_{suffix}"],
            1e-5,
        )
        size = size or inputs[f"image_{image}"].shape[2:]
        maps = maps_at(Z, size, inputs[f"label_{image}"])
        parity("DRS networks", f"classifier, {kind}, {suffix}: CAM", maps, g[f"{kind}_cam_{suffix}"], 2e-4)


def test_localization_rule_is_that_of_the_classifier(inputs):
    """`localize` gives the CAM of the test above, on the grid of the training crop."""
    method = make_drs("drs_classifier")
    image = unnormalised(inputs["image_96"])
    maps = method.localize(image)["cam"].asnumpy()
    expected = maps_at(method(image), (320, 320), inputs["label_96"])
    np.testing.assert_allclose(maps[inputs["label_96"] > 0], expected, atol=1e-6)


def test_refinement_network(golden, parity, inputs):
    g = np.load(golden / "drs/refinement_forward.npz")
    method = make_drs("drs")

    def output(image, size):
        Z = method.localize(unnormalised(inputs[f"image_{image}"]))["drs"]
        return mx.nd.contrib.BilinearResize2D(Z, height=size[0], width=size[1], align_corners=True).asnumpy()

    parity("DRS networks", "refinement: output", output("96", (96, 96))[:, :, ::4, ::4], g["out_96"], 2e-5)
    for suffix, image, size in (
        ("96_masked", "96", (96, 96)), ("128x160", "128x160", (128, 160)), ("128x160_to_100x130", "128x160", (100, 130)),
    ):  # fmt: skip
        ours = output(image, size)[inputs[f"label_{image}"] > 0]
        parity("DRS networks", f"refinement: {suffix}", ours, g[f"out_{suffix}"], 2e-5)


def two_steps(method, part, g, parity, what, norm_limits, decay_limit, loss_limit, first_limit):
    """Two updates beside the golden tables."""
    trainer, count = make_trainer(method), len(part["image"])
    parameters = {drs_key(name): p for name, p in method.collect_params().items()}
    names = [str(name) for name in g["names"]]
    assert sorted(names) == sorted(parameters)
    initial = [parameters[n].data().asnumpy().astype(np.float64) for n in names]
    losses = []
    for step in (1, 2):
        with mx.autograd.record():
            total = sum(method.losses(method(part["image"]), part, {}).values())
        total.backward()
        losses.append(total.asscalar() / count)
        gradients = [parameters[n].grad().asnumpy() / count for n in names]
        trainer.step(count)
        deltas = [parameters[n].data().asnumpy() - old for n, old in zip(names, initial)]
        title, (of_gradient, of_delta) = f"{what}, step {step}", norm_limits[step - 1]
        compare_tables(
            parity, title, "gradients", g[f"grad_{step}"], gradients, of_gradient, first_limit, names
        )
        compare_tables(parity, title, "updates", g[f"delta_{step}"], deltas, of_delta, None, names)
        weights = [i for i, n in enumerate(names) if n.endswith("weight")]
        ours = decays([deltas[i] for i in weights], [initial[i] for i in weights])
        theirs = g[f"decay_{step}"][weights]
        deviations = np.abs(ours - theirs) / (decay_limit[0] + decay_limit[1] * np.abs(theirs))
        parity(
            title, "decay of weights (of the golden README's limit)", deviations, np.zeros(len(weights)), 1
        )
    losses.append(sum(method.losses(method(part["image"]), part, {}).values()).asscalar() / count)
    parity(what, "losses", losses, [*g["loss"], g["loss_after_2_steps"]], loss_limit)


@pytest.mark.slow
def test_classifier_steps(golden, parity, inputs):
    g = np.load(golden / "drs/classifier_training.npz")
    part = {"image": unnormalised(inputs["image_96"]), "label": NDArray(inputs["label_96"])}
    method = make_drs("drs_classifier")
    limits = ((1e-2, 1e-2), (2e-2, 2e-2))
    two_steps(method, part, g, parity, "DRS classifier", limits, (1e-9, 5e-3), 1e-5, 0.3)


@pytest.mark.slow
def test_refinement_steps(golden, parity, inputs):
    g = np.load(golden / "drs/refinement_training.npz")
    label = inputs["label_96"]
    target = np.zeros((*label.shape, 96, 96), np.float32)
    target[label > 0] = g["target_present"]
    # The target of the golden is winner-take-all already, which the loss leaves as it is.
    part = {"image": unnormalised(inputs["image_96"]), "target": NDArray(255 * target)}
    method = make_drs("drs", image_size=96)
    limits = ((2e-3, 2e-3), (1e-2, 1e-2))
    two_steps(method, part, g, parity, "DRS refinement", limits, (1e-6, 3e-2), 1e-4, 0.2)


def test_groups(golden):
    for name, file in (("drs_classifier", "classifier"), ("drs", "refinement")):
        method = create_method(name, create_backbone("vgg16_torchvision"), 20)
        parameters = {drs_key(own): p for own, p in method.collect_params().items()}
        with open(golden / f"drs/{file}_groups.csv") as table:
            rows = list(csv.DictReader(table))
        assert {row["name"] for row in rows} == set(parameters)
        for row in rows:
            parameter, recipe = parameters[row["name"]], method.recipe
            assert parameter.lr_mult == float(row["lr_mult"]), row["name"]
            assert recipe.learning_rate * parameter.lr_mult == pytest.approx(float(row["lr"]))
            assert recipe.weight_decay * parameter.wd_mult == pytest.approx(float(row["weight_decay"]))
    counts = {"learnable": 24_401_236, "fixed": 21_804_372}  # spec drs 2.7
    for control, expected in ((0.0, counts["learnable"]), (0.55, counts["fixed"])):
        recipe = make_recipe("drs_classifier", {"control": control})
        method = create_method("drs_classifier", create_backbone("vgg16_torchvision"), 20, recipe)
        assert sum(np.prod(p.shape) for p in method.collect_params().values()) == expected


@pytest.mark.slow
def test_localization_maps(golden, parity):
    folder = golden / "drs/localization_map"
    g = np.load(folder / "retina.npz")
    method = make_drs("drs_classifier")
    image = read_image(folder / "retina.jpg")
    shown = method.presentation(method.recipe, 0)(image)
    square = (shown.views[1][0] / 255 - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    parity("DRS localization", "network input", square[:, ::16, ::16], g["input_every_16th"], 1e-6)
    parity("DRS localization", "input channel means", square.mean((1, 2)), g["input_channel_mean"], 1e-6)
    label = np.zeros((1, 20), np.float32)
    label[0, g["classes"]] = 1
    batch = {"views": shown.views, "label": label, "sizes": [shown.size], "frames": [shown.frame]}
    (scores,) = score_maps_of(method, batch, localize_views(method, batch, mx.cpu()), 0, "uint8").values()
    assert scores.maps.dtype == np.uint8 and not scores.further
    difference = np.abs(scores.maps.astype(int) - g["map"].astype(int))
    assert difference.max() <= 1
    parity("DRS localization", "maps of 8 bits", scores.maps, g["map"], 4e-3)


@pytest.mark.parametrize("case", [0, 1])
def test_pseudo_labels(golden, parity, case):
    folder = golden / "drs/pseudo_label"
    g = np.load(folder / f"case{case}.npz")
    size = g["maps"].shape[2:]
    first, *further = g["maps"]
    scores = ScoreMaps(
        (g["classes"] + 1).astype(np.int16), first, size, (*size, *size), tuple(further), "max", "corners"
    )
    saliency = np.array(Image.open(folder / f"case{case}_saliency.png"))
    label = drs_seed(scores, saliency)
    with Image.open(folder / f"case{case}_label.png") as picture:
        parity("DRS pseudo labels", f"case {case}", label, np.array(picture), 0)
    path = folder / f"case{case}_label_palette.png"
    parity("DRS pseudo labels", f"case {case}: file as written", read_mask(path), label, 0)
    with Image.open(path) as theirs:
        palette = np.array(theirs.getpalette()[: 3 * 21])
    with Image.open(io.BytesIO(encode_mask(label))) as ours:
        np.testing.assert_array_equal(ours.getpalette()[: 3 * 21], palette)
