"""Batches of fixed-size arrays. In: a dataset. Out: dictionaries of numpy arrays, in a known order.

What a batch holds is a pure function of (seed, epoch, sample index): the same with 0 or 8 workers and after a
resume.

==============  ===================================================================================
`image`         training only: uint8 or float32 (N, 3, S, S), RGB 0..255
planes          training only, what the augmentation makes of `icd.data.planes`: (N, ...)
`label`         float32 (N, C), 1 for the classes of the image; all 0 without tags
`ids`           list of N str
`batch_ids`     training only: ids of the whole batch, of which other processes may have parts
`copies`        training only: how many processes have these images; 1 unless the batch is too small to be split
`views`         inference only: list of uint8 or float32 (N m, 3, h, w), m views of each image in turn
`sizes`         inference only: list of (H, W), the images as they lie on disk
`frames`        inference only: list of (S, S, h, w), see `icd.files.ScoreMaps`
==============  ===================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from icd.data.dataset import ImageDataset
from icd.data.tags import multi_hot
from icd.data.workers import Workers
from icd.errors import InputError

_ORDER, _SAMPLE = 0, 1  # what a random stream is for


def random_stream(purpose: int, seed: int, epoch: int, index: int = 0) -> np.random.RandomState:
    """A generator of random numbers that depends on nothing but its arguments, all of them from 0 up."""
    key = np.random.SeedSequence([purpose, seed, epoch, index]).generate_state(8)
    return np.random.RandomState(key)


def steps_in_epoch(num_images: int, recipe) -> int:
    """How many steps an epoch has: `recipe.accumulation` batches each, the last ones perhaps fewer and smaller."""
    size, group = recipe.batch_size, recipe.accumulation
    batches = -(-num_images // size) if recipe.keep_last_batch else num_images // size
    return -(-batches // group) if recipe.keep_last_batch else batches // group


def refuse_small_batch(recipe, processes: int) -> None:
    """Raise `InputError` where a batch has fewer images than there are processes to share it."""
    if recipe.batch_size < processes:
        expected = f"{processes} or more, an image for every process"
        raise InputError("--batch-size", expected, f"{recipe.batch_size}", "Or start fewer processes.")


class TrainBatches:
    """Shuffled, augmented batches, in groups of as many as one step accumulates.

    Parameters
    ----------
    dataset : ImageDataset
    recipe : icd.recipe.BaseRecipe
        Its `batch_size`, `accumulation` and `keep_last_batch`.
    augmentation : callable
        From `icd.data.augment`: (image, planes, random) -> (image, planes) of fixed size.
    seed : int
        0 or larger.
    workers : int
        Number of loader processes; 0 loads in this process.
    rank, size : int
        Of this process, and how many share every batch: each has a contiguous part, and the whole of a last batch that has
        fewer images than there are processes.

    Raises
    ------
    InputError
        The dataset has fewer images than one step takes, or a batch fewer than there are processes.
    """

    def __init__(
        self, dataset: ImageDataset, recipe, augmentation, seed: int, workers: int = 0, rank=0, size=1
    ):
        self._length = steps_in_epoch(len(dataset), recipe)
        if not self._length or len(dataset) < recipe.batch_size:
            found = f"a step of {recipe.batch_size * recipe.accumulation} images for a list of {len(dataset)}"
            remedy = (
                f"Give --batch-size {max(1, len(dataset) // recipe.accumulation)} or less, or a longer list."
            )
            raise InputError("--batch-size", "at most as many images as the list has", found, remedy)
        refuse_small_batch(recipe, size)
        self._rank, self._size = rank, size
        self._ids, self.batch_size, self._seed = dataset.ids, recipe.batch_size, seed
        self._accumulation = recipe.accumulation
        self._workers = Workers(_LoadTrainSample(dataset, augmentation, seed), workers)

    @property
    def num_images(self) -> int:
        """Images in the list."""
        return len(self._ids)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self._length

    def epoch(self, number: int, start_step: int = 0, end_step: int = None):
        """Yield the groups of batches of epoch `number` (from 0), from step `start_step` on and before `end_step`."""
        order = random_stream(_ORDER, self._seed, number).permutation(len(self._ids))
        end_step = len(self) if end_step is None else end_step
        images = self.batch_size * self._accumulation
        chosen = order[start_step * images : end_step * images]
        wholes = [chosen[begin : begin + self.batch_size] for begin in range(0, len(chosen), self.batch_size)]
        parts, group = [self._part(whole) for whole in wholes], []
        mine = ((number, int(index)) for part in parts for index in part)
        samples = self._workers.map(mine, ahead=-(-images // self._size))
        for batch, whole in zip(_gather(samples, [self._names(part) for part in parts]), wholes):
            copies = self._size if len(whole) < self._size else 1
            group.append({**batch, "batch_ids": self._names(whole), "copies": copies})
            if len(group) == self._accumulation or whole is wholes[-1]:
                yield group
                group = []

    def _part(self, whole):
        """This process's part of a batch."""
        begin, end = (len(whole) * rank // self._size for rank in (self._rank, self._rank + 1))
        return whole if len(whole) < self._size else whole[begin:end]

    def _names(self, indices) -> list:
        return [self._ids[index] for index in indices]

    def close(self) -> None:
        """End the loader processes."""
        self._workers.close()


class InferenceBatches:
    """Whole images in the order of the dataset; the last batch may be smaller.

    Parameters
    ----------
    dataset : ImageDataset
    batch_size : int
        1 where the presentation gives images of different sizes views of different sizes.
    presentation : callable
        From `icd.data.views`: how an image is shown to the network.
    skip : collection of str
        Ids that are already done.
    workers : int
        Number of loader processes; 0 loads in this process.
    """

    def __init__(
        self, dataset: ImageDataset, batch_size: int, presentation, skip=frozenset(), workers: int = 0
    ):
        self._ids, self._batch_size = dataset.ids, batch_size if presentation.same_size else 1
        self._wanted = [index for index, image_id in enumerate(dataset.ids) if image_id not in skip]
        self._workers = Workers(_LoadInferenceSample(dataset, presentation), workers)

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
        size = self._batch_size
        yield from _gather(samples, [ids[begin : begin + size] for begin in range(0, len(ids), size)])

    def close(self) -> None:
        """End the loader processes."""
        self._workers.close()


@dataclass(frozen=True)
class _LoadTrainSample:
    dataset: ImageDataset
    augmentation: object
    seed: int

    def __call__(self, item) -> dict:
        epoch, index = item
        image, planes, tags = self.dataset.load(index)
        random = random_stream(_SAMPLE, self.seed, epoch, index)
        try:
            image, planes = self.augmentation(image, planes, random)
        except InputError as error:  # an augmentation knows arrays only
            where = f"{error.where} of {self.dataset.ids[index]}"
            raise InputError(where, error.expected, error.found, error.remedy) from None
        label = multi_hot(tags, len(self.dataset.classes))
        return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), **planes, "label": label}


@dataclass(frozen=True)
class _LoadInferenceSample:
    dataset: ImageDataset
    presentation: object

    def __call__(self, index) -> dict:
        image, size = self.dataset.photograph(index)
        shown = self.presentation(image)
        label = multi_hot(self.dataset.tags(index), len(self.dataset.classes))
        return {"views": shown.views, "label": label, "sizes": size, "frames": shown.frame}


def _gather(samples, batches: list):
    """Collect samples into batches of these ids: arrays are stacked, everything else is listed."""
    samples = iter(samples)
    for ids in batches:
        yield {**_stack(list(islice(samples, len(ids)))), "ids": ids}


def _stack(samples) -> dict:
    batch = {name: [sample[name] for sample in samples] for name in samples[0]}
    for name in batch.keys() - {"views", "sizes", "frames"}:
        batch[name] = np.stack(batch[name])
    if "views" in batch:
        batch["views"] = [np.concatenate(of_scale) for of_scale in zip(*batch["views"])]
    return batch
