"""How long the stages of a run took: `times.jsonl` in its folder.

In: the folder, a stage's name and its work. Out: a line when that ends or is stopped; the seconds of each stage, over all calls and
shards. A call that was killed leaves no line, so its seconds are missing.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from icd.files import write_atomic

FILE = "times.jsonl"


@contextlib.contextmanager
def measured(folder, name: str):
    """Note how long the work inside took."""
    begun = time.monotonic()
    try:
        yield
    finally:
        line = json.dumps({"stage": name, "seconds": round(time.monotonic() - begun, 2)}) + "\n"
        with contextlib.suppress(OSError), open(Path(folder) / FILE, "a", encoding="utf-8") as file:
            file.write(line)  # the work counts, not the note of it: a full disk is said by who writes results


def seconds_by_stage(folder) -> dict:
    """Seconds of wall-clock time by stage, in order of first use; lines that a crash cut off are left out."""
    totals = {}
    for entry in _entries(folder):
        totals[entry["stage"]] = round(totals.get(entry["stage"], 0.0) + entry["seconds"], 2)
    return totals


def forget(folder, name: str) -> None:
    """Leave out what was noted of a stage whose files are made anew."""
    kept = [json.dumps(entry) + "\n" for entry in _entries(folder) if entry["stage"] != name]
    if (Path(folder) / FILE).is_file():
        write_atomic(Path(folder) / FILE, "".join(kept).encode())


def _entries(folder) -> list:
    try:
        lines = (Path(folder) / FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: str):
    try:
        entry = json.loads(line)
        return {"stage": str(entry["stage"]), "seconds": float(entry["seconds"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
