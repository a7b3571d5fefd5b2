"""Localization of photographs: time against plain PyTorch, what fused layers, batches and known sizes bring, and memory.

    python benchmarks/inference.py --write                         without PyTorch
    python benchmarks/inference.py --write --torch OTHER/bin/python    PyTorch in an environment of its own

EPS's four scales with mirror images of a photograph of VOC's size, with MobileNetV2, on one thread. The programs take turns, each in
a process of its own; times are processor time. Memory is the peak of a process that localizes one photograph of 12 megapixels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import table, write_measured  # noqa: E402
from benchmarks.machine import call, status  # noqa: E402

HEIGHT, WIDTH, SCALES = 375, 500, (0.5, 1.0, 1.5, 2.0)
LARGE = [("eps", "mobilenet_v2"), ("icd", "vgg16"), ("icd", "mobilenet_v2"), ("drs", "vgg16_torchvision"),
         ("drs", "mobilenet_v2"), ("vwe", "resnet50"), ("vwe", "mobilenet_v2"), ("seam", "mobilenet_v2"),
         ("seam", "resnet38"), ("eps", "resnet38")]  # fmt: skip


def views(count: int = 2) -> list:
    """Random views of every scale."""
    random = np.random.RandomState(0)
    return [
        random.randint(0, 256, (count, 3, round(HEIGHT * scale), round(WIDTH * scale)), np.uint8)
        for scale in SCALES
    ]


def timed(function) -> float:
    """Processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def run_ours(fused: bool, apart: bool) -> list:
    """Times of a photograph: the first, which has new sizes, and three more."""
    from icd.compat import mx
    from icd.engine import localize
    from icd.engine.build import build_trainable, fuse_for_inference

    method = build_trainable("eps", "mobilenet_v2", 20, [mx.cpu()])
    if fused:
        fuse_for_inference(method, [mx.cpu()])
    if apart:
        localize.PIXELS_AT_ONCE = 1
    method.localize(mx.nd.zeros((1, 3, 65, 65)))["eps"].asnumpy()  # what comes once and not with a new size
    batch = {"views": views()}
    return [timed(lambda: localize.localize_views(method, batch, mx.cpu())) for _ in range(4)]


def run_torch() -> list:
    """The same by plain PyTorch."""
    import torch
    from torch_mobilenet import EPS

    torch.set_num_threads(1)
    network = EPS().eval()
    with torch.inference_mode():
        network(torch.zeros(1, 3, 65, 65))
        return [
            timed(lambda: [network(torch.from_numpy(v).float()).numpy() for v in views()]) for _ in range(4)
        ]


def run_large(name: str, backbone: str) -> list:
    """Peak in MB, and processor time, of localizing one photograph of 12 megapixels."""
    from benchmarks.noise import noise_job
    from icd.data.batches import InferenceBatches
    from icd.engine.build import build_trainable, fuse_for_inference
    from icd.engine.localize import localize

    with tempfile.TemporaryDirectory() as folder:
        job = noise_job(folder, 1, 3000, 4000)
        devices = job.devices[0]
        method = build_trainable(name, backbone, 2, devices)
        fuse_for_inference(method, devices)
        batches = InferenceBatches(job.dataset(job.data.ids), 4, method.presentation(method.recipe, 513))
        maps = {kind: job.out / kind for kind in method.score_maps}
        seconds = timed(lambda: localize(method, batches, devices, maps, "float32"))
    return [status("VmHWM") / 1024, seconds]


def child(python: str, *words) -> list:
    """What one of the functions above measures, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [python, __file__, "--child", *words]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


CHILDREN = {
    "fused": lambda: run_ours(True, False),
    "apart": lambda: run_ours(True, True),
    "plain": lambda: run_ours(False, False),
    "torch": run_torch,
    "large": run_large,
}
TITLES = {
    "fused": "this package",
    "apart": "the same, view by view",
    "plain": "without fused layers, as in training",
    "torch": "plain PyTorch",
}


def time_table(torch: str, rounds: int) -> str:
    """The programs in turns."""
    pythons = {
        name: torch if name == "torch" else sys.executable for name in TITLES if name != "torch" or torch
    }
    turns = [{name: child(python, name) for name, python in pythons.items()} for _ in range(rounds)]
    rows = []
    for name in pythons:
        known = [statistics.median(turn[name][1:]) for turn in turns]
        first = statistics.median(turn[name][0] - statistics.median(turn[name][1:]) for turn in turns)
        ratios = sorted(
            statistics.median(turn["fused"][1:]) / statistics.median(turn[name][1:]) for turn in turns
        )
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append([TITLES[name], f"{statistics.median(known):.2f}", f"{1e3 * first:.0f}", spread])
    header = [
        "localizing one photograph",
        "s",
        "ms more where its four sizes are new",
        "time of this package over it",
    ]
    return table(header, rows)


def memory_table(cases) -> str:
    """One photograph of 12 megapixels under several methods."""
    rows = []
    for name, backbone in cases:
        megabytes, seconds = child(sys.executable, "large", name, backbone)
        rows.append([name, backbone, f"{megabytes:.0f}", f"{seconds:.1f}"])
    return table(["method", "backbone", "peak MB", "s"], rows)


def main() -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument("--torch", help="a Python that has PyTorch (default: no comparison)")
    parser.add_argument(
        "--large", default=",".join(map(":".join, LARGE)), help="method:backbone, with commas between"
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, *words = arguments.child
        print(json.dumps(CHILDREN[name](*words)))
        return
    about = (
        f"{call()}. EPS on MobileNetV2, {HEIGHT} x {WIDTH} pixels, scales "
        f"{', '.join(map(str, SCALES))} with mirror images, one thread, medians of {arguments.rounds} turns."
    )
    large = [case.split(":") for case in arguments.large.split(",")]
    text = "\n\n".join(
        [
            "## Localization",
            about,
            time_table(arguments.torch, arguments.rounds),
            "A photograph of 12 megapixels, localized at the bounded size of 1,024 pixels (frames and squares have their own):",
            memory_table(large),
        ]
    )
    print(text)
    if arguments.write:
        write_measured("localization", text)


if __name__ == "__main__":
    main()
