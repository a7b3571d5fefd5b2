"""Prediction against the arrays of the original programs: views, fusion, CRF and what it sees."""

from __future__ import annotations

import numpy as np
import pytest

from icd.data.views import FloatPyramid
from icd.files import ImageLogits
from icd.fusion import Fusion, crf_probabilities, logits_on_image, mask_of, softmax
from icd.refine.crf import crf_picture
from icd.segment.deeplab_v1 import DeepLabV1
from icd.segment.deeplab_v2 import DeepLabV2

LABEL_MAP = 5e-4  # the share of pixels that may differ, as the golden's README says
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
RECIPE = DeepLabV1.recipes["voc"]


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25, 1.5, 1.75])
def test_views_of_the_codebase(golden, parity, scale):
    """The original normalises first and resizes then; the two commute."""
    g = np.load(golden / "deeplab/y_fusion.npz")
    shown = FloatPyramid((scale,), mirror=True)(g["ms_picture"])
    (view,) = shown.views
    np.testing.assert_array_equal(view[1], view[0][..., ::-1])
    ours = (view[0].transpose(1, 2, 0) / 255 - MEAN) / STD
    parity("segmentation prediction", f"network input at scale {scale}", ours, g[f"ms_input_{scale}"], 4e-6)


def codebase_logits(g):
    """The twelve passes as `predict` gives them; the network ends with its input's size, so the first resizing changes nothing."""
    grids = [np.concatenate([g[f"logits_{i}"], g[f"logits_{i + 1}"]]) for i in range(0, 12, 2)]
    return ImageLogits(tuple(grids), tuple(grid.shape[2:] for grid in grids), g["picture"].shape[:2])


def test_twelve_passes(golden, parity):
    g = np.load(golden / "deeplab/y_fusion.npz")
    shown = FloatPyramid(RECIPE.infer_scales, RECIPE.infer_mirror)(g["picture"])
    given = codebase_logits(g)
    assert [view.shape[2:] for view in shown.views] == list(given.views) and sum(map(len, shown.views)) == 12
    logits = logits_on_image(given, Fusion(DeepLabV1.alignment, DeepLabV1.through_view, RECIPE.average))
    parity("segmentation prediction", "codebase: probabilities", softmax(logits), g["prob"], 2e-6)
    parity("segmentation prediction", "codebase: label map", mask_of(logits), g["label"], LABEL_MAP)
    picture = crf_picture(g["picture"], RECIPE.crf_picture)
    parity(
        "segmentation prediction",
        "codebase: what the CRF sees",
        picture.transpose(2, 0, 1),
        g["crf_image"],
        0,
    )
    refined = crf_probabilities(g["picture"], logits, "seam-deeplab", RECIPE.crf_picture)
    parity("segmentation prediction", "codebase: CRF", refined, g["crf_prob"], 5e-4)
    parity(
        "segmentation prediction",
        "codebase: label map of the CRF",
        mask_of(refined),
        g["label_crf"],
        LABEL_MAP,
    )


@pytest.mark.parametrize("picture", ["wrapped", "bgr"])
def test_crf_of_deeplab_pytorch(golden, parity, picture):
    g = np.load(golden / "deeplab/k_crf.npz")
    image = g["picture"]
    given = ImageLogits((g["logits"][None],), (image.shape[:2],), image.shape[:2])
    logits = logits_on_image(given, Fusion(DeepLabV2.alignment, DeepLabV2.through_view))
    parity(
        "segmentation prediction", "deeplab-pytorch: label map", mask_of(logits), g["label_nocrf"], LABEL_MAP
    )
    if picture == "wrapped":
        ours = crf_picture(image, picture)
        parity("segmentation prediction", "deeplab-pytorch: what the CRF sees", ours, g["wrapped_picture"], 0)
    refined = crf_probabilities(image, logits, DeepLabV2.recipes["voc"].crf, picture)
    kind = "wrapped" if picture == "wrapped" else "raw"
    what = f"deeplab-pytorch, {kind} picture"
    parity("segmentation prediction", f"{what}: CRF", refined[:, ::4, ::4], g[f"prob_{kind}_sub4"], 5e-4)
    parity("segmentation prediction", f"{what}: label map", mask_of(refined), g[f"label_{kind}"], LABEL_MAP)
