"""Sums over many images, on all cores, which go on where an interrupted run stopped.

In: a function that counts some images, and the files of every image. Out: the sums. Memory does not grow with the number
of images beyond one number each: a chunk of images gives one set of arrays, and these are added in int64 here, not in
memory that processes share.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np

from icd.data.workers import open_workers
from icd.files import write_atomic
from icd.provenance import available_cores

CHUNK = 32


def tally(count, items, *, about, workers=None, partial=None, save_every=10.0, progress=None) -> tuple:
    """Add up what `count` finds in the images.

    Parameters
    ----------
    count : callable
        Takes some of the items; returns a tuple of int64 arrays to be added, and a float for every item. It must be
        picklable.
    items : sequence of (str, str)
        The files of every image; at least one image.
    about : list
        What the numbers depend on beside the files, in JSON's types. A note about something else is not used.
    workers : int or icd.stages.cluster.Cluster, optional
        Processes; default all cores.
    partial : str or os.PathLike, optional
        File that keeps the sums of finished images every `save_every` seconds and when the run stops early. A later call
        goes on from it, unless a file has changed since counting began. Removed at the end.
    progress : callable, optional
        Called with (images done, images in all).

    Returns
    -------
    sums : list of numpy.ndarray, int64
    values : numpy.ndarray, shape (len(items),), float32
        The floats, in the order of the items.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    state = _State(partial, [about, CHUNK, items], len(items), len(chunks))
    state.restore(items)
    todo, saved = np.flatnonzero(~state.done), time.monotonic()
    try:
        for chunk, result in zip(todo, map_on_cores(count, [chunks[k] for k in todo], workers)):
            state.add(chunk, *result)
            if progress is not None:
                progress(min(int(state.done.sum()) * CHUNK, len(items)), len(items))
            if time.monotonic() - saved >= save_every:
                state.save()
                saved = time.monotonic()
    except BaseException:
        state.save()
        raise
    state.discard()
    return state.sums, state.values


def map_on_cores(function, chunks, workers=None):
    """Yield `function(chunk)` in the order of the chunks, from processes where there are enough chunks to pay for them.

    Raises
    ------
    InputError
        A process was killed from outside. What the function raises comes through as it is.
    """
    if workers is None or isinstance(workers, int):
        count = min(available_cores() if workers is None else workers, len(chunks))
        workers = count if count > 1 and len(chunks) >= 4 else 0
    pool = open_workers(function, workers)
    try:
        yield from pool.map(chunks)
    finally:
        pool.close()


class _State:
    """Sums so far, with the chunks they hold, and the file that keeps them."""

    def __init__(self, path, about, items: int, chunks: int):
        self.path = None if path is None else Path(path)
        self.fingerprint = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        self.started = time.time_ns()
        self.done = np.zeros(chunks, bool)
        self.values = np.full(items, np.nan, np.float32)
        self.sums = []

    def add(self, chunk: int, sums, values) -> None:
        self.sums = [total + part for total, part in zip(self.sums, sums)] if self.sums else list(sums)
        self.values[chunk * CHUNK : chunk * CHUNK + len(values)] = values
        self.done[chunk] = True

    def save(self) -> None:
        if self.path is None or not self.done.any():
            return
        buffer = io.BytesIO()
        facts = {"fingerprint": self.fingerprint, "started": self.started}
        np.savez(buffer, *self.sums, done=self.done, values=self.values, **facts)
        write_atomic(self.path, buffer.getvalue())

    def restore(self, items) -> None:
        """Take over what an earlier run counted, if it is about the same and no file has changed since it began."""
        if self.path is None or not self.path.is_file():
            return
        try:
            with np.load(self.path, allow_pickle=False) as content:
                if str(content["fingerprint"]) != self.fingerprint:
                    return
                done, values, started = content["done"], content["values"], int(content["started"])
                sums = [content[name] for name in sorted(content.files) if name.startswith("arr_")]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # a damaged note of earlier work costs only that work
        for chunk in np.flatnonzero(done):
            files = (path for item in items[chunk * CHUNK : (chunk + 1) * CHUNK] for path in item)
            if any(_changed(path) > started for path in files):
                return
        self.done, self.values, self.started, self.sums = done, values, started, sums

    def discard(self) -> None:
        if self.path is not None and self.path.is_file():
            self.path.unlink()


def _changed(path) -> float:
    """When a file was written or put in its place, in ns since 1970; infinity where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return float("inf")
    return max(status.st_mtime_ns, status.st_ctime_ns)
