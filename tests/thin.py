"""Networks with an eighth of their channels, for tests that ask how a large network is wired and not what it computes."""

from __future__ import annotations

import contextlib
from unittest import mock

from icd.backbones.base import nn

FACTOR = 8
NARROWEST = 64  # channels of a layer that is made thinner: images, classes and small projections keep theirs


def thinner(channels: int) -> int:
    """What is left of a number of channels."""
    return channels // FACTOR if channels >= NARROWEST and channels % FACTOR == 0 else channels


@contextlib.contextmanager
def thin_layers():
    """Every convolution and batch norm that is made meanwhile, by whatever network, has an eighth of its channels."""

    class Conv2D(nn.Conv2D):
        def __init__(self, channels, *arguments, in_channels=0, **options):
            super().__init__(thinner(channels), *arguments, in_channels=thinner(in_channels), **options)

    class BatchNorm(nn.BatchNorm):
        def __init__(self, *arguments, in_channels=0, **options):
            super().__init__(*arguments, in_channels=thinner(in_channels), **options)

    with mock.patch.object(nn, "Conv2D", Conv2D), mock.patch.object(nn, "BatchNorm", BatchNorm):
        yield
