"""One table of several runs: their scores, the conditions behind them, mean and spread of repeated runs.

In: run folders with `run.json` and `scores.json`. Out: rows, and a warning for every condition in which they differ.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from icd.errors import InputError, printable
from icd.files import read_json
from icd.files.records import checked_run, checked_scores
from icd.provenance import read_run, supervision_of

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
        One a run and score: `run`, `method`, `backbone`, `seed`, `score`, `miou`, `coverage`, `missing`, `recipe`, and the
        conditions.
    groups : list of dict
        One for every score of runs that differ in nothing but the seed: `runs`, `mean`, `spread` (sample standard
        deviation), `lowest`, `highest` of mIoU.
    warnings : list of str
    """

    rows: list
    groups: list
    warnings: list


def compare_runs(folders) -> Comparison:
    """Read the scores of several runs.

    Parameters
    ----------
    folders : sequence of (str or os.PathLike)
        Run folders with `scores.json`, or files that `icd evaluate --json` wrote, of masks of any program.

    Raises
    ------
    InputError
        A folder has no `scores.json`, or one that is not a list of named scores.
    """
    rows = [row for folder in folders for row in _rows(Path(folder))]
    return Comparison(rows, _groups(rows), _warnings(rows))


def read_scores(folder) -> list:
    """The named scores of a run, of all its stages that are scored: entries of `Scores.as_dict()` with a `name`.

    Raises
    ------
    InputError
        `scores.json` is missing and there is no `<stage>_scores.json`, or one is damaged or something else.
    """
    first = Path(folder) / "scores.json"
    further = sorted(path for path in Path(folder).glob("*_scores.json"))
    paths = [first, *further] if first.is_file() or not further else further
    wanted = "a list of scores with name, miou and classes"
    return [entry for path in paths for entry in checked_scores(path, read_json(path, wanted))]


def _sources(path: Path) -> tuple:
    """What is known of a run, and its scores: of a run folder, or of a file that `icd evaluate --json` wrote."""
    if not path.is_file():
        return read_run(path), read_scores(path)
    content = read_json(path, "scores that `icd evaluate --json` wrote")
    if not isinstance(content, dict) or "classes" not in content:
        expected = "a run folder, or scores of masks that `icd evaluate --json` wrote"
        raise InputError(
            path, expected, "something else", "A threshold curve is no score; a run folder has scores.json."
        )
    about = content.get("about")
    run = about.get("run") if isinstance(about, dict) else None
    run = checked_run(path, run if run is not None else {})
    return run, checked_scores(path, [{"name": path.stem, **content}])


def _rows(path: Path):
    run, entries = _sources(path)
    others = {
        "teacher": run.get("teacher_recipe") or {},
        **(run.get("other_recipes") or {}),
    }  # the first: older runs
    taught = {f"{stage}.{key}": value for stage, recipe in others.items() for key, value in recipe.items()}
    for entry in entries:
        extra = entry.get("extra_supervision")
        extra = supervision_of(run, entry.get("variant")) if extra is None else extra
        weights = _short(run.get("initial_weights")) or ("none" if "initial_weights" in run else NOT_STATED)
        yield {
            "run": printable(path),
            "method": run.get("method"),
            "backbone": run.get("backbone"),
            "seed": run.get("seed"),
            "score": entry["name"],
            "miou": entry["miou"],
            "coverage": entry.get("coverage"),
            "missing": len(entry.get("missing", ())),
            "data list": _short(run.get("data_list")),
            "initial weights": weights,
            "extra supervision": NOT_STATED if extra is None else ", ".join(extra) or "none",
            "threshold": run.get("threshold_policy"),
            "convention": entry.get("convention"),
            "classes scored": str(len(entry.get("evaluated_classes", ()))),
            "images": entry.get("images"),
            "recipe": {**(run.get("recipe") or {}), **taught},
        }


NOT_STATED = "not stated"


def _short(file):
    """Name and first digits of the hash of a file that `run.json` describes."""
    return file and printable(f"{Path(file['path']).name} {file['sha256'][:8]}")


def _groups(rows) -> list:
    together = {}
    for row in rows:
        alike = json.dumps([row[name] for name in ("method", "backbone", "score", "recipe", *_CONDITIONS)])
        together.setdefault(alike, []).append(row)
    found = []
    for alike in together.values():
        values = [row["miou"] for row in alike if row["miou"] is not None]
        if len(values) > 1:
            found.append({
                **{name: alike[0][name] for name in ("method", "backbone", "score")}, "runs": len(values),
                "mean": statistics.mean(values), "spread": statistics.stdev(values),
                "lowest": min(values), "highest": max(values),
            })  # fmt: skip
    return found


def _warnings(rows) -> list:
    found = []
    for name in _CONDITIONS:
        found.extend(_difference(name, [(row["run"], row[name]) for row in rows]))
    for name in sorted({name for row in rows for name in row["recipe"]}):
        found.extend(
            _difference(name, [(row["run"], row["recipe"][name]) for row in rows if name in row["recipe"]])
        )
    runs = {row["run"]: row["missing"] for row in rows if row["missing"]}
    found.extend(f"{run}: {count} predictions are missing and in no number" for run, count in runs.items())
    return found


def _difference(name: str, values) -> list:
    """A warning where runs differ in a condition; `values` are pairs of run and value, a run may have several."""
    of_run = {}
    for run, value in values:
        of_run.setdefault(run, set()).add(str(value))
    different = sorted({" and ".join(sorted(one)) for one in of_run.values()})
    return [f"{name} differs: {'; '.join(different)}"] if len(different) > 1 else []
