"""How long a recipe trains and with which learning rate: pure functions of the recipe and the position in the run."""

from __future__ import annotations

from typing import NamedTuple


class Length(NamedTuple):
    """Epochs (the last one perhaps cut short) and steps of a whole training."""

    epochs: int
    steps: int


def training_length(recipe, num_batches: int) -> Length:
    """The length of a training: `recipe.num_epoch` passes, or, where that is 0, `recipe.num_iterations` steps."""
    if recipe.num_epoch:
        return Length(recipe.num_epoch, recipe.num_epoch * num_batches)
    steps = recipe.num_iterations
    return Length(-(-steps // num_batches), steps)


def learning_rate(recipe, epoch: int, step: int, length: Length) -> float:
    """The learning rate of a step, by the rule that `recipe.schedule` names.

    Parameters
    ----------
    epoch, step : int
        From 0; steps count through the whole training.
    """
    return SCHEDULES[recipe.schedule](recipe, epoch, step, length)


def poly_by_epoch(recipe, epoch: int, step: int, length: Length) -> float:
    """base (1 - e/E)^power, set once an epoch e."""
    return _poly(recipe, epoch, recipe.horizon or length.epochs)


def poly_by_step(recipe, epoch: int, step: int, length: Length) -> float:
    """base (1 - t/T)^power, set before every `rate_every`-th step t; behind the end the last rate is kept.

    Source: spec resnet38 5, deeplab B4, ppc 6.6.
    """
    return _poly(recipe, step, recipe.horizon or length.steps)


def _poly(recipe, t: int, T: int) -> float:
    t = min(t, T - 1) // recipe.rate_every * recipe.rate_every
    return recipe.learning_rate * (1 - t / T) ** recipe.poly_power


def decay_by_epoch(recipe, epoch: int, step: int, length: Length) -> float:
    """base 0.1^k, where k of `recipe.decay_epochs`, which count from 1, have begun (spec drs 4.2)."""
    return recipe.learning_rate * 0.1 ** sum(epoch + 1 >= begin for begin in recipe.decay_epochs)


def depends_on_length(recipe) -> bool:
    """Whether a longer training would have had other rates from the start."""
    return recipe.schedule.startswith("poly") and not recipe.horizon


SCHEDULES = {
    "poly_by_epoch": poly_by_epoch,
    "poly_by_step": poly_by_step,
    "decay_by_epoch": decay_by_epoch,
}
