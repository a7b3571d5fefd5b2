"""Scores and threshold curves against those of the originals' own evaluators."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from icd.classes import VOC_CLASSES
from icd.errors import InputError
from icd.evaluate import score_masks, threshold_curve
from icd.files import write_mask
from icd.foreign.numpy_files import write_npy

PART = "evaluation"
SIX = [str(k) for k in range(6)]
TWO = ["0", "1"]


@pytest.fixture
def six_pictures(golden, write_masks):
    """Predictions and truth of the golden set, and the golden numbers."""
    content = np.load(golden / "evaluation" / "iou.npz")
    truth = write_masks("truth", {k: content[f"gt_{k}"] for k in SIX})
    predictions = write_masks("predictions", {k: content[f"pred_{k}"] for k in SIX})
    return predictions, truth, content


@pytest.fixture
def copy_masks(write_masks):
    """A function that brings two pictures of a golden folder, whatever their palette, under the ids 0 and 1."""

    def copy(name, folder, pattern):
        return write_masks(name, {k: np.array(Image.open(folder / pattern.format(k))) for k in TWO})

    return copy


def _minus_one(values):
    """The golden files store -1 where a class has no number."""
    return np.where(np.isnan(values), -1, values)


def test_seam_and_ppc(six_pictures, parity):
    predictions, truth, content = six_pictures
    for name in ("seam", "ppc"):
        scores = score_masks(predictions, truth, SIX, VOC_CLASSES, name)
        parity(PART, f"{name}: IoU in %", 100 * scores.iou, content["seam_iou_percent"], 2e-4)
        parity(PART, f"{name}: mIoU in %", [100 * scores.miou], content["seam_miou_percent"], 6e-5)


def test_deeplab(six_pictures, parity):
    predictions, truth, content = six_pictures
    scores = score_masks(predictions, truth, SIX, VOC_CLASSES, "deeplab")
    parity(PART, "deeplab: IoU", _minus_one(scores.iou), content["deeplab_iou"], 2e-6)
    recall = scores.mean(scores.per_class["recall"])
    found = [scores.pixel_accuracy, recall, scores.frequency_weighted_iou, scores.miou]
    parity(PART, "deeplab: accuracies, mIoU", found, content["deeplab_summary"], 2e-6)


def test_eps(six_pictures, parity):
    predictions, truth, content = six_pictures
    for k in (1, 2):  # with 255 and 21 in the predictions, and larger than the truth
        padded = np.pad(content[f"pred_eps_{k}"], ((0, 3), (0, 5)), constant_values=7)
        write_mask(predictions / f"{k}.png", padded)
    scores = score_masks(predictions, truth, SIX, VOC_CLASSES, "eps", boundary=False)
    parity(PART, "eps: confusion matrix", scores.confusion, content["eps_hist"].astype(np.int64), 0)
    for name in ("iou", "precision", "recall"):
        parity(PART, f"eps: {name}", _minus_one(scores.per_class[name]), content[f"eps_{name}"], 2e-6)
    means = [scores.mean(scores.per_class[name]) for name in ("precision", "recall")]
    found = [scores.pixel_accuracy, scores.miou, *means, scores.frequency_weighted_iou]
    parity(PART, "eps: accuracies, means", found, content["eps_summary"], 2e-6)


def test_icd(golden, copy_masks, parity):
    folder = golden / "evaluation" / "icd"
    truth = copy_masks("truth", folder, "pair{}_gt.png")
    predictions = copy_masks("predictions", folder, "pair{}_pred.png")
    content = np.load(folder / "iou.npz")
    both = score_masks(predictions, truth, TWO, VOC_CLASSES, "icd")
    parity(PART, "icd: IoU", both.iou, content["iou_both"], 1e-6)
    parity(PART, "icd: mIoU", both.miou, content["miou_both"], 1e-6)
    single = [score_masks(predictions, truth, [k], VOC_CLASSES, "icd").iou for k in TWO]
    parity(PART, "icd: IoU of single images", single, content["iou_single"], 1e-6)
    with pytest.raises(InputError, match="the value 40"):
        score_masks(predictions, truth, TWO, VOC_CLASSES, "drop")


@pytest.mark.parametrize(
    ("variant", "masks", "numbers"),
    [
        ("vwe", "image{}_label.png", "scores.npz"),
        ("vwl_l", "image{}_label.png", "scores.npz"),
        ("vwl_l", "image{}_pred.png", "crf_scores.npz"),
    ],
)
def test_vwe(golden, copy_masks, parity, variant, masks, numbers):
    folder = golden / "evaluation" / variant
    content = np.load(folder / numbers)
    truth, predictions = (
        copy_masks("truth", folder, "image{}_truth.png"),
        copy_masks("predictions", folder, masks),
    )
    scores = score_masks(predictions, truth, TWO, VOC_CLASSES, "vwe")
    name = f"{variant}, {'CRF' if 'crf' in numbers else 'CAM'}"
    parity(PART, f"{name}: IoU", _minus_one(scores.iou), content["class_iou"], 1e-6)
    found = [scores.miou, scores.pixel_accuracy, scores.mean(scores.per_class["recall"])]
    parity(
        PART,
        f"{name}: mIoU, accuracies",
        found,
        [content[n] for n in ("mean_iou", "pixel_accuracy", "mean_accuracy")],
        1e-6,
    )


def test_drs(golden, copy_masks, parity):
    folder = golden / "evaluation" / "drs"
    content = np.load(folder / "scores.npz")
    truth = copy_masks("truth", folder, "case{}_truth.png")
    predictions = copy_masks("predictions", folder, "case{}_label_without_ignore.png")
    scores = score_masks(predictions, truth, TWO, VOC_CLASSES, "drs")
    parity(PART, "drs: IoU", _minus_one(scores.iou), content["class_iou"], 1e-6)
    parity(
        PART,
        "drs: mIoU, accuracy",
        [scores.miou, scores.pixel_accuracy],
        [content["mean_iou"], content["pixel_accuracy"]],
        1e-6,
    )


def test_seam_curve(golden, write_masks, tmp_path, parity):
    content = np.load(golden / "evaluation" / "curve.npz")
    truth = write_masks("truth", {k: content[f"gt_{k}"] for k in SIX})
    for k in SIX:
        planes = content[f"cam_u8_{k}"].astype(np.float32) / np.float32(255)
        write_npy(tmp_path / "maps" / f"{k}.npy", dict(zip(content[f"cam_classes_{k}"].tolist(), planes)))
    curve = threshold_curve(tmp_path / "maps", truth, SIX, policy="seam")
    parity(PART, "seam, 60 thresholds: IoU in %", 100 * curve.iou, content["iou_percent"], 2e-4)
    parity(PART, "seam, 60 thresholds: mIoU in %", 100 * curve.miou, content["miou_percent"], 9e-5)
    assert curve.best == int(np.argmax(content["miou_percent"]))


@pytest.mark.parametrize("variant", ["vwe", "vwl_l"])
def test_vwe_from_score_maps(golden, copy_masks, tmp_path, parity, variant):
    folder = golden / "evaluation" / variant
    content = np.load(folder / "scores.npz")
    truth = copy_masks("truth", folder, "image{}_truth.png")
    for k in TWO:
        maps = {"keys": content[f"keys_{k}"], "cam": np.zeros(1), "high_res": content[f"high_res_{k}"]}
        write_npy(tmp_path / "maps" / f"{k}.npy", maps)
    curve = threshold_curve(tmp_path / "maps", truth, TWO, policy="vwe")
    place = curve.position(float(np.round(content["bkgscore"], 2)))
    parity(PART, f"{variant}, from score maps: IoU", _minus_one(curve.iou[place]), content["class_iou"], 1e-6)
    parity(PART, f"{variant}, from score maps: mIoU", curve.miou[place], content["mean_iou"], 1e-6)
