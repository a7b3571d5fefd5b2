"""Networks with an eighth of their channels, for tests that ask how a large network is wired and not what it computes."""

from __future__ import annotations

import contextlib
from unittest import mock

from icd.backbones.base import nn
from icd.compat import MXNetUnavailable, load_gluoncv

FACTOR = 8
NARROWEST = 48  # channels of a layer that is made thinner: images and classes keep theirs


def thinner(channels: int) -> int:
    """What is left of a number of channels."""
    return channels // FACTOR if channels >= NARROWEST and channels % FACTOR == 0 else channels


@contextlib.contextmanager
def thin_layers():
    """Every convolution, dense layer and norm that is made meanwhile, by whatever network, has an eighth of its channels.

    Parameters that a network makes by itself keep their shapes, so not every network can be thin.
    """
    with contextlib.suppress(MXNetUnavailable):
        load_gluoncv()  # now, because its functions keep layers as default arguments

    class Conv2D(nn.Conv2D):
        def __init__(self, channels, *arguments, in_channels=0, groups=1, **options):
            options.update(in_channels=thinner(in_channels), groups=thinner(groups))
            super().__init__(thinner(channels), *arguments, **options)

    class BatchNorm(nn.BatchNorm):
        def __init__(self, *arguments, in_channels=0, **options):
            super().__init__(*arguments, in_channels=thinner(in_channels), **options)

    class GroupNorm(nn.GroupNorm):
        def __init__(self, *arguments, in_channels=0, **options):
            super().__init__(*arguments, in_channels=thinner(in_channels), **options)

    class Dense(nn.Dense):
        def __init__(self, units, *arguments, in_units=0, **options):
            super().__init__(thinner(units), *arguments, in_units=thinner(in_units), **options)

    with contextlib.ExitStack() as stack:
        for layer in (Conv2D, BatchNorm, GroupNorm, Dense):
            stack.enter_context(mock.patch.object(nn, layer.__name__, layer))
        yield
