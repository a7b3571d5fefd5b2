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
import subprocess
import sys
from pathlib import Path

import numpy as np
from document import write_part
from result_tables import (
    KEPT,
    METHODS,
    claims,
    conditions,
    counts_path,
    loss_curves,
    per_class,
    summary_path,
    table,
)
from spread import count_images
from tag_saliency import write_masks

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import evaluated_numbers  # noqa: E402
from icd.evaluate import score_masks  # noqa: E402
from icd.evaluate.compare import read_scores  # noqa: E402
from icd.evaluate.curve import threshold_curve, threshold_of_policy  # noqa: E402
from icd.files import read_classes, read_json, read_list, write_json  # noqa: E402
from icd.files.records import read_losses  # noqa: E402
from icd.provenance import machine as this_machine  # noqa: E402

RUNS = ROOT / "snapshot" / "results"
PAGE = ROOT / "docs" / "results.md"
THRESHOLDS = [round(0.02 * k, 2) for k in range(49)]
# What refines whose score maps: in the method's own chain, or in another's, which takes the score maps.
REFINED = {
    "vwe": "IRN",
    "irn": "IRN",
    "seam": "AffinityNet",
    "ppc": "AffinityNet",
    "ppc_eps": "AffinityNet",
}
OTHER_CHAIN = {"ppc_eps": "ppc"}
# Masks exist for the 437 photographs of the scored list, not for all 1,502; so many epochs are the recipe's in steps.
ANIMAL_REFINERS = {"IRN": "refiner.num_epoch=10", "AffinityNet": "affinity.num_epoch=28"}
# On the embedded set these start from a finished run of another: from a random start their score maps become constant.
STARTS = {"seam": "eps_cam", "ppc": "eps_cam", "ppc_eps": "eps"}
ANIMALS = ("cat", "cow", "dog", "horse", "sheep")
# The recipes called "mobilenet_v2" are the common protocol; the seeds with saliency are scored too.
ANIMAL_FLAGS = "--backbone mobilenet_v2 --infer-size 321 --use-sal"


def execute(data: str, method: str, seed: int, flags: list, refine: bool) -> None:
    """One run, or what is left of it, and its summary."""
    folder = run_folder(data, method, seed)
    flags = [*flags, "--seed", str(seed)]
    if data == "embedded" and method in STARTS:
        flags += ["--pretrained", str(weights_of(run_folder(data, STARTS[method], seed)))]
    refined = ["--until", "walk_score"]
    if refine and data == "animals" and method in REFINED:
        refined += ["--set", ANIMAL_REFINERS[REFINED[method]]]
    own = refine and method in REFINED and method not in OTHER_CHAIN
    call(method, folder, *(refined if own else ["--until", "score"]), *flags)
    if refine and method in OTHER_CHAIN:
        taken = {"train": weights_of(folder), "maps": folder / "results" / f"scores_{method}"}
        takes = [word for stage, path in taken.items() for word in ("--take", f"{stage}={path}")]
        call(OTHER_CHAIN[method], folder / "refined", *refined, "--no-crf", *takes, *flags)
    keep(data, method, seed)


def call(chain: str, folder: Path, *flags) -> None:
    """One call of `icd run`."""
    command = [
        sys.executable,
        "-m",
        "icd.cli.main",
        "run",
        chain,
        "--resume",
        "--snapshot",
        str(folder),
        *flags,
    ]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def weights_of(folder: Path) -> Path:
    """The weights of a finished run."""
    return folder / read_json(folder / "run.json")["weights"]


def run_folder(data: str, method: str, seed: int) -> Path:
    """Where a run is kept; DRS's first step is a run of its own and the first stage of DRS's."""
    if method == "drs_classifier":
        return run_folder(data, "drs", seed) / "classifier"
    return RUNS / f"{data}-{method}-{seed}"


def keep(data: str, method: str, seed: int) -> None:
    """Write the summary of a finished run: its scores, and what it ran on."""
    folder = run_folder(data, method, seed)
    run, entries = read_json(folder / "run.json"), []
    for entry in all_scores(folder):
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
    summary["losses"] = epoch_means(folder / "losses.jsonl")
    write_json(summary_path(data, method, seed), summary)
    keep_counts(data, method, seed, folder, run, all_scores(folder))


def all_scores(folder: Path) -> list:
    """The scores of a run, and that of the walk where another chain took its score maps."""
    other = folder / "refined"
    walked = [entry for entry in read_scores(other) if entry["kind"] == "walk"] if other.is_dir() else []
    return [*read_scores(folder), *walked]


def epoch_means(log: Path) -> dict:
    """The mean of every loss term in each epoch, of the steps that the log has; a step that was logged twice counts once."""
    steps = {line["step"]: line for line in read_losses(log)}
    facts = {"epoch", "step", "learning_rate", "images_per_second"}
    terms = [key for key in next(iter(steps.values())) if key not in facts]
    epochs = sorted({line["epoch"] for line in steps.values()})
    return {
        term: [
            round(float(np.mean([line[term] for line in steps.values() if line["epoch"] == epoch])), 4)
            for epoch in epochs
        ]
        for term in terms
    }


def keep_counts(data: str, method: str, seed: int, folder: Path, run: dict, scores: list) -> None:
    """Write the pixel counts of every image without CRF, and after the walk."""
    places = seed_folders(folder, scores)
    walked = folder / "refined" if (folder / "refined").is_dir() else folder
    places[f"{list(places)[-1]}_walk"] = walked / "walk/masks"
    evaluated = tuple(run["eval_classes"] or range(len(run["classes"]) + 1))
    ids = list(scores[0]["per_image"])
    counts = {
        name: count_images(place, run["eval_root"], ids, evaluated)
        for name, place in places.items()
        if place.is_dir()
    }
    np.savez_compressed(counts_path(data, method, seed), **counts)


def seed_folders(folder: Path, scores: list) -> dict:
    """Where a run's seeds without CRF lie, by kind of score maps; the method's own are the last."""
    *others, own = dict.fromkeys(entry["kind"] for entry in scores if entry["kind"] != "walk")
    places = {kind: folder / "results" / f"seeds_{kind}" / "nocrf" for kind in others}
    return {**places, own: folder / "results/seeds/nocrf"}


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
    text = "\n\n".join(
        filter(None, [table(data), per_class(data), loss_curves(data), conditions(data, split)])
    )
    write_part(data, text, PAGE)
    write_part("claims", claims(), PAGE)
    print(text)


if __name__ == "__main__":
    main()
