"""EPS and its CAM on MobileNetV2 in plain PyTorch: the peer of benchmarks/inference.py and training.py. Nothing is tuned.

In: images RGB 0..255. Out: class probabilities on a grid of stride 16; a training step of the CAM. Written from Sandler et al.,
CVPR 2018, as Gluon's network is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# Expansion, channels, repeats, stride.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def layer(previous, channels, kernel=1, stride=1, dilation=1, groups=1, active=True) -> list:
    """A convolution, batch norm and, if `active`, ReLU6."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(previous, channels, kernel, stride, padding, dilation, groups, bias=False)
    return [convolution, nn.BatchNorm2d(channels), *([nn.ReLU6(inplace=True)] if active else [])]


class Bottleneck(nn.Module):
    """Expand, convolve each channel, project; added to the input where that has the same shape."""

    def __init__(self, previous, channels, expansion, stride, dilation):
        super().__init__()
        width = previous * expansion
        self.same = stride == 1 and previous == channels
        self.layers = nn.Sequential(
            *layer(previous, width),
            *layer(width, width, 3, stride, dilation, width),
            *layer(width, channels, active=False),
        )

    def forward(self, x):
        """Map (N, previous, h, w) to (N, channels, h / stride, w / stride)."""
        return x + self.layers(x) if self.same else self.layers(x)


class EPS(nn.Module):
    """MobileNetV2 of stride 16 and a classifier with a background channel."""

    def __init__(self, classes=20):
        super().__init__()
        layers, previous, stride, dilation = layer(3, 32, 3, 2), 32, 2, 1
        for expansion, channels, repeats, first in STAGES:
            for number in range(repeats):
                own = first if number == 0 else 1
                if stride * own > 16:
                    own, after = 1, dilation * own
                else:
                    stride, after = stride * own, dilation
                layers.append(Bottleneck(previous, channels, expansion, own, dilation))
                previous, dilation = channels, after
        self.trunk = nn.Sequential(*layers, *layer(previous, 1280))
        self.classifier = nn.Conv2d(1280, classes + 1, 1, bias=False)

    def forward(self, images):
        """Map images (N, 3, H, W) to probabilities (N, classes, h, w)."""
        return self.classifier(self.trunk(images / 127.5 - 1)).softmax(1)[:, :-1]


FROZEN = 9  # layers of the trunk up to stride 8


def make_optimizer(network):
    """Freeze what is customary, and SGD for the rest; batch norms keep statistics, scale and shift."""
    network.eval()  # there is no dropout
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    network.trunk[:FROZEN].requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, 0.1, momentum=0.0005, weight_decay=0.0005)


def train_step(network, optimizer, images, y) -> float:
    """One update by the tag loss; returns the loss."""
    with torch.no_grad():
        front = network.trunk[:FROZEN](images / 127.5 - 1)
    logit = network.classifier(network.trunk[FROZEN:](front))[:, :-1].mean((2, 3))
    loss = F.multilabel_soft_margin_loss(logit, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
