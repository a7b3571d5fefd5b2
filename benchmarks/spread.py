"""How much a difference of two mIoUs depends on which images were scored. In: masks and truth. Out: a bootstrap's deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icd.classes import IGNORE
from icd.evaluate.confusion import joint_table
from icd.files import mask_path, read_mask

ROUNDS = 1000


def count_images(masks, truth, ids: list, evaluated: tuple) -> np.ndarray:
    """What mIoU needs of every image: (N, K, 3) int32, the pixels of every evaluated class that are right, predicted, true.

    Policy `drop`: pixels that are 255 in the mask or the truth, or whose true class is not evaluated, do not count.
    """
    counts = np.zeros((len(ids), len(evaluated), 3), np.int32)
    for image, image_id in enumerate(ids):
        prediction, true = (read_mask(mask_path(Path(folder), image_id)) for folder in (masks, truth))
        table = joint_table(true, prediction)[list(evaluated), :IGNORE]
        own = table[:, list(evaluated)]
        counts[image] = np.stack([own.diagonal(), own.sum(axis=0), table.sum(axis=1)], axis=1)
    return counts


def miou(counts: np.ndarray) -> float:
    """mIoU of images together; `counts` as of `count_images`."""
    right, predicted, true = counts.sum(axis=0, dtype=np.int64).T
    return float(np.mean(right / (predicted + true - right)))


def deviation_of_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Standard deviation of the difference of two mIoUs when the images, the same ones for both, are drawn with replacement."""
    random = np.random.RandomState(0)
    draws = random.randint(0, len(ours), (ROUNDS, len(ours)))
    return float(np.std([miou(ours[draw]) - miou(theirs[draw]) for draw in draws], ddof=1))
