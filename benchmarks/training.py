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

from benchmarks.document import table as document_table  # noqa: E402
from benchmarks.document import write_measured  # noqa: E402
from benchmarks.machine import call  # noqa: E402

REGIONS_A_SIDE = 8
# Method, backbone: images a step, their side, side of the frame of localization (0: benchmarks/inference.py measures it).
CASES = {("icd", "vgg16"): (4, 321, 513), ("eps_cam", "mobilenet_v2"): (8, 257, 0)}


def batch(size: int, count: int) -> tuple:
    """Random images, one tag each, and superpixels in a pattern of squares."""
    random = np.random.RandomState(0)
    label = np.eye(20, dtype=np.float32)[np.arange(count)]
    rows, columns = np.mgrid[:size, :size] * REGIONS_A_SIDE // size
    ids = np.tile(rows * REGIONS_A_SIDE + columns, (count, 1, 1))
    return random.randint(0, 256, (count, 3, size, size)).astype(np.float32), label, ids


def timed(function, steps: int) -> list:
    """Seconds of each of some calls, which wait for their result."""
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return times


def run_mxnet(name: str, backbone: str, steps: int) -> dict:
    """Seconds of each step and of each localization by this package."""
    from icd.compat import mx
    from icd.engine.build import build_trainable, find_trainable, fuse_for_inference
    from icd.engine.fit import make_trainer, train_step
    from icd.engine.parts import split_batch

    images, size, frame = CASES[name, backbone]
    recipe = find_trainable(name).recipes.get(backbone)  # the published one where the backbone has none
    method = build_trainable(name, backbone, 20, [mx.cpu()], recipe=recipe)
    method.prepare(images, images)
    trainer = make_trainer(method)
    image, label, ids = batch(size, images)
    arrays = {"image": image, "label": label, "superpixel": ids, "ids": list(range(images))}

    def step():
        losses = train_step(method, trainer, [split_batch(arrays, [mx.cpu()])])
        sum(losses.values()).asscalar()
        mx.nd.waitall()

    times = {"train": timed(step, steps)}
    if frame:
        fuse_for_inference(method, [mx.cpu()])
        image = mx.nd.array(batch(frame, 1)[0])
        times["localize"] = timed(lambda: method.localize(image)[name].asnumpy(), steps)
    return times


def run_torch(name: str, backbone: str, steps: int) -> dict:
    """The same by plain PyTorch."""
    import torch
    import torch_icd
    import torch_mobilenet

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    images, size, frame = CASES[name, backbone]
    image, label, ids = (torch.from_numpy(values) for values in batch(size, images))
    if name != "icd":
        model = torch_mobilenet.EPS()
        optimizer = torch_mobilenet.make_optimizer(model)
        return {"train": timed(lambda: torch_mobilenet.train_step(model, optimizer, image, label), steps)}
    model = torch_icd.ICD()
    optimizer = torch_icd.make_optimizer(model)
    times = {"train": timed(lambda: torch_icd.train_step(model, optimizer, image, label, ids), steps)}
    model.eval()
    image = torch.from_numpy(batch(frame, 1)[0])
    with torch.inference_mode():
        times["localize"] = timed(lambda: model(image)[2].numpy(), steps)
    return times


def child(framework: str, case: tuple, steps: int, threads: int, python: str) -> dict:
    """Run one framework in a process of its own."""
    command = [python, __file__, "--framework", framework, "--case", *case, "--steps", str(steps)]
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
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.framework:
        run = {"mxnet": run_mxnet, "torch": run_torch}[arguments.framework]
        result = run(*arguments.case, arguments.steps)
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return
    pythons = {"mxnet": sys.executable, "torch": arguments.torch}
    text = table(
        {
            case: [
                {name: child(name, case, arguments.steps, arguments.threads, python) for name, python in pythons.items()}
                for _ in range(arguments.rounds)
            ]
            for case in CASES
        }
    )  # fmt: skip
    about = f"{call()}, {arguments.threads} threads, {arguments.rounds} turns each, elapsed time."
    text = "\n\n".join(["## Training and localization beside PyTorch", about, text])
    print(text)
    write_measured("training", text)


def table(turns_of: dict) -> str:
    """Medians, and the ratio turn by turn."""
    rows = []
    for (method, backbone), turns in turns_of.items():
        images, size, frame = CASES[method, backbone]
        titles = {
            "train": f"training step, {images} images of {size} px, s",
            "localize": f"localize one image, frame {frame} px, s",
        }
        for key in turns[0]["mxnet"]:
            title = titles.get(key, "peak memory of the process, MiB")
            found = [{name: middle(turn[name][key]) for name in turn} for turn in turns]
            ours, theirs = (statistics.median(turn[name] for turn in found) for name in ("mxnet", "torch"))
            ratios = sorted(turn["mxnet"] / turn["torch"] for turn in found)
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            rows.append([f"{method}, {backbone}: {title}", f"{ours:.3g}", f"{theirs:.3g}", spread])
    header = ["what", "this package", "plain PyTorch", "ours / PyTorch (median of turns, lowest to highest)"]
    return document_table(header, rows)


def middle(values) -> float:
    """A number itself, and the median of times without the first."""
    return values if isinstance(values, float) else statistics.median(values[1:])


if __name__ == "__main__":
    main()
