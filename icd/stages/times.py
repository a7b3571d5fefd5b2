"""How long the stages of a run took: `times.jsonl` in its folder.

In: the folder, a stage's name and its work. Out: a line when that ends or is stopped; the seconds of each stage, over all calls and
shards: by the clock, and of the processors for this process without its workers, which other work on the machine hardly changes. A
call that was killed leaves no line.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from icd.files import write_atomic

FILE = "times.jsonl"
KINDS = ("seconds", "processor_seconds")


@contextlib.contextmanager
def measured(folder, name: str):
    """Note how long the work inside took."""
    begun = _clocks()
    try:
        yield
    finally:
        spent = {kind: round(now - then, 2) for kind, then, now in zip(KINDS, begun, _clocks())}
        line = json.dumps({"stage": name, **spent}) + "\n"
        with contextlib.suppress(OSError), open(Path(folder) / FILE, "a", encoding="utf-8") as file:
            file.write(line)  # the work counts, not the note of it: a full disk is said by who writes results


def _clocks() -> tuple:
    """Now by the clock, and what the processors have done for this process."""
    return time.monotonic(), time.process_time()


def seconds_by_stage(folder) -> dict:
    """`{"seconds": {stage: sum}, "processor_seconds": ...}`, stages in order of first use; lines that a crash cut off are left out."""
    totals = {kind: {} for kind in KINDS}
    for entry in _entries(folder):
        for kind, of_kind in totals.items():
            of_kind[entry["stage"]] = round(of_kind.get(entry["stage"], 0.0) + entry[kind], 2)
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
        return {"stage": str(entry["stage"]), **{kind: float(entry[kind]) for kind in KINDS}}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
