"""The fused optimizer against the formula of PyTorch's documentation, in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from icd.compat import mx
from icd.engine.optimizers import TorchSGD

RATES = (0.1, 0.1, 0.0, 0.05, 0.02)  # falls, rests at zero, rises again


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("momentum", "wd"), [(0.9, 5e-4), (5e-4, 0.0), (1e-4, 1e-4), (0.0, 0.1)])
def test_torch_sgd_is_the_formula(momentum, wd, nesterov):
    random = np.random.RandomState(0)
    w, v = random.randn(7, 5), np.zeros((7, 5))
    optimizer = TorchSGD(momentum=momentum, nesterov=nesterov, learning_rate=0.1, wd=wd)
    optimizer.rescale_grad = 1 / 4
    weight = mx.nd.array(w)
    state = optimizer.create_state(0, weight)
    for rate in RATES:
        g = random.randn(7, 5)
        optimizer.lr = rate
        optimizer.update(0, weight, mx.nd.array(g), state)
        g = g / 4 + wd * w
        v = momentum * v + g
        w = w - rate * (g + momentum * v if nesterov else v)
        np.testing.assert_allclose(state.asnumpy(), v, rtol=0, atol=1e-6)
        np.testing.assert_allclose(weight.asnumpy(), w, rtol=0, atol=1e-6)
