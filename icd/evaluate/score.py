"""Score a folder of masks against a folder of truths, on all cores, so that an interrupted run goes on where it stopped.

In: two folders with one PNG an image, and ids. Out: `icd.evaluate.scores.Scores`.
"""

from __future__ import annotations

import os
import unicodedata
from functools import partial as bind
from pathlib import Path

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError
from icd.evaluate.boundary import boundary_counts
from icd.evaluate.confusion import class_counts, joint_table
from icd.evaluate.findings import Findings, count_findings, no_findings
from icd.evaluate.policies import apply_policy, class_scores, convention_of, mean_iou
from icd.evaluate.scores import Scores
from icd.evaluate.tally import tally
from icd.files import read_mask_and_palette
from icd.files.pictures import near_match

_SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".gif"}


def score_masks(
    prediction_folder,
    truth_folder,
    ids,
    classes,
    policy="drop",
    *,
    evaluated_classes=None,
    boundary=True,
    workers=None,
    partial=None,
    save_every=10.0,
    progress=None,
) -> Scores:
    """Compare predictions with the truth.

    Parameters
    ----------
    prediction_folder, truth_folder : str or os.PathLike
        One single-channel PNG an image, palette or gray; 255 in the truth is left out.
    ids : sequence of str
        File names without suffix.
    classes : sequence of str
        Names of the foreground classes 1..C.
    policy : str
        Name of a convention in `icd.evaluate.policies.CONVENTIONS`: `drop`, `background` or `error` for 255 in a
        prediction, or an original's own way of counting.
    evaluated_classes : sequence of int, optional
        Other classes count as 255 in the truth; mIoU is the mean over these.
    boundary : bool
        Count the bands for boundary IoU, too.
    workers : int or icd.stages.cluster.Cluster, optional
        Processes; default all cores.
    partial : str or os.PathLike, optional
        File that keeps the counts of finished images every `save_every` seconds and when the run stops early. A later
        call with the same arguments goes on from it, unless a mask has changed since. Removed at the end.
    progress : callable, optional
        Called with (images done, images in all).

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        A truth is missing, a file is damaged, coloured or of another size, a value is no class number, a prediction holds
        255 and the convention refuses it, two files serve one id, or no prediction is there at all.
    """
    convention = convention_of(policy)
    evaluated = check_evaluated(evaluated_classes, len(classes))
    predictions = index_masks(prediction_folder, ids)
    present = [image_id for image_id in ids if image_id in predictions]
    if not present:
        remedy = "Check the folder and the list of ids; score maps need --curve."
        raise InputError(prediction_folder, "masks named <id>.png", f"none of the {len(ids)} ids", remedy)
    truths = index_masks(truth_folder, present, complete=True)
    facts = {"classes": len(classes), "policy": policy, "evaluated": evaluated, "boundary": boundary}
    (counts, bands, *found), per_image = tally(
        bind(_count_chunk, **facts),
        [(predictions[image_id], truths[image_id]) for image_id in present],
        about=["masks", 2, facts],
        workers=workers,
        note=partial,
        save_every=save_every,
        progress=progress,
    )
    return Scores(
        names=("background", *classes),
        counts=counts,
        convention=convention,
        evaluated=evaluated,
        images=len(present),
        missing=tuple(image_id for image_id in ids if image_id not in predictions),
        boundary=bands if boundary else None,
        per_image=dict(zip(present, per_image.tolist())),
        findings=Findings(len(present), *found),
    )


def index_masks(folder, ids, complete: bool = False) -> dict:
    """Find the masks of ids.

    Parameters
    ----------
    complete : bool
        Every id must have one.

    Returns
    -------
    dict of str to str
        Paths, without the ids that have none.

    Raises
    ------
    InputError
        The folder is missing, holds two masks for one id, or none for an id that must have one.
    """
    if not Path(folder).is_dir():
        raise InputError(folder, "a folder of masks", "nothing there")
    wanted, files = {unicodedata.normalize("NFC", image_id): image_id for image_id in ids}, {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            stem = wanted.get(unicodedata.normalize("NFC", stem))
            if stem is None or suffix.lower() not in _SUFFIXES:
                continue
            if stem in files:
                found = f"{os.path.basename(files[stem])} and {entry.name}"
                raise InputError(folder, f"one mask for {stem}", found, "Remove one of them.")
            files[stem] = entry.path
    missing = [image_id for image_id in ids if image_id not in files]
    if complete and missing:
        near = near_match(Path(folder) / f"{missing[0]}.png")
        found = f"{len(missing)} missing, such as {', '.join(missing[:3])}{near}"
        raise InputError(folder, f"a mask <id>.png for each of {len(ids)} ids", found)
    return files


def read_pair(prediction_path, truth_path, crops: bool = False) -> tuple:
    """Read a prediction and its truth; they must have one size, or `crops` allows a larger prediction.

    Returns
    -------
    prediction, truth : numpy.ndarray, shape (H, W), uint8
    prediction_palette, truth_palette : numpy.ndarray or None
        See `icd.files.read_mask_and_palette`.

    Raises
    ------
    InputError
        See `icd.files.read_mask`.
    """
    truth, truth_palette = read_mask_and_palette(truth_path)
    prediction, palette = read_mask_and_palette(prediction_path, None if crops else truth.shape)
    prediction = prediction[: truth.shape[0], : truth.shape[1]]
    if prediction.shape != truth.shape:
        wanted = f"at least {truth.shape[0]} x {truth.shape[1]} (height x width, as the truth)"
        raise InputError(prediction_path, wanted, f"{prediction.shape[0]} x {prediction.shape[1]}")
    return prediction, truth, palette, truth_palette


def truth_lookup(evaluated, classes: int) -> np.ndarray:
    """Table, (256,) uint8, that turns classes which are not evaluated into 255."""
    table = np.arange(256, dtype=np.uint8)
    table[[number for number in range(classes + 1) if number not in evaluated]] = IGNORE
    return table


def _count_chunk(pairs, classes: int, policy: str, evaluated: tuple, boundary: bool):
    convention, lookup = convention_of(policy), truth_lookup(evaluated, classes)
    total = np.zeros((classes + 1, classes + 2), np.int64)
    bands, found = np.zeros((2, classes + 1), np.int64), no_findings(classes)
    per_image = np.empty(len(pairs), np.float32)
    for k, (prediction_path, truth_path) in enumerate(pairs):
        prediction, truth, palette, truth_palette = read_pair(prediction_path, truth_path, convention.crops)
        for sums, part in zip(found, count_findings(truth, truth_palette, prediction, palette, classes)):
            sums += part
        if len(evaluated) <= classes:
            truth = lookup[truth]
        table = joint_table(truth, prediction)
        counts = class_counts(table, classes, convention, truth_path, prediction_path)
        total += counts
        per_image[k] = image_miou(counts, convention, evaluated)
        if boundary:
            bands += boundary_counts(truth, prediction, classes, convention.undefined)
    return (total, bands, *found), per_image


def image_miou(counts: np.ndarray, convention, evaluated) -> float:
    """mIoU of one image over those of the `evaluated` classes that its truth or prediction holds; NaN for none."""
    iou = class_scores(*apply_policy(counts, convention.undefined))["iou"]
    return mean_iou(iou, counts.sum(1), evaluated, "seen")


def check_evaluated(evaluated, classes: int) -> tuple:
    """The classes to evaluate, ascending; all of 0..classes for None. `InputError` for other numbers."""
    if evaluated is None:
        return tuple(range(classes + 1))
    chosen = tuple(sorted({int(number) for number in evaluated}))
    if not chosen or chosen[0] < 0 or chosen[-1] > classes:
        raise InputError("evaluated classes", f"numbers from 0 to {classes}", f"{list(evaluated)}")
    return chosen
