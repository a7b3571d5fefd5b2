"""All benchmarks of this machine, one after the other; the tables go into docs/performance.md, one for each processor.

    python benchmarks/all.py
    python benchmarks/all.py --torch OTHER/bin/python     PyTorch in an environment of its own, for the ratios to it
    python benchmarks/all.py --only startup,kernels

In: which benchmarks. Out: their tables, and a line for each that failed; exit status 1 if any did. Each says the processor, its
threads, versions and load itself. Not here: benchmarks/coco.py, cluster.py and evaluate.py at COCO's size, which take hours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WRITE = ("--write",)
BENCHMARKS = {"startup": WRITE, "kernels": (), "evaluate": WRITE, "inference": WRITE, "steps": WRITE}


def main() -> int:
    """Run them; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"some of {', '.join((*BENCHMARKS, 'training'))}, with commas between")
    parser.add_argument("--torch", help="a Python that has PyTorch")
    arguments = parser.parse_args()
    calls = {name: [sys.executable, str(FOLDER / f"{name}.py"), *words] for name, words in BENCHMARKS.items()}
    if arguments.torch:
        calls["inference"] += ["--torch", arguments.torch]
        calls["training"] = [sys.executable, str(FOLDER / "training.py"), "--torch", arguments.torch]
    wanted = arguments.only.split(",") if arguments.only else list(calls)
    unknown = sorted(set(wanted) - set(calls))
    if unknown:
        parser.error(f"--only: expected {', '.join(calls)}; found {', '.join(unknown)}")
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    failed = [name for name in wanted if subprocess.run(calls[name], env=environment).returncode]
    for name in failed:
        print(f"FAILED: {' '.join(calls[name])}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
