"""The sections of the report that follow from what a run has written down: scores, classes, confusion, losses, origin.

In: the entries of `scores.json`, `losses.jsonl`, `run.json`. Out: markup; empty where there is nothing to show.
"""

from __future__ import annotations

from functools import partial as bind
from html import escape
from pathlib import Path

import numpy as np

from icd.evaluate import charts
from icd.evaluate.table import percent
from icd.files.records import read_losses

_POINTS = 300


def scores(entries) -> str:
    """One row for every named score."""
    if not entries:
        return ""
    policies = any(entry.get("coverage") not in (None, 1.0) for entry in entries)
    header = [
        "predictions",
        "mIoU %",
        "255 is",
        "coverage %",
        *(["255 dropped", "255 background", "255 error"] if policies else []),
    ]
    header += ["pixel accuracy", "precision", "recall", "boundary IoU", "images", "empty", "missing"]
    rows = []
    for entry in entries:
        by_policy = entry.get("miou_per_policy") or {}
        row = [entry["name"], percent(entry["miou"]), entry.get("undefined"), percent(entry.get("coverage"))]
        row += [percent(by_policy.get(name)) for name in ("drop", "background", "error")] if policies else []
        names = ("pixel_accuracy", "foreground_precision", "foreground_recall", "boundary_iou")
        row += [percent(entry.get(name)) for name in names]
        rows.append(
            [*row, entry.get("images"), entry.get("empty_predictions"), len(entry.get("missing", ()))]
        )
    return charts.table(header, rows) + _partial_coverage(entries) + _scored_classes(entries[0])


def _partial_coverage(entries) -> str:
    """What a score over a part of the pixels hides."""
    lines = []
    for entry in entries:
        coverage, strict = entry.get("coverage"), (entry.get("miou_per_policy") or {}).get("error")
        if coverage is not None and coverage < 1 and strict is not None and entry.get("undefined") == "drop":
            undefined = f"{100 * (1 - coverage):.1f} % of the pixels are undefined and not counted"
            lines.append(
                f"<p>{escape(entry['name'])}: {undefined}; with them as errors the mIoU is {100 * strict:.2f} %.</p>"
            )
    return "".join(lines)


def _scored_classes(entry) -> str:
    evaluated = entry.get("evaluated_classes")
    if evaluated is None or len(evaluated) >= len(entry["classes"]):
        return "<p>Mean over all classes and the background; 255 in the truth is not scored.</p>"
    names = ", ".join(entry["classes"][number]["name"] for number in evaluated)
    return f"<p>Scored classes: {escape(names)}. Pixels of other classes are left out of the truth.</p>"


def class_bars(entries) -> str:
    """IoU of every class that any of the scores judges."""
    if not entries:
        return ""
    names = [row["name"] for row in entries[0]["classes"]]
    entries = [entry for entry in entries if [row["name"] for row in entry["classes"]] == names]
    judged = [k for k in range(len(names)) if any(e["classes"][k]["iou"] is not None for e in entries)]
    names = [names[k] for k in judged]
    return charts.class_bars(names, {e["name"]: [e["classes"][k]["iou"] for k in judged] for e in entries})


def confusions(entries) -> str:
    """The confusion matrix of every score; the last one is open."""
    parts = []
    for entry in entries:
        if entry.get("counts"):
            names = [row["name"] for row in entry["classes"]]
            matrix = charts.confusion(names, np.array(entry["counts"], np.int64))
            opened = " open" if entry is entries[-1] else ""
            parts.append(f"<details{opened}><summary>{escape(entry['name'])}</summary>{matrix}</details>")
    intro = "<p>Rows are the truth, columns the prediction, numbers per cent of the truth's pixels.</p>"
    return intro + "".join(parts) if parts else ""


def losses(folder: Path) -> str:
    """A chart for everything that training logged.

    Raises
    ------
    InputError
        `losses.jsonl` is damaged.
    """
    path = folder / "losses.jsonl"
    if not path.is_file():
        return ""
    lines = read_losses(path)
    if not lines:
        return ""
    steps = np.array([line["step"] for line in lines], float)
    names = dict.fromkeys(name for line in lines for name in line if name not in ("epoch", "step"))
    lost = sum(line[name] is None for line in lines for name in names if name in line)
    note = f"<p>{lost} losses are no finite numbers and not drawn: the training diverged.</p>" if lost else ""
    draw = bind(_loss_chart, steps=steps, lines=lines)
    return f'{note}<div class="charts">{"".join(map(draw, names))}</div>'


def _loss_chart(name: str, steps, lines) -> str:
    values = np.array([np.nan if line.get(name) is None else line[name] for line in lines], float)
    parts = np.array_split(np.arange(len(steps)), min(len(steps), _POINTS))
    x = [float(steps[part].mean()) for part in parts]
    y = [
        float(known.mean()) if len(known) else np.nan
        for known in (values[part][~np.isnan(values[part])] for part in parts)
    ]
    known = [(a, b) for a, b in zip(x, y) if b == b]
    return charts.line_chart(name.replace("_", " "), {name: tuple(zip(*known)) or ((), ())}, "step", name)


def origin(run: dict) -> str:
    """The content of `run.json`."""
    rows = [
        [key.replace("_", " "), _fact(value)]
        for key, value in run.items()
        if key not in ("recipe", "teacher_recipe", "other_recipes", "versions", "machine")
    ]
    parts = [charts.table(["", ""], rows)] if rows else []
    run = {
        **run,
        **{f"recipe of {name}": recipe for name, recipe in (run.get("other_recipes") or {}).items()},
    }
    others = [name for name in run if name.startswith("recipe of ")]
    for key in ("recipe", "teacher_recipe", *others, "versions", "machine"):
        if run.get(key):
            content = charts.table(["", ""], [[name, _fact(value)] for name, value in run[key].items()])
            parts.append(f"<details><summary>{key}</summary>{content}</details>")
    return "".join(parts)


def _fact(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, (int, str, type(None))) else f"{value:g}"
