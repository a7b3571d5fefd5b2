"""One table of several runs: their scores, the conditions behind them, mean and spread of repeated runs.

In: run folders with `run.json` and `scores.json`. Out: rows, and a warning for every condition in which they differ.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from icd.errors import InputError
from icd.files import read_json
from icd.provenance import read_run

_CONDITIONS = (
    "data list",
    "initial weights",
    "extra supervision",
    "threshold",
    "convention",
    "classes scored",
    "images",
)


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes
    ----------
    rows : list of dict
        One a run and score: `run`, `method`, `backbone`, `seed`, `score`, `miou`, `coverage`, `missing`, and the conditions.
    groups : list of dict
        One for every method, backbone and score that more than one run has: `runs`, `mean`, `spread` (sample standard
        deviation), `lowest`, `highest` of mIoU.
    warnings : list of str
    """

    rows: list
    groups: list
    warnings: list


def compare_runs(folders) -> Comparison:
    """Read the scores of several runs.

    Raises
    ------
    InputError
        A folder has no `scores.json`, or one that is not a list of named scores.
    """
    rows = [row for folder in folders for row in _rows(Path(folder))]
    return Comparison(rows, _groups(rows), _warnings(rows))


def read_scores(folder) -> list:
    """The named scores of a run: entries of `Scores.as_dict()` with a `name`.

    Raises
    ------
    InputError
        `scores.json` is missing, damaged, or something else.
    """
    path = Path(folder) / "scores.json"
    entries = read_json(path)
    good = isinstance(entries, list) and all(
        isinstance(e, dict) and {"name", "miou", "classes"} <= set(e) for e in entries
    )
    if not good:
        raise InputError(path, "a list of scores with name, miou and classes", "something else")
    return entries


def _rows(folder: Path):
    run = read_run(folder)
    for entry in read_scores(folder):
        yield {
            "run": str(folder),
            "method": run.get("method"),
            "backbone": run.get("backbone"),
            "seed": run.get("seed"),
            "score": entry["name"],
            "miou": entry["miou"],
            "coverage": entry.get("coverage"),
            "missing": len(entry.get("missing", ())),
            "data list": _short(run.get("data_list")),
            "initial weights": _short(run.get("initial_weights")) or "none",
            "extra supervision": ", ".join(run.get("extra_supervision") or ()) or "none",
            "threshold": run.get("threshold_policy"),
            "convention": entry.get("convention"),
            "classes scored": str(len(entry.get("evaluated_classes", ()))),
            "images": entry.get("images"),
        }


def _short(file):
    """Name and first digits of the hash of a file that `run.json` describes."""
    return file and f"{Path(file['path']).name} {file['sha256'][:8]}"


def _groups(rows) -> list:
    together = {}
    for row in rows:
        together.setdefault((row["method"], row["backbone"], row["score"]), []).append(row["miou"])
    found = []
    for (method, backbone, score), values in together.items():
        values = [value for value in values if value is not None]
        if len(values) > 1:
            found.append({
                "method": method, "backbone": backbone, "score": score, "runs": len(values),
                "mean": statistics.mean(values), "spread": statistics.stdev(values),
                "lowest": min(values), "highest": max(values),
            })  # fmt: skip
    return found


def _warnings(rows) -> list:
    found = []
    for name in _CONDITIONS:
        values = sorted({str(row[name]) for row in rows})
        if len(values) > 1:
            found.append(f"{name} differs: {'; '.join(values)}")
    runs = {row["run"]: row["missing"] for row in rows if row["missing"]}
    found.extend(f"{run}: {count} predictions are missing and in no number" for run, count in runs.items())
    return found
