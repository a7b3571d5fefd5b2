"""VWE, VWL-L and VWL-M against the arrays of the original programs: words, pooling, networks, steps, localization, CRF."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from recipe_weights import load_vwe_recipe, recipe_value, unnormalised, vwe_key
from tables import compare_tables, decays, rows_beside

from icd.backbones import Backbone, create_backbone
from icd.compat import mx
from icd.data.images import read_image
from icd.data.views import Pyramid
from icd.engine.fit import make_trainer
from icd.engine.localize import localize_views, score_maps_of
from icd.engine.schedules import Length, learning_rate
from icd.engine.world import World
from icd.files import ScoreMaps
from icd.grid import maps_on_image, share_of_maximum, strided_maps
from icd.methods import create_method, make_recipe
from icd.methods.irn_cam import FRAME_MULTIPLE
from icd.methods.vwe import (
    DecorrelationLoss,
    WordEncoder,
    WordSums,
    crf_probabilities,
    hybrid_pooling,
    present_words,
)

NDArray = mx.nd.array
VARIANTS = ("vwe", "vwl_l", "vwl_m")
SCALES = (1.0, 0.5, 1.5, 2.0)


class OfChannels(Backbone):
    """A backbone that is never run: the heads of a method on features of any width."""

    strides = (16,)

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        for name in ("stem", "last"):
            self.add_stage(name, mx.gluon.nn.HybridSequential(prefix=""), channels, 16)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", ["small", "full"])
def test_words(golden, parity, name, size):
    g = np.load(golden / f"vwe/{name}/word_encoding_{size}.npz")
    (k, channels), small = (g["hist"].shape[1], g["x"].shape[1]), size == "small"
    method = create_method(name, OfChannels(channels), 20, make_recipe(name, {"words": k}))
    method.initialize()
    memory = name == "vwl_m"
    if small:
        values = {
            method.codebook: g["codebook"],
            method.fc_a.weight: g["fc_a"],
            method.fc_b.weight: g["fc_b"],
        }
        for parameter, value in values.items():
            parameter.set_data(NDArray(value.reshape(parameter.shape)))
    else:
        load_vwe_recipe(method)
        row = recipe_value("codebook" if memory else "VWE.centroid", (k, channels, 1, 1))
        np.testing.assert_allclose(row_of(row), g["codebook"], rtol=1e-6)
    if memory:  # the golden asks for the gradient that no step takes
        method.fc_a.weight.grad_req = "write"
    x, label, what = NDArray(g["x"]), NDArray(g["label"]), f"{name}, {size}"
    codebook, count = method.codebook.data().copy(), len(g["x"])
    codebook.attach_grad()
    x.attach_grad()
    with mx.autograd.record():
        histogram, words = method.encoder(x, codebook)
        logit = method.classes_of_words(histogram)
        to_image = method.tag_loss(logit, label)
    with mx.autograd.record():  # apart, because each is differentiated by itself
        of_words = method.fc_b(x.mean(axis=(2, 3), keepdims=True))
        word = method.tag_loss(of_words, present_words(words, k))
    P = method.encoder.assign(mx.nd, x, codebook).asnumpy()
    parity("VWE words", f"{what}: soft assignment", P, g["soft"], 1e-6)
    parity("VWE words", f"{what}: histogram", histogram.asnumpy(), g["hist"], 1e-5)
    parity("VWE words", f"{what}: words of the cells", words.asnumpy().astype(int), g["assign"], 0)
    parity("VWE words", f"{what}: words of the images", present_words(words, k).asnumpy(), g["y_word"], 0)
    parity(
        "VWE words", f"{what}: logits of classes", logit.asnumpy()[:, :, 0, 0], g["logit_word_to_image"], 2e-6
    )
    parity("VWE words", f"{what}: logits of words", of_words.asnumpy()[:, :, 0, 0], g["logit_word"], 2e-6)
    ours = [to_image.asscalar() / count, word.asscalar() / count]
    parity("VWE words", f"{what}: losses", ours, [g["loss_word_to_image"], g["loss_word"]], 1e-6)

    to_image.backward()
    assert not x.grad.asnumpy().any()
    compare = compare_exactly if small else compare_rows
    gradient = codebook.grad.asnumpy().reshape(k, channels) / count
    compare(parity, f"{what}: gradient of the codebook", gradient, g["grad_codebook"])
    compare(parity, f"{what}: gradient of fc_a", method.fc_a.weight.grad().asnumpy() / count, g["grad_fc_a"])
    if not small:
        norms = np.linalg.norm(gradient, axis=1)
        expected = g["grad_codebook_row_norm"]
        parity(
            "VWE words",
            f"{what}: gradient of each word, norm (relative)",
            norms,
            expected,
            1e-5,
            scale=expected,
        )
    word.backward()
    compare(parity, f"{what}: gradient of fc_b", method.fc_b.weight.grad().asnumpy() / count, g["grad_fc_b"])
    compare(parity, f"{what}: gradient of the features", x.grad.asnumpy() / count, g["grad_x_word_loss"])
    if name == "vwl_l":
        with mx.autograd.record():
            loss = DecorrelationLoss()(codebook)
        loss.backward()
        parity(
            "VWE words",
            f"{what}: decorrelation (relative)",
            loss.asscalar() / g["loss_decorrelation"],
            1.0,
            1e-6,
        )
        gradient = codebook.grad.asnumpy().reshape(k, channels)
        compare(parity, f"{what}: gradient of the decorrelation", gradient, g["grad_codebook_decorrelation"])
        if not small:
            expected = g["grad_codebook_decorrelation_row_norm"]
            norms = np.linalg.norm(gradient, axis=1)
            parity(
                "VWE words",
                f"{what}: the same of each word, norm (relative)",
                norms,
                expected,
                1e-5,
                scale=expected,
            )


def row_of(array) -> np.ndarray:
    ((norm, _, first, _, _),) = rows_beside([np.zeros(65)], [array])
    return np.concatenate([[norm], first])


def compare_exactly(parity, what, ours, original):
    parity("VWE words", what, ours.reshape(original.shape), original, 1e-6)


def compare_rows(parity, what, ours, original):
    row = row_of(ours)
    parity("VWE words", f"{what}, norm (relative)", row[:1] / original[0], [1.0], 1e-5)
    parity("VWE words", f"{what}, first entries", row[1:], original[1:], 1e-6)


def test_worked_examples(parity):
    """Spec vwe 2.4, 2.5 and 3."""
    pooled = [
        hybrid_pooling(mx.nd.arange(h * w).reshape((1, 1, h, w))).sum().asscalar()
        for h, w in ((8, 8), (7, 9))
    ]
    parity("worked examples", "VWE 2.4: hybrid pooling", pooled, [41.4, 38.3], 1e-5)
    x = NDArray([[[[1, 2], [0, 1]], [[0, 1], [3, 1]], [[2, 0], [1, 1]], [[1, 1], [1, 0]]]])
    codebook = NDArray([[1, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]]).reshape((3, 4, 1, 1))
    histogram, words = WordEncoder(3)(x, codebook)
    parity(
        "worked examples",
        "VWE 2.5: histogram",
        histogram.asnumpy()[0],
        [1.1509575, 1.2385318, 1.6105107],
        1e-6,
    )
    assert words.asnumpy().tolist() == [[[2, 0], [1, 2]]]
    assert present_words(words, 3).asnumpy().tolist() == [[1, 1, 1]]
    sums, counts = WordSums(3)(x, words)
    expected = [
        [1.9998, 0.9999, 0, 0.9999],
        [0, 2.9997, 0.9999, 0.9999],
        [0.99995, 0.499975, 1.499925, 0.499975],
    ]
    parity("worked examples", "VWE 3: means of words", (sums / (counts + 1e-4)).asnumpy(), expected, 1e-6)
    loss = DecorrelationLoss()(NDArray([[1, 2, 3, 6], [0, 1, 0, 1], [2, 2, 1, 3]]))
    parity("worked examples", "VWE 3: decorrelation", loss.asscalar(), 0.4776492, 2e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_hybrid_pooling(golden, parity, name):
    g = np.load(golden / f"vwe/{name}/hybrid_pooling.npz")
    for size in ("8x8", "7x9", "32x32", "4x6"):
        x = NDArray(g[f"x_{size}"])
        x.attach_grad()
        with mx.autograd.record():
            out = hybrid_pooling(x)
        out.backward(NDArray(g[f"upstream_{size}"]))
        parity("VWE pooling", f"{name}, {size}: result", out.asnumpy(), g[f"out_{size}"], 2e-6)
        parity("VWE pooling", f"{name}, {size}: gradient", x.grad.asnumpy(), g[f"grad_{size}"], 2e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 40)])
def test_hybrid_pooling_of_small_maps(size):
    """Spec vwe 2.4: the original fails below 4 cells a side."""
    x = mx.nd.random.uniform(shape=(2, 3, *size))
    pooled = hybrid_pooling(x)
    assert pooled.shape == (2, 3, 1, 1) and np.isfinite(pooled.asnumpy()).all()
    if size == (1, 1):
        np.testing.assert_allclose(pooled.asnumpy(), x.asnumpy(), rtol=1e-6)


def make_network(name, **changes):
    recipe = make_recipe(name, changes)
    method = create_method(name, create_backbone(METHOD_BACKBONES[name]), 20, recipe)
    load_vwe_recipe(method)
    return method


METHOD_BACKBONES = {"vwe": "resnet50", "vwl_l": "resnet101", "vwl_m": "resnet101"}


def losses_of(method, output, part) -> list:
    """The terms for images, words to images, and words, averaged over the images; the second one VWL-M only logs."""
    terms = method.losses(output, part, {})
    logit = method.classes_of_words(output.histogram)
    to_image = terms.get("word_to_image", method.tag_loss(logit, part["label"]))
    return [term.asscalar() / len(part["label"]) for term in (terms["image"], to_image, terms["word"])]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_networks(golden, parity, name):
    g = np.load(golden / f"vwe/{name}/network_forward.npz")
    method = make_network(name)
    for suffix in ("", "_odd"):
        images = unnormalised(g[f"image{suffix}"])
        output = method(images)
        x, what = output.features, f"{name}{suffix}"
        of_words = method.fc_b(x.mean(axis=(2, 3), keepdims=True))
        (maps,) = method.localize(images).values()
        found = {
            "logit": method.classifier(method.pool(x))[:, :, 0, 0], "cam": maps,
            "logit_word_to_image": method.classes_of_words(output.histogram)[:, :, 0, 0],
            "logit_word": of_words[:, :, 0, 0],
        }  # fmt: skip
        for key, ours in found.items():
            parity("VWE networks", f"{what}: {key}", ours.asnumpy(), g[key + suffix], 2e-5)
        present = present_words(output.words, 256).asnumpy()
        parity("VWE networks", f"{what}: words of the images", present, g[f"y_word{suffix}"], 0)
        if not suffix:
            part = {"label": NDArray(g["label"])}
            losses = losses_of(method, output, part)
            expected = [g[f"loss_{term}"] for term in ("image", "word_to_image", "word")]
            parity("VWE networks", f"{what}: losses", losses, expected, 2e-6)
            row = row_of(x.asnumpy())
            parity(
                "VWE networks",
                f"{what}: norm of the features (relative)",
                row[0] / g["feature"][0],
                1.0,
                1e-6,
            )
            parity("VWE networks", f"{what}: first features", row[1:], g["feature"][1:], 2e-5)
            means = x.asnumpy().mean((2, 3))
            parity("VWE networks", f"{what}: means of the features", means, g["feature_channel_mean"], 2e-5)
            if name == "vwl_l":
                ours = method.losses(output, part, {})["decorrelation"].asscalar() / 2
                parity("VWE networks", f"{what}: decorrelation", ours, g["loss_decorrelation"], 2e-6)
            if name == "vwl_m":
                P = method.encoder.assign(mx.nd, x, method.codebook.data()).asnumpy()
                assert list(P.shape) == g["sixth_output_shape"].tolist()
                parity("VWE networks", f"{what}: soft map", row_of(P), g["sixth_output"], 2e-6)


LIMITS = {1: (1e-3, 4e-3), 2: (2e-3, 4e-3)}  # of the norms of gradients and updates: golden README 3


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_steps(golden, parity, name, monkeypatch):
    g = np.load(golden / f"vwe/{name}/training.npz")
    data = np.load(golden / f"vwe/{name}/network_forward.npz")
    part = {"image": unnormalised(data["image"]), "label": NDArray(data["label"])}
    method, count = make_network(name), len(data["label"])
    trainer = make_trainer(method)
    parameters = {vwe_key(own): p for own, p in method.collect_params().items()}
    names = [str(key) for key in g["names"]]
    statistics = {key for key in parameters if "running_" in key} | {"codebook", "codebook_filled"}
    assert set(names) == set(parameters) - statistics
    trained = [parameters[key].grad_req != "null" for key in names]
    np.testing.assert_array_equal(trained, g["has_grad"])
    initial = [parameters[key].data().asnumpy().astype(np.float64) for key in names]
    compare_tables(parity, f"VWE steps, {name}", "initial weights", g["init"], initial, 1e-6, 1e-6, names)
    if name == "vwl_m":
        monkeypatch.setattr(method, "pick", lambda count, world: NDArray(g["picked_location"]))
    losses = []
    for step in (1, 2):
        rate = learning_rate(method.recipe, 0, step - 1, Length(6, 3966))
        parity(f"VWE steps, {name}", f"rates of step {step}", [rate, 10 * rate], g[f"lr_{step}"], 1e-8)
        trainer.set_learning_rate(rate)
        with mx.autograd.record():
            output = method(part["image"])
            with mx.autograd.pause():
                method.gather([output], [part], World())
            total = sum(method.losses(output, part, {}).values())
        total.backward()
        losses.append(losses_of(method, output, part))
        if name == "vwl_m":
            present = present_words(output.words, 256).asnumpy()
            parity(f"VWE steps, {name}", f"words of step {step}", present, g[f"y_word_{step}"], 0)
        gradients = [
            parameters[key].grad().asnumpy() / count if has else np.zeros(1)
            for key, has in zip(names, trained)
        ]
        trainer.step(count)
        deltas = [parameters[key].data().asnumpy() - old for key, old in zip(names, initial)]
        compare_step(parity, name, step, g, names, trained, gradients, deltas, initial)
    for step, limit in ((1, 5e-6), (2, 5e-5)):
        parity(f"VWE steps, {name}", f"losses of step {step}", losses[step - 1], g["losses"][step - 1], limit)
    if name == "vwe":
        after = losses_of(method, method(part["image"]), part)
        parity("VWE steps, vwe", "losses after two steps", after, g["validation_losses"], 5e-5)
    if name == "vwl_m":
        bank = method.codebook.data().asnumpy().reshape(256, -1)
        rows = (
            ("codebook_after_last_step", row_of(bank)),
            ("codebook_row_norm_after_last_step", np.linalg.norm(bank, axis=1)),
        )
        for key, ours in (*rows, ("codebook_every_16th_word", bank[::16, ::8])):
            parity("VWE steps, vwl_m", key.replace("_", " "), ours, g[key], 1e-4)


def compare_step(parity, name, step, g, names, trained, gradients, deltas, initial):
    """Gradients, updates and decays of one step beside the golden tables."""
    what, (of_gradients, of_deltas) = f"VWE steps, {name}", LIMITS[step]
    rows, kept = np.flatnonzero(trained), [key for key, has in zip(names, trained) if has]
    for title, table, arrays, limit in (
        ("gradients", g[f"grad_{step}"], gradients, of_gradients), ("updates", g[f"delta_{step}"], deltas, of_deltas),
    ):  # fmt: skip
        compare_tables(
            parity, what, f"step {step}, {title}", table[rows], [arrays[i] for i in rows], limit, 0.1, kept
        )
    assert not any(deltas[i].any() for i in np.flatnonzero(~np.array(trained)))
    params = [delta + value for delta, value in zip(deltas, initial)]
    compare_tables(parity, what, f"step {step}, weights", g[f"param_{step}"], params, 1e-6, 1e-5, names)
    weights = [i for i in rows if initial[i].ndim > 1]
    ours = decays([deltas[i] for i in weights], [initial[i] for i in weights])
    theirs = g[f"decay_{step}"][weights]
    deviations = np.abs(ours - theirs) / (2e-8 + 5e-3 * np.abs(theirs))
    parity(
        what,
        f"step {step}, decay of weights (of the golden README's limit)",
        deviations,
        np.zeros(len(weights)),
        1,
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_groups(golden, name):
    method = create_method(name, create_backbone(METHOD_BACKBONES[name]), 20)
    parameters = {vwe_key(own): p for own, p in method.collect_params().items()}
    with open(golden / f"vwe/{name}/groups.csv") as table:
        rows = list(csv.DictReader(table))
    recipe, count = method.recipe, 0
    assert recipe.optimizer == "torch_sgd" and not recipe.nesterov
    optimiser = np.load(golden / f"vwe/{name}/training.npz")[
        "optimiser"
    ]  # momentum, decay, dampening, Nesterov
    np.testing.assert_allclose(optimiser, [[recipe.momentum, recipe.weight_decay, 0, 0]] * 2, rtol=1e-6)
    for row in rows:
        parameter = parameters[row["name"]]
        assert (parameter.grad_req != "null") == (row["has_gradient"] == "1"), row["name"]
        if row["has_gradient"] == "1":
            assert parameter.lr_mult == (10 if row["group"] == "1" else 1), row["name"]
            assert parameter.wd_mult == 1
        count += np.prod(parameter.shape)
    assert {row["name"] for row in rows} == {
        key for key in parameters if "running_" not in key and not key.startswith("codebook")
    }
    if name == "vwe":  # spec vwe 2.7
        assert count == 24_602_688


class Replay:
    """A method that gives maps that are known."""

    def __init__(self, name, maps):
        method = create_method(name, OfChannels(4), 20)
        for kept in ("score_maps", "fusion", "alignment", "mirror_fusion", "normalization"):
            setattr(self, kept, getattr(method, kept))
        (self.kind,), self.maps = self.score_maps, maps

    def localize(self, images):
        return {self.kind: NDArray(self.maps.pop(0))}


@pytest.mark.parametrize("name", VARIANTS)
def test_fusion(golden, parity, name):
    g = np.load(golden / f"vwe/{name}/fusion.npz")
    size = tuple(int(side) for side in g["size"])
    shown = Pyramid(SCALES)(np.zeros((*size, 3), np.uint8))
    np.testing.assert_array_equal([view.shape[2:] for view in shown.views], g["scaled_shapes"])
    label = np.zeros((1, 20), np.float32)
    label[0, g["classes"]] = 1
    maps = []
    for scale in SCALES:
        given = g[f"cam_scale{scale}"]
        maps.append(np.zeros((2, 20, *given.shape[2:]), np.float32))
        maps[-1][:, g["classes"]] = given
    replay = Replay(name, maps)
    batch = {"views": shown.views, "label": label, "sizes": [shown.size], "frames": [shown.frame]}
    (scores,) = score_maps_of(replay, batch, localize_views(replay, batch, mx.cpu()), 0).values()
    assert scores.classes.tolist() == (g["classes"] + 1).tolist()
    compare_maps(parity, name, scores, g["cam"], g["high_res"], 2e-6)


def compare_maps(parity, what, scores, cam, high_res, limit, step=1):
    parity("VWE inference", f"{what}: strided maps", share_of_maximum(strided_maps(scores)), cam, limit)
    ours = share_of_maximum(maps_on_image(scores))[:, ::step, ::step]
    parity("VWE inference", f"{what}: maps on the image", ours, high_res, limit)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_whole_inference(golden, parity, name):
    folder = golden / f"vwe/{name}/end_to_end"
    g, method = np.load(folder / "result.npz"), make_network(name)
    shown = method.presentation(method.recipe, 0)(read_image(folder / "picture.jpg"))
    mean, std = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for scale, views in zip(SCALES, shown.views):
        image = (views[0] / 255 - mean) / std
        row, expected = row_of(image), g[f"input_scale{scale}"]
        parity("VWE inference", f"{name}, input at {scale}: norm (relative)", row[0] / expected[0], 1.0, 1e-6)
        parity("VWE inference", f"{name}, input at {scale}: first entries", row[1:], expected[1:], 1e-6)
        means = g[f"input_channel_mean_scale{scale}"]
        # The golden's means were added up in single precision, colours last.
        ours = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32).mean((0, 1))
        parity("VWE inference", f"{name}, input at {scale}: means", ours, means, 1e-6)
        if scale == 0.5:
            parity("VWE inference", f"{name}, input at 0.5", image, g["input_scale0.5_full"], 1e-6)
    label = np.zeros((1, 20), np.float32)
    label[0, g["classes"]] = 1
    batch = {"views": shown.views, "label": label, "sizes": [shown.size], "frames": [shown.frame]}
    (scores,) = score_maps_of(method, batch, localize_views(method, batch, mx.cpu()), 0).values()
    compare_maps(parity, f"{name}, picture", scores, g["cam"], g["high_res_every_2nd"], 1e-4, step=2)


@pytest.mark.parametrize("name", ["vwe", "vwl_l"])
def test_seeds(golden, parity, name):
    """The published labels for evaluation are the seeds of the method's rule."""
    of_run = np.load(golden / f"evaluation/{name}/scores.npz")
    method = create_method(name, OfChannels(4), 20)
    ((_, rule),) = method.score_maps.items()
    assert rule.threshold == pytest.approx(float(of_run["bkgscore"]))
    for index, scores in enumerate(evaluated(golden, name, of_run)):
        with Image.open(golden / f"evaluation/{name}/image{index}_label.png") as picture:
            parity("VWE seeds", f"{name}, image {index}", rule.seed(scores), np.array(picture), 0)


def evaluated(golden, name, of_run):
    """The score maps of the two images that the golden evaluates."""
    fusion = np.load(golden / f"vwe/{name}/fusion.npz")
    for keys, maps in ((fusion["classes"], fusion["high_res"]), (of_run["keys_1"], of_run["high_res_1"])):
        size = maps.shape[1:]
        yield ScoreMaps((keys + 1).astype(np.int16), maps, size, (*size, *size))


def test_crf(golden, parity):
    of_run = np.load(golden / "evaluation/vwl_l/scores.npz")
    for index, scores in enumerate(evaluated(golden, "vwl_l", of_run)):
        image = read_image(golden / f"vwe/vwl_l/crf/image{index}.jpg")
        with Image.open(golden / f"evaluation/vwl_l/image{index}_pred.png") as picture:
            expected = np.array(picture)
        mask = crf_probabilities(scores, image).mask()
        parity("VWE seeds", f"CRF, image {index}", mask, expected, 1e-3)


def test_frames():
    """IRN's maps span a frame of multiples of 16, VWE's the image."""
    image = np.zeros((61, 83, 3), np.uint8)
    for name, frame in (("irn_cam", (64, 96, 61, 83)), ("vwe", (61, 83, 61, 83))):
        method = create_method(name, OfChannels(4), 20)
        assert method.presentation(method.recipe, 0)(image).frame == frame
    assert FRAME_MULTIPLE == 16
