"""How the tools bear a set of COCO's size: 82,783 images, 604,907 outlines, as train2014 has.

    python benchmarks/coco.py                        # make the set in a temporary folder, measure, print
    python benchmarks/coco.py --write                # and put the tables into docs/performance.md
    python benchmarks/coco.py --folder /data/coco    # keep the set there, and use it again

The set is synthetic: photographs are hard links to a few distinct JPEGs, outlines are random stars. Every measurement is a
fresh process, whose memory is sampled from outside. Times are processor time, which other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.document import write_part
from icd.classes import COCO_CLASSES
from icd.data.tags import open_tags
from icd.evaluate.table import format_table
from icd.files import write_atomic
from icd.provenance import machine

IMAGES, WITH_TAGS, OUTLINES = 82_783, 82_081, 604_907  # of train2014
TAGS = 3.5  # categories an image of COCO (Lin et al., ECCV 2014)
DISTINCT = 200
HEIGHT, WIDTH = 480, 640
CATEGORY_IDS = [k for k in range(1, 91) if k not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
IMAGE = (
    '{"license": 5,"file_name": "%s.jpg","coco_url": "http://images.cocodataset.org/train2014/%s.jpg","height": 480,'
    '"width": 640,"date_captured": "2013-11-14 16:28:13","flickr_url": "http://farm4.staticflickr.com/3153/2970773875.jpg",'
    '"id": %d}'
)
OUTLINE = (
    '{"segmentation": %s,"area": 1234.56,"iscrowd": %d,"image_id": %d,"bbox": [1.0,2.0,300.5,200.25],'
    '"category_id": %d,"id": %d}'
)


def image_id(number: int) -> str:
    """The id of an image as COCO 2014 spells it."""
    return f"COCO_train2014_{7 * number + 9:012d}"


def make_set(folder: Path) -> None:
    """Write instances, photographs, and the same tags as `.npy` and `.csv`, unless they are there."""
    if (folder / "complete").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_instances(folder / "instances_train2014.json", np.random.RandomState(0))
    _write_photographs(folder / "train2014", np.random.RandomState(1))
    tags = open_tags(folder / "instances_train2014.json", COCO_CLASSES).tags
    vectors = {key: np.zeros(80, np.float32) for key in tags}
    for key, own in tags.items():
        vectors[key][np.array(own, int) - 1] = 1
    np.save(folder / "cls_labels.npy", vectors)
    rows = (f"{key},{';'.join(COCO_CLASSES[number - 1] for number in own)}\n" for key, own in tags.items())
    write_atomic(folder / "tags.csv", ("id,tags\n" + "".join(rows)).encode())
    write_atomic(folder / "complete", b"")


def _write_instances(path: Path, random) -> None:
    images = np.concatenate([np.arange(WITH_TAGS), random.randint(0, WITH_TAGS, OUTLINES - WITH_TAGS)])
    categories = [{"supercategory": "x", "id": k, "name": n} for k, n in zip(CATEGORY_IDS, COCO_CLASSES)]
    with open(path, "w") as file:
        file.write('{"info": {"description": "synthetic"},"licenses": [],"images": [')
        lines = (IMAGE % (image_id(k), image_id(k), 7 * k + 9) for k in range(IMAGES))
        file.write(",".join(lines) + '],"annotations": [')
        for number, image in enumerate(random.permutation(images)):
            crowd = number % 100 == 0
            segmentation = _runs(random) if crowd else f"[[{_star(random)}]]"
            category = CATEGORY_IDS[random.randint(80)]
            line = OUTLINE % (segmentation, crowd, 7 * image + 9, category, number)
            file.write("," * bool(number) + line)
        file.write(f'],"categories": {json.dumps(categories)}}}')


def _star(random) -> str:
    """The corners of a polygon around a point, 8 to 47 of them, as text."""
    count = random.randint(8, 48)
    angles = np.sort(random.uniform(0, 2 * np.pi, count))
    radii = random.uniform(5, 120) * random.uniform(0.6, 1, count)
    x = np.clip(random.uniform(0, WIDTH) + radii * np.cos(angles), 0, WIDTH)
    y = np.clip(random.uniform(0, HEIGHT) + radii * np.sin(angles), 0, HEIGHT)
    return ",".join(map("%.2f".__mod__, np.stack([x, y], 1).ravel().tolist()))


def _runs(random) -> str:
    ends = np.sort(random.choice(HEIGHT * WIDTH - 1, 200, replace=False) + 1)
    counts = np.diff([0, *ends, HEIGHT * WIDTH])
    return json.dumps({"counts": counts.tolist(), "size": [HEIGHT, WIDTH]})


def _write_photographs(folder: Path, random) -> None:
    """JPEGs of about a photograph's size: a coarse field of colours with some noise."""
    folder.mkdir(exist_ok=True)
    for number in range(IMAGES):
        path = folder / f"{image_id(number)}.jpg"
        if number >= DISTINCT:
            os.link(folder / f"{image_id(number % DISTINCT)}.jpg", path)
            continue
        field = random.randint(0, 256, (12, 16, 3)).astype(np.float32)
        noise = random.normal(0, 14, (HEIGHT, WIDTH, 1))
        pixels = np.clip(cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) + noise, 0, 255)
        write_atomic(path, cv2.imencode(".jpg", pixels.astype(np.uint8))[1].tobytes())


# What the fresh processes run; each prints its result as JSON.
START = "import sys, time, json; from pathlib import Path; folder = Path(sys.argv[1]); clock = time.process_time\n"
OPEN = """
import pickle
from icd.classes import COCO_CLASSES
from icd.data.tags import open_tags
start = clock()
tags = open_tags(folder / sys.argv[2], COCO_CLASSES)
seconds = clock() - start
print(json.dumps([seconds, len(pickle.dumps(tags)) / 2**20]))
"""
PEERS = {
    "json.load": """
content = json.load(open(folder / "instances_train2014.json"))
tags = {}
for entry in content["annotations"]:
    tags.setdefault(entry["image_id"], set()).add(entry["category_id"])
print(json.dumps([clock(), None]))
""",
    "ijson, streaming": """
import ijson
tags = {}
for entry in ijson.items(open(folder / "instances_train2014.json", "rb"), "annotations.item", use_float=True):
    tags.setdefault(entry["image_id"], set()).add(entry["category_id"])
print(json.dumps([clock(), None]))
""",
    "pycocotools.coco.COCO": """
import contextlib, io
from pycocotools.coco import COCO
with contextlib.redirect_stdout(io.StringIO()):
    content = COCO(folder / "instances_train2014.json")
print(json.dumps([clock(), None]))
""",
}
READ = """
from icd.classes import COCO_CLASSES
from icd.data.batches import InferenceBatches
from icd.data.dataset import ImageDataset
from icd.data.tags import open_tags
from icd.data.views import Frame, Pyramid
presentation = {"frame": Frame(513), "pyramid": Pyramid((0.5, 1.0, 1.5, 2.0))}[sys.argv[4]]
source, workers = folder / "instances_train2014.json", int(sys.argv[2])
ids = [key for key, own in open_tags(source, COCO_CLASSES).tags.items() if own]
start = clock()
batches = InferenceBatches(ImageDataset(folder / "train2014", source, ids, COCO_CLASSES), 4, presentation, workers=workers)
iterator = iter(batches)
next(iterator)
first, count = clock(), 0
for batch in iterator:
    count += len(batch["ids"])
    if count >= int(sys.argv[3]):
        break
seconds = clock() - first
iterator.close()
batches.close()
print(json.dumps([first - start, seconds / count]))
"""
LOCALIZE = """
import tempfile, contextlib, os, sys
import numpy as np
from icd.classes import COCO_CLASSES
from icd.compat import mx
from icd.data.batches import InferenceBatches
from icd.data.dataset import ImageDataset
from icd.data.tags import open_tags
from icd.engine.build import build_trainable
from icd.engine.localize import localize
from icd.methods import make_recipe
from icd.stages.base import ids_without_file
source, count, target = folder / "instances_train2014.json", int(sys.argv[2]), Path(sys.argv[3])
start = clock()
tags = open_tags(source, COCO_CLASSES)
ids = [key for key, own in tags.tags.items() if own]
share = ids[:: len(ids) // count][:count]
dataset = ImageDataset(folder / "train2014", source, share, COCO_CLASSES)
recipe = make_recipe("eps", published="coco")
method = build_trainable("eps", "small", 80, [mx.cpu()], recipe=recipe)
method.initialize(mx.init.Xavier(magnitude=3), force_reinit=True)  # maps that vary, so that they do not compress well
ready = clock() - start
presentation, folders = method.presentation(recipe, 0), {"eps": target}
start = clock()
localize(method, InferenceBatches(dataset, 1, presentation), [mx.cpu()], folders, "float16")
seconds = clock() - start
sizes = [path.stat().st_size for path in target.glob("*.npz")]
blocks = [os.stat(path).st_blocks * 512 for path in target.glob("*.npz")]
labels = np.mean([len(tags.tags[key]) for key in share])
start = clock()
left = len(ids_without_file(ids, folders.values(), ".npz"))
print(json.dumps([ready, seconds / len(share), float(np.mean(sizes)), float(np.mean(blocks)), float(labels), clock() - start, left]))
"""
MASKS = """
from icd.classes import COCO_CLASSES
from icd.data.coco import read_coco_tags
from icd.data.coco_masks import write_coco_masks
source, target = folder / "instances_train2014.json", Path(sys.argv[4])
ids = [key for key, own in read_coco_tags(source, COCO_CLASSES).items() if own][: int(sys.argv[3])]
write_coco_masks(source, COCO_CLASSES, ids[:1], target, 0)
start = clock()
write_coco_masks(source, COCO_CLASSES, ids[:2], target, int(sys.argv[2]))
opened = clock() - start
write_coco_masks(source, COCO_CLASSES, ids, target, int(sys.argv[2]))
print(json.dumps([(clock() - start - 2 * opened) / (len(ids) - 2)]))
"""


def measured(code: str, folder: Path, *arguments) -> tuple:
    """What a fresh process printed, and the peaks of its own and its children's memory, in MB: all, and not of files."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", START + code, str(folder), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        peak = np.zeros(2)
        while process.poll() is None:
            peak = np.maximum(peak, memory_of(process.pid))
            time.sleep(0.01)
        if process.returncode:
            errors.seek(0)
            sys.exit(errors.read())
    return (json.loads(process.stdout.read()), *peak)


def memory_of(process: int) -> np.ndarray:
    """Resident memory and its part that is no file's, in MB, of a process and all below it."""
    total = np.zeros(2)
    try:
        status = Path(f"/proc/{process}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        total += [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in children.read_text().split():
                total += memory_of(int(child))
    except (OSError, KeyError, ValueError):  # it ended meanwhile
        pass
    return total


def tag_table(folder: Path) -> str:
    """Opening every kind of file, and the ways to read the JSON."""
    rows = []
    for name in ("instances_train2014.json", "cls_labels.npy", "tags.csv"):
        (seconds, pickled), everything, own = measured(OPEN, folder, name)
        size = (folder / name).stat().st_size / 2**20
        rows.append([f"ours, {name} ({size:.0f} MB)", seconds, own, everything, pickled])
    for name, code in PEERS.items():
        if importlib.util.find_spec(name.split(".")[0].split(",")[0]) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        (seconds, _), everything, own = measured(code, folder)
        rows.append([f"{name}, the JSON", seconds, own, everything, None])
    header = [
        "tags of 82,783 images",
        "s",
        "peak MB",
        "peak MB with the mapped file",
        "MB sent to each worker",
    ]
    return format_table(header, rows, markdown=True)


def reading_table(folder: Path, images: int) -> str:
    """Start-up and cost of the inference batches."""
    rows = []
    for title, view in {"frame of 513 (ICD)": "frame", "scales 0.5 to 2, mirrored (EPS)": "pyramid"}.items():
        (first, each), alone, _ = measured(READ, folder, 0, images, view)
        _, together, _ = measured(READ, folder, 2, 40, view)
        rows.append([title, first, 1000 * each, WITH_TAGS * each / 3600, alone, together])
    header = ["views", "dataset and first batch, s", "ms an image", "core hours for 82,081",
              "peak MB", "peak MB with 2 loader processes"]  # fmt: skip
    return format_table(header, rows, markdown=True)


def localization_table(folder: Path, images: int) -> str:
    """Score maps of EPS at four scales, a share of the list spread over all of it, with a small network of stride 8."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        (ready, each, size, blocks, labels, again, _), alone, _ = measured(LOCALIZE, folder, images, target)
    header = ["score maps", "start, s", "ms an image", "KiB a file", "on disk, KiB", "tags an image here",
              f"GB for 82,783 images of {TAGS} tags", "peak MB", "finding what is left, s"]  # fmt: skip
    row = ["EPS, four scales, float16", ready, 1000 * each, size / 1024, blocks / 1024, labels,
           IMAGES * blocks / labels * TAGS / 1e9, alone, again]  # fmt: skip
    return format_table(header, [row], markdown=True)


def mask_table(folder: Path, images: int) -> str:
    """Drawing true masks."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        (each,), alone, _ = measured(MASKS, folder, 0, images, Path(target) / "1")
        _, together, _ = measured(MASKS, folder, 2, 40, Path(target) / "2")
    header = ["", "ms a mask", "core hours for 82,081", "peak MB", "peak MB with 2 processes"]
    rows = [["masks from outlines", 1000 * each, WITH_TAGS * each / 3600, alone, together]]
    return format_table(header, rows, markdown=True)


def main() -> None:
    """Make the set, measure, and print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to keep the set (default: a temporary folder)")
    parser.add_argument("--images", type=int, default=2000, help="images to read and draw (default: 2000)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        make_set(folder)
        tables = [
            tag_table(folder),
            reading_table(folder, arguments.images),
            mask_table(folder, arguments.images),
            localization_table(folder, min(arguments.images, 400)),
        ]
        size = np.mean([path.stat().st_size for path in list((folder / "train2014").iterdir())[:DISTINCT]])
    about = machine()
    text = "\n\n".join([
        "## COCO's size",
        f"`python benchmarks/coco.py --write`, {about['cpu']}, Python {platform.python_version()}. "
        f"A synthetic set with train2014's numbers: {IMAGES} images of {WIDTH} x {HEIGHT} ({DISTINCT} distinct ones of "
        f"{size / 1024:.0f} KiB), {OUTLINES} outlines. Every measurement is one fresh process; times are processor time.",
        tables[0],
        f"The pages of the mapped file belong to the system's cache and are given back when memory is short. Reading whole "
        f"images as localization does, of the first {arguments.images} of the list:",
        tables[1],
        f"True masks of the first {arguments.images} images, each drawn, written, synchronized and renamed:",
        tables[2],
        "Score maps, of a share of the images taken from the whole list, by an untrained small network of stride 8: the files have "
        "the size of those of ResNet-38, which has the same stride; its time would be another. A share is what a machine does of "
        "`--shard K/N`; a run that was stopped finds what is left by the names of the files.",
        tables[3],
    ])  # fmt: skip
    print(text)
    if arguments.write:
        write_part("coco", text)


if __name__ == "__main__":
    main()
