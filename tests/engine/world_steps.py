"""What the processes of tests/engine/test_world.py do: `icd launch -n 2 -- python world_steps.py OUT`.

Each writes what it found to OUT/<rank>.npz; the test compares. `steps` also serves the test's own process, with two devices.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), *(str(HERE.parent / name) for name in (".", "methods", "refine"))]

from conformance import CLASSES, SIZE, make_batch  # noqa: E402
from refiner_conformance import AffinityNetConformance  # noqa: E402
from runs import CLASSES as TWO_CLASSES  # noqa: E402
from runs import make_data, recipe_of  # noqa: E402

from icd.backbones import create_backbone  # noqa: E402
from icd.compat import mx  # noqa: E402
from icd.data.augment import ScaledCrop  # noqa: E402
from icd.data.batches import TrainBatches  # noqa: E402
from icd.data.dataset import ImageDataset  # noqa: E402
from icd.engine.build import build_trainable  # noqa: E402
from icd.engine.fit import FitOptions, Whole, fit, make_trainer, step_seed, train_step  # noqa: E402
from icd.engine.log import NonFiniteLoss  # noqa: E402
from icd.engine.parameters import average_statistics  # noqa: E402
from icd.engine.parts import split_batch  # noqa: E402
from icd.engine.world import World, joined  # noqa: E402
from icd.files import read_list  # noqa: E402
from icd.methods import create_method, make_recipe  # noqa: E402

CHANGES = {
    "icd": {"dropout": 0.0},
    "ppc": {"second_view": 33.0, "contrast_grid": 5, "dropout": 0.0},
    "vwl_m": {"words": 16},
    "cam": {"dropout": 0.0},  # its batch norm learns statistics
}
NAMES = (*CHANGES, "affinitynet")
STEPS, RACES = 3, 20


def build(name, contexts):
    """A trainable with weights that follow from its name alone."""
    if name == "affinitynet":
        return AffinityNetConformance().build(contexts=contexts)
    mx.random.seed(0)
    backbone = create_backbone("small")
    if name != "cam":
        backbone.freeze(norm="statistics")
    method = create_method(name, backbone, CLASSES, make_recipe(name, CHANGES[name]))
    method.initialize(mx.init.Xavier(), ctx=list(contexts))
    method(mx.nd.zeros((1, 3, SIZE, SIZE), contexts[0]))
    method.start()
    method.prepare(8, 4)
    method.hybridize()
    return method


def whole_batch(name, step) -> dict:
    """The batch of a step in all processes; the last one has a single image."""
    if name == "affinitynet":
        batch = AffinityNetConformance().make_batch(step)
    else:
        batch = {key: value.asnumpy() for key, value in make_batch(step).items() if key != "regions"}
    batch["ids"] = list(range(len(batch["image"])))
    single = step == STEPS - 1 and name not in ("cam", "icd")  # whose batch norm counts who sees an image
    count = 1 if single else len(batch["ids"])
    return {key: values[:count] for key, values in batch.items()}


def steps(name, contexts, world) -> dict:
    """Every parameter, and the losses of the last step, after a few steps."""
    trainable = build(name, contexts)
    trainer = make_trainer(trainable)
    for step in range(STEPS):
        batch = whole_batch(name, step)
        count = len(batch["ids"])
        copies = world.size if count < world.size else 1
        rank, size = (0, 1) if copies > 1 else (world.rank, world.size)
        part = {
            key: values[count * rank // size : count * (rank + 1) // size] for key, values in batch.items()
        }
        mx.random.seed(step_seed(0, 0, step))
        whole = Whole(count, copies)
        losses = train_step(trainable, trainer, [split_batch(part, contexts)], world, [whole])
    average_statistics(trainable, world)
    found = {f"{name} {key}": p.data(contexts[-1]).asnumpy() for key, p in trainable.collect_params().items()}
    found.update({f"{name} loss {key}": world.sum([value]).asnumpy() for key, value in losses.items()})
    return found


def sums(world) -> dict:
    """What sums and rows come out as: whole numbers, unequal rows, many of one size behind each other."""
    found = {"whole": world.sum([mx.nd.array([2**31 - 2 - world.rank], dtype="int32") * (world.rank == 0)])}
    rows = mx.nd.arange(6 * (world.rank + 1)).reshape((-1, 3)) + 100 * world.rank
    found["rows"] = world.concat([rows])
    found["large"] = world.sum([mx.nd.ones((1 << 20) + 5) * (world.rank + 1)])
    many = [world.sum([mx.nd.full(7, (world.rank + 1) * k)]) for k in range(200)]
    found["many"] = mx.nd.stack(*many)
    found["none agrees"], found["one agrees"] = (
        mx.nd.array([world.agree(vote)]) for vote in (False, world.rank == 1)
    )
    return {key: value.asnumpy() for key, value in found.items()}


def blind(folder, world) -> list:
    """Who does not see what the leader writes: nobody in a folder that both share; the second where each has its own."""
    own = folder / f"own{world.rank}"
    own.mkdir()
    found = [world.blind(place) for place in (folder, own)]
    assert not list(own.iterdir())
    return found


def races(world) -> np.ndarray:
    """The weight after the first step of many trainings that begin while one process is ahead."""
    found = []
    for trial in range(RACES):
        weight = mx.gluon.Parameter(f"weight{trial}", shape=(1000,), init=mx.init.Constant(0.4))
        weight.initialize()
        trainer = mx.gluon.Trainer([weight], "sgd", {"learning_rate": 0.1, "wd": 0.0}, kvstore=None)
        time.sleep(0.02 * ((world.rank + trial) % 2))
        with mx.autograd.record():
            loss = (weight.data() * (2.7 * (world.rank + 1))).sum()
        loss.backward()
        world.sum_gradients(trainer)
        trainer.step(1)
        found.append(weight.data().asnumpy()[[0, -1]])
    return np.stack(found)


class Poisoned:
    """Batches of which the second process's tags of the third step are no numbers."""

    def __init__(self, batches, world):
        self._batches, self._bad = batches, world.rank == 1

    def __getattr__(self, name):
        return getattr(self._batches, name)

    def __len__(self):
        return len(self._batches)

    def epoch(self, *arguments):
        """The batches."""
        for number, group in enumerate(self._batches.epoch(*arguments)):
            if self._bad and number == 2:
                group[0]["label"] = group[0]["label"] * np.float32("nan")
            yield group


def refusal(folder, world) -> str:
    """What a training says of a loss that is no number in the second process alone."""
    if world.leads:
        make_data(folder / "data")
    world.barrier()
    data = folder / "data"
    recipe = recipe_of(2)
    dataset = ImageDataset(
        data / "JPEGImages", data / "Annotations", read_list(data / "list.txt"), TWO_CLASSES
    )
    batches = TrainBatches(dataset, recipe, ScaledCrop(65, (1.0,)), 0, 0, world.rank, world.size)
    changes = {"image_size": 65, "batch_size": 2, "num_epoch": 1}
    method = build_trainable("cam", "small", 2, [mx.cpu()], recipe=make_recipe("cam", changes))
    try:
        options = FitOptions(folder / "run", log_frequency=1)
        fit(method, Poisoned(batches, world), [mx.cpu()], options, world=world)
    except NonFiniteLoss as error:
        return str(error)
    return "none"


def main(out) -> None:
    """Do all of it."""
    with joined() as world:
        assert isinstance(world, World) and world.size == 2
        found = {**sums(world), "races": races(world), "refusal": np.array(refusal(out, world))}
        found["blind"] = np.array([str(ranks) for ranks in blind(out, world)])
        for name in NAMES:
            found.update(steps(name, [mx.cpu()], world))
        np.savez(out / f"{world.rank}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
