"""Learning-rate schedules: pure functions of the position in the run."""

from __future__ import annotations


def poly_by_epoch(base: float, epoch: int, num_epoch: int, power: float) -> float:
    """base (1 - e/E)^power, set once an epoch e, counted from 0."""
    return base * (1 - epoch / num_epoch) ** power
