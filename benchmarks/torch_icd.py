"""ICD in plain PyTorch: the peer of benchmarks/training.py. The same layers, losses and optimizer, nothing tuned.

In: images, tags, superpixel ids. Out: a training step, score maps. Written from the specification, as our own network is.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

STAGES = ((2, 64, 2, 1), (2, 128, 2, 1), (3, 256, 2, 1), (3, 512, 1, 1), (3, 512, None, 2))


class ICD(nn.Module):
    """VGG-16 with the classification, bottom-up and top-down heads."""

    def __init__(self, classes=20):
        super().__init__()
        layers, previous = [], 3
        for count, channels, stride, dilation in STAGES:
            for _ in range(count):
                layers += [nn.Conv2d(previous, channels, 3, 1, dilation, dilation), nn.ReLU(inplace=True)]
                previous = channels
            if stride:
                layers.append(nn.MaxPool2d(3, stride, 1))
        self.trunk = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1))
        self.top = nn.Sequential(
            nn.Conv2d(512, 1024, 3, 1, 1),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
            nn.Dropout(),
        )
        self.fc8 = nn.Conv2d(1024, classes, 1)
        self.feat_bn = nn.BatchNorm2d(512)
        self.fc6_ft, self.fc7_ft = nn.Conv2d(512, 1024, 3, 1, 1), nn.Conv2d(1024, 1024, 1)
        self.conv_ft = nn.Conv2d(2560, classes, 1, bias=False)
        self.w = nn.Parameter(0.01 * torch.randn(classes, 512))
        self.register_buffer("E", torch.zeros(classes, 2))

    def forward(self, images):
        """Map RGB images 0..255 to CAM, bottom-up score and top-down logit."""
        trunk = self.trunk(images - 127)
        cam = self.fc8(self.top(self.pool(trunk)))
        x = self.feat_bn(trunk)
        s = F.conv2d(x.detach(), F.normalize(self.w, dim=1)[:, :, None, None])
        first = F.relu(self.fc6_ft(x))
        second = F.relu(self.fc7_ft(first))
        return cam, s, self.conv_ft(torch.cat([x, first, second], 1))


def refine(s, ids, y):
    """One score a superpixel, positive for at most one class (spec 2.6)."""
    n, c = y.shape
    member = F.one_hot(ids[:, ::8, ::8].reshape(n, -1)).float().transpose(1, 2)
    size = member.sum(2).clamp(min=1)[:, None]
    v = s.reshape(n, c, -1) * y[:, :, None]

    def mean(values):
        return values @ member.transpose(1, 2) / size

    foreground = (v.sign() @ member.transpose(1, 2)).amax(1, keepdim=True) > 1e-5
    u = v.relu() / v.amax(1, keepdim=True).clamp(min=1e-5)
    winner = F.one_hot(mean(u).argmax(1), c).transpose(1, 2).bool()
    t = torch.where(winner & foreground & (y[:, :, None] > 0), mean(v.relu()), mean(v.clamp(max=0)))
    return (t @ member).reshape(s.shape)


def loss_of(model, images, y, ids, omega=1.0):
    """The sum of the three losses of one step; moves the sign buffer."""
    cam, s, z = model(images)
    with torch.no_grad():
        sides = [(cam.relu() * m).sum((2, 3)) / m.sum((2, 3)).clamp(min=1e-5) for m in (s > 0, s < 0)]
        count = y.sum(0)[:, None]
        m = (torch.stack(sides, 2) * y[:, :, None]).sum(0) / count.clamp(min=1e-5)
        model.E = torch.where(count < 0.999, model.E, 0.9 * model.E + 0.1 * m)
        sign = 1 - 2 * (model.E[:, 0] < model.E[:, 1]).float()
        T = refine(s * sign[None, :, None, None], ids, y)
        s_hat = T.relu() / T.amax((2, 3), keepdim=True).clamp(min=1e-5)
        s_hat -= T.clamp(max=0) / T.amin((2, 3), keepdim=True).clamp(max=-1e-5)
        confident = (s_hat.abs() > 0.2).float() * y[:, :, None, None]
    single = y * (y.sum(1, keepdim=True) < 1.001)
    tag_loss = F.binary_cross_entropy_with_logits(cam.mean((2, 3)), y, reduction="sum")
    bottom_up = -5 * (single * s.square().mean((2, 3))).sum()
    cells = F.binary_cross_entropy_with_logits(z, (s_hat > 0).float(), reduction="none")
    return tag_loss + bottom_up + omega * (confident * cells).mean((2, 3)).sum()


def make_optimizer(model):
    """SGD as in the recipe; learning rate and decay by parameter."""
    groups = []
    for name, parameter in model.named_parameters():
        rate = 1e-2 if name.startswith(("fc8", "conv_ft")) else 1e-3
        decay = 0.0 if name.endswith("bias") else 5e-4
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return torch.optim.SGD(groups, momentum=0.9)


def train_step(model, optimizer, images, y, ids) -> float:
    """One update; returns the loss."""
    optimizer.zero_grad()
    loss = loss_of(model, images, y, ids) / len(images)
    loss.backward()
    optimizer.step()
    return loss.item()
