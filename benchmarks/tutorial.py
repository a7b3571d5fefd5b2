"""Runs the commands of docs/tutorial.md, in order, and writes its times, scores and picture.

    python benchmarks/tutorial.py        some minutes on 2 cores

The scenes of the embedded set stand in for the reader's photographs, and a small network that starts from nothing for the
pretrained one, so nothing has to be fetched. All files go to snapshot/tutorial, which is made anew. The last section of the page
needs files from elsewhere and is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from document import write_part
from picture import framed_row, write_picture

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import voc_palette  # noqa: E402
from icd.data.embedded import prepare_embedded  # noqa: E402
from icd.data.images import image_path, read_image  # noqa: E402
from icd.data.tags import open_tags  # noqa: E402
from icd.evaluate import score_masks  # noqa: E402
from icd.files import mask_path, read_classes, read_list, read_mask  # noqa: E402
from icd.provenance import machine  # noqa: E402

PAGE = ROOT / "docs" / "tutorial.md"
END = "## 10."
WORK = ROOT / "snapshot" / "tutorial"
COMMAND = re.compile(r"^    (icd .*)", re.MULTILINE)
SCENES = "--backbone small --recipe embedded"  # the flags that the page names for the scenes
SHOWN = ("scene_0257", "scene_0263", "scene_0270")
MASKS = {
    "pseudo masks of the CAM, without CRF": "work/results/seeds_cam/nocrf",
    "pseudo masks of ICD, without CRF": "work/results/seeds/nocrf",
    "pseudo masks of ICD, with CRF": "work/results/seeds/crf",
    "segmentation network": "labelled/masks",
    "segmentation network, with CRF": "labelled_crf/masks",
}


def prepare() -> None:
    """Lay out the scenes as the page says: photos, tags.csv, and held-out scenes with their true masks."""
    shutil.rmtree(WORK, ignore_errors=True)
    scenes = prepare_embedded(WORK / "scenes")
    lists = {"photos": read_list(scenes.data_list), "held_out": read_list(scenes.val_list)}
    for name, ids in lists.items():
        (WORK / name).mkdir()
        for image_id in ids:
            shutil.copy(image_path(scenes.image_root, image_id), WORK / name)
    (WORK / "held_out.txt").write_text("\n".join(lists["held_out"]) + "\n", encoding="utf-8")
    shutil.copytree(scenes.truth_root, WORK / "truth")
    classes = read_classes(scenes.classes_file)
    tags = open_tags(scenes.annotation_root, classes)
    named = (f"{i},{';'.join(classes[number - 1] for number in tags.read(i))}" for i in lists["photos"])
    (WORK / "tags.csv").write_text("\n".join(["id,tags", *named]) + "\n", encoding="utf-8")


def commands() -> list:
    """The commands of the page."""
    return COMMAND.findall(PAGE.read_text(encoding="utf-8").partition(END)[0])


def execute(command: str) -> float:
    """Run a command in the work folder; the processor seconds of all its processes, which do not depend on what else runs."""
    words = shlex.split(command)[1:]
    words += SCENES.split() if words[0] in ("plan", "run") else []
    print("+ icd", *words, flush=True)
    start, environment = os.times(), {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "icd.cli.main", *words], cwd=WORK, env=environment, check=True)
    end = os.times()
    return end.children_user + end.children_system - start.children_user - start.children_system


def report(times: list) -> str:
    """Times and scores as Markdown."""
    about = machine()
    lines = [
        "### Times and scores to expect",
        "",
        f"`python benchmarks/tutorial.py` has measured this on {about['cpu']}, {about['cores']} cores, with 256 embedded scenes as "
        "`photos` and 40 as `held_out`, and with the backbone `small`. The times are those of the processor, on one thread.",
        "",
        "| command | processor seconds |",
        "|---|---:|",
    ]
    lines += [f"| `{command}` | {seconds:.0f} |" for command, seconds in times]
    lines += ["", "| masks | photographs | mIoU in % | decided pixels in % |", "|---|---|---:|---:|"]
    for title, folder in MASKS.items():
        scores = scored(folder)
        whose = "`photos`" if folder.startswith("work") else "`held_out`"
        lines.append(f"| {title} | {whose} | {100 * scores.miou:.1f} | {100 * scores.coverage:.0f} |")
    lines += ["", "The true masks of the scenes in `photos` are known too; no training has seen them."]
    return "\n".join(lines)


def scored(folder: str):
    """The scores of the masks in a folder."""
    ids = sorted(path.stem for path in (WORK / folder).glob("*.png"))
    return score_masks(WORK / folder, WORK / "truth", ids, read_classes(WORK / "labelled" / "classes.txt"))


def picture_of(image_id: str):
    """Photograph, both predictions and truth of a held-out scene in a row."""
    masks = [WORK / folder for folder in ("labelled/masks", "labelled_crf/masks", "truth")]
    image = read_image(image_path(WORK / "held_out", image_id))
    return framed_row([image, *(voc_palette()[read_mask(mask_path(folder, image_id))] for folder in masks)])


def main() -> None:
    """Run everything and write the page's part and picture."""
    prepare()
    times = [(command, execute(command)) for command in commands()]
    write_part("tutorial", report(times), PAGE)
    write_picture(ROOT / "docs" / "tutorial.png", [picture_of(image_id) for image_id in SHOWN])


if __name__ == "__main__":
    main()
