"""Score a folder of masks against a folder of truths, on all cores, so that an interrupted run goes on where it stopped.

In: two folders with one PNG an image, and ids. Out: `icd.evaluate.scores.Scores`. Memory does not grow with the number
of images beyond one number each; a chunk of images gives one table of counts, and tables are added in int64 here, not in
memory that processes share.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from functools import partial as bind
from pathlib import Path

import numpy as np

from icd.classes import IGNORE
from icd.data.workers import Workers
from icd.errors import InputError
from icd.evaluate.boundary import boundary_counts
from icd.evaluate.confusion import class_counts, joint_table
from icd.evaluate.policies import apply_policy, class_scores, convention_of
from icd.evaluate.scores import Scores
from icd.files import read_mask, write_atomic
from icd.provenance import available_cores

CHUNK = 32
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
    workers : int, optional
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
        A truth is missing, a file is damaged, coloured or of another size, a value is no class number, two files serve
        one id, or no prediction is there at all.
    """
    convention = convention_of(policy)
    evaluated = check_evaluated(evaluated_classes, len(classes))
    predictions, truths = index_masks(prediction_folder, ids), index_masks(truth_folder, ids)
    present = [image_id for image_id in ids if image_id in predictions]
    if not present:
        found = f"none of the {len(ids)} ids"
        raise InputError(
            prediction_folder, "masks named <id>.png", found, "Check the folder and the list of ids."
        )
    pairs = [(predictions[i], truths.get(i) or os.path.join(truth_folder, f"{i}.png")) for i in present]
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    count = bind(_count_chunk, classes=len(classes), policy=policy, evaluated=evaluated, boundary=boundary)
    arguments = [
        str(prediction_folder),
        str(truth_folder),
        present,
        len(classes),
        policy,
        evaluated,
        boundary,
    ]
    tally = _Tally(len(pairs), len(chunks), len(classes) + 1, partial, _fingerprint(arguments))
    tally.restore(pairs)
    todo = np.flatnonzero(~tally.done)
    saved = time.monotonic()
    try:
        for chunk, result in zip(todo, map_on_cores(count, [chunks[k] for k in todo], workers)):
            tally.add(chunk, *result)
            if progress is not None:
                progress(min(int(tally.done.sum()) * CHUNK, len(pairs)), len(pairs))
            if time.monotonic() - saved >= save_every:
                tally.save()
                saved = time.monotonic()
    except BaseException:
        tally.save()
        raise
    tally.discard()
    return Scores(
        names=("background", *classes),
        counts=tally.counts,
        convention=convention,
        evaluated=evaluated,
        images=len(pairs),
        missing=tuple(image_id for image_id in ids if image_id not in predictions),
        boundary=tally.boundary if boundary else None,
        per_image=dict(zip(present, tally.per_image.tolist())),
    )


def map_on_cores(function, chunks, workers=None):
    """Yield `function(chunk)` in the order of the chunks, from processes where there are enough chunks to pay for them.

    Raises
    ------
    InputError
        A process was killed from outside. What the function raises comes through as it is.
    """
    count = min(available_cores() if workers is None else workers, len(chunks))
    pool = Workers(function, count if count > 1 and len(chunks) >= 4 else 0)
    try:
        yield from pool.map(chunks)
    finally:
        pool.close()


def index_masks(folder, ids) -> dict:
    """Find the mask of every id.

    Returns
    -------
    dict of str to str
        Paths, without the ids that have none.

    Raises
    ------
    InputError
        The folder is missing, or holds two masks for one id.
    """
    if not Path(folder).is_dir():
        raise InputError(folder, "a folder of masks", "nothing there")
    wanted, files = set(ids), {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if stem not in wanted or suffix.lower() not in _SUFFIXES:
                continue
            if stem in files:
                found = f"{os.path.basename(files[stem])} and {entry.name}"
                raise InputError(folder, f"one mask for {stem}", found, "Remove one of them.")
            files[stem] = entry.path
    return files


def read_pair(prediction_path, truth_path, crops: bool = False):
    """Read a prediction and its truth, both (H, W) uint8; they must have one size, or `crops` allows a larger prediction.

    Raises
    ------
    InputError
        See `icd.files.read_mask`.
    """
    truth = read_mask(truth_path)
    if not crops:
        return read_mask(prediction_path, truth.shape), truth
    prediction = read_mask(prediction_path)[: truth.shape[0], : truth.shape[1]]
    if prediction.shape != truth.shape:
        wanted = f"at least {truth.shape[0]} x {truth.shape[1]} (height x width, as the truth)"
        raise InputError(prediction_path, wanted, f"{prediction.shape[0]} x {prediction.shape[1]}")
    return prediction, truth


def truth_lookup(evaluated, classes: int) -> np.ndarray:
    """Table, (256,) uint8, that turns classes which are not evaluated into 255."""
    table = np.arange(256, dtype=np.uint8)
    table[[number for number in range(classes + 1) if number not in evaluated]] = IGNORE
    return table


def _count_chunk(pairs, classes: int, policy: str, evaluated: tuple, boundary: bool):
    convention = convention_of(policy)
    lookup = truth_lookup(evaluated, classes)
    total = np.zeros((classes + 1, classes + 2), np.int64)
    bands = np.zeros((2, classes + 1), np.int64)
    per_image = np.empty(len(pairs), np.float32)
    for k, (prediction_path, truth_path) in enumerate(pairs):
        prediction, truth = read_pair(prediction_path, truth_path, convention.crops)
        if len(evaluated) <= classes:
            truth = lookup[truth]
        counts = class_counts(
            joint_table(truth, prediction), classes, convention, truth_path, prediction_path
        )
        total += counts
        per_image[k] = image_miou(counts, convention)
        if boundary:
            bands += boundary_counts(truth, prediction, classes, convention.undefined)
    return total, bands, per_image


def image_miou(counts: np.ndarray, convention) -> float:
    """mIoU of one image over the classes in its truth or prediction; NaN where nothing is known of it."""
    if convention.undefined == "refuse" and counts[:, -1].any():
        return float("nan")  # the sum over all images is refused with a message
    iou = class_scores(*apply_policy(counts, convention.undefined))["iou"]
    known = iou[~np.isnan(iou)]
    return float(known.mean()) if len(known) else float("nan")


def check_evaluated(evaluated, classes: int) -> tuple:
    """The classes to evaluate, ascending; all of 0..classes for None. `InputError` for other numbers."""
    if evaluated is None:
        return tuple(range(classes + 1))
    chosen = tuple(sorted({int(number) for number in evaluated}))
    if not chosen or chosen[0] < 0 or chosen[-1] > classes:
        raise InputError("evaluated classes", f"numbers from 0 to {classes}", f"{list(evaluated)}")
    return chosen


def _fingerprint(arguments) -> str:
    return hashlib.sha256(json.dumps(arguments).encode()).hexdigest()


class _Tally:
    """Counts so far, with which chunks they hold, and the file that keeps them."""

    def __init__(self, images: int, chunks: int, classes: int, path, fingerprint: str):
        self.path, self.fingerprint = None if path is None else Path(path), fingerprint
        self.done = np.zeros(chunks, bool)
        self.counts = np.zeros((classes, classes + 1), np.int64)
        self.boundary = np.zeros((2, classes), np.int64)
        self.per_image = np.full(images, np.nan, np.float32)

    def add(self, chunk: int, counts, boundary, per_image) -> None:
        self.counts += counts
        self.boundary += boundary
        self.per_image[chunk * CHUNK : chunk * CHUNK + len(per_image)] = per_image
        self.done[chunk] = True

    def save(self) -> None:
        if self.path is None or not self.done.any():
            return
        buffer = io.BytesIO()
        np.savez(buffer, fingerprint=self.fingerprint, **self._arrays())
        write_atomic(self.path, buffer.getvalue())

    def restore(self, pairs) -> None:
        """Take over what an earlier run counted, if it is about the same files and none has changed since."""
        if self.path is None or not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as content:
                if str(content["fingerprint"]) != self.fingerprint:
                    return
                arrays = {name: content[name] for name in self._arrays()}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # a damaged note of earlier work costs only that work
        written = self.path.stat().st_mtime_ns
        for chunk in np.flatnonzero(arrays["done"]):
            files = [path for pair in pairs[chunk * CHUNK : (chunk + 1) * CHUNK] for path in pair]
            if any(not os.path.isfile(path) or os.stat(path).st_mtime_ns > written for path in files):
                return
        vars(self).update(arrays)

    def discard(self) -> None:
        if self.path is not None and self.path.is_file():
            self.path.unlink()

    def _arrays(self) -> dict:
        return {name: getattr(self, name) for name in ("done", "counts", "boundary", "per_image")}
