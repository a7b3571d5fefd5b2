"""Writes docs/parity.md: runs the tests that compare with the originals and tables the largest deviations.

python tests/parity.py                                                               three runs, one for each choice of kernels
mkdir record && ICD_PARITY=$PWD/record make test && python tests/parity.py record    from records of runs of all tests
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "parity.md"
HEAD = """# Parity with the original programs

`python tests/parity.py` makes this page; every row is a test. *Original* means arrays that the authors' own programs gave
(`tests/golden/`), or the worked examples of our specification, which were made the same way.

A row says how far our result is from the original's: the largest absolute difference, or for label maps and other
integers the share of entries that differ. It is the largest of {runs} runs: oneDNN, which computes MXNet's convolutions, takes
other kernels on processors with AVX2, with AVX and with SSE 4.1 alone (`DNNL_MAX_CPU_ISA`), and where a value before a ReLU is 0
within rounding, a gradient follows from it or does not. *Allowed* is what the test accepts; for floating point it follows from
running the original again with other threads and other convolution kernels.

Environment: {environment}.

What is not compared: the gradient of the superpixel refinement (the original leaves it undefined), `feat_bn_gamma`
(fixed to 1 in the layer; the original decays its stored value, which nothing reads), runs on several devices (the
original's order of updates there depends on timing; ours gives one device's result), whole training runs (the pretrained
VGG-16 is not at hand).

VWL-M's published training stops in its first step ("one_hot is only applicable to index tensor"): its network hands out
the soft assignment where the program wants the numbers of the words. The golden was made with the argument of the largest
put in between, and so is ours; the bank's random cells are those that the golden recorded. IRN's golden has no training
steps and no instance labels.

[Architecture](architecture.md) lists what differs on purpose.

"""


KERNELS = ("AVX", "SSE41", "ALL")  # values of DNNL_MAX_CPU_ISA; the last is the processor's own


def main() -> int:
    """Run the tests, or take the records of runs, and write the page; the status is pytest's."""
    if len(sys.argv) > 1:
        return write([read_record(folder) for folder in sys.argv[1:]])
    records = []
    for kernels in KERNELS:
        with tempfile.TemporaryDirectory() as folder:
            status = subprocess.call(
                [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *files_that_record()],
                env={
                    **os.environ,
                    "ICD_PARITY": folder,
                    "OMP_NUM_THREADS": "1",
                    "DNNL_MAX_CPU_ISA": kernels,
                },
                cwd=ROOT,
            )
            if status:
                return status
            records.append(read_record(folder))
    return write(records)


def read_record(folder) -> list:
    """The comparisons of all processes of a run, file by file."""
    rows = [row for path in sorted(Path(folder).glob("*.json")) for row in json.loads(path.read_text())]
    return sorted(rows, key=lambda row: row["test"].split("::")[0])


def write(records: list) -> int:
    """Write the page: the comparisons of the last record, with the largest deviation of all."""
    largest = {}
    for row in itertools.chain.from_iterable(records):
        place = row["part"], row["what"], row["test"]
        largest[place] = max(row["deviation"], largest.get(place, 0))
    rows = [{**row, "deviation": largest[row["part"], row["what"], row["test"]]} for row in records[-1]]
    TARGET.write_text(render(rows, len(records)))
    print(f"{TARGET}: {len(rows)} comparisons")
    return 0


def files_that_record() -> list:
    """The test files that compare with an original."""
    return [
        str(path) for path in sorted((ROOT / "tests").glob("*/test_*.py")) if "parity(" in path.read_text()
    ]


def render(rows, runs) -> str:
    """The page, a table a part."""
    sys.path.insert(0, str(ROOT))
    from icd.provenance import machine, versions

    known = versions()
    shown = ", ".join(f"{name} {known[name]}" for name in ("mxnet", "numpy", "opencv-python", "opencv-python-headless",
                                                           "pydensecrf2") if known.get(name))  # fmt: skip
    text = HEAD.format(runs=runs, environment=f"{shown}, {machine()['cpu']}, {machine()['cores']} cores")
    for part in dict.fromkeys(row["part"] for row in rows):
        text += (
            f"## {part[0].upper()}{part[1:]}\n\n| what | measure | deviation | allowed |\n|---|---|---|---|\n"
        )
        for row in rows:
            if row["part"] == part:
                text += f"| {row['what']} | {row['kind']} | {number(row['deviation'])} | {number(row['tolerance'])} |\n"
        text += "\n"
    return text


def number(value: float) -> str:
    """Two digits; 0 for identity."""
    return "0" if value == 0 else f"{value:.1e}"


if __name__ == "__main__":
    sys.exit(main())
