"""Scores, curves and comparisons as text for a terminal. In: results of this room. Out: lines to print."""

from __future__ import annotations

import numpy as np

from icd.evaluate.curve import Curve
from icd.evaluate.policies import POLICIES
from icd.evaluate.published import STATED, differences
from icd.evaluate.scores import Scores
from icd.evaluate.table import format_table, percent


def scores_text(scores: Scores) -> str:
    """Per-class table, then the numbers of the whole set, with the convention they were counted under."""
    per_class, boundary = scores.per_class, scores.boundary_iou
    header = ["class", "IoU", "precision", "recall"] + (["boundary IoU"] if boundary is not None else [])
    rows = []
    for number in scores.evaluated:
        values = [per_class[name][number] for name in ("iou", "precision", "recall")]
        values += [] if boundary is None else [boundary[number]]
        rows.append([f"{number} {scores.names[number]}", *map(percent, values)])
    lines = [format_table(header, rows), "", *_summary(scores)]
    return "\n".join(lines + _remarks(scores))


def _summary(scores: Scores) -> list:
    convention = scores.convention
    means = {"all": "all classes", "seen": "classes seen", "truth": "classes in the truth"}[convention.mean]
    per_class = scores.per_class
    entries = [
        (
            f"mIoU ({convention.name}: 255 {_policy_text(convention.undefined)}; mean over {means})",
            scores.miou,
        ),
        ("pixel accuracy", scores.pixel_accuracy),
        ("mean precision", scores.mean(per_class["precision"])),
        ("mean recall", scores.mean(per_class["recall"])),
        ("foreground precision", scores.foreground_precision),
        ("foreground recall", scores.foreground_recall),
        ("frequency-weighted IoU", scores.frequency_weighted_iou),
        ("coverage (share of pixels that are not 255)", scores.coverage),
    ]
    if scores.boundary is not None:
        entries.append(("boundary IoU, mean", scores.mean(scores.boundary_iou)))
    if convention.name == "irn":
        entries += _irn_ratios(scores)
    return [_line(value, name) for name, value in entries]


def _line(value: float, name: str) -> str:
    return f"{percent(value):6.2f} %  {name}" if value == value else f"     -    {name}"


def _irn_ratios(scores: Scores) -> list:
    """The two error ratios that IRN prints, of the background and as means over the foreground (spec irn 6)."""
    table, entries = scores.confusion, []
    with np.errstate(invalid="ignore"):
        union = table.sum(0) + table.sum(1) - np.diag(table)
        for name, axis in (
            ("false positives (1 - truth / union)", 1),
            ("false negatives (1 - prediction / union)", 0),
        ):
            ratios = 1 - table.sum(axis) / union
            entries.append((f"{name}, background", ratios[0]))
            entries.append((f"{name}, mean of the foreground", scores.mean(ratios[1:])))
    return entries


def _policy_text(policy: str) -> str:
    texts = {
        "drop": "not counted",
        "background": "as background",
        "error": "as an error",
        "refuse": "refused",
    }
    return texts[policy]


def _remarks(scores: Scores) -> list:
    lines = [f"{scores.images} images", *_left_out(scores.evaluated, len(scores.names))]
    if scores.coverage < 1:
        lines.append("The predictions hold 255. mIoU by what it counts as:")
        values = scores.per_policy
        lines += [_line(values[policy], f"{_policy_text(policy)} ({policy})") for policy in POLICIES]
    if scores.findings is not None:
        lines += scores.findings.sentences()
    if scores.missing:
        lines.append(missing_text(scores.missing, scores.images + len(scores.missing)))
    return lines


def _left_out(evaluated: tuple, number: int) -> list:
    left_out = number - len(evaluated)
    lines = []
    if left_out:
        lines.append(f"The truth of {left_out} other classes was left out (counted as 255).")
    if 0 not in evaluated:
        lines.append(
            "The background is one of them: what spreads over it costs nothing. To score it, add it to --only."
        )
    return lines


def missing_text(missing, total: int) -> str:
    """One line about predictions that are not there."""
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return f"MISSING: {len(missing)} of {total} predictions ({shown}); no number above counts them."


def curve_text(curve: Curve, fixed: float, names) -> str:
    """The curve in steps, the classes, and the curve's two numbers side by side."""
    content, step = curve.as_dict(fixed), max(1, len(curve.thresholds) // 15)
    best, at = content["best"], content["fixed"]
    steps = [[f"{t:g}", percent(m)] for t, m in zip(content["thresholds"], content["miou"])][::step]
    classes = [[f"{k} {names[k]}", percent(at["iou"][k]), percent(best["iou"][k])] for k in curve.evaluated]
    lines = [
        format_table(["background threshold", "mIoU"], steps),
        "",
        format_table(["class", f"IoU at {at['threshold']:g}", f"IoU at {best['threshold']:g}"], classes),
        "",
        _line(at["miou"], f"mIoU at the fixed threshold {at['threshold']:g}"),
        _line(
            best["miou"], f"mIoU at the best threshold {best['threshold']:g}, CHOSEN WITH THE GROUND TRUTH"
        ),
        f"{curve.images} images",
        *_left_out(curve.evaluated, len(names)),
    ]
    if curve.findings is not None:
        lines += curve.findings.sentences()
    if curve.missing:
        lines.append(missing_text(curve.missing, curve.images + len(curve.missing)))
    return "\n".join(lines)


def against_text(title: str, entries, miou: float, iou, names, ours: dict) -> str:
    """Published numbers with ours beside them, per class where they are published, and what the comparison suffers from.

    Parameters
    ----------
    entries : list of icd.evaluate.published.Published
    miou, iou, names
        Ours, fractions.
    ours : dict
        Conditions, see `icd.evaluate.published.differences`.
    """
    comparable = [entry for entry in entries if entry.metric == "mIoU"]
    comparable.sort(key=lambda entry: len(differences(entry, ours)))
    rows = []
    for number, entry in enumerate(comparable, 1):
        conditions = [_condition(entry, name) for name in ("stage", "split", "crf", "policy", "threshold")]
        what = f"[{number}] {entry.what}{'' if entry.verified else ' (unverified)'}"
        rows.append([what, *conditions, float(entry.value), percent(miou), 100 * miou - entry.value])
    header = ["published", "stage", "split", "CRF", "255", "threshold", "theirs", "ours", "difference"]
    lines = [title, "", format_table(header, rows), "", *_warnings(comparable, ours)]
    for number, entry in enumerate(comparable, 1):
        if entry.per_class and len(entry.per_class) == len(names):
            rows = [
                [name, float(t), percent(o), None if o != o else 100 * o - t]
                for name, t, o in zip(names, entry.per_class, iou)
            ]
            lines += [
                "",
                f"[{number}] {entry.what}, {entry.split}, per class",
                format_table(["class", "theirs", "ours", "difference"], rows),
            ]
    return "\n".join(lines)


def _warnings(entries, ours: dict) -> list:
    """Source and differing conditions of every entry; those that all share are said once."""
    clauses = [differences(entry, ours) for entry in entries]
    shared = [clause for clause in clauses[0] if all(clause in other for other in clauses)] if entries else []
    lines = []
    for number, (entry, found) in enumerate(zip(entries, clauses), 1):
        lines.append(f"[{number}] {entry.by}: {entry.source}")
        lines += [f"    WARNING {clause}" for clause in found if clause not in shared]
    lines += [f"WARNING for all of them: {clause}" for clause in shared]
    silent = [name.replace("_", " ") for name in STATED if ours.get(name) is None]
    if silent:
        lines.append(
            f"WARNING not stated of our own predictions: {', '.join(silent)} (flags of these names say it)"
        )
    return lines


def _condition(entry, name: str) -> str:
    value = getattr(entry, name)
    return "?" if value is None else ("yes" if value is True else "no" if value is False else str(value))


def comparison_text(comparison, markdown: bool = False) -> str:
    """The table of several runs, mean and spread of repeated ones, and warnings."""
    names = [
        "run",
        "method",
        "backbone",
        "seed",
        "score",
        "miou",
        "coverage",
        "images",
        "extra supervision",
        "initial weights",
    ]
    rows = [
        [percent(row[n]) if n in ("miou", "coverage") else _plain(row[n]) for n in names]
        for row in comparison.rows
    ]
    parts = [format_table(["mIoU" if n == "miou" else n for n in names], rows, markdown)]
    if comparison.groups:
        header = ["method", "backbone", "score", "runs", "mean mIoU", "spread", "lowest", "highest"]
        rows = [
            [
                g["method"],
                g["backbone"],
                g["score"],
                g["runs"],
                *(percent(g[n]) for n in ("mean", "spread", "lowest", "highest")),
            ]
            for g in comparison.groups
        ]
        parts.append(format_table(header, rows, markdown))
    if comparison.warnings:
        parts.append("\n".join(f"WARNING {warning}" for warning in comparison.warnings))
    return "\n\n".join(parts)


def _plain(value):
    return "-" if value is None else value
