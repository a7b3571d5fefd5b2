"""The training loop of everything that is trained. In: a trainable, batches, a recipe. Out: checkpoints and a log of the losses.

The loop does not wait for the device except where it logs. Everything random is a function of (seed, epoch, batch), so a
run that was killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import shutil
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from icd.compat import mx
from icd.engine import checkpoint
from icd.engine.log import TrainingLog
from icd.engine.optimizers import make_optimizer
from icd.engine.parameters import average_statistics
from icd.engine.parts import split_batch
from icd.engine.schedules import learning_rate, training_length
from icd.engine.world import ALONE, Stopped
from icd.errors import InputError
from icd.files import read_json


@dataclass(frozen=True)
class FitOptions:
    """How a run is carried out, apart from its recipe.

    Attributes
    ----------
    folder : pathlib.Path
        The log goes here, checkpoints into `checkpoints` below it.
    seed : int
    num_save : int
        Newest checkpoints kept.
    log_frequency : int
        Steps from one look at the losses to the next.
    resume : bool
        Go on from the newest checkpoint, if there is one.
    begin_epoch : int
        Above 0: go on from the checkpoint of the epoch before this one, which must be there.
    facts : dict
        What must not change between start and resume (JSON values).
    free_keys : tuple of str
        Those of them that may: `recipe.num_epoch`, where a longer training can go on.
    """

    folder: Path
    seed: int = 0
    num_save: int = 5
    log_frequency: int = 5
    resume: bool = False
    begin_epoch: int = 0
    facts: dict = None
    free_keys: tuple = ()

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return Path(self.folder) / "checkpoints"


def _nothing(epoch: int) -> None:
    """What follows an epoch unless a caller says else."""


def fit(method, batches, contexts: list, options: FitOptions, after_epoch=_nothing, world=None) -> Path:
    """Train a method to the end of its recipe.

    Parameters
    ----------
    method : icd.trainable.Method
        From `icd.engine.build.build_trainable`.
    batches : icd.data.batches.TrainBatches
    contexts : list of mxnet.Context
    options : FitOptions
    after_epoch : callable, optional
        Called with the epoch's number after its checkpoint was written, and again when a run goes on from there; by the
        process that leads.
    world : icd.engine.world.World, optional
        Who trains together; default: this process alone.

    Returns
    -------
    pathlib.Path
        The last checkpoint.

    Raises
    ------
    NonFiniteLoss
        A loss is not a finite number, in all processes; the checkpoints written before are good.
    Stopped
        A `KeyboardInterrupt`, after the state was saved, because some process was asked to stop.
    """
    world = world or ALONE
    facts = {"seed": options.seed, "devices": len(contexts), "processes": world.size, **(options.facts or {})}
    trainer = make_trainer(method)
    first, start = _begin(method, batches, trainer, options, facts, world)
    length = training_length(method.recipe, len(batches))
    log = TrainingLog(
        options.folder, options.log_frequency, length.steps, first * len(batches) + start, world
    )

    def save(position):
        log.flush()  # which checks the losses: no checkpoint is written after a bad one
        average_statistics(method, world)
        world.spread(method.collect_params().values())  # rounding may differ from machine to machine
        world.lead(checkpoint.save, options.checkpoints, method, trainer, position, facts, options.num_save)

    try:
        if first and not start:
            world.lead(after_epoch, first - 1)  # a run that was killed has not done so
        with StopRequest() as stop, world.training():
            for epoch in range(first, length.epochs):
                last = min(len(batches), length.steps - epoch * len(batches))
                for done, group in enumerate(batches.epoch(epoch, start, last), start + 1):
                    rate = learning_rate(method.recipe, epoch, epoch * len(batches) + done - 1, length)
                    trainer.set_learning_rate(rate)
                    mx.random.seed(step_seed(options.seed, epoch, done, _stream(world, group)))
                    parts = [split_batch(batch, contexts) for batch in group]
                    losses = train_step(method, trainer, parts, world, [Whole.of(batch) for batch in group])
                    stopping = world.agree(stop.requested)
                    log.step(
                        epoch, done, len(batches), rate, losses, [i for b in group for i in b["batch_ids"]]
                    )
                    if stopping and done < last:
                        save((epoch, done))
                        raise Stopped
                start = 0
                save((epoch + 1, 0))
                world.lead(after_epoch, epoch)
                if world.agree(stop.requested):
                    raise Stopped
    finally:
        log.close()
        batches.close()
    return checkpoint.checkpoints(options.checkpoints)[-1][1]


def _stream(world, group: list) -> int:
    """Which random numbers this process's devices take: their own, but the leader's for images that all processes see."""
    return 0 if any(batch["copies"] > 1 for batch in group) else world.rank


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop after the step, so that the saved state is whole."""

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def _request(self, number, frame):
        self.requested = True
        self._restore()  # a second one ends the process at once

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(self, *error):
        self._restore()


class Whole(NamedTuple):
    """How many images a mini-batch has in all processes, and how many processes see the same ones."""

    images: int
    copies: int = 1

    @classmethod
    def of(cls, batch: dict):
        """That of a batch of `icd.data.batches.TrainBatches`."""
        return cls(len(batch["batch_ids"]), batch["copies"])


def train_step(trainable, trainer, mini_batches: list, world=None, wholes=None) -> dict:
    """One update.

    Parameters
    ----------
    mini_batches : list of list of dict
        For each mini-batch, over which the gradients are averaged, its parts, a part a device: from
        `icd.engine.parts.split_batch`.
    world : icd.engine.world.World, optional
        Who takes the step together; default: this process alone.
    wholes : list of Whole, optional
        For each mini-batch, how many images it has in all processes; default: those of its parts.

    Returns
    -------
    dict of NDArray
        The loss terms, averaged over the images of a mini-batch and over the mini-batches: this process's share of the mean.
    """
    world, means = world or ALONE, []
    wholes = wholes or [Whole(_images(parts)) for parts in mini_batches]
    count = wholes[0].images
    if len(mini_batches) > 1:
        trainable.collect_params().zero_grad()  # each mini-batch adds to the gradients
    for parts, whole in zip(mini_batches, wholes):
        among = world if whole.copies == 1 else ALONE  # who all see the same images need no one else's
        losses = _backward(trainable, parts, count / whole.images / whole.copies, among)
        home, images = parts[0]["image"].context, whole.images * whole.copies
        means.append({n: sum(terms[n].as_in_context(home) for terms in losses) / images for n in losses[0]})
    rest(trainer, {part["image"].context for parts in mini_batches for part in parts})
    world.sum_gradients(trainer)
    trainer.step(count * len(mini_batches))
    return {name: sum(mean[name] for mean in means) / len(means) for name in means[0]}


def _images(parts: list) -> int:
    return sum(len(part["image"]) for part in parts)


def _backward(trainable, parts: list, scale: float, world) -> list:
    """Compute the gradients of `scale` times the loss of one mini-batch; return every device's loss terms."""
    with mx.autograd.record():
        outputs = [trainable(part["image"]) for part in parts]
        with mx.autograd.pause():
            gathered = trainable.gather(outputs, parts, world)
        losses = [
            trainable.losses(output, part, _on_device(gathered, part["image"].context))
            for output, part in zip(outputs, parts)
        ]
        totals = [sum(terms.values()) for terms in losses]
    mx.autograd.backward(totals, None if scale == 1 else [mx.nd.full(1, scale, t.context) for t in totals])
    return losses


def _on_device(gathered: dict, context) -> dict:
    return {name: array.as_in_context(context) for name, array in gathered.items()}


def rest(trainer, busy) -> None:
    """Give the devices that had no part of the batch, a small last one, gradients of zero; they hold those of the step before."""
    for context in trainer._contexts:
        if context in busy:
            continue
        for parameter in trainer._params:
            if parameter.grad_req != "null":
                parameter.grad(context)[:] = 0
                parameter.data(context)._fresh_grad = True  # else the trainer would leave this device out


def make_trainer(method):
    """The trainer of a method's parameters, with the optimizer that its recipe names; `World.sum_gradients` adds for it."""
    if method.recipe.accumulation > 1:
        for parameter in method.collect_params().values():
            if parameter.grad_req != "null":
                parameter.grad_req = "add"
    return mx.gluon.Trainer(
        method.collect_params(), make_optimizer(method.recipe), kvstore=None, update_on_kvstore=False
    )


def step_seed(seed: int, epoch: int, batch: int, rank: int = 0) -> int:
    """The seed of MXNet's own random numbers (dropout) in one step, of the process of this rank."""
    key = [seed, epoch, batch, *([rank] if rank else [])]
    return int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)


def drop_later_checkpoints(folder, position: tuple) -> None:
    """Remove what was trained after a position; else an interrupted run would go on from the end of the one before.

    Raises
    ------
    InputError
        There is no checkpoint of that position.
    """
    found = checkpoint.checkpoints(folder)
    if position not in dict(found):
        there = ", ".join(path.name for _, path in found) or "none"
        raise InputError(folder, f"the checkpoint epoch-{position[0] - 1:04d}", there, "See --begin-epoch.")
    for later, path in found:
        if later > position:
            shutil.rmtree(path)


def _begin(method, batches, trainer, options, facts, world) -> tuple:
    """Where to begin: where the newest checkpoint ends, with its state restored, or (0, 0) on a fresh start."""
    if options.begin_epoch:
        world.lead(drop_later_checkpoints, options.checkpoints, (options.begin_epoch, 0))
    found, position = checkpoint.checkpoints(options.checkpoints), (0, 0)
    if found and (options.resume or options.begin_epoch):
        free = (*options.free_keys, "processes")
        position = checkpoint.restore(found[-1][1], method, trainer, facts, free)
        _say_other_number(found[-1][1], world)
    else:
        method.prepare(batches.num_images, batches.batch_size)
    of_all = world.concat([mx.nd.array([position])]).asnumpy()
    if (of_all != of_all[0]).any():
        found = f"other positions in other processes: {of_all.astype(int).tolist()}"
        raise InputError(
            options.checkpoints, "the same checkpoints for all processes", found, "Share the folder."
        )
    world.spread(method.collect_params().values())
    return position


def _say_other_number(path, world) -> None:
    before = read_json(path / "state.json").get("processes", 1)
    if before != world.size and world.leads:
        print(f"{path.name} was written by {before} process(es), and {world.size} go on from it: the same batches, in other "
              "parts, so the same result but for rounding, dropout and the statistics of batch norm.")  # fmt: skip
