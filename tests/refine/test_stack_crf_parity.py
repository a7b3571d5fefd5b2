"""The CRF steps of SEAM's and PPC's programs against their arrays: label stacks, hard labels, a walk's scores."""

from __future__ import annotations

import numpy as np
import pytest

from icd.compat import mx
from icd.files import LabelStack
from icd.refine.affinitynet import AffinityNet, Pairs, affinities_of, cell_means, pad_to_cells, walked_stack
from icd.refine.crf import CrfParameters
from icd.refine.random_walk import place_pairs, random_walk
from icd.refine.stack_crf import background_plane, crf_of_stack

PART = "dense CRF and walks"


def stack_of(v, classes, background):
    labels = np.int16([0, *(number + 1 for number in classes)])
    return LabelStack(labels, np.concatenate([background_plane(v, background)[None], v]))


@pytest.mark.parametrize("alpha", [4, 24])
def test_stacks_of_seam(golden, parity, alpha):
    g = np.load(golden / "seam/fusion_a.npz")
    stack = stack_of(g["norm_cam"], [4, 14], {"power": alpha})
    crf = crf_of_stack(stack, g["picture"], "psa", iterations=10)
    parity(PART, f"SEAM's stack, alpha {alpha}", crf.planes, g[f"crf_alpha{alpha}"], 5e-4)


def test_stack_of_ppc_on_eps(golden, parity):
    g = np.load(golden / "ppc/eps_crf.npz")
    stack = stack_of(g["cam_u8"] / np.float32(255), [7, 17], {"power": 8})
    crf = crf_of_stack(stack, g["picture"], "psa", iterations=5)
    parity(PART, "PPC's stack on EPS", crf.planes, g["crf_alpha8_t5"], 5e-4)
    parity(PART, "PPC's pseudo label on EPS", crf.mask(), g["pseudo_label"], 5e-4)


@pytest.mark.parametrize("alpha", [4, 24])
def test_stacks_of_ppc(golden, parity, alpha):
    g = np.load(golden / "ppc/crf.npz")
    stack = stack_of(g["cam_u8"] / np.float32(255), [14, 17], {"power": alpha})
    crf = crf_of_stack(stack, g["picture"], "psa", hard=True, rows_first=True, num_classes=20, iterations=10)
    parity(PART, f"PPC's stack, alpha {alpha}", crf.planes, g[f"prepare_alpha{alpha}"], 5e-4)
    parity(PART, f"PPC's label, alpha {alpha}", crf.mask(), g[f"prepare_alpha{alpha}_argmax"], 5e-4)


def test_mask_of_ppcs_inference(golden, parity):
    g = np.load(golden / "ppc/crf.npz")
    stack = stack_of(g["cam_u8"] / np.float32(255), [14, 17], 0.26)
    parameters = CrfParameters(3, 3, 50, 5, 10)
    crf = crf_of_stack(stack, g["picture"], parameters, hard=True, num_classes=20, iterations=10)
    parity(PART, "PPC's mask behind its CRF", crf.mask(), g["infer_crf_label"], 5e-4)


def test_walk_of_seam_with_its_crf(golden, parity):
    """The CRF that SEAM's program may run behind the walk: one iteration on all 21 planes of the padded picture."""
    g = np.load(golden / "seam/rw_crf.npz")
    f, recipe = mx.nd.array(g["features"]), AffinityNet.recipes["seam"]
    pairs = Pairs(recipe.radius, *f.shape[2:])
    planes = place_pairs(affinities_of(f, pairs)[0].asnumpy(), pairs.offsets, *f.shape[2:])
    stack = stack_of(g["cam_u8"] / np.float32(255), [7], {"power": recipe.background_power})
    walked = random_walk(cell_means(stack.planes, 8), planes, pairs.offsets, recipe.beta, recipe.walk_steps)
    parity(PART, "SEAM's walk before its CRF", walked, g["walked"], 7e-5)
    padded = pad_to_cells(stack.planes.transpose(1, 2, 0), 8, 0).transpose(2, 0, 1)
    whole = np.zeros((21, *padded.shape[1:]), np.float32)
    whole[stack.labels] = padded
    walked = walked_stack(
        LabelStack(np.arange(21, dtype=np.int16), whole),
        planes,
        pairs.offsets,
        8,
        recipe.beta,
        recipe.walk_steps,
    )
    # The program takes its picture back from the network's padded input, in single precision, and cuts off.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    shown = pad_to_cells((g["picture"] / 255.0 - mean) / std, 8, 0.0).astype(np.float32)
    picture = ((shown * std.astype(np.float32) + mean.astype(np.float32)) * 255).astype(np.uint8)
    crf = crf_of_stack(walked, picture, "psa", iterations=1)
    parity(PART, "SEAM's walk behind its CRF", crf.planes[stack.labels][:, ::2, ::2], g["crf_scores"], 5e-4)
    height, width = g["picture"].shape[:2]
    parity(PART, "SEAM's mask behind it", crf.mask()[:height, :width], g["label_map"], 5e-4)
