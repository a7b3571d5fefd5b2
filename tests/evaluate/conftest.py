"""Small folders of masks for the evaluator's tests."""

from __future__ import annotations

import numpy as np
import pytest

from icd.files import mask_path, write_mask


@pytest.fixture
def write_masks(tmp_path):
    """A function that writes label maps into a folder of the test's own and returns the folder."""

    def write(name: str, masks: dict):
        for image_id, mask in masks.items():
            write_mask(mask_path(tmp_path / name, image_id), np.asarray(mask, np.uint8))
        return tmp_path / name

    return write


@pytest.fixture
def random_masks():
    """A function that makes pairs of a truth and a prediction, with 255 in both."""

    def make(images: int, seed: int = 0, classes: int = 20):
        random = np.random.RandomState(seed)
        truths, predictions = {}, {}
        for k in range(images):
            shape = tuple(random.randint(8, 40, 2))
            truth = random.choice([0, 0, 1, classes, 255, *random.randint(0, classes + 1, 3)], shape)
            wrong = random.choice([0, 255, *random.randint(0, classes + 1, 3)], shape)
            truths[f"image{k}"] = truth.astype(np.uint8)
            predictions[f"image{k}"] = np.where(random.rand(*shape) < 0.7, truth, wrong).astype(np.uint8)
        return truths, predictions

    return make
