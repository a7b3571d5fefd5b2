"""The tables of docs/results.md. In: what benchmarks/results.py kept of each run, benchmarks/results/*. Out: Markdown."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
import yaml
from spread import deviation_of_difference

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.files import read_json  # noqa: E402

KEPT = ROOT / "benchmarks" / "results"
VARIANTS = {
    "nocrf": "no CRF",
    "best": "no CRF, best threshold",
    "crf": "CRF",
    "sal": "saliency",
    "sal_error": "saliency, 255 an error",
    "walk": "refined",
}

# (title, method, kind of score maps, what training uses beyond tags)
ROWS = (
    ("CAM, trained alone", "cam", "cam", "–"),
    ("CAM branch of ICD", "icd", "cam", "–"),
    ("ICD", "icd", "icd", "–"),
    ("CAM as EPS's authors train it", "eps_cam", "cam", "–"),
    ("EPS", "eps", "eps", "saliency"),
    ("DRS, step 1: the classifier alone", "drs_classifier", "cam", "–"),
    ("DRS", "drs", "drs", "–"),
    ("VWE's network without words", "vwe_baseline", "cam", "–"),
    ("VWE", "vwe", "vwe", "–"),
    ("IRN's CAM", "irn", "cam", "–"),
    ("SEAM", "seam", "seam", "–"),
    ("PPC on SEAM", "ppc", "ppc", "–"),
    ("PPC on EPS", "ppc_eps", "ppc_eps", "saliency"),
    ("tag and saliency, no network", "tag_saliency", "masks", "saliency"),
)
METHODS = tuple(dict.fromkeys(method for _, method, _, _ in ROWS))
# (title, published: file of icd/published, better, baseline; ours: method, kind; the baseline's). "walk" stands for the maps after
# the walk of the method's chain, against the maps before it.
DIFFERENCES = (
    ("ICD − CAM trained alone", None, ("icd", "icd"), ("cam", "cam")),
    ("EPS − its CAM", ("eps-voc12", "EPS", "CAM baseline (cls)"), ("eps", "eps"), ("eps_cam", "cam")),
    ("DRS − its step 1", None, ("drs", "drs"), ("drs_classifier", "cam")),
    ("VWE − the same without words", None, ("vwe", "vwe"), ("vwe_baseline", "cam")),
    ("SEAM − EPS's CAM", None, ("seam", "seam"), ("eps_cam", "cam")),
    ("PPC − SEAM", ("ppc-voc12", "SEAM+PPC", "SEAM"), ("ppc", "ppc"), ("seam", "seam")),
    ("PPC − EPS", ("ppc-voc12", "EPS+PPC", "EPS"), ("ppc_eps", "ppc_eps"), ("eps", "eps")),
    ("AffinityNet − the maps before it", ("ppc-voc12", "SEAM+PPC after AffinityNet", "SEAM+PPC"), ("ppc", "walk"), ("ppc", "ppc")),
    ("AffinityNet − the maps before it, of PPC on EPS", None, ("ppc_eps", "walk"), ("ppc_eps", "ppc_eps")),
    ("IRN − its CAM", ("irn-voc12", "pseudo labels", "CAM"), ("irn", "walk"), ("irn", "cam")),
    ("IRN − VWE's maps before it", None, ("vwe", "walk"), ("vwe", "vwe")),
)  # fmt: skip
BEST = (
    "seam",
    "ppc",
)  # their papers chose the threshold by the truth, so claims are compared at such thresholds


def summary_path(data: str, method: str, seed: int) -> Path:
    """Where the summary of a run is kept."""
    return KEPT / f"{data}-{method}-{seed}.json"


def counts_path(data: str, method: str, seed: int) -> Path:
    """Where the pixel counts of every image are kept, see `spread.count_images`."""
    return summary_path(data, method, seed).with_suffix(".npz")


def summaries(data: str, method: str) -> list:
    """The summaries of a method's runs, by seed."""
    paths = sorted(KEPT.glob(f"{data}-{method}-*.json")) or KEPT.glob(f"{data}-{method}.json")
    return [read_json(path) for path in paths]


def entries_of(summary: dict) -> dict:
    """The scores of a run by kind and variant."""
    return {(entry["kind"], entry["variant"]): entry for entry in summary["scores"]}


def spread(values: list) -> str:
    """Mean in per cent, and the sample standard deviation where there are several."""
    percent = [100 * value for value in values]
    mean = f"{statistics.mean(percent):.1f}"
    return mean if len(percent) == 1 else f"{mean} ± {statistics.stdev(percent):.1f}"


def table(data: str) -> str:
    """mIoU of every method's seeds in every variant, and the differences of interest."""
    lines = [
        "| seeds | trained with, beyond tags | " + " | ".join(VARIANTS.values()) + " |",
        "|---|---|" + "---|" * len(VARIANTS),
    ]
    for title, method, kind, beyond in ROWS:
        runs = [entries_of(summary) for summary in summaries(data, method)]
        if runs:
            cells = [cell([run[kind, v] for run in runs if (kind, v) in run]) for v in VARIANTS]
            lines.append(f"| {title} | {beyond} | {' | '.join(cells)} |")
    for title, _, ours, theirs in DIFFERENCES:
        pairs = pairs_of(data, ours[0], theirs[0]) if ours[1] != "walk" else []
        if pairs:
            cells = [gains(pairs, ours[1], theirs[1], variant) for variant in VARIANTS]
            lines.append(f"| {title} | | {' | '.join(cells)} |")
    return "\n".join(lines)


def pairs_of(data: str, ours: str, theirs: str) -> list:
    """The summaries of two methods' runs of the same seed, by pairs."""
    baseline = {summary["run"]["seed"]: summary for summary in summaries(data, theirs)}
    found = summaries(data, ours)
    return [(own, baseline[own["run"]["seed"]]) for own in found if own["run"]["seed"] in baseline]


def cell(entries: list) -> str:
    """mIoU of the runs of several seeds, and in brackets the thresholds chosen, or the share of pixels that count if not all."""
    if not entries:
        return "–"
    note = ", ".join(f"{entry['threshold']:g}" for entry in entries if "threshold" in entry)
    coverage = statistics.mean(entry.get("coverage") or 1 for entry in entries)
    if coverage < 0.995:
        note = f"{100 * coverage:.0f} %"
    return spread([entry["miou"] for entry in entries]) + (f" ({note})" if note else "")


def gains(pairs: list, kind: str, baseline_kind: str, variant: str) -> str:
    """The differences of pairs of runs of the same seed, where both have the variant."""
    found = [tuple(map(entries_of, pair)) for pair in pairs]
    keys = (kind, variant), (baseline_kind, variant)
    both = [
        (ours[keys[0]], theirs[keys[1]]) for ours, theirs in found if keys[0] in ours and keys[1] in theirs
    ]
    return spread([ours["miou"] - theirs["miou"] for ours, theirs in both]) if both else "–"


def per_class(data: str) -> str:
    """IoU of every scored class, seeds without CRF, first seed."""
    lines = []
    for title, method, kind, _ in ROWS:
        found = summaries(data, method)
        if not found or (kind, "nocrf") not in entries_of(found[0]):
            continue
        classes = entries_of(found[0])[kind, "nocrf"]["classes"]
        scored = [row for row in classes if row["iou"] is not None]
        if scored and not lines:
            names = " | ".join(row["name"] for row in scored)
            lines = [f"| IoU without CRF | {names} |", "|---|" + "---|" * len(scored)]
        if scored:
            lines.append(f"| {title} | " + " | ".join(f"{100 * row['iou']:.1f}" for row in scored) + " |")
    return "\n".join(lines)


def loss_curves(data: str) -> str:
    """The mean of the loss terms of VWE, SEAM and PPC in each epoch, first seed."""
    lines = []
    for method in ("vwe", "seam", "ppc", "ppc_eps"):
        for summary in summaries(data, method)[:1]:
            for term, means in summary.get("losses", {}).items():
                lines.append(
                    f"| {method}: {term.replace('_', ' ')} | {' | '.join(f'{mean:.3f}' for mean in means)} |"
                )
    if not lines:
        return ""
    epochs = range(1, max(line.count("|") for line in lines) - 1)
    head = ["| loss in epoch | " + " | ".join(map(str, epochs)) + " |", "|---" * (len(epochs) + 1) + "|"]
    return "\n".join(head + lines)


def conditions(data: str, split: str) -> str:
    """What a reader needs to place the numbers."""
    lines = [
        f"The numbers are mIoU in %; pixels with 255 in the prediction do not count (policy `drop`). Split: {split}. Column "
        "*best threshold*: the truth CHOSE the background threshold in brackets, for each run, from 0, 0.02 .. 0.96. It tells "
        "the quality of score maps from that of thresholds; do not compare it with published results. Column *saliency*: the "
        "seeds use saliency maps too, by each method's own rule; the brackets hold the share of pixels that are not 255, in "
        "which the rules differ; the column beside it counts every 255 as an error (policy `error`). Column *refined*: the score "
        "maps after a walk along boundaries of IRN (IRN's CAM, VWE) or affinities of AffinityNet (SEAM, PPC; PPC on EPS in "
        "PPC's chain), without CRF. All runs use the weights of the last epoch.",
        "",
        "| run | random seeds | backbone, initial weights | background threshold | recipe | machine | processor seconds without workers |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        found = summaries(data, method)
        if not found:
            continue
        run = found[0]["run"]
        weights = run.get("initial_weights")
        start = f"`{Path(weights['path']).name}`, sha256 {weights['sha256'][:12]}…" if weights else "random"
        recipe = ", ".join(f"{key} {value}" for key, value in run["recipe"].items())
        seeds = ", ".join("–" if s["run"]["seed"] is None else str(s["run"]["seed"]) for s in found)
        lines.append(
            f"| {method} | {seeds} | {run['backbone']}, {start} | {run['threshold_policy']} | {recipe} | {machine(run)} | {time_of(run)} |"
        )
    return "\n".join(lines)


def machine(run: dict) -> str:
    """What a run ran on."""
    return f"{run['machine']['cpu']}, {run['machine']['cores']} cores"


def time_of(run: dict) -> str:
    """Seconds that a processor worked for the process itself, by stage, where it is a second and more: workers are not in it."""
    spent = [
        f"{name} {value:.0f}" for name, value in (run.get("processor_seconds") or {}).items() if value >= 1
    ]
    return ", ".join(spent) or "not noted"


def measured(*methods: str) -> str:
    """What a page on some methods says was measured: a row for each data set and kind of score maps."""
    variants = [variant for variant in VARIANTS if variant != "best"]
    head = ["seeds", "data", "random seeds", *map(VARIANTS.get, variants)]
    head += ["backbone", "processor seconds of the first run, without workers", "machine"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for title, method, kind, _ in ROWS:
        for data in ("embedded", "animals") if method in methods else ():
            found = summaries(data, method)
            if found:
                runs, first = [entries_of(summary) for summary in found], found[0]["run"]
                cells = [cell([run[kind, v] for run in runs if (kind, v) in run]) for v in variants]
                facts = (first["backbone"], time_of(first), machine(first))
                lines.append("| " + " | ".join((title, data, str(len(found)), *cells, *facts)) + " |")
    return "\n".join(lines) + "\n\nmIoU in %; the page Results has the conditions.\n"


def claims() -> str:
    """What the papers claim beside what was measured, without CRF, at each method's own threshold unless it says otherwise."""
    lines = ["| difference | published | photographs | embedded set |", "|---|---|---|---|"]
    for title, published, ours, theirs in DIFFERENCES:
        cells = [measured_difference(data, ours, theirs) for data in ("animals", "embedded")]
        if cells != ["–", "–"]:
            lines.append(f"| {title} | {published_difference(published)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def published_difference(published) -> str:
    """The difference of two published numbers, and the two."""
    if published is None:
        return "none known here"
    file, better, baseline = published
    results = yaml.safe_load((ROOT / "icd/published" / f"{file}.yaml").read_text(encoding="utf-8"))["results"]
    first = {entry["what"]: entry["value"] for entry in reversed(results)}
    return f"{first[better] - first[baseline]:+.1f} ({first[baseline]} to {first[better]})"


def measured_difference(data: str, ours: tuple, theirs: tuple) -> str:
    """Mean difference over the seeds that both have; its deviation over seeds, or over images where there is one seed."""
    refined = ours[1] == "walk"
    variant = "best" if ours[0] in BEST and not refined else "nocrf"
    keys = (theirs[1], "walk") if refined else (ours[1], variant), (theirs[1], variant)
    points = {}
    for pair in pairs_of(data, ours[0], theirs[0]):
        own, other = map(entries_of, pair)
        if keys[0] in own and keys[1] in other:
            points[pair[0]["run"]["seed"]] = 100 * (own[keys[0]]["miou"] - other[keys[1]]["miou"])
    if not points:
        return "–"
    mean = f"{statistics.mean(points.values()):+.1f}"
    if len(points) > 1:
        mean += f" ± {statistics.stdev(points.values()):.1f} ({len(points)} seeds)"
    if variant == "best":
        return f"{mean} at the best thresholds"
    if len(points) == 1:
        name = f"{theirs[1]}_walk" if refined else ours[1]
        mean += deviation_over_images(data, (ours[0], name), theirs, *points)
    return mean


def deviation_over_images(data: str, ours: tuple, theirs: tuple, seed: int) -> str:
    """See `spread.deviation_of_difference`, in points; empty where the counts of a run were not kept."""
    paths = [counts_path(data, method, seed) for method, _ in (ours, theirs)]
    if not all(path.is_file() for path in paths):
        return ""
    kept = [np.load(path) for path in paths]
    if ours[1] not in kept[0] or theirs[1] not in kept[1]:
        return ""
    return f" ± {100 * deviation_of_difference(kept[0][ours[1]], kept[1][theirs[1]]):.1f} (images)"
