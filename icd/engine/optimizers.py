"""The optimizers that recipes name. In: a recipe. Out: an MXNet optimizer.

============  ==========================================================================================================
`sgd`         MXNet's: v = m v - lr (g + wd w), w += v; the learning rate is inside the momentum (ICD, made with MXNet)
`torch_sgd`   PyTorch's: v = m v + (g + wd w), w -= lr v, or lr (g + wd w + m v) with Nesterov's momentum: after a change of
              the learning rate the two differ (spec drs, port notes)
`torch_adam`  PyTorch's Adam, betas 0.9 and 0.999, epsilon 1e-8: beside MXNet's, epsilon is added to the root of the corrected
              second moment, which matters for gradients of 1e-6 and less
============  ==========================================================================================================
"""

from __future__ import annotations

from icd.compat import mx


def make_optimizer(recipe):
    """The optimizer of a recipe: its `optimizer`, `learning_rate`, `weight_decay`, and `momentum` and `nesterov` if any."""
    common = {"learning_rate": recipe.learning_rate, "wd": recipe.weight_decay}
    if recipe.optimizer == "torch_adam":
        return TorchAdam(**common)
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
        lr, wd = self._get_lr(index), self._get_wd(index)
        if self.nesterov:
            g = grad * self.rescale_grad + wd * weight
            state[:] = self.momentum * state + g
            weight[:] = weight - lr * (g + self.momentum * state)
            return
        # MXNet's fused w -= lr (rescale g + wd w), which copies nothing; v = m v + g is such a step on v: v -= -g + (1 - m) v.
        # The decay is added to v by itself: as 1 - lr wd it would be rounded, by the same amount in every step.
        _step(state, grad, 1.0, 1 - self.momentum, -self.rescale_grad)
        if wd:
            _step(state, weight, 1.0, 0.0, -wd)
        _step(weight, state, lr)


def _step(array, grad, lr, wd=0.0, rescale_grad=1.0):
    mx.nd.sgd_update(array, grad, out=array, lr=lr, wd=wd, rescale_grad=rescale_grad)


@mx.optimizer.register
class TorchAdam(mx.optimizer.Optimizer):
    """Adam (Kingma & Ba, ICLR 2015) with the published betas, epsilon beside the corrected second moment."""

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def create_state(self, index, weight):
        """First and second moment, at first zero."""
        return mx.nd.zeros_like(weight), mx.nd.zeros_like(weight)

    def update(self, index, weight, grad, state):
        """Update one parameter in place."""
        self._update_count(index)
        t = self._index_update_count[index]
        g = grad * self.rescale_grad + self._get_wd(index) * weight
        for moment, beta, value in zip(state, self.BETAS, (g, g * g)):
            moment[:] = beta * moment + (1 - beta) * value
        first, second = (moment / (1 - beta**t) for moment, beta in zip(state, self.BETAS))
        weight[:] = weight - self._get_lr(index) * first / (second.sqrt() + self.EPSILON)
