"""Choosing the epoch of a training with the true masks, as DRS's authors do (spec drs 4.4).

In: a training stage. Out: the weights of the best epoch, and `epochs.json`, how good each was. The authors score at 320 x 320 and
one scale; here the images are scored as always.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from icd.bounded import bounded_maps, enlarge_mask
from icd.errors import InputError
from icd.evaluate import score_masks
from icd.files import mask_path, read_json, write_json, write_mask

FILE = "epochs.json"


def best_epoch(folder, default: int) -> int:
    """The epoch that was found best, the first of several; `default` where none has been scored."""
    entries = scored_epochs(folder)
    if not entries:
        return default
    return max(entries, key=lambda entry: (entry["miou"], -entry["epoch"]))["epoch"]


def scored_epochs(folder) -> list:
    """The epochs that have been scored: [{"epoch": number, "miou": share}, …]."""
    path = Path(folder) / FILE
    return read_json(path) if path.is_file() else []


def refuse_missing_epochs(train) -> None:
    """Raise `InputError` where there is no truth, or epochs were trained and not scored."""
    from icd.engine.checkpoint import checkpoints

    data = train.job.data
    if data.truth is None:
        raise InputError("--choose-epoch best", "true masks to choose with", "none", "Give --truth.")
    found = checkpoints(train.folder / "checkpoints")
    done = found[-1][0][0] if found else 0
    path, scored = train.folder / FILE, len(scored_epochs(train.folder))
    if done > scored + 1:  # the last one is made up for
        remedy = "Epochs were trained without --choose-epoch best. Leave it out, or give another --out."
        raise InputError(path, f"the scores of the {done} epochs before", f"{scored}", remedy)


class EpochChoice:
    """Scores the seeds that a method would make after each epoch, and keeps the weights if no epoch before was better."""

    def __init__(self, train):
        self._train, self._path = train, train.folder / FILE
        if self._path.is_file() and not (train.job.resume and not train.begin_epoch):
            kept = [entry for entry in read_json(self._path) if entry["epoch"] < train.begin_epoch]
            write_json(self._path, kept)

    def keep_best(self, method, epoch: int) -> None:
        """Score an epoch, unless that has been done."""
        from icd.engine.parameters import save_weights

        entries = scored_epochs(self._train.folder)
        if any(entry["epoch"] == epoch for entry in entries):
            return
        miou = self._score(method)
        if all(miou > entry["miou"] for entry in entries):
            save_weights(method, self._train.weights_after(epoch))
        write_json(self._path, [*entries, {"epoch": epoch, "miou": miou}])

    def _score(self, method) -> float:
        from icd.data.batches import InferenceBatches
        from icd.engine.localize import localize_views, score_maps_of

        job = self._train.job
        data, ids = job.data, job.data.scored_ids
        presentation = method.presentation(method.recipe, data.infer_size)
        batches = InferenceBatches(job.dataset(ids), 1, presentation)
        kind, rule = list(method.score_maps.items())[-1]
        with tempfile.TemporaryDirectory(dir=self._train.folder, prefix=".scored-") as folder:
            for batch in batches:
                found = score_maps_of(method, batch, localize_views(method, batch, job.devices[0][0]), 0)
                maps = {name: bounded_maps(scores, data.max_side) for name, scores in found.items()}
                companion = maps[rule.companion] if rule.companion else None
                seed = rule.seed(maps[kind], None, companion, None)
                write_mask(mask_path(folder, batch["ids"][0]), enlarge_mask(seed, found[kind].size))
            return score_masks(folder, data.truth, ids, data.classes, boundary=False).miou
