"""A step of training beside the bare network with its optimizer, and how long the step waits for photographs.

    python benchmarks/steps.py --write
    python benchmarks/steps.py --networks icd:vgg16 --images 4 --size 321

In turns in one process, on one thread, processor time. "Bare" is the network hybridized as one graph, the mean of its outputs as
the loss, the derivative, and Gluon's trainer with the recipe's optimizer. Waiting is elapsed time in which the loop has no
photographs, of all elapsed time, with loader processes that read and augment JPEG files.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import table, write_measured  # noqa: E402
from benchmarks.machine import call  # noqa: E402
from benchmarks.noise import noise_job  # noqa: E402
from icd.compat import mx  # noqa: E402
from icd.data.batches import TrainBatches  # noqa: E402
from icd.engine.build import build_trainable  # noqa: E402
from icd.engine.fit import make_trainer, train_step  # noqa: E402
from icd.engine.parts import split_batch  # noqa: E402

NETWORKS = "icd:vgg16,eps:resnet38,vwe:resnet50,deeplab_v2:resnet101,icd:mobilenet_v2,eps:mobilenet_v2"
CPU = mx.cpu()


def batch_of(trainable, images: int, size: int) -> dict:
    """Random images, one tag each, and the planes that the trainable needs."""
    random = np.random.RandomState(0)
    rows, columns = np.mgrid[:size, :size] * 8 // size
    planes = {
        "superpixel": np.tile(rows * 8 + columns, (images, 1, 1)),
        "saliency": np.tile((rows > 3).astype(np.float32), (images, 1, 1)),
        "mask": np.tile(rows.astype(np.uint8), (images, 1, 1)),
    }
    return {
        "image": random.randint(0, 256, (images, 3, size, size), np.uint8),
        "label": np.eye(20, dtype=np.float32)[np.arange(images)],
        "ids": list(range(images)),
        **{name: planes[name] for name in trainable.needs},
    }


def bare_step(trainable, trainer, image) -> None:
    """Network, derivative, optimizer."""
    with mx.autograd.record():
        outputs = trainable.network(image)
        loss = sum(output.mean() for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    loss.backward()
    # Parameters that only the losses use have no new gradient here.
    trainer.step(len(image), ignore_stale_grad=True)


def step_times(name: str, backbone: str, images: int, size: int, rounds: int) -> tuple:
    """Medians in seconds of a step and of the bare network's, and the median of their ratios; the first turn is not counted."""
    trainable, bare = (build_trainable(name, backbone, 20, [CPU]) for _ in range(2))
    trainable.prepare(images, images)
    bare.network.hybridize()
    trainer, bare_trainer = make_trainer(trainable), make_trainer(bare)
    batch = batch_of(trainable, images, size)
    times = []
    for _ in range(rounds + 1):
        turn = []
        for step in (
            lambda: train_step(trainable, trainer, [split_batch(batch, [CPU])]),
            lambda: bare_step(bare, bare_trainer, mx.nd.array(batch["image"], CPU, dtype="float32")),
        ):
            start = time.process_time()
            step()
            mx.nd.waitall()
            turn.append(time.process_time() - start)
        times.append(turn)
    ours, bare = zip(*times[1:])
    return (
        statistics.median(ours),
        statistics.median(bare),
        statistics.median(a / b for a, b in zip(ours, bare)),
    )


def step_table(networks: list, images: int, size: int, rounds: int) -> str:
    """One row a network."""
    rows = []
    for name, backbone in networks:
        ours, bare, ratio = step_times(name, backbone, images, size, rounds)
        rows.append([name, backbone, f"{ours:.2f}", f"{bare:.2f}", f"{ratio:.2f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    return table(["method", "backbone", "step, s", "bare network, s", "ratio"], rows)


def share_of_waiting(name: str, backbone: str, images: int, size: int, workers: int, steps: int = 6) -> float:
    """Elapsed time in which the loop waits for a batch, of all, once the first batch is there."""
    with tempfile.TemporaryDirectory() as folder:
        job = noise_job(folder, images * (steps + 1), 375, 500, workers)
        trainable = build_trainable(name, backbone, 2, [CPU])
        recipe = dataclasses.replace(trainable.recipe, batch_size=images, image_size=size)
        trainer = make_trainer(trainable)
        batches = TrainBatches(job.dataset(job.data.ids), recipe, trainable.augmentation(recipe), 0, workers)
        groups, waited, begin = batches.epoch(0), 0.0, None
        for _ in range(steps + 1):
            start = time.perf_counter()
            group = next(groups)
            if begin is None:
                begin = time.perf_counter()
            else:
                waited += time.perf_counter() - start
            train_step(trainable, trainer, [split_batch(group[0], [CPU])])
            mx.nd.waitall()
        share = waited / (time.perf_counter() - begin)
        batches.close()
    return share


def main() -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default=NETWORKS, help="method:backbone, with commas between")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=225, help="side of the images in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    for flag in ("--with-it", "--without-it"):
        parser.add_argument(
            flag, action="store_true", help="print the seconds of a step of one network alone"
        )
    arguments = parser.parse_args()
    networks = [network.split(":") for network in arguments.networks.split(",")]
    steps = step_table(networks, arguments.images, arguments.size, arguments.rounds)
    waiting = {
        workers: share_of_waiting("cam", "mobilenet_v2", arguments.images, arguments.size, workers)
        for workers in (0, 2)
    }
    text = "\n\n".join(
        [
            "## Training steps",
            f"{call()}. {arguments.images} images of {arguments.size} pixels, one "
            f"thread, medians of {arguments.rounds} turns.",
            steps,
            "Frozen stages run with fused layers in our step and are part of the graph in the bare network's.",
            "The loop of CAM on MobileNetV2, the fastest network here, waits for photographs "
            f"{100 * waiting[2]:.1f} % of the elapsed time with two loader processes, {100 * waiting[0]:.0f} % with none.",
        ]
    )
    print(text)
    if arguments.write:
        write_measured("steps", text)


if __name__ == "__main__":
    main()
