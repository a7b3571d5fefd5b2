"""How fast the evaluator counts, against the originals' loops and other packages, and that its memory is bounded.

    python benchmarks/evaluate.py                    # print the tables
    python benchmarks/evaluate.py --write            # and put them into docs/performance.md
    python benchmarks/evaluate.py --images 80000     # size of the large set (default 4000)

Every comparison alternates the candidates in one process and reports the shortest times, which other work on the machine
disturbs least. Peers are measured where they are installed:
scikit-learn, and torchmetrics with torch.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.document import write_measured
from icd.evaluate import score_masks
from icd.evaluate.confusion import class_counts, joint_table
from icd.evaluate.policies import CONVENTIONS
from icd.evaluate.table import format_table
from icd.files import mask_path, read_mask, write_mask
from icd.provenance import machine

DISTINCT = 200
"""Different masks in the large set; the rest are hard links to them, which are read and decoded like any file."""


def make_mask(random, height: int, width: int, classes: int) -> np.ndarray:
    """A mask with a few classes, wavy borders and a ring of 255, of about a VOC mask's compressed size."""
    field = random.rand(6, 8).astype(np.float32)
    rows, columns = np.linspace(0, 4.99, height), np.linspace(0, 6.99, width)
    wave = np.sin(columns[None] * 9) * 0.05 + np.cos(rows[:, None] * 7) * 0.05
    smooth = field[rows.astype(int)][:, columns.astype(int)] + wave
    numbers = random.randint(0, classes + 1, 4)
    mask = numbers[np.digitize(smooth, (0.4, 0.6, 0.8))].astype(np.uint8)
    mask[np.abs(smooth - 0.6) < 0.01] = 255
    return mask


def one_pass_a_class(truth, prediction, classes: int) -> np.ndarray:
    """IoU's three counts by three boolean passes over the image a class, as SEAM's and PPC's evaluators do."""
    known = truth < 255
    counts = np.zeros((3, classes + 1), np.int64)
    for number in range(classes + 1):
        p, t = (prediction == number) * known, (truth == number) * known
        counts[:, number] = np.sum(p), np.sum(t), np.sum(p * t)
    return counts


def masked_bincount(truth, prediction, classes: int) -> np.ndarray:
    """One int64 histogram over the known pixels, as EPS's, VWE's and deeplab-pytorch's evaluators do."""
    number = classes + 1
    known = (truth < number) & (prediction < number)
    pairs = number * truth[known].astype(int) + prediction[known]
    return np.bincount(pairs, minlength=number**2).reshape(number, number)


def ours(truth, prediction, classes: int) -> np.ndarray:
    """The evaluator's own counting, with its checks of values."""
    return class_counts(joint_table(truth, prediction), classes, CONVENTIONS["drop"], "truth", "prediction")


def peers() -> dict:
    """The counting functions to compare, by name."""
    found = {
        "ours": ours,
        "one pass a class (SEAM, PPC)": one_pass_a_class,
        "masked bincount (EPS, VWE, DeepLab)": masked_bincount,
    }
    try:
        from sklearn.metrics import confusion_matrix
    except ImportError:
        print("scikit-learn is not installed: left out", file=sys.stderr)
    else:
        found["scikit-learn confusion_matrix"] = lambda truth, prediction, classes: confusion_matrix(
            truth[truth < 255], prediction[truth < 255], labels=np.arange(classes + 1)
        )
    try:
        import torch
        from torchmetrics.functional.classification import multiclass_confusion_matrix
    except ImportError:
        print("torchmetrics is not installed: left out", file=sys.stderr)
    else:
        torch.set_num_threads(1)
        found["torchmetrics multiclass_confusion_matrix"] = lambda truth, prediction, classes: (
            multiclass_confusion_matrix(
                torch.from_numpy(prediction), torch.from_numpy(truth), classes + 1, ignore_index=255
            )
        )
    return found


PEERS = peers()


def alternate(candidates: dict, seconds: float) -> dict:
    """Shortest time of every candidate, called in turn for `seconds`, each at least five times."""
    times = {name: [] for name in candidates}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def counting_calls(height: int, width: int, classes: int) -> dict:
    """Every candidate, ready to count one image."""
    random = np.random.RandomState(0)
    truth, prediction = (make_mask(random, height, width, classes) for _ in range(2))
    prediction[prediction == 255] = 0
    return {name: partial(function, truth, prediction, classes) for name, function in PEERS.items()}


def counting_table(seconds: float) -> str:
    """One image in memory, one thread."""
    rows = {}
    sets = {"375 x 500, 21 classes": (375, 500, 20), "480 x 640, 81 classes": (480, 640, 80)}
    for shape in sets.values():
        times = alternate(counting_calls(*shape), seconds)
        for name, value in times.items():
            rows.setdefault(name, []).extend([1000 * value, value / times["ours"]])
    header = ["counting one image", *(part for title in sets for part in (f"ms, {title}", "ratio to ours"))]
    return format_table(header, [[name, *values] for name, values in rows.items()], markdown=True)


def folder_table(root: Path, seconds: float) -> str:
    """From two folders of PNGs to scores, against reading the same files and one pass a class."""
    ids = [f"{k:06d}" for k in range(40)]
    folders = root / "predictions", root / "truth"
    names = tuple(map(str, range(80)))

    def slow():
        for image_id in ids:
            one_pass_a_class(*(read_mask(mask_path(folder, image_id)) for folder in folders), 80)

    calls = {
        "ours, one process": lambda: score_masks(*folders, ids, names, boundary=False, workers=1),
        "ours with boundary IoU, one process": lambda: score_masks(*folders, ids, names, workers=1),
        "one pass a class, one process": slow,
    }
    times = alternate(calls, seconds)
    rows = [
        [name, len(ids) / value, times[name] / times["ours, one process"]] for name, value in times.items()
    ]
    return format_table(
        ["folders of 480 x 640 masks, 81 classes", "masks a second", "time to ours"], rows, markdown=True
    )


SCORE = """
import sys, time
from icd.evaluate import score_masks
root, count = sys.argv[1], int(sys.argv[2])
ids = [f"{k:06d}" for k in range(count)]
start = time.perf_counter()
score_masks(root + "/predictions", root + "/truth", ids, [str(k) for k in range(1, 81)])
print(time.perf_counter() - start)
"""


def memory_table(root: Path, images: int) -> str:
    """Speed and peak memory of `score_masks` over sets of growing size, each in a fresh process with its workers."""
    rows = []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    for count in (max(images // 80, 100), images):
        command = [sys.executable, "-c", SCORE, str(root), str(count)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        peak = processor = 0.0
        while process.poll() is None:
            memory, used = usage_of(process.pid)
            peak, processor = max(peak, memory), max(processor, used)
            time.sleep(0.1)
        rate = count / float(process.stdout.read())
        rows.append([count, rate, 1000 * processor / count, peak])
    header = [
        "masks of 480 x 640, 81 classes, with boundary IoU",
        "masks a second, all cores",
        "processor ms a mask, start included",
        "peak MB, all processes",
    ]
    return format_table(header, rows, markdown=True)


def usage_of(process: int) -> tuple:
    """Resident memory in MB, pages shared counted once a process, and processor seconds of a process and all below it."""
    parents, usage = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        parents[int(folder.name)] = int(fields[1])
        usage[int(folder.name)] = (int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20, seconds)
    family = {process}
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            return tuple(np.sum([usage.get(member, (0, 0)) for member in family], 0).tolist())
        family |= more


def make_folders(root: Path, images: int) -> None:
    """Write the masks of the large set."""
    random = np.random.RandomState(1)
    for folder in ("predictions", "truth"):
        for k in range(images):
            path = mask_path(root / folder, f"{k:06d}")
            if k < DISTINCT:
                write_mask(path, make_mask(random, 480, 640, 80))
            else:
                os.link(mask_path(root / folder, f"{k % DISTINCT:06d}"), path)


def main() -> None:
    """Run everything and print, or write, the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=4000, help="size of the large set (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=20, help="time for each comparison (default: %(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        small, large = Path(root) / "small", Path(root) / "large"
        make_folders(small, 40)
        make_folders(large, arguments.images)
        size = statistics.mean(path.stat().st_size for path in (large / "truth").iterdir())
        tables = [counting_table(arguments.seconds), folder_table(small, arguments.seconds)]
        tables.append(memory_table(large, arguments.images))
    about = machine()
    text = "\n\n".join([
        "## Scoring masks",
        f"`python benchmarks/evaluate.py --images {arguments.images} --write`, {about['cpu']}, {about['cores']} cores, "
        f"Python {platform.python_version()}, numpy {np.__version__}. Shortest times of "
        "candidates that take turns in one process; the rates over the large set are one run each and depend on what else "
        "the machine did.",
        *tables,
        f"The masks are synthetic, {size / 1024:.1f} KiB a PNG on average. Every number of the evaluator (all conventions, precision, "
        "recall, confusion) follows from the one table that is counted; reading and decoding the two PNGs is most of the rest.",
    ])  # fmt: skip
    print(text)
    if arguments.write:
        write_measured("evaluate", text)


if __name__ == "__main__":
    main()
