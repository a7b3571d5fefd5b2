"""What several processes bring, what the engines cost, and COCO's scale on paper.

    python benchmarks/cluster.py                       images a second for one and two processes, in turns; ratios
    python benchmarks/cluster.py --rates               seconds a step of ResNet-38 and ResNet-101 on one core, kept in cluster_rates.json
    python benchmarks/cluster.py --paper               the table of COCO train2014 from those rates and the sizes of files
    … --write                                          put what was found into docs/performance.md

Every process computes on one thread, so that two of them have two cores. Rates that are compared were measured in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import write_part  # noqa: E402
from icd.evaluate.table import format_table  # noqa: E402
from icd.files import read_json, write_json  # noqa: E402

RATES = ROOT / "benchmarks" / "cluster_rates.json"
IMAGES, STEPS, SIZE, BATCH = 96, 8, 161, 4
BACKBONE = "mobilenet_v2"


def main() -> None:
    """Measure, or compute."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns [3]")
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train_child(Path(arguments.child))
    elif arguments.rates:
        write_json(RATES, measured_rates(arguments.rounds))
    else:
        text, name = (
            (paper(read_json(RATES)), "coco-cluster")
            if arguments.paper
            else (speed(arguments.rounds), "cluster")
        )
        print(text)
        if arguments.write:
            write_part(name, text)


# Images a second.


def speed(rounds: int) -> str:
    """The table of rates: of a training, and of stages by image."""
    ways = {"one process": [], "launch -n 1": ["1"], "launch -n 2": ["2"]}
    with tempfile.TemporaryDirectory() as folder:
        turns = [
            {way: trained_rate(Path(folder), count) for way, count in ways.items()} for _ in range(rounds)
        ]
        rows = [["training step, " + BACKBONE, *ratios(turns)]]
        rows += stage_rows(Path(folder), rounds)
    head = ["", "one process, images/s", "engine, one process", "engine, two processes"]
    load = os.getloadavg()[0]
    return (
        "## Several processes\n\n"
        f"`python benchmarks/cluster.py --rounds {rounds} --write`: rates of the engines against one plain process, medians of turns "
        f"(lowest to highest), one thread a process, {len(os.sched_getaffinity(0))} cores, load {load:.1f} at the end: other work on "
        "the machine makes them smaller. The engine is MXNet's store "
        f"for the training ({BATCH} images of {SIZE} px a step) and Dask for the stages ({IMAGES} images).\n\n"
        + format_table(head, rows, markdown=True)
    )


def ratios(turns: list) -> list:
    """The plain rate, and of each engine how many times that it reached, turn by turn."""
    plain, *others = turns[0]
    cells = [f"{statistics.median(turn[plain] for turn in turns):.2f}"]
    for other in others:
        values = sorted(turn[other] / turn[plain] for turn in turns)
        cells.append(f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})")
    return cells


def environment() -> dict:
    """One thread a process."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def trained_rate(folder: Path, count: list) -> float:
    """Images a second of a training by plain Python, or by `icd launch -n`."""
    out, script = folder / "rate.json", [sys.executable, __file__, "--child", str(folder / "rate.json")]
    words = [sys.executable, "-m", "icd.cli.main", "launch", "-n", *count, "--", *script] if count else script
    subprocess.run(words, check=True, env=environment(), stderr=subprocess.DEVNULL)
    return read_json(out)["rate"]


def train_child(out: Path) -> None:
    """Take steps, alone or with others; write the rate of all but the first two."""
    import numpy as np

    from icd.compat import mx
    from icd.engine.build import build_trainable
    from icd.engine.fit import Whole, make_trainer, train_step
    from icd.engine.parts import split_batch
    from icd.engine.world import joined
    from icd.methods import make_recipe

    random = np.random.RandomState(0)
    batch = {"image": random.randint(0, 256, (BATCH, 3, SIZE, SIZE)).astype(np.float32),
             "label": np.eye(20, dtype=np.float32)[:BATCH], "ids": list(range(BATCH))}  # fmt: skip
    with joined() as world:
        part = {key: values[world.rank * BATCH // world.size : (world.rank + 1) * BATCH // world.size]
                for key, values in batch.items()}  # fmt: skip
        method = build_trainable(
            "cam", BACKBONE, 20, [mx.cpu()], recipe=make_recipe("cam", {"image_size": SIZE})
        )
        trainer, times = make_trainer(method), []
        for _ in range(STEPS + 2):
            begun = time.perf_counter()
            losses = train_step(method, trainer, [split_batch(part, [mx.cpu()])], world, [Whole(BATCH)])
            world.agree(False)
            losses["cam"].wait_to_read()
            mx.nd.waitall()
            times.append(time.perf_counter() - begun)
        if world.leads:
            write_json(out, {"rate": BATCH / statistics.median(times[2:])})


def stage_rows(folder: Path, rounds: int) -> list:
    """Rates of stages by this process, by a cluster of one worker, and by one of two."""
    from icd.stages.cluster import Cluster

    os.environ["OMP_NUM_THREADS"] = "1"
    data = small_data(folder / "data")
    clusters = {"alone": None, "one": Cluster("local", 1, folder), "two": Cluster("local", 2, folder)}
    turns = {}
    for turn in range(-1, rounds):  # the first turn imports and warms up
        for way, cluster in clusters.items():
            for name, rate in stage_rates(data, folder / f"{way}-{turn}", cluster):
                if turn >= 0:
                    turns.setdefault(name, [{} for _ in range(rounds)])[turn][way] = rate
    for cluster in filter(None, clusters.values()):
        cluster.close()
    return [[name, *ratios(of_stage)] for name, of_stage in turns.items()]


def small_data(folder: Path):
    """The first images of the embedded set."""
    from icd.data.catalogue import DataSet
    from icd.data.embedded import prepare_embedded
    from icd.files import read_classes

    paths = prepare_embedded(folder)
    classes = read_classes(paths.classes_file)
    places = (paths.image_root, paths.annotation_root, paths.data_list)
    return DataSet("embedded", classes, *places, truth=paths.truth_root, sample=IMAGES, infer_size=SIZE)


def stage_rates(data, out: Path, cluster):
    """Images a second of superpixels, localization and seeds with CRF, one after the other."""
    from icd.engine.parameters import save_weights
    from icd.methods import make_recipe
    from icd.stages.job import Job
    from icd.stages.localize import Localize
    from icd.stages.seeds import Seeds
    from icd.stages.superpixels import Superpixels
    from icd.stages.train import Train

    job = Job(data, out, gpus="", workers=0, cluster_address=None if cluster is None else "given")
    vars(job)["cluster"] = cluster
    recipe, weights = make_recipe("cam", {"image_size": SIZE}), out.parent / "cam.params"
    train = Train("train", job, out, "cam", recipe, BACKBONE, "cam", weights_given=weights)
    if not weights.is_file():
        save_weights(train.build(), weights)
    maps = Localize("maps", job, out / "results", train)
    for stage in (
        Superpixels("superpixels", job, out / "superpixels"),
        maps,
        Seeds("seeds", job, out / "results", maps),
    ):
        begun = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            stage.run()
        yield (
            f"{stage.name}, start of the network included" if stage is maps else stage.name,
            IMAGES / (time.perf_counter() - begun),
        )


# COCO's scale on paper.

TRAIN, VAL, TAGS, CLASSES = (
    82_081,
    40_504,
    3.5,
    80,
)  # images of train2014 with tags, of val2014; categories an image
PIXELS = (480, 640)
MACHINES, CORES, BANDWIDTH = 16, 8, 1.25e9  # bytes a second of a 10 Gbit network
MASK = 8.1 * 1024  # bytes of a PNG (docs/performance.md)
SCALES = (0.5, 1.0, 1.5, 2.0)  # of EPS and of VWL-L, each with its mirror image
SEGMENT_SCALES = (1.0,)  # the recipe's; the network has its own three inside
CHAINS = {
    "EPS, ResNet-38": {"train": ("eps", "resnet38", 321, 16, 76_950), "bytes": 2},
    "VWL-L, ResNet-101": {"train": ("vwl_l", "resnet101", 512, 16, -(-TRAIN // 16) * 6), "bytes": 4},
}
SEGMENTER = ("deeplab_v2", "resnet101_caffe", 321, 5, 40_000)  # mini-batches: two a step


def measured_rates(rounds: int) -> dict:
    """Seconds an image of a training step and of a forward pass, on one core, and how many numbers are trained."""
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = {chain: facts["train"] for chain, facts in CHAINS.items()}
    wanted["DeepLab-v2, ResNet-101"] = SEGMENTER
    return {name: rate_of(*facts[:3], rounds) for name, facts in wanted.items()}


def rate_of(name, backbone, size, rounds) -> dict:
    """Processor time of one network, medians: a step with one image of the crop's size, a forward pass of a whole image."""
    import numpy as np

    from icd.compat import mx
    from icd.engine.build import build_trainable, find_trainable
    from icd.engine.fit import make_trainer, train_step
    from icd.engine.parts import split_batch

    recipe = dataclasses.replace(
        next(iter(find_trainable(name).recipes.values())), image_size=size, accumulation=1
    )
    trainable = build_trainable(name, backbone, CLASSES, [mx.cpu()], recipe=recipe)
    trainer, random = make_trainer(trainable), np.random.RandomState(0)
    batch = {"image": random.randint(0, 256, (1, 3, size, size)).astype(np.float32), "label": np.eye(CLASSES)[:1],
             "saliency": random.rand(1, size, size), "mask": random.randint(0, CLASSES, (1, size, size)), "ids": [0]}  # fmt: skip
    steps, forwards = [], []
    infer = getattr(trainable, "localize", None) or trainable.predict
    whole = mx.nd.array(random.randint(0, 256, (1, 3, *PIXELS)))
    for _ in range(rounds + 1):
        begun = time.process_time()
        train_step(trainable, trainer, [split_batch(batch, [mx.cpu()])])
        mx.nd.waitall()
        steps.append(time.process_time() - begun)
        begun = time.process_time()
        output = infer(whole)
        mx.nd.waitall()
        forwards.append(time.process_time() - begun)
    trained = sum(int(np.prod(p.shape)) for p in trainable.collect_params().values() if p.grad_req != "null")
    output = list(output.values())[-1] if isinstance(output, dict) else output
    found = {
        "step": statistics.median(steps[1:]),
        "forward": statistics.median(forwards[1:]),
        "trained": trained,
        "cells": int(np.prod(output.shape[2:])),
    }
    print(name, found, flush=True)
    return found


def paper(rates: dict) -> str:
    """The table, and where the bottleneck lies."""
    rows = []
    for chain, facts in CHAINS.items():
        rows += chain_rows(chain, facts, rates)
    rows += segment_rows(rates)
    head = [
        "stage",
        "GB on disk",
        "hours, one core",
        f"hours, {MACHINES} x {CORES} cores",
        "MB a step and machine",
        "limit",
    ]
    return (
        "## COCO train2014 on several machines, on paper\n\n"
        "`python benchmarks/cluster.py --paper --write`, from seconds a step and a forward pass on one core "
        f"(`--rates`: processor time on one thread, kept in `benchmarks/{RATES.name}`). {TRAIN:,} images with tags, {TAGS} "
        f"tags each, {PIXELS[1]} x {PIXELS[0]} pixels. Cores of one machine are taken to add up; a batch is split over as many machines "
        f"as it has images; score maps are counted as they are before compression; a machine sends and gets every gradient once a step, over 10 Gbit/s, with a server on each machine.\n\n"
        + format_table(head, rows, markdown=True)
        + "\n\nThe next bottleneck: training, whose batch of 5 to 16 images feeds no more than that many machines; beyond, cores wait. "
        "Every other stage divides into its images. Logits of `predict` lie on the disk only until their masks are made: on one "
        "machine all of a stage's at once, with `--cluster` those of the images in work."
    )


def chain_rows(chain, facts, rates) -> list:
    """Training, localization and masks of a chain."""
    _, _, _, batch, steps = facts["train"]
    cells = rates[chain]["cells"] * sum(scale**2 for scale in SCALES)
    forward = 2 * rates[chain]["forward"] * sum(scale**2 for scale in SCALES)
    return [
        [f"{chain}: train", *training_cells(rates[chain], batch, steps)],
        [f"{chain}: localize", *image_cells(TRAIN, cells * TAGS * facts["bytes"], forward)],
        [f"{chain}: masks", *image_cells(TRAIN, MASK, crf_seconds())],
    ]


def segment_rows(rates) -> list:
    """Training DeepLab-v2 on the masks, and predicting val2014."""
    name = "DeepLab-v2, ResNet-101"
    _, _, _, batch, steps = SEGMENTER
    area = sum(scale**2 for scale in SEGMENT_SCALES)
    logits = area * rates[name]["cells"] * (1 + CLASSES) * 2
    seconds = area * rates[name]["forward"] + crf_seconds()
    disk, *rest = image_cells(VAL, 2 * MASK, seconds)
    return [
        [f"{name}: train", *training_cells(rates[name], batch, steps)],
        [f"{name}: predict val2014", f"{disk} (logits {VAL * logits / 1e9:.0f})", *rest],
    ]


def crf_seconds() -> float:
    """Of the dense CRF of one image: the estimate of the stage of seeds, which grows with the pixels."""
    from icd.stages.estimates import BY_IMAGE

    return BY_IMAGE["seeds"] * PIXELS[0] * PIXELS[1] / (375 * 500)


def training_cells(rate, batch: int, steps: int) -> list:
    """Bytes of five checkpoints with momentum; hours; traffic."""
    size, machines = 4 * rate["trained"], min(MACHINES, batch)
    compute = -(-batch // machines) * rate["step"] / CORES
    network = 2 * size / BANDWIDTH
    hours = steps * (compute + network) / 3600
    limit = (
        f"network ({network:.2f} of {compute + network:.2f} s)"
        if network > compute
        else f"the batch ({machines} machines)"
    )
    return [
        f"{12 * size / 1e9:.1f}",
        f"{steps * batch * rate['step'] / 3600:.0f}",
        f"{hours:.1f}",
        f"{2 * size / 1e6:.0f}",
        limit,
    ]


def image_cells(images: int, size: float, seconds: float) -> list:
    """Bytes and hours of a stage by image."""
    hours = images * seconds / 3600
    return [f"{images * size / 1e9:.1f}", f"{hours:.1f}", f"{hours / (MACHINES * CORES):.2f}", "-", "cores"]


if __name__ == "__main__":
    main()
