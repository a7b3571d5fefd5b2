"""How long the command line takes before it does anything: `--help`, and the scoring of ten masks.

    python benchmarks/startup.py --write

Processor time of whole programs, which the load of the machine changes less than the elapsed time; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import table, write_measured  # noqa: E402
from benchmarks.machine import call  # noqa: E402
from icd.files import write_mask  # noqa: E402

IMAGES, GOALS = 10, {"icd --help": 0.3, "icd evaluate --help": 0.3, "icd evaluate, 10 masks": 1.0}


def draw_masks(folder: Path) -> None:
    """Predictions and truths of VOC's size, and their list."""
    random = np.random.RandomState(0)
    for kind in ("predictions", "truth"):
        (folder / kind).mkdir()
        for number in range(IMAGES):
            cells = random.choice([0, 1, 7, 15], (6, 8)).astype(np.uint8)
            mask = cv2.resize(cells, (500, 375), interpolation=cv2.INTER_NEAREST)
            write_mask(folder / kind / f"{number}.png", mask)
    (folder / "list.txt").write_text("".join(f"{number}\n" for number in range(IMAGES)))


def processor_seconds(words: list, folder: Path) -> float:
    """User and system time of `icd` with these words, its workers included."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "icd.cli.main", *words]
    child = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else status
    if child.returncode:
        raise SystemExit(f"icd {' '.join(words)} failed")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_masks(folder)
        evaluate = ["evaluate", "predictions", "--truth", "truth", "--list", "list.txt", "--fresh"]
        calls = dict(zip(GOALS, (["--help"], ["evaluate", "--help"], evaluate)))
        times = {what: [] for what in calls}
        for _ in range(arguments.rounds + 1):
            for what, words in calls.items():
                times[what].append(processor_seconds(words, folder))
    rows = [[f"`{what}`", f"{statistics.median(times[what][1:]):.2f}", goal] for what, goal in GOALS.items()]
    text = "\n\n".join(
        [
            "## Start-up",
            f"{call()}. Processor time, median of {arguments.rounds}.",
            table(["call", "s", "goal, s"], rows),
        ]
    )
    print(text)
    if arguments.write:
        write_measured("startup", text)


if __name__ == "__main__":
    main()
