"""About how long a stage takes. In: a stage and how many images are left. Out: seconds.

Rates of trainings that have begun are read from their log; the others were measured on a quiet machine with two cores at 257
pixels (docs/performance.md) and grow with the number of pixels.
"""

from __future__ import annotations

import json

from icd.data.batches import steps_in_epoch
from icd.engine.schedules import training_length
from icd.stages.localize import Localize
from icd.stages.train import Train

# Seconds an image and training step at 257 px.
TRAINING = {
    "mobilenet_v2": 0.11,
    "resnet50": 0.24,
    "resnet50_v1": 0.24,
    "vgg16": 0.8,
    "vgg16_torchvision": 0.8,
    "small": 0.012,
}
SLOWEST = 2.0  # resnet101, resnet38
FORWARD_SHARE = 1 / 3  # of a training step
BY_IMAGE = {"superpixels": 0.03, "seeds": 0.25, "crf": 0.1, "walk": 0.2, "score": 0.002}


def seconds_left(stage, left: int) -> float:
    """About how many seconds the images that are left take."""
    if not left:
        return 0.0
    if isinstance(stage, Train):
        steps = training_length(stage.recipe, max(1, steps_in_epoch(left, stage.recipe))).steps
        images = steps * stage.recipe.batch_size * stage.recipe.accumulation
        return (1 - _share_done(stage, steps)) * images * _seconds_a_step(stage)
    if isinstance(stage, Localize):
        recipe = stage.source.recipe
        views = sum(2 * scale**2 for scale in getattr(recipe, "infer_scales", ())) or 1.0
        return left * views * _seconds_a_step(stage.source) * FORWARD_SHARE
    return left * BY_IMAGE.get(stage.kind, 0.1) / max(1, stage.job.workers)


def _seconds_a_step(train) -> float:
    lines = _log(train)
    rates = [line["images_per_second"] for line in lines[-20:] if line.get("images_per_second")]
    if rates:
        return len(rates) / sum(rates)
    return TRAINING.get(train.backbone, SLOWEST) * (train.recipe.image_size / 257) ** 2


def _share_done(train, steps: int) -> float:
    lines = _log(train)
    return min(1.0, lines[-1].get("step", 0) / steps) if lines and steps else 0.0


def _log(train) -> list:
    try:
        text = (train.folder / "losses.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError):
        return []
