"""PPC on SEAM and on EPS against the arrays of the original program: contrast, baselines' terms, networks, whole steps."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_weights import unnormalised
from resnet38_heads import gradient_norms, load_recipe, statistics

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.world import World
from icd.methods import create_method, make_recipe, ppc
from icd.methods.classification import resize, split_background
from icd.methods.seam import halves
from icd.methods.seam_losses import minimum_pooling, tag_selection, tagged

NDArray = mx.nd.array
CONTRAST = {"contrast_a": "ppc", "contrast_b": "ppc", "eps_contrast": "ppc_eps"}
TERMS = ("cross_prototype", "cross_cam", "intra_view")
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def every_second(random, y):
    """Keys by which the pixels 0, 2, 4, ... of every class are drawn, as in the goldens."""
    keys = np.zeros(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        keys[members] = np.arange(len(members)) % 2 + np.arange(len(members)) / 1e6
    return keys


@pytest.fixture
def drawn_evenly(monkeypatch):
    monkeypatch.setattr(ppc, "draw_keys", every_second)


def contrast_method(name, g):
    changes = {"projection": g["proj1"].shape[1]}
    return create_method(CONTRAST[name], create_backbone("small"), 20, make_recipe(CONTRAST[name], changes))


def given_outputs(g):
    """Outputs with the golden's r and f; c has no part in the contrast."""
    outputs = []
    for view in "12":
        maps, f = NDArray(g[f"cam_rv{view}"]), NDArray(g[f"proj{view}"])
        f.attach_grad()
        outputs += [mx.nd.zeros_like(maps), maps, f]
    return outputs


def gather(method, outputs, label):
    part = {"image": mx.nd.zeros((len(label), 3, 8, 8)), "label": NDArray(label)}
    return method.gather([outputs], [part], World())


@pytest.mark.parametrize("name", CONTRAST)
def test_prototypes_and_labels(golden, parity, name):
    g = np.load(golden / f"ppc/{name}.npz")
    method = contrast_method(name, g)
    gathered = gather(method, given_outputs(g), g["label"])
    score = method.recipe.background_score
    for number, view in enumerate("12"):
        r, f = (resize(NDArray(g[f"{key}{view}"]), (16, 16)).asnumpy() for key in ("cam_rv", "proj"))
        u = ppc.stretched(r, score, method.background)
        if f"norm_cam{view}" in g.files:
            parity("PPC", f"{name}: u, view {view}", u, g[f"norm_cam{view}"], 2e-6)
            values = u.swapaxes(0, 1).reshape(21, -1)
            chosen = np.argsort(-values, axis=1, kind="stable")[:, : method.prototype_size]
            parity("PPC", f"{name}: pixels of prototypes, view {view}", chosen.astype(np.int32), g[f"top_indices{view}"], 0)  # fmt: skip
        y = gathered[f"y {number} cpu(0)"].asnumpy().astype(np.uint8)
        parity("PPC", f"{name}: pseudo labels, view {view}", y, g[f"pseudo_label{view}"], 0)
        P = gathered[f"P {number}"].asnumpy()
        parity("PPC", f"{name}: prototypes, view {view}", P, g[f"prototypes{view}"], 7e-7)


@pytest.mark.parametrize("name", CONTRAST)
def test_contrast_terms(golden, parity, drawn_evenly, name):
    g = np.load(golden / f"ppc/{name}.npz")
    method, outputs, count = contrast_method(name, g), given_outputs(g), len(g["label"])
    gathered = gather(method, outputs, g["label"])
    with mx.autograd.record():
        terms = method.contrast_losses(outputs, gathered)
    values = [terms[term].asscalar() / count for term in TERMS]
    parity("PPC", f"{name}: weighted terms", values, g["losses"][[2, 5, 8]], 6e-7)
    parity("PPC", f"{name}: their sum", sum(values), g["losses"][9], 1e-6)
    step = method.recipe.projection // g["grad_cross_nce_proj1"].shape[1]
    for term, key in zip(TERMS, ("cross_nce", "cross_nce2", "intra_nce")):
        for output in (outputs[2], outputs[5]):
            output.grad[:] = 0
        terms[term].backward(retain_graph=True)
        for view, output in zip("12", (outputs[2], outputs[5])):
            gradient = output.grad.asnumpy() / count
            expected = g[f"grad_{key}_proj{view}"]
            tolerance = {"contrast_a": 5e-10, "contrast_b": 8e-9, "eps_contrast": 8e-10}[name]
            parity(
                "PPC", f"{name}: gradient of {term}, view {view}", gradient[:, ::step], expected, tolerance
            )
            norm = np.linalg.norm(gradient.astype(np.float64))
            parity("PPC", f"{name}: its norm", norm, g[f"gradnorm_{key}_proj{view}"][0], 7e-9)


@pytest.mark.parametrize("name", CONTRAST)
def test_each_views_terms(golden, parity, drawn_evenly, name):
    g = np.load(golden / f"ppc/{name}.npz")
    method, outputs = contrast_method(name, g), given_outputs(g)
    gathered = gather(method, outputs, g["label"])
    v, P, y, weight = [], [], [], []
    for number, view in enumerate(halves(outputs)):
        f = resize(view[2], (16, 16)).transpose((0, 2, 3, 1)).reshape((-1, method.recipe.projection))
        v.append(mx.nd.L2Normalization(f, eps=1e-24))
        P.append(gathered[f"P {number}"])
        y.append(gathered[f"y {number} cpu(0)"])
        weight.append(gathered[f"weight {number} cpu(0)"])
    ours = [ppc.contrast(v[k], P[1 - k], y[k], 0.1).mean().asscalar() for k in (0, 1)]
    ours += [ppc.contrast(v[k], P[k], y[1 - k], 0.1).mean().asscalar() for k in (0, 1)]
    ours += [(ppc.intra_contrast(v[k], P[k], y[k], 0.1) * weight[k]).sum().asscalar() for k in (0, 1)]
    parity("PPC", f"{name}: each view's terms", ours, g["losses"][[0, 1, 3, 4, 6, 7]], 6e-6)


@pytest.mark.parametrize("name", ["contrast_a", "contrast_b"])
def test_drawn_pixels(golden, parity, monkeypatch, name):
    """With the very pixels that a run of the original drew at random."""
    g = np.load(golden / f"ppc/{name}.npz")
    positions = iter((g["drawn_positions1"], g["drawn_positions2"]))

    def drawn(random, y):
        keys = np.ones(len(y))
        for label, chosen in enumerate(next(positions)):
            keys[np.flatnonzero(y == label)[chosen[chosen >= 0]]] = 0
        return keys

    monkeypatch.setattr(ppc, "draw_keys", drawn)
    method, outputs = contrast_method(name, g), given_outputs(g)
    terms = method.contrast_losses(outputs, gather(method, outputs, g["label"]))
    values = [terms[term].asscalar() / len(g["label"]) for term in TERMS]
    parity("PPC", f"{name}: terms of drawn pixels", values, g["losses_seeded"][[2, 5, 8]], 6e-7)


def test_terms_of_seam(golden, parity):
    g = np.load(golden / "ppc/seamterms_a.npz")
    count, label, size = 2, NDArray(g["label"]), (160, 192)
    method = create_method("ppc", create_backbone("small"), 20)
    assert method.network.second_size(size) == (128, 128)
    low = [NDArray(g[key]) for key in ("cam1_low", "rv1_low", "cam2_low", "rv2_low")]
    for array in low:
        array.attach_grad()
    outputs, part = [*low[:2], None, *low[2:], None], {"image": mx.nd.zeros((2, 3, *size)), "label": label}
    tolerances = {
        "cls": (3e-10, 2e-8, 4e-10, 3e-8), "er": (8e-9, 0, 2e-8, 0), "ecr": (0, 2e-7, 0, 4e-7),
    }  # fmt: skip
    groups = {"cls": ("cam", "minimum"), "er": ("equivariance",), "ecr": ("cross_equivariance",)}
    for group, terms in groups.items():
        for array in low:
            array.grad[:] = 0
        with mx.autograd.record():
            losses = super(ppc.PPC, method).losses(outputs, part, {})
            sum(losses[term] for term in terms).backward()
        for key, array, tolerance in zip(("cam1", "rv1", "cam2", "rv2"), low, tolerances[group]):
            expected = g.get(f"grad_{group}_{key}", np.zeros(array.shape, np.float32))
            parity("PPC", f"SEAM's terms: gradient of {group} in {key}", array.grad.asnumpy() / count, expected, tolerance)  # fmt: skip
    values = {key: value.asscalar() / count for key, value in losses.items()}
    ours = [values["equivariance"], values["cam"] + values["minimum"], values["cross_equivariance"]]
    parity("PPC", "SEAM's terms: ER, bracket, ECR", ours, g["losses"][[4, 7, 8]], 2e-6)


def test_terms_of_eps(golden, parity):
    g = np.load(golden / "ppc/eps_er_sal.npz")
    count, label = 2, NDArray(g["label"])
    method = create_method("ppc_eps", create_backbone("small"), 20)
    maps = [NDArray(g[key]) for key in ("cam1", "rv1", "cam2", "rv2")]
    for array in maps:
        array.attach_grad()
    outputs = [*maps[:2], None, *maps[2:], None]
    part = {"image": mx.nd.zeros((2, 3, 160, 192)), "label": label, "saliency": NDArray(g["saliency"][:, 0])}
    method.contrast_losses = lambda outputs, gathered: {}

    def gradients(value):
        for array in maps:
            array.grad[:] = 0
        value.backward(retain_graph=True)
        return [array.grad.asnumpy() / count for array in maps]

    with mx.autograd.record():
        losses = method.losses(outputs, part, {})
    values = {key: value.asscalar() / count for key, value in losses.items()}
    parity("PPC", "EPS's terms: ER, ECR", [values["equivariance"], values["cross_equivariance"]], g["er_ecr"][[0, 3]], 2e-6)  # fmt: skip
    expected = g["sal_losses"]
    parity("PPC", "EPS's terms: saliency", values["saliency"], expected.sum() / 2, 3e-7)
    cases = {
        "equivariance": (("grad_er_cam1", 2e-9), None, ("grad_er_cam2", 4e-9), None),
        "cross_equivariance": (None, ("grad_ecr_rv1", 5e-8), None, ("grad_ecr_rv2", 5e-8)),
    }
    for term, tables in cases.items():
        for gradient, table in zip(gradients(losses[term]), tables):
            if table is None:
                assert not gradient.any()
            else:
                parity("PPC", f"EPS's terms: {table[0]}", gradient, g[table[0]], table[1])
    found = gradients(losses["saliency"])  # each of the four terms counts half
    for gradient, (key, tolerance) in zip(
        found, (("cam1", 2e-9), ("rv1", 2e-10), ("cam2", 5e-9), ("rv2", 3e-10))
    ):
        parity("PPC", f"EPS's terms: gradient of the saliency loss in {key}", 2 * gradient, g[f"grad_sal_{key}"], tolerance)  # fmt: skip
    for index, view in ((1, "1"), (3, "2")):
        with mx.autograd.record():
            value = minimum_pooling(tagged(maps[index], tag_selection(label), "last"), 0.25, "last")
        parity("PPC", f"EPS's terms: minimum pooling, view {view}", value.asscalar() / count, g[f"minpool{view}"][0], 2e-7)  # fmt: skip
        gradient = gradients(value)[index]
        parity("PPC", f"EPS's terms: its gradient, view {view}", gradient, g[f"grad_minpool{view}"], 9e-9)


@pytest.fixture(scope="module", params=["ppc", "ppc_eps"])
def network(request):
    method = create_method(request.param, create_backbone("resnet38"), 20)
    load_recipe(method)
    return method


def test_networks(golden, parity, network):
    for name in ("network_a", "network_b") if network.result == "ppc" else ("eps_network",):
        g = np.load(golden / f"ppc/{name}.npz")
        cam, r, f = network.network.view(mx.nd, unnormalised(g["input"]))
        parity("PPC", f"{name}: f", f.asnumpy(), g["proj"], 6e-5)
        if name == "eps_network":
            parity("PPC", f"{name}: c", cam.asnumpy(), g["cam"], 6e-5)
            parity("PPC", f"{name}: r", r.asnumpy(), g["cam_rv"], 3e-6)
            parity("PPC", f"{name}: mean of c", cam.mean(axis=(2, 3)).asnumpy(), g["pred"], 6e-6)
            parity("PPC", f"{name}: mean of r", r.mean(axis=(2, 3)).asnumpy(), g["pred_rv"], 2e-6)
            continue
        parity("PPC", f"{name}: r", r.asnumpy(), g["cam_rv_low"], 4e-6)
        for what, values, tolerances in (("cam", cam, (5e-5, 2e-3)), ("cam_rv", r, (4e-6, 6e-5))):
            whole = resize(values, g["input"].shape[2:])
            ours = whole.asnumpy()[:, :, ::4, ::4]
            parity("PPC", f"{name}: {what} of the input's size", ours, g[f"{what}_sub4"], tolerances[0])
            parity("PPC", f"{name}: {what}, statistics", statistics(whole), g[f"{what}_stats"], tolerances[1])


def test_a_whole_step(golden, parity, network, drawn_evenly):
    """Every loss and every gradient of one step from two photographs on."""
    on_eps = network.result == "ppc_eps"
    g = np.load(golden / f"ppc/{'eps_' if on_eps else ''}train_step.npz")
    part = {"image": NDArray(g["pictures"].transpose(0, 3, 1, 2)), "label": NDArray(g["label"])}
    if on_eps:
        part["saliency"] = NDArray(g["saliency"][:, 0])
    with mx.autograd.record(train_mode=False):  # the dropouts of the golden are off, batch norm is frozen
        outputs = network(part["image"])
        with mx.autograd.pause():
            gathered = network.gather([outputs], [part], World())
        losses = network.losses(outputs, part, gathered)
        total = sum(losses.values()) / 2
    total.backward(train_mode=False)
    values = {key: value.asscalar() / 2 for key, value in losses.items()}
    bracket, all_terms = values["cam"] + values["minimum"], sum(values[term] for term in TERMS)
    er, ecr = values["equivariance"], values["cross_equivariance"]
    if on_eps:
        ours, expected = [bracket, values["saliency"], all_terms, er, ecr, total.asscalar()], g["losses"]
    else:
        ours = [er, bracket, ecr, *(values[term] for term in TERMS), all_terms, total.asscalar()]
        expected = g["losses"][[4, 7, 8, 11, 14, 17, 18, 19]]
        for number, view in enumerate("12"):
            P, y = gathered[f"P {number}"].asnumpy(), gathered[f"y {number} cpu(0)"].asnumpy()
            parity("PPC", f"step: prototypes, view {view}", P, g[f"prototypes{view}"], 3e-6)
            parity(
                "PPC", f"step: pseudo labels, view {view}", y.astype(np.uint8), g[f"pseudo_label{view}"], 5e-4
            )
    parity("PPC", f"{network.result}, step: losses", ours, expected, 2e-5)
    heads = ("fc8", "proj_fc" if on_eps else "fc_proj", "f8_3", "f8_4", "f9")
    parity(
        "PPC",
        f"{network.result}, step: gradient norms",
        gradient_norms(network, heads),
        g["grad_norms"],
        5e-4,
    )
    background, _ = split_background(mx.nd, network.collect_params()["fc8_weight"].grad().expand_dims(0), network.background)  # fmt: skip
    assert on_eps or not background.asnumpy().any()
