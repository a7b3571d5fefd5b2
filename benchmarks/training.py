"""Training and localization against the same network in plain PyTorch, in turns in one session, on the same threads.

    python benchmarks/training.py                            needs torch
    python benchmarks/training.py --torch OTHER/bin/python   PyTorch in an environment of its own

Each framework runs in a process of its own, so that neither's thread pool disturbs the other. The processes take turns:
MXNet, PyTorch, MXNet, ... The table goes into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import write_measured  # noqa: E402
from benchmarks.machine import machine  # noqa: E402

IMAGES, SIZE, INFER_SIZE, REGIONS = 4, 321, 513, 64


def batch(size: int, count: int = IMAGES) -> tuple:
    """Random images, one tag each, and superpixels in an 8 x 8 pattern."""
    random = np.random.RandomState(0)
    label = np.eye(20, dtype=np.float32)[np.arange(count)]
    rows, columns = np.mgrid[:size, :size] * 8 // size
    ids = np.tile(rows * 8 + columns, (count, 1, 1))
    return random.randint(0, 256, (count, 3, size, size)).astype(np.float32), label, ids


def run_mxnet(steps: int) -> dict:
    """Seconds of each step and of each localization by this package."""
    from icd.compat import mx
    from icd.engine.build import build_trainable
    from icd.engine.fit import make_trainer, train_step
    from icd.engine.parts import split_batch

    method = build_trainable("icd", "vgg16", 20, [mx.cpu()])
    method.prepare(IMAGES, IMAGES)
    trainer = make_trainer(method)
    image, label, ids = batch(SIZE)
    arrays = {"image": image, "label": label, "superpixel": ids, "ids": list(range(IMAGES))}
    train, localize = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        losses = train_step(method, trainer, [split_batch(arrays, [mx.cpu()])])
        sum(losses.values()).asscalar()
        mx.nd.waitall()
        train.append(time.perf_counter() - begin)
    image, label, _ = batch(INFER_SIZE, 1)
    for _ in range(steps):
        begin = time.perf_counter()
        maps = method.localize(mx.nd.array(image))
        maps["icd"].asnumpy()
        localize.append(time.perf_counter() - begin)
    return {"train": train, "localize": localize}


def run_torch(steps: int) -> dict:
    """The same by plain PyTorch."""
    import torch
    import torch_icd

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = torch_icd.ICD()
    optimizer = torch_icd.make_optimizer(model)
    image, label, ids = (torch.from_numpy(values) for values in batch(SIZE))
    train, localize = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        torch_icd.train_step(model, optimizer, image, label, ids)
        train.append(time.perf_counter() - begin)
    model.eval()
    image = torch.from_numpy(batch(INFER_SIZE, 1)[0])
    with torch.inference_mode():
        for _ in range(steps):
            begin = time.perf_counter()
            model(image)[2].numpy()
            localize.append(time.perf_counter() - begin)
    return {"train": train, "localize": localize}


def child(framework: str, steps: int, threads: int, python: str) -> dict:
    """Run one framework in a process of its own."""
    command = [python, __file__, "--framework", framework, "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    """Take turns, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each framework")
    parser.add_argument("--steps", type=int, default=4, help="steps a turn; the first is not counted")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--torch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--framework", choices=("mxnet", "torch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.framework:
        result = {"mxnet": run_mxnet, "torch": run_torch}[arguments.framework](arguments.steps)
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return
    pythons = {"mxnet": sys.executable, "torch": arguments.torch}
    rounds = [
        {name: child(name, arguments.steps, arguments.threads, python) for name, python in pythons.items()}
        for _ in range(arguments.rounds)
    ]
    text = table(rounds, arguments.threads)
    print(text)
    write_measured("training", text)


def table(rounds: list, threads: int) -> str:
    """Medians, and the ratio turn by turn."""
    lines = [
        f"VGG-16 ICD, {threads} threads, {len(rounds)} turns each; `python benchmarks/training.py`, {machine()}.",
        "",
        "| what | this package | plain PyTorch | PyTorch / ours (median of turns, lowest to highest) |",
        "|---|---|---|---|",
    ]
    titles = {
        "train": f"training step, {IMAGES} images of {SIZE} px, s",
        "localize": f"localize one image, frame {INFER_SIZE} px, s",
    }
    for key, title in titles.items():
        medians = [{name: statistics.median(turn[name][key][1:]) for name in turn} for turn in rounds]
        ratios = sorted(turn["torch"] / turn["mxnet"] for turn in medians)
        ours, theirs = (statistics.median(turn[name] for turn in medians) for name in ("mxnet", "torch"))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"| {title} | {ours:.2f} | {theirs:.2f} | {spread} |")
    peaks = {name: max(turn[name]["peak_mib"] for turn in rounds) for name in ("mxnet", "torch")}
    lines.append(f"| peak memory of the process, MiB | {peaks['mxnet']:.0f} | {peaks['torch']:.0f} | "
                 f"{peaks['torch'] / peaks['mxnet']:.2f} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
