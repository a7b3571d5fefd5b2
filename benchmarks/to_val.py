"""Trains one segmentation network on the pseudo masks of several methods and writes the table "To val" of docs/results.md.

    python benchmarks/to_val.py --shared DIR                        hours on 2 cores; can be stopped and repeated
    python benchmarks/to_val.py --shared DIR --masks true,eps
    python benchmarks/to_val.py --masks ''                          the table anew, without any run

Methods and networks train on `seg_train.txt` of DIR/data/voc-animals (1,065 photographs), networks are scored on `seg_val.txt`
(437), which neither has seen. `true` are the true masks, the upper bound, `true_long` and `true_scales` the same with more steps
and with photographs of several scales; `tagsal` are those of benchmarks/tag_saliency.py. Runs lie under --runs; what the table
needs is kept in benchmarks/results/val-<masks>.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from document import write_part
from tag_saliency import write_masks

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import VOC_CLASSES, evaluated_numbers  # noqa: E402
from icd.evaluate import score_masks  # noqa: E402
from icd.files import read_json, read_list, write_json  # noqa: E402

KEPT = ROOT / "benchmarks" / "results"
ANIMALS = "cat,cow,dog,horse,sheep"
# Name: title, and the folder of its masks below --runs.
MASKS = {
    "true": ("true masks", None),
    "true_long": ("true masks", None),
    "true_scales": ("true masks, trained at scales 0.5 to 1.5", None),
    "tagsal": ("tag and saliency", "tag_saliency"),
    "icd": ("ICD, CRF", "icd/results/seeds/crf"),
    "eps": ("EPS", "eps/results/seeds/nocrf"),
    "drs": ("DRS, saliency", "drs/results/seeds/sal"),
}
USUAL = {"segment.num_iterations": 800}  # steps of 8 photographs: six epochs
CHANGES = {
    "true_long": {"segment.num_iterations": 2400},
    "true_scales": {"segment.scales": "[0.5,0.75,1.0,1.25,1.5]"},
}
WITH_CRF = ("true", "true_long")  # a second and more an image: for the upper bound alone


def make(name: str, shared: Path, runs: Path) -> Path:
    """Make the masks of a name, or what is left of them; their folder."""
    data, (_, folder) = shared / "data/voc-animals", MASKS[name]
    if folder is None:
        return data / "SegmentationClassAug"
    if name == "tagsal":
        write_masks(
            data / "JPEGImages", data / "Annotations", data / "saliency", data / "ImageSets/seg_train.txt", runs / folder
        )  # fmt: skip
    else:
        call(
            "-m", "icd.cli.main", "run", name, *common(shared), "--infer-list", data / "ImageSets/seg_train.txt",
            "--infer-size", 321, "--saliency", data / "saliency", "--use-sal", "--until", "score", "--out", runs / name,
            *(["--no-crf"] if name == "eps" else []),
        )  # fmt: skip
    return runs / folder


def common(shared: Path) -> list:
    """The flags of every run."""
    data = shared / "data/voc-animals"
    return [
        "--images", data / "JPEGImages", "--tags", data / "Annotations", "--list", data / "ImageSets/seg_train.txt",
        "--truth", data / "SegmentationClassAug", "--eval-classes", ANIMALS, "--backbone", "mobilenet_v2",
        "--pretrained", shared / "weights/mobilenetv2_1.0-imagenet-fp16.params", "--workers", 1, "--resume",
    ]  # fmt: skip


def segment(name: str, masks: Path, shared: Path, runs: Path) -> Path:
    """Train the network and predict; the run's folder."""
    out, settings = runs / f"seg_{name}", {**USUAL, **CHANGES.get(name, {})}
    if name not in WITH_CRF:
        settings["val.crf"] = "false"
    call(
        "-m", "icd.cli.main", "run", "segment", *common(shared), "--val-list",
        shared / "data/voc-animals/ImageSets/seg_val.txt", "--masks", masks, "--network", "largefov",
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")), "--out", out,
    )  # fmt: skip
    return out


def call(*words) -> None:
    """Run Python in the project's folder."""
    command = [sys.executable, *map(str, words)]
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def keep(name: str, masks: Path, run: Path, shared: Path, method: Path) -> None:
    """Score the masks that the network learned from, and note what the table needs."""
    data = shared / "data/voc-animals"
    evaluated = (0, *evaluated_numbers(ANIMALS, VOC_CLASSES, "--eval-classes"))
    ids = read_list(data / "ImageSets/seg_train.txt")
    learned = score_masks(
        masks, data / "SegmentationClassAug", ids, VOC_CLASSES, evaluated_classes=evaluated
    ).as_dict()
    facts, entries = read_json(run / "run.json"), read_json(run / "scores.json")
    own = read_json(method / "run.json") if (method / "run.json").is_file() else {}
    known = {"tagsal": ["saliency"], **{name: ["true masks"] for name in MASKS if MASKS[name][1] is None}}
    summary = {
        "train": {key: learned[key] for key in ("miou", "coverage", "miou_per_policy")},
        "val": {entry["variant"]: entry["miou"] for entry in entries},
        "objects": {entry["variant"]: objects_of(entry["counts"], evaluated) for entry in entries},
        "extra_supervision": known.get(name, own.get("extra_supervision")),
        "run": {
            key: facts[key]
            for key in ("seed", "backbone", "initial_weights", "recipe", "machine", "versions")
        },
    }
    if name == "icd":
        summary["extra_supervision"] = own.get("training_supervision")  # its masks with CRF use no saliency
    write_json(KEPT / f"val-{name}.json", summary)


def objects_of(counts: list, evaluated: tuple) -> dict:
    """What is behind an mIoU: how well objects are told from background, and how often an object's pixel gets the right class.

    Parameters
    ----------
    counts : list of list of int
        Pixels by true class and predicted class; the last column is 255.
    evaluated : tuple of int
        Numbers of the scored classes, 0 among them.
    """
    counts, scored = np.array(counts)[:, :-1], [number for number in evaluated if number]
    found = counts[scored, 1:].sum()
    return {
        "iou": float(found / (counts[scored].sum() + counts[0, 1:].sum())),
        "right": float(counts[scored, scored].sum() / found),
    }


def table() -> str:
    """The rows of all masks that have been measured."""
    lines = [
        "| masks of seg_train | beyond tags | masks: mIoU | 255 an error | steps | network on val | with CRF | objects | right animal |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    runs = []
    for name, (title, _) in MASKS.items():
        path = KEPT / f"val-{name}.json"
        if path.is_file():
            kept = read_json(path)
            runs.append(kept["run"])
            masks = f"{100 * kept['train']['miou']:.1f} ({100 * kept['train']['coverage']:.0f} %)"
            values = (kept["train"]["miou_per_policy"]["error"], kept["val"]["nocrf"], kept["val"].get("crf"))
            values += tuple(kept["objects"]["nocrf"].values())
            values = ["–" if v is None else f"{100 * v:.1f}" for v in values]
            beyond = ", ".join(kept["extra_supervision"]) or "–"
            lines.append(
                "| "
                + " | ".join(
                    (
                        title,
                        beyond,
                        masks,
                        values[0],
                        str(kept["run"]["recipe"]["num_iterations"]),
                        *values[1:],
                    )
                )
                + " |"
            )
    return "\n".join(lines) + ("\n\n" + conditions(runs[0]) if runs else "")


def conditions(run: dict) -> str:
    """What a reader needs to place the numbers."""
    recipe = ", ".join(f"{key} {value}" for key, value in run["recipe"].items() if key != "num_iterations")
    weights, machine = run["initial_weights"], run["machine"]
    return (
        "mIoU in % of background and five animals; pixels of other classes are left out of the truth. Masks: policy `drop`, in "
        "brackets the share of pixels that are not 255; beside it policy `error`. *Objects*: IoU of all objects together against the background, without CRF; *right "
        "animal*: the share of the pixels of an animal that are taken for some object and get the right class. Network: "
        "DeepLab-LargeFOV on "
        f"{run['backbone']}, one scale, without mirror image; random seed {run['seed']}; initial weights "
        f"`{Path(weights['path']).name}` (ImageNet), sha256 {weights['sha256'][:12]}…; the last step's weights. Recipe: "
        f"{recipe}. Machine: {machine['cpu']}, one thread a training."
    )


def main() -> None:
    """Carry out the runs and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--masks", default=",".join(MASKS), help="comma-separated [all]")
    parser.add_argument("--shared", type=Path, help="folder with data/voc-animals and weights")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "snapshot/results/val", help="[snapshot/results/val]"
    )
    arguments = parser.parse_args()
    names = [name for name in arguments.masks.split(",") if name]
    if names and arguments.shared is None:
        parser.error("runs need --shared")
    for name in names:
        shared, runs = arguments.shared.resolve(), arguments.runs.resolve()
        masks = make(name, shared, runs)
        keep(name, masks, segment(name, masks, shared, runs), shared, runs / name)
    text = table()
    write_part("val", text, ROOT / "docs" / "results.md")
    print(text)


if __name__ == "__main__":
    main()
