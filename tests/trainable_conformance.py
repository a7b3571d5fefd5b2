"""What everything that is trained must do: the tests that methods, refiners and segmenters share.

A shared suite inherits this class and says how to build and to train.
"""

from __future__ import annotations

import gc

import numpy as np

from icd.compat import mx
from icd.engine import checkpoint
from icd.engine.fit import make_trainer


def parameters_of(trainable) -> dict:
    """Every parameter as numpy array, by name, on its first device."""
    return {name: p.list_data()[0].asnumpy() for name, p in trainable.collect_params().items()}


def switch_dropout_off(block) -> None:
    """Let all dropouts of a block pass everything."""
    if isinstance(block, mx.gluon.nn.Dropout):
        block._rate = 0.0
    for child in block._children.values():
        switch_dropout_off(child)


def with_lively_weights(trainable):
    """Weights under which every layer matters."""
    trainable.initialize(mx.init.Xavier(magnitude=3), force_reinit=True)
    return with_lively_norms(trainable)


def with_lively_norms(block):
    """Batch norms with neither gamma 1 nor mean 0, used or not, and biases that are not 0, in a block with known shapes."""
    random = np.random.RandomState(1)
    for name, parameter in block.collect_params().items():
        if name.endswith(("_gamma", "_running_var")):
            parameter.set_data(mx.nd.array(random.uniform(0.5, 1.5, parameter.shape)))
        elif name.endswith(("_beta", "_bias", "_running_mean")):
            parameter.set_data(mx.nd.array(random.uniform(-0.2, 0.2, parameter.shape)))
    return block


class TrainableConformance:
    """Inherit, write `build` and `train`, and every test below runs."""

    def build(self, seed=0, hybrid=True):
        """A trainable with weights from a seed, on one device, ready to train."""
        raise NotImplementedError

    def train(self, trainable, trainer, steps) -> dict:
        """Take the steps of these numbers; the loss terms of the last one, as numbers."""
        raise NotImplementedError

    def test_losses_and_gradients_are_finite(self):
        trainable = self.build()
        losses = self.train(trainable, make_trainer(trainable), range(3))
        assert losses and all(np.isfinite(value) for value in losses.values())
        for name, parameter in trainable.collect_params().items():
            if parameter.grad_req != "null":
                assert np.isfinite(parameter.grad().asnumpy()).all(), name

    def test_every_trained_parameter_gets_a_gradient(self):
        trainable = self.build()
        self.train(trainable, make_trainer(trainable), range(2))
        trained = {n: p for n, p in trainable.collect_params().items() if p.grad_req != "null"}
        assert trained
        assert not [name for name, p in trained.items() if not np.abs(p.grad().asnumpy()).any()]

    def test_nothing_of_a_step_stays(self):
        trainable = self.build()
        trainer, alive = make_trainer(trainable), []
        for steps in (range(2), range(2, 5)):
            self.train(trainable, trainer, steps)
            mx.nd.waitall()
            gc.collect()
            alive.append(sum(isinstance(one, mx.nd.NDArray) for one in gc.get_objects()))
        assert alive[0] and alive[1] <= alive[0]

    def test_hybridized_equals_imperative(self):
        results = []
        for hybrid in (True, False):
            trainable = self.build(hybrid=hybrid)
            switch_dropout_off(trainable)  # its draws differ between the two executors
            self.train(trainable, make_trainer(trainable), range(2))
            results.append(parameters_of(trainable))
        for name in results[0]:
            np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-3, atol=1e-4, err_msg=name)

    def test_two_runs_are_equal(self):
        results = []
        for _ in range(2):
            trainable = self.build()
            self.train(trainable, make_trainer(trainable), range(3))
            results.append(parameters_of(trainable))
        for name in results[0]:
            np.testing.assert_array_equal(results[0][name], results[1][name], err_msg=name)

    def test_resume_equals_uninterrupted(self, tmp_path):
        whole = self.build()
        self.train(whole, make_trainer(whole), range(4))
        first = self.build()
        trainer = make_trainer(first)
        self.train(first, trainer, range(2))
        path = checkpoint.save(tmp_path, first, trainer, (0, 2), {"seed": 0})
        second = self.build(seed=99)
        trainer = make_trainer(second)
        assert checkpoint.restore(path, second, trainer, {"seed": 0}) == (0, 2)
        self.train(second, trainer, range(2, 4))
        expected, found = parameters_of(whole), parameters_of(second)
        for name in expected:
            np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
