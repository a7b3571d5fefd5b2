"""Batches of fixed-size arrays. In: a dataset. Out: dictionaries of numpy arrays, in a known order.

What a batch holds is a pure function of (seed, epoch, sample index): the same with 0 or 8 workers and after a
resume.

==============  ===================================================================================
`image`         uint8 (N, 3, S, S), RGB 0..255, 127 where there is no image
`superpixel`    int32 (N, S, S), ids 0..m-1 in each image; absent where the dataset has none
`label`         float32 (N, C), 1 for the classes of the image
`ids`           list of N str
`sizes`         inference only: list of (H, W), the images as they lie on disk
`frames`        inference only: list of (S, S, h, w), see `icd.files.ScoreMaps`
==============  ===================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.data.augment import inference_sample, train_sample
from icd.data.dataset import TagDataset
from icd.data.tags import multi_hot
from icd.data.workers import Workers
from icd.errors import InputError

_ORDER, _SAMPLE = 0, 1  # what a random stream is for


def random_stream(purpose: int, seed: int, epoch: int, index: int = 0) -> np.random.RandomState:
    """A generator of random numbers that depends on nothing but its arguments, all of them from 0 up."""
    key = np.random.SeedSequence([purpose, seed, epoch, index]).generate_state(8)
    return np.random.RandomState(key)


class TrainBatches:
    """Shuffled, augmented batches; the last, incomplete one of an epoch is left out.

    Parameters
    ----------
    dataset : TagDataset
    batch_size : int
    size : int
        Side of the crop.
    scales : sequence of float
        Factors of the random scaling.
    seed : int
        0 or larger.
    workers : int
        Number of loader processes; 0 loads in this process.

    Raises
    ------
    InputError
        The dataset has fewer images than one batch.
    """

    def __init__(self, dataset: TagDataset, batch_size: int, size: int, scales, seed: int, workers: int = 0):
        if len(dataset) < batch_size:
            found = f"a batch size of {batch_size} for a list of {len(dataset)}"
            remedy = f"Give --batch-size {len(dataset)} or less, or a longer list."
            raise InputError("--batch-size", "at most as many images as the list has", found, remedy)
        self._ids, self.batch_size, self._seed = dataset.ids, batch_size, seed
        self._workers = Workers(_LoadTrainSample(dataset, size, tuple(scales), seed), workers)

    @property
    def num_images(self) -> int:
        """Images in the list."""
        return len(self._ids)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._ids) // self.batch_size

    def epoch(self, number: int, start_batch: int = 0):
        """Yield the batches of epoch `number` (from 0), from `start_batch` on."""
        order = random_stream(_ORDER, self._seed, number).permutation(len(self._ids))
        chosen = order[start_batch * self.batch_size : len(self) * self.batch_size]
        samples = self._workers.map(((number, int(index)) for index in chosen), ahead=self.batch_size)
        ids = [self._ids[index] for index in chosen]
        yield from _gather(samples, ids, self.batch_size)

    def close(self) -> None:
        """End the loader processes."""
        self._workers.close()


class InferenceBatches:
    """Whole images in the order of the dataset; the last batch may be smaller.

    Parameters
    ----------
    dataset : TagDataset
    batch_size : int
    size : int
        Side of the frame.
    skip : collection of str
        Ids that are already done.
    workers : int
        Number of loader processes; 0 loads in this process.
    """

    def __init__(self, dataset: TagDataset, batch_size: int, size: int, skip=frozenset(), workers: int = 0):
        self._ids, self._batch_size = dataset.ids, batch_size
        self._wanted = [index for index, image_id in enumerate(dataset.ids) if image_id not in skip]
        self._workers = Workers(_LoadInferenceSample(dataset, size), workers)

    @property
    def num_images(self) -> int:
        """Images that are left to do."""
        return len(self._wanted)

    def __len__(self) -> int:
        """Batches that are left to do."""
        return -(-len(self._wanted) // self._batch_size)

    def __iter__(self):
        samples = self._workers.map(self._wanted, ahead=self._batch_size)
        ids = [self._ids[index] for index in self._wanted]
        yield from _gather(samples, ids, self._batch_size)

    def close(self) -> None:
        """End the loader processes."""
        self._workers.close()


@dataclass(frozen=True)
class _LoadTrainSample:
    dataset: TagDataset
    size: int
    scales: tuple
    seed: int

    def __call__(self, item) -> dict:
        epoch, index = item
        image, superpixels, tags = self.dataset.load(index)
        random = random_stream(_SAMPLE, self.seed, epoch, index)
        image, superpixels = train_sample(image, superpixels, self.size, self.scales, random)
        return _arrays(image, superpixels, tags, self.dataset)


@dataclass(frozen=True)
class _LoadInferenceSample:
    dataset: TagDataset
    size: int

    def __call__(self, index) -> dict:
        image, superpixels, tags = self.dataset.load(index)
        sample = inference_sample(image, superpixels, self.size)
        arrays = _arrays(sample.image, sample.superpixels, tags, self.dataset)
        return {**arrays, "sizes": sample.size, "frames": sample.frame}


def _arrays(image, superpixels, tags, dataset: TagDataset) -> dict:
    arrays = {"image": np.ascontiguousarray(image.transpose(2, 0, 1))}
    if superpixels is not None:
        arrays["superpixel"] = superpixels
    return {**arrays, "label": multi_hot(tags, len(dataset.classes))}


def _gather(samples, ids, batch_size: int):
    """Collect samples into batches: arrays are stacked, everything else is listed."""
    collected = []
    for number, sample in enumerate(samples, 1):
        collected.append(sample)
        if len(collected) == batch_size or number == len(ids):
            batch = {name: [sample[name] for sample in collected] for name in collected[0]}
            for name in batch.keys() & {"image", "superpixel", "label"}:
                batch[name] = np.stack(batch[name])
            yield {**batch, "ids": ids[number - len(collected) : number]}
            collected = []
