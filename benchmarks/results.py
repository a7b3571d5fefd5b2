"""Runs CAM and ICD side by side and writes the tables of docs/results.md.

    python benchmarks/results.py embedded                     three seeds of the embedded set, about 10 minutes
    python benchmarks/results.py animals --shared DIR         real photographs, about an hour on 2 cores
    python benchmarks/results.py animals --shared DIR --curve also the best background threshold of CAM

Runs are kept under snapshot/results and resumed, so the command can be stopped and repeated. DIR holds `data/voc-animals`
and `weights`, which do not travel with the project.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from document import write_part

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import VOC_CLASSES  # noqa: E402
from icd.evaluate import threshold_curve  # noqa: E402
from icd.evaluate.compare import read_scores  # noqa: E402
from icd.files import read_json, read_list  # noqa: E402

RUNS = ROOT / "snapshot" / "results"
PAGE = ROOT / "docs" / "results.md"
METHODS = ("cam", "icd")
VARIANTS = {"nocrf": "no CRF", "crf": "CRF", "sal": "saliency"}
ANIMALS = ("cat", "cow", "dog", "horse", "sheep")
# MobileNetV2 wants a smaller step than VGG-16: at the published 1e-3 its classifier forgets what it was pretrained on.
ANIMAL_FLAGS = (
    "--backbone mobilenet_v2 --image-size 257 --infer-size 321 --batch-size 16 --num-epoch 8 --learning-rate 0.0005 "
    "--set backbone_multiplier=0.4 --use-sal"
)


def execute(method: str, snapshot: Path, flags: list) -> None:
    """One run, or what is left of it."""
    command = [
        sys.executable,
        "-m",
        "icd.cli.main",
        "run",
        method,
        "--resume",
        "--snapshot",
        str(snapshot),
        *flags,
    ]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def animal_flags(shared: Path) -> list:
    """The flags of a run on the photographs of animals."""
    data = shared / "data" / "voc-animals"
    return [
        *ANIMAL_FLAGS.split(),
        "--image-root", data / "JPEGImages", "--annotation-root", data / "Annotations",
        "--data-list", data / "ImageSets" / "train_aug.txt", "--saliency-root", data / "saliency",
        "--superpixel-root", ROOT / "data" / "superpixels" / "voc-animals",
        "--eval-root", data / "SegmentationClassAug", "--eval-list", data / "ImageSets" / "train.txt",
        "--eval-classes", ",".join(ANIMALS),
        "--pretrained", shared / "weights" / "mobilenetv2_1.0-imagenet-fp16.params",
    ]  # fmt: skip


def entries_of(folder: Path) -> dict:
    """The scores of a run by kind and variant."""
    return {(entry["kind"], entry["variant"]): entry for entry in read_scores(folder)}


def spread(values: list) -> str:
    """Mean in per cent, and the sample standard deviation where there are several."""
    percent = [100 * value for value in values]
    mean = f"{statistics.mean(percent):.1f}"
    return mean if len(percent) == 1 else f"{mean} ± {statistics.stdev(percent):.1f}"


def table(name: str, seeds: list) -> str:
    """mIoU of both methods' seeds in every variant, and their difference."""
    scores = {method: [entries_of(folder_of(name, method, seed)) for seed in seeds] for method in METHODS}
    rows = [("CAM, trained alone", "cam", "cam"), ("CAM branch of ICD", "icd", "cam"), ("ICD", "icd", "icd")]
    lines = [
        "| seeds | " + " | ".join(VARIANTS.values()) + " | labelled pixels with saliency |",
        "|---|" + "---|" * (len(VARIANTS) + 1),
    ]
    for title, method, kind in rows:
        cells = [spread([entry[kind, variant]["miou"] for entry in scores[method]]) for variant in VARIANTS]
        coverage = spread([entry[kind, "sal"]["coverage"] for entry in scores[method]])
        lines.append(f"| {title} | {' | '.join(cells)} | {coverage} |")
    gains = [
        spread(
            [
                ours["icd", v]["miou"] - cam["cam", v]["miou"]
                for ours, cam in zip(scores["icd"], scores["cam"])
            ]
        )
        for v in VARIANTS
    ]
    lines.append(f"| ICD − CAM trained alone | {' | '.join(gains)} | |")
    return "\n".join(lines)


def per_class(name: str, seed: int) -> str:
    """IoU of every scored class, seeds without CRF."""
    lines = []
    for method in METHODS:
        entry = entries_of(folder_of(name, method, seed))[method, "nocrf"]
        scored = [row for row in entry["classes"] if row["iou"] is not None]
        if not lines:
            names = " | ".join(row["name"] for row in scored)
            lines = [f"| IoU without CRF | {names} |", "|---|" + "---|" * len(scored)]
        cells = " | ".join(f"{100 * row['iou']:.1f}" for row in scored)
        lines.append(f"| {method.upper()} | {cells} |")
    return "\n".join(lines)


def conditions(name: str, seeds: list, split: str) -> str:
    """What a reader needs to place the numbers."""
    run = read_json(folder_of(name, "icd", seeds[0]) / "run.json")
    weights = run.get("initial_weights")
    start = f"`{Path(weights['path']).name}`, sha256 {weights['sha256'][:12]}…" if weights else "random"
    return (
        f"mIoU in %, pixels with 255 in the prediction not counted (policy `drop`). Split: {split}. "
        f"Seeds of the random numbers: {', '.join(map(str, seeds))}. Backbone {run['backbone']}, initial weights: {start}. "
        "Extra supervision: none in the columns *no CRF* and *CRF*; saliency maps in the last ones. Background threshold: "
        "ICD none; CAM 0.2 of the maximum, fixed beforehand. Recipe: "
        + ", ".join(f"{key} {value}" for key, value in run["recipe"].items() if key != "scales")
        + f". Machine: {run['machine']['cpu']}, {run['machine']['cores']} cores, CPU."
    )


def curve(shared: Path, seed: int) -> str:
    """CAM at its best threshold, chosen with the truth."""
    data = shared / "data" / "voc-animals"
    found = threshold_curve(
        folder_of("animals", "cam", seed) / "results" / "scores_cam",
        data / "SegmentationClassAug",
        read_list(data / "ImageSets" / "train.txt"),
        np.arange(0.0, 0.95, 0.05),
        evaluated_classes=(0, *(VOC_CLASSES.index(animal) + 1 for animal in ANIMALS)),
        normalize=True,
    )
    best = found.best
    return (
        f"CAM trained alone at the threshold that is best on the truth ({found.thresholds[best]:.2f} of the maximum): "
        f"{100 * found.miou[best]:.1f} without CRF. Chosen with ground truth, so not a result of weak supervision."
    )


def folder_of(name: str, method: str, seed: int) -> Path:
    """The run folder of a method and seed."""
    return RUNS / f"{name}-{method}-{seed}"


def main() -> None:
    """Carry out the runs of one data set and write its part of the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=("embedded", "animals"))
    parser.add_argument("--seeds", default=None, help="comma-separated [0,1,2 for embedded, 0 for animals]")
    parser.add_argument("--shared", type=Path, help="folder with data/voc-animals and weights")
    parser.add_argument("--curve", action="store_true", help="also the best threshold of CAM")
    arguments = parser.parse_args()
    name = arguments.data
    seeds = [int(seed) for seed in (arguments.seeds or ("0,1,2" if name == "embedded" else "0")).split(",")]
    if name == "animals" and arguments.shared is None:
        parser.error("animals needs --shared")
    flags = animal_flags(arguments.shared.resolve()) if name == "animals" else []
    for seed in seeds:
        for method in METHODS:
            execute(method, folder_of(name, method, seed), [str(flag) for flag in [*flags, "--seed", seed]])
    if name == "embedded":
        split = "the 256 training images of the embedded set, its four classes and background"
    else:
        split = "the 437 images of VOC 2012's official train list with animals, scaled to 320 px; trained on all 1,502; "
        split += "background and five animals scored, pixels of other classes left out of the truth"
    parts = [table(name, seeds), per_class(name, seeds[0]), conditions(name, seeds, split)]
    if arguments.curve:
        parts.append(curve(arguments.shared, seeds[0]))
    write_part(name, "\n\n".join(parts), PAGE)
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
