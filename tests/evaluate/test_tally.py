"""Sums over many images: any number of processes, interrupted runs, files that change meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import icd
from icd.classes import VOC_CLASSES
from icd.evaluate import score_masks, tally, threshold_curve
from icd.files import ScoreMaps, write_score_maps


def test_workers_and_order_do_not_change_the_counts(random_masks, write_masks, monkeypatch):
    monkeypatch.setattr(tally, "CHUNK", 4)
    truths, predictions = random_masks(21, seed=5)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    one = score_masks(*folders, list(truths), VOC_CLASSES, workers=1)
    two = score_masks(*folders, list(truths)[::-1], VOC_CLASSES, workers=2)
    np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_array_equal(one.boundary, two.boundary)
    assert one.per_image == two.per_image


def test_a_script_without_a_guard_may_use_processes(random_masks, write_masks, tmp_path):
    truths, predictions = random_masks(4 * tally.CHUNK, seed=5)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    script = tmp_path / "script.py"
    script.write_text(
        "from icd.classes import VOC_CLASSES\nfrom icd.evaluate import score_masks\n"
        f"scores = score_masks({str(folders[0])!r}, {str(folders[1])!r}, {list(truths)}, VOC_CLASSES, workers=2)\n"
        "print(scores.images, __file__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(icd.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, script], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert done.stdout.split() == [str(len(truths)), str(script)]


def test_an_interrupted_run_goes_on(random_masks, write_masks, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "CHUNK", 2)
    truths, predictions = random_masks(10, seed=7)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    ids, note = list(truths), tmp_path / "note.npz"
    whole = score_masks(*folders, ids, VOC_CLASSES, workers=1)

    def interrupt(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_masks(*folders, ids, VOC_CLASSES, workers=1, partial=note, progress=interrupt)
    seen = []
    resumed = score_masks(
        *folders, ids, VOC_CLASSES, workers=1, partial=note, progress=lambda *x: seen.append(x)
    )
    assert seen == [(8, 10), (10, 10)]
    assert not note.exists()
    np.testing.assert_array_equal(resumed.counts, whole.counts)
    np.testing.assert_array_equal(resumed.boundary, whole.boundary)
    assert resumed.per_image == whole.per_image


def test_a_killed_run_loses_nothing_that_was_saved(random_masks, write_masks, tmp_path, monkeypatch):
    truths, predictions = random_masks(10, seed=9)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    ids, note = list(truths), tmp_path / "note.npz"
    script = (
        "import os, signal\nfrom icd.classes import VOC_CLASSES\nfrom icd.evaluate import score_masks, tally\ntally.CHUNK = 2\n"
        "def die(done, total):\n    if done == 8:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"score_masks({str(folders[0])!r}, {str(folders[1])!r}, {ids}, VOC_CLASSES, workers=1,"
        f" partial={str(note)!r}, save_every=0, progress=die)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(icd.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    monkeypatch.setattr(tally, "CHUNK", 2)
    seen = []
    resumed = score_masks(
        *folders, ids, VOC_CLASSES, workers=1, partial=note, progress=lambda *x: seen.append(x)
    )
    assert seen == [(8, 10), (10, 10)]
    np.testing.assert_array_equal(resumed.counts, score_masks(*folders, ids, VOC_CLASSES).counts)


def test_a_note_of_other_or_changed_files_is_not_used(random_masks, write_masks, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "CHUNK", 2)
    truths, predictions = random_masks(6, seed=8)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    ids, note = list(truths), tmp_path / "note.npz"

    def leave_note():
        def stop(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            score_masks(*folders, ids, VOC_CLASSES, workers=1, partial=note, progress=stop)

    def images_counted(**changes):
        seen = []
        arguments = {"policy": "drop", "workers": 1, "partial": note, "progress": lambda *x: seen.append(x)}
        score_masks(*folders, ids, VOC_CLASSES, **{**arguments, **changes})
        return len(seen)

    leave_note()
    assert images_counted(policy="error") == 3
    leave_note()
    later = note.stat().st_mtime + 5
    os.utime(folders[0] / f"{ids[0]}.png", (later, later))
    assert images_counted() == 3
    note.write_bytes(b"damaged")
    assert images_counted() == 3


def test_a_file_put_in_place_with_an_old_date_counts_as_changed(
    random_masks, write_masks, tmp_path, monkeypatch
):
    monkeypatch.setattr(tally, "CHUNK", 2)
    truths, predictions = random_masks(4, seed=8)
    folders = write_masks("predictions", predictions), write_masks("truth", truths)
    ids, note = list(truths), tmp_path / "note.npz"
    arguments = {"workers": 1, "partial": note}

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_masks(*folders, ids, VOC_CLASSES, **arguments, progress=stop)
    first = folders[0] / f"{ids[0]}.png"
    first.write_bytes((folders[1] / f"{ids[0]}.png").read_bytes())
    os.utime(first, (1e9, 1e9))
    resumed = score_masks(*folders, ids, VOC_CLASSES, **arguments)
    np.testing.assert_array_equal(resumed.counts, score_masks(*folders, ids, VOC_CLASSES).counts)


def test_an_interrupted_curve_goes_on(random_masks, write_masks, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "CHUNK", 2)
    truths, _ = random_masks(6, seed=8)
    folder, truth, note = tmp_path / "maps", write_masks("truth", truths), tmp_path / "note.npz"
    for k, mask in truths.items():
        maps = np.random.RandomState(len(k)).rand(1, *mask.shape).astype(np.float32)
        scores = ScoreMaps(np.array([1], np.int16), maps, mask.shape, (*mask.shape, *mask.shape))
        write_score_maps(folder / f"{k}.npz", scores)
    arguments = {"workers": 1, "partial": note}

    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threshold_curve(folder, truth, list(truths), **arguments, progress=interrupt)
    seen = []
    resumed = threshold_curve(folder, truth, list(truths), **arguments, progress=lambda *x: seen.append(x))
    assert seen == [(6, 6)] and not note.exists()
    np.testing.assert_array_equal(resumed.counts, threshold_curve(folder, truth, list(truths)).counts)
