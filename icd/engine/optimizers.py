"""The optimizers that recipes name. In: a recipe. Out: an MXNet optimizer.

============  ==========================================================================================================
`sgd`         MXNet's: v = m v - lr (g + wd w), w += v; the learning rate is inside the momentum (ICD, made with MXNet)
`torch_sgd`   PyTorch's: v = m v + (g + wd w), w -= lr v, or lr (g + wd w + m v) with Nesterov's momentum: after a change of
              the learning rate the two differ (spec drs, port notes)
`adam`        Adam, betas 0.9 and 0.999, epsilon 1e-8
============  ==========================================================================================================
"""

from __future__ import annotations

from icd.compat import mx


def make_optimizer(recipe):
    """The optimizer of a recipe: its `optimizer`, `learning_rate`, `weight_decay`, and `momentum` and `nesterov` if any."""
    common = {"learning_rate": recipe.learning_rate, "wd": recipe.weight_decay}
    if recipe.optimizer == "adam":
        return mx.optimizer.Adam(**common)
    if recipe.optimizer == "torch_sgd":
        return TorchSGD(momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
    return mx.optimizer.SGD(momentum=recipe.momentum, **common)


@mx.optimizer.register
class TorchSGD(mx.optimizer.Optimizer):
    """SGD whose momentum holds gradients, without the learning rate.

    Parameters
    ----------
    momentum : float
    nesterov : bool
    """

    def __init__(self, momentum=0.0, nesterov=False, **options):
        super().__init__(**options)
        self.momentum, self.nesterov = momentum, nesterov

    def create_state(self, index, weight):
        """The momentum, at first zero."""
        return mx.nd.zeros_like(weight)

    def update(self, index, weight, grad, state):
        """Update one parameter in place."""
        self._update_count(index)
        g = grad * self.rescale_grad + self._get_wd(index) * weight
        state[:] = self.momentum * state + g
        weight[:] = weight - self._get_lr(index) * (g + self.momentum * state if self.nesterov else state)
