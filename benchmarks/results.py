"""Runs the methods side by side and writes the tables of docs/results.md.

    python benchmarks/results.py embedded                          three seeds of the embedded set, half an hour on 2 cores
    python benchmarks/results.py animals --shared DIR              real photographs, hours on 2 cores
    python benchmarks/results.py animals --shared DIR --methods eps,eps_cam
    python benchmarks/results.py embedded --methods vwe,ppc --refine   trains the chain's refiner too, and walks
    python benchmarks/results.py embedded --methods ''             the tables anew, without any run

Runs are kept under snapshot/results and resumed, so the command can be stopped and repeated. What the tables need of each
run is kept in benchmarks/results/<data>-<method>-<seed>.json, so that one method can be measured anew without the others.
DIR holds `data/voc-animals` and `weights`, which do not travel with the project.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from document import write_part
from tag_saliency import write_masks

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import evaluated_numbers  # noqa: E402
from icd.evaluate import score_masks  # noqa: E402
from icd.evaluate.compare import read_scores  # noqa: E402
from icd.evaluate.curve import threshold_curve, threshold_of_policy  # noqa: E402
from icd.files import read_classes, read_json, read_list, write_json  # noqa: E402
from icd.provenance import machine as this_machine  # noqa: E402

RUNS = ROOT / "snapshot" / "results"
KEPT = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
VARIANTS = {
    "nocrf": "no CRF",
    "best": "no CRF, best threshold",
    "crf": "CRF",
    "sal": "saliency",
    "sal_error": "saliency, 255 an error",
    "walk": "refined",
}
THRESHOLDS = [round(0.02 * k, 2) for k in range(49)]
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
GAINS = (
    ("ICD − CAM trained alone", ("icd", "icd"), ("cam", "cam")),
    ("EPS − its CAM", ("eps", "eps"), ("eps_cam", "cam")),
    ("DRS − its step 1", ("drs", "drs"), ("drs_classifier", "cam")),
    ("VWE − the same without words", ("vwe", "vwe"), ("vwe_baseline", "cam")),
    ("PPC − SEAM", ("ppc", "ppc"), ("seam", "seam")),
    ("PPC − EPS", ("ppc_eps", "ppc_eps"), ("eps", "eps")),
)
REFINED = {
    "vwe": "IRN",
    "irn": "IRN",
    "seam": "AffinityNet",
    "ppc": "AffinityNet",
}  # by what, in their chains
# On the embedded set these start from a finished run of another: from a random start their score maps become constant.
STARTS = {"seam": "eps_cam", "ppc": "eps_cam", "ppc_eps": "eps"}
METHODS = tuple(dict.fromkeys(method for _, method, _, _ in ROWS))
ANIMALS = ("cat", "cow", "dog", "horse", "sheep")
# The recipes called "mobilenet_v2" are the common protocol; the seeds with saliency are scored too.
ANIMAL_FLAGS = "--backbone mobilenet_v2 --infer-size 321 --use-sal"


def execute(data: str, method: str, seed: int, flags: list, refine: bool) -> None:
    """One run, or what is left of it, and its summary."""
    folder = run_folder(data, method, seed)
    command = [sys.executable, "-m", "icd.cli.main", "run", method, "--resume", "--snapshot", str(folder)]
    if data == "embedded" and method in STARTS:
        start = run_folder(data, STARTS[method], seed)
        command += ["--pretrained", str(start / read_json(start / "run.json")["weights"])]
    command += [
        *flags,
        "--until",
        "walk_score" if refine and method in REFINED else "score",
        "--seed",
        str(seed),
    ]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)
    keep(data, method, seed)


def run_folder(data: str, method: str, seed: int) -> Path:
    """Where a run is kept; DRS's first step is a run of its own and the first stage of DRS's."""
    if method == "drs_classifier":
        return run_folder(data, "drs", seed) / "classifier"
    return RUNS / f"{data}-{method}-{seed}"


def keep(data: str, method: str, seed: int) -> None:
    """Write the summary of a finished run: its scores, and what it ran on."""
    folder = run_folder(data, method, seed)
    run, entries = read_json(folder / "run.json"), []
    for entry in read_scores(folder):
        if entry["kind"] == "walk":  # of the maps before it
            own = {"kind": entries[-1]["kind"], "variant": "walk"}
            entries.append({**own, "miou": entry["miou"], "coverage": entry["coverage"]})
            continue
        entries.append({"kind": entry["kind"], "variant": entry["variant"], **brief(entry)})
        if entry["variant"] == "nocrf":
            entries.append(best_threshold(folder, run, entry))
        if entry["variant"] == "sal":
            error = entry["miou_per_policy"]["error"]
            entries.append({"kind": entry["kind"], "variant": "sal_error", "miou": error})
    fields = (
        "method",
        "seed",
        "backbone",
        "initial_weights",
        "recipe",
        "threshold_policy",
        "versions",
        "machine",
    )
    summary = {"scores": entries, "run": {field: run[field] for field in fields}}
    summary["run"]["processor_seconds"] = run.get("processor_seconds")
    write_json(summary_path(data, method, seed), summary)


def brief(scores: dict) -> dict:
    """What the tables need of scores."""
    scored = [{k: row[k] for k in ("name", "iou")} for row in scores["classes"] if row["iou"] is not None]
    return {"miou": scores["miou"], "coverage": scores["coverage"], "classes": scored}


def measure_baseline(data: str, places: dict) -> None:
    """Make and score the masks of benchmarks/tag_saliency.py, and write their summary."""
    folder = RUNS / f"{data}-tag_saliency"
    write_masks(*(places[name] for name in ("images", "tags", "saliency", "list")), folder, places["classes"])
    classes = read_classes(places["classes"])
    evaluated = (0, *evaluated_numbers(",".join(ANIMALS), classes, "--only")) if data == "animals" else None
    scores = score_masks(
        folder, places["truth"], read_list(places["list"]), classes, evaluated_classes=evaluated
    ).as_dict()
    entries = [
        {"kind": "masks", "variant": "sal", **brief(scores)},
        {"kind": "masks", "variant": "sal_error", "miou": scores["miou_per_policy"]["error"]},
    ]
    run = {"method": "tag_saliency", "seed": None, "backbone": "none", "initial_weights": None, "recipe": {},
           "threshold_policy": "saliency above 0.3; 255 there in images of several tags", "machine": this_machine()}  # fmt: skip
    write_json(KEPT / f"{data}-tag_saliency.json", {"scores": entries, "run": run})


def baseline_places(data: str, shared) -> dict:
    """Where the files of `measure_baseline` lie."""
    root = ROOT / "data" / "embedded" if data == "embedded" else shared / "data" / "voc-animals"
    return {
        "images": root / "JPEGImages",
        "tags": root / "Annotations",
        "saliency": root / "saliency",
        "list": root / "ImageSets" / ("Segmentation/train.txt" if data == "embedded" else "train.txt"),
        "truth": root / "SegmentationClassAug",
        "classes": root / "classes.txt" if data == "embedded" else "voc",
    }


def best_threshold(folder: Path, run: dict, entry: dict) -> dict:
    """What the score maps behind an entry give at the threshold that is best on the truth."""
    curve = threshold_curve(
        folder / "results" / f"scores_{entry['kind']}",
        run["eval_root"],
        list(entry["per_image"]),
        THRESHOLDS,
        classes=run["classes"],
        evaluated_classes=run["eval_classes"],
        normalize=threshold_of_policy(run["threshold_policy"], entry["kind"])[1],
    )
    best = curve.as_dict()["best"]
    return {"kind": entry["kind"], "variant": "best", "miou": best["miou"], "threshold": best["threshold"]}


def summary_path(data: str, method: str, seed: int) -> Path:
    """Where the summary of a run is kept."""
    return KEPT / f"{data}-{method}-{seed}.json"


def animal_flags(shared: Path, method: str) -> list:
    """The flags of a run on the photographs of animals."""
    data = shared / "data" / "voc-animals"
    paths = [
        "--image-root", data / "JPEGImages", "--annotation-root", data / "Annotations",
        "--data-list", data / "ImageSets" / "train_aug.txt", "--saliency-root", data / "saliency",
        "--superpixel-root", ROOT / "data" / "superpixels" / "voc-animals",
        "--infer-list", data / "ImageSets" / "train.txt", "--eval-root", data / "SegmentationClassAug",
        "--eval-classes", ",".join(ANIMALS),
        "--pretrained", shared / "weights" / "mobilenetv2_1.0-imagenet-fp16.params",
    ]  # fmt: skip
    return [*ANIMAL_FLAGS.split(), *map(str, paths)]


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
    for title, better, baseline in GAINS:
        ours, theirs = (
            {summary["run"]["seed"]: summary for summary in summaries(data, method)}
            for method in (better[0], baseline[0])
        )
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        if pairs:
            cells = [gains(pairs, better[1], baseline[1], variant) for variant in VARIANTS]
            lines.append(f"| {title} | | {' | '.join(cells)} |")
    return "\n".join(lines)


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


def conditions(data: str, split: str) -> str:
    """What a reader needs to place the numbers."""
    lines = [
        f"The numbers are mIoU in %; pixels with 255 in the prediction do not count (policy `drop`). Split: {split}. Column "
        "*best threshold*: the truth CHOSE the background threshold in brackets, for each run, from 0, 0.02 .. 0.96. It tells "
        "the quality of score maps from that of thresholds; do not compare it with published results. Column *saliency*: the "
        "seeds use saliency maps too, by each method's own rule; the brackets hold the share of pixels that are not 255, in "
        "which the rules differ; the column beside it counts every 255 as an error (policy `error`). Column *refined*: the score "
        "maps after the walk of the method's own chain, along boundaries of IRN (VWE) or affinities of AffinityNet (SEAM, "
        "PPC), without CRF. All runs use the weights of the last epoch.",
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


def main() -> None:
    """Carry out the runs of one data set and write its part of the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=("embedded", "animals"))
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated [all]")
    parser.add_argument("--seeds", default=None, help="comma-separated [0,1,2 for embedded, 0 for animals]")
    parser.add_argument("--refine", action="store_true", help="train refiners where a method's chain has one")
    parser.add_argument("--shared", type=Path, help="folder with data/voc-animals and weights")
    arguments = parser.parse_args()
    data, methods = arguments.data, [name for name in arguments.methods.split(",") if name]
    seeds = [int(seed) for seed in (arguments.seeds or ("0,1,2" if data == "embedded" else "0")).split(",")]
    if data == "animals" and methods and arguments.shared is None:
        parser.error("animals needs --shared")
    for seed in seeds:
        for method in methods:
            if method == "tag_saliency":
                measure_baseline(data, baseline_places(data, arguments.shared and arguments.shared.resolve()))
                continue
            flags = animal_flags(arguments.shared.resolve(), method) if data == "animals" else []
            execute(data, method, seed, flags, arguments.refine)
    if data == "embedded":
        split = "the 256 training images of the embedded set, its four classes and background"
    else:
        split = "the 437 images of VOC 2012's official train list with animals, scaled to 320 px; trained on all 1,502; "
        split += "background and five animals scored, pixels of other classes left out of the truth"
    text = "\n\n".join([table(data), per_class(data), conditions(data, split)])
    write_part(data, text, PAGE)
    print(text)


if __name__ == "__main__":
    main()
