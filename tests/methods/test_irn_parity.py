"""IRN and its CAM network against the arrays of the original program: networks, losses, seeds, walks, fusion."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_weights import load_irn_recipe, unnormalised

from icd.backbones import create_backbone
from icd.compat import mx
from icd.data.views import Pyramid
from icd.engine.build import make_trainable
from icd.engine.localize import localize_views, score_maps_of
from icd.engine.world import World
from icd.files import ScoreMaps
from icd.grid import maps_on_image, share_of_maximum, strided_maps
from icd.methods import create_method
from icd.refine.boundary_walk import walk_to_boundaries
from icd.refine.confident_seeds import confident_seed
from icd.refine.irn import IRN, Fields, on_grid, path_affinities
from icd.refine.path_affinity import path_offsets

NDArray = mx.nd.array


@pytest.fixture(scope="module")
def irn():
    refiner = make_trainable("irn", create_backbone("resnet50"), 20)
    load_irn_recipe(refiner)
    return refiner


def test_network(golden, parity, irn):
    g = np.load(golden / "irn/network_a.npz")
    images = unnormalised(g["input"])
    fields = irn(images)
    shifted = fields.displacement - irn.mean_shift.data().reshape((1, 2, 1, 1))
    parity("IRN networks", "boundary logits", fields.boundary.asnumpy(), g["edge_logits"], 2e-5)
    parity("IRN networks", "displacements", shifted.asnumpy(), g["displacement"], 2e-5)
    limits = {1: (3e-5, 7e-4), 2: (4e-5, 2e-3), 3: (5e-5, 1e-3), 4: (7e-5, 8e-4), 5: (6e-5, 2e-3)}
    for number, tap in enumerate(irn.frozen_taps(images), 1):
        ours = tap.asnumpy()
        shown, of_all = limits[number]
        every = ours.shape[1] // 16
        parity("IRN networks", f"tap x{number}", ours[:, ::every], g[f"x{number}_ch16"], shown)
        values = ours.astype(np.float64)
        statistics = [values.mean(), values.std(), np.sqrt((values**2).sum()), values.min(), values.max()]
        parity("IRN networks", f"tap x{number}, statistics", statistics, g[f"x{number}_stats"], of_all)


def test_parameters(irn):
    """Spec irn 2.3 and 4.3: counts, what trains, and the rates of the two branches."""
    sizes = {
        name: sum(np.prod(p.shape) for p in branch.collect_params().values())
        for name, branch in (("boundary", irn.boundary_branch), ("displacement", irn.displacement_branch))
    }
    assert sizes == {"boundary": 125_409, "displacement": 1_269_120}
    assert {p.grad_req for p in irn.network.collect_params().values()} == {"null"}
    assert {p.lr_mult for p in irn.boundary_branch.collect_params().values()} == {1}
    assert {p.lr_mult for p in irn.displacement_branch.collect_params().values()} == {10}
    recipe = irn.recipe
    assert (recipe.momentum, recipe.weight_decay, recipe.learning_rate) == (1e-4, 1e-4, 0.1)


@pytest.mark.slow
def test_inference(golden, parity, irn):
    g = np.load(golden / "irn/network_b.npz")
    image = unnormalised(g["input"][0]).asnumpy().transpose(1, 2, 0)
    parity("IRN networks", "boundary map of a picture", irn.boundary(image), g["edge"][0], 2e-6)
    parity("IRN networks", "displacements of a picture", irn.displacement(image), g["displacement"], 8e-5)


def test_cam_network(golden, parity):
    g = np.load(golden / "irn/network_cam.npz")
    method = create_method("irn_cam", create_backbone("resnet50"), 20)
    load_irn_recipe(method)
    images = unnormalised(np.concatenate([g["input"], g["input"][..., ::-1]]))
    x = method(images[:1])
    logits = method.classifier(method.pool(x))[:, :, 0, 0].asnumpy()
    parity("IRN networks", "CAM network: logits", logits, g["logits"], 3e-5)
    size = g["input"].shape[2:]
    batch = {
        "views": [images.asnumpy()], "label": np.ones((1, 20), np.float32), "sizes": [size], "frames": [(*size, *size)],
    }  # fmt: skip
    (scores,) = score_maps_of(method, batch, localize_views(method, batch, mx.cpu()), 0).values()
    parity("IRN networks", "CAM network: CAM and its mirror image's", scores.maps, g["cam"], 2e-4)


@pytest.mark.parametrize("radius", [5, 10])
def test_affinities(golden, parity, radius):
    g = np.load(golden / f"irn/affinity_r{radius}.npz")
    a = path_affinities(NDArray(g["edge"][:, 0]), radius).asnumpy()
    parity("IRN losses", f"affinities, radius {radius}", a.reshape(g["affinity"].shape), g["affinity"], 2e-6)
    np.testing.assert_array_equal(path_offsets(radius), g["destinations"])


def test_losses(golden, parity):
    g = np.load(golden / "irn/loss_a.npz")
    method = make_trainable("irn", create_backbone("small"), 20)
    assert method.recipe.radius == 10
    logits, displacement = NDArray(g["edge_logits"]), NDArray(g["displacement"])
    small = on_grid(NDArray(g["seed_label_full"]), logits.shape[2:]).asnumpy().astype(np.uint8)
    parity("IRN losses", "seeds on the grid", small, g["seed_label_small"], 0)
    part = {"mask": NDArray(g["seed_label_full"])}
    for values in (logits, displacement):
        values.attach_grad()
    with mx.autograd.record():
        fields = Fields(logits, displacement)
        with mx.autograd.pause():
            gathered = method.gather([fields], [part], World())
        terms = method.losses(fields, part, gathered)
        total = sum(terms.values())
    total.backward()
    counts, images = gathered["counts"].asnumpy()[:3], len(g["edge_logits"])
    parity("IRN losses", "pairs of each kind", counts, g["pair_counts"], 2e-2)
    weights = {
        "same_background": 4,
        "same_class": 4,
        "different": 2,
        "displacement_class": 2,
        "displacement_background": 2,
    }
    found = {name: weights[name] * term.asscalar() / images for name, term in terms.items()}
    ours = [
        found["same_background"], found["same_class"], (found["same_background"] + found["same_class"]) / 2,
        found["different"], found["displacement_class"], found["displacement_background"], total.asscalar() / images,
    ]  # fmt: skip
    parity("IRN losses", "terms and total", ours, g["losses"], 9e-6)
    parity(
        "IRN losses", "gradient of the logits", logits.grad.asnumpy() / images, g["grad_edge_logits"], 8e-8
    )
    ours = displacement.grad.asnumpy() / images
    parity("IRN losses", "gradient of the displacements", ours, g["grad_displacement"], 2e-8)


WALKS = {  # beta and the power of two of steps, by radius: tolerances in single precision
    "walk_a": {(5, 10, 8): 2e-4, (5, 8, 6): 8e-5, (5, 10, 1): 5e-6, (4, 4, 3): 1e-5, (3, 10, 8): 3e-4},
    "walk_b": {(5, 10, 8): 3e-4},
}
CLASSES = {"walk_a": (0, 14), "walk_b": (6, 11, 14)}


@pytest.mark.parametrize("name", sorted(WALKS))
def test_walks(golden, parity, name):
    g = np.load(golden / f"irn/{name}.npz")
    size, cam = tuple(int(side) for side in g["orig_size"]), g["cam"]
    classes = np.array(CLASSES[name], np.int16) + 1
    scores = ScoreMaps(classes, cam, size, (*size, *size))
    for (radius, beta, power), limit in WALKS[name].items():
        setting = f"r{radius}_beta{beta}_exp{power}"
        stack = walk_to_boundaries(g["edge"][0], scores, 0.25, beta, 2**power, radius)
        assert stack.labels.tolist() == [0, *classes] and (stack.planes[0] == 0.25).all()
        parity("IRN walks", f"{name}, {setting}: labels", stack.mask(), g[f"label_map_{setting}"], 5e-4)
        # The published walk, laid on the image as the published label map is.
        whole = tuple(4 * side for side in cam.shape[1:])
        expected = maps_on_image(ScoreMaps(classes, g[f"rw_{setting}"], size, (*whole, *size)))
        expected /= expected.max()
        limit = limit / g[f"rw_{setting}"].max()
        parity(
            "IRN walks", f"{name}, {setting}: scores on the image", stack.planes[1:], expected, limit + 2e-5
        )


def test_seeds(golden, parity):
    g = np.load(golden / "irn/seed_label_astronaut.npz")
    cam = g["cam_u8"].astype(np.float32) / np.float32(255)
    size = cam.shape[1:]
    scores = ScoreMaps(np.array([1, 15, 18], np.int16), cam, size, (*size, *size))
    parity("IRN seeds", "seed", confident_seed(scores, g["picture"]), g["seed"], 5e-4)
    # With one threshold in the place of both, what is a class and what is background fill the image.
    for threshold, key in ((0.30, "fg_conf"), (0.05, "bg_conf")):
        ours = confident_seed(scores, g["picture"], threshold, threshold)
        parity("IRN seeds", f"labels after the CRF, threshold {threshold}", ours, g[key], 5e-4)


def test_fusion(golden, parity):
    g = np.load(golden / "irn/fusion_cam.npz")
    size = tuple(int(side) for side in g["orig_size"])
    shown = create_method("irn_cam", create_backbone("small"), 20)
    shown = shown.presentation(shown.recipe, 0)(np.zeros((*size, 3), np.uint8))
    assert isinstance(Pyramid((1.0,), 16), Pyramid) and shown.frame == (64, 96, *size)
    present = np.array([1, 14, 17])
    first, *further = (g[f"cam_in_{i}"][present] for i in range(4))
    scores = ScoreMaps((present + 1).astype(np.int16), first, size, shown.frame, tuple(further))
    parity("IRN CAM", "strided maps", share_of_maximum(strided_maps(scores)), g["cam"], 7e-6)
    parity("IRN CAM", "maps on the image", share_of_maximum(maps_on_image(scores)), g["high_res"], 8e-6)


def test_recipe_is_the_published_one():
    """Spec irn 1.1 and 4.3."""
    recipe = IRN.recipes["voc"]
    assert (recipe.image_size, recipe.batch_size, recipe.num_epoch) == (512, 32, 3)
    assert (recipe.radius, recipe.walk_radius, recipe.new_layer_multiplier) == (10, 5, 10)
