"""The refiners' conformance suite itself, tested on refiners that are broken on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from refiner_conformance import ONE, AffinityNetConformance

from icd.engine.world import World
from icd.files import LabelStack


class Broken(AffinityNetConformance):
    """The suite itself is tested on refiners that are broken on purpose."""

    __test__ = False


class CountsAlone(Broken):
    """Counts pairs on each device for itself."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.losses

        def losses(f, part, gathered):
            return plain(f, part, refiner.gather([f], [part], World()))

        refiner.losses = losses
        return refiner


class LosesTheBackground(Broken):
    """Gives a stack of the classes alone."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.spread

        def spread(*given, **settings):
            stack = plain(*given, **settings)
            return LabelStack(stack.labels[1:], stack.planes[1:])

        refiner.spread = spread
        return refiner


class KeepsTheGrid(Broken):
    """Gives planes of whole cells, which are larger than the image."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.spread

        def spread(*given, **settings):
            stack = plain(*given, **settings)
            return LabelStack(stack.labels, np.pad(stack.planes, ((0, 0), (0, 3), (0, 0))))

        refiner.spread = spread
        return refiner


class Leaks(Broken):
    """Loses a tenth of the scores on the way."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.spread

        def spread(*given, **settings):
            stack = plain(*given, **settings)
            return LabelStack(stack.labels, stack.planes * np.float32(0.9))

        refiner.spread = spread
        return refiner


class LooksAway(Broken):
    """Does not look at the image."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.spread
        refiner.spread = lambda image, *given, **settings: plain(image * 0, *given, **settings)
        return refiner


class Explodes(Broken):
    """Has a loss that is not a number."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        plain = refiner.losses
        refiner.losses = lambda *given: {k: v * float("nan") for k, v in plain(*given).items()}
        return refiner


class ForgetsALayer(Broken):
    """Trains a layer that nothing reaches."""

    def build(self, seed=0, hybrid=True, contexts=ONE):
        refiner = super().build(seed, hybrid, contexts)
        refiner.params.get("idle", shape=(3,)).initialize()
        return refiner


class DrawsByItself(Broken):
    """Draws random numbers that no seed rules."""

    def train(self, refiner, trainer, steps, contexts=ONE):
        losses = super().train(refiner, trainer, steps, contexts)
        weight = refiner.collect_params()["f9_weight"]
        weight.set_data(weight.data() + float(np.random.default_rng().random()))
        return losses


class ForgetsItsState(Broken):
    """Keeps a count of its own outside the checkpoint."""

    def train(self, refiner, trainer, steps, contexts=ONE):
        losses = super().train(refiner, trainer, steps, contexts)
        refiner.calls = getattr(refiner, "calls", 0) + len(list(steps))
        weight = refiner.collect_params()["f9_weight"]
        weight.set_data(weight.data() + refiner.calls)
        return losses


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (CountsAlone, "test_one_device_equals_two"),
        (LosesTheBackground, "test_spread_gives_a_stack_of_the_image"),
        (KeepsTheGrid, "test_spread_gives_a_stack_of_the_image"),
        (Leaks, "test_a_constant_stays_a_constant"),
        (LooksAway, "test_spread_uses_the_image"),
        (Explodes, "test_losses_and_gradients_are_finite"),
        (ForgetsALayer, "test_every_trained_parameter_gets_a_gradient"),
        (DrawsByItself, "test_two_runs_are_equal"),
    ],
)
def test_suite_catches(broken, test):
    with pytest.raises((AssertionError, UserWarning)):
        getattr(broken(), test)()


def test_suite_catches_hidden_state(tmp_path):
    with pytest.raises(AssertionError):
        ForgetsItsState().test_resume_equals_uninterrupted(tmp_path)
