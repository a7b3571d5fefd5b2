"""Batches depend on seed, epoch and index, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import recipe_of

from icd.data.augment import ScaledCrop
from icd.data.batches import InferenceBatches, TrainBatches, _LoadTrainSample, random_stream
from icd.data.views import Frame
from icd.errors import InputError
from icd.files import write_superpixels

CROP = ScaledCrop(32, (0.5, 0.75, 1, 1.25, 1.5))


def _epochs(small, workers=0, seed=3, epochs=(0, 1), start=0):
    batches = TrainBatches(small.dataset(), recipe_of(2), CROP, seed, workers)
    collected = [batch for number in epochs for (batch,) in batches.epoch(number, start)]
    batches.close()
    return collected


def _assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second):
        assert one.keys() == other.keys() and one["ids"] == other["ids"]
        for name in ("image", "superpixel", "label"):
            np.testing.assert_array_equal(one[name], other[name])


def test_shapes_and_types(small):
    batch = _epochs(small)[0]
    assert batch["image"].shape == (2, 3, 32, 32) and batch["image"].dtype == np.uint8
    assert batch["superpixel"].shape == (2, 32, 32) and batch["superpixel"].dtype == np.int32
    assert batch["label"].shape == (2, 3) and batch["label"].dtype == np.float32
    for image_id, label in zip(batch["ids"], batch["label"]):
        assert tuple(np.flatnonzero(label) + 1) == small.dataset().tags(small.ids.index(image_id))


def test_without_superpixels_there_are_none(small):
    batches = TrainBatches(small.dataset(superpixels=False), recipe_of(2), CROP, 0)
    assert set(next(batches.epoch(0))[0]) == {"image", "label", "ids", "batch_ids", "copies"}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(small, workers):
    _assert_same(_epochs(small), _epochs(small, workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_begin_in_the_middle(small, workers):
    whole = _epochs(small, epochs=(5,))
    _assert_same(whole[1:], _epochs(small, workers, epochs=(5,), start=1))
    assert _epochs(small, epochs=(5,), start=3) == []


def test_a_sample_does_not_depend_on_its_neighbours(small):
    alone = {
        batch["ids"][0]: batch["image"][0]
        for (batch,) in TrainBatches(small.dataset(), recipe_of(1), CROP, 3).epoch(0)
    }
    for batch in _epochs(small, epochs=(0,)):
        for image_id, image in zip(batch["ids"], batch["image"]):
            np.testing.assert_array_equal(image, alone[image_id])


def test_epochs_and_seeds_differ(small):
    orders = {
        tuple(image_id for batch in _epochs(small, seed=seed, epochs=(epoch,)) for image_id in batch["ids"])
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_an_epoch_sees_every_image_once_and_drops_the_rest(small):
    ids = [image_id for batch in _epochs(small, epochs=(0,)) for image_id in batch["ids"]]
    assert sorted(ids) == small.ids
    batches = TrainBatches(small.dataset(), recipe_of(4), CROP, 0)
    assert len(batches) == len(list(batches.epoch(0))) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 2**40), st.integers(0, 999), st.integers(0, 20000)),
        max_size=9,
    )
)
def test_random_streams_differ(keys):
    draws = {random_stream(*key).randint(0, 2**62) for key in keys}
    assert len(draws) == len(set(keys))


def test_a_batch_larger_than_the_list_is_refused(small):
    with pytest.raises(
        InputError, match="--batch-size: expected at most .*7 images for a list of 6. Give --batch-size 6"
    ):
        TrainBatches(small.dataset(), recipe_of(7), CROP, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_stops_the_epoch(small, workers):
    write_superpixels(small.path("superpixels", "image_3"), np.zeros((9, 9), int))
    with pytest.raises(InputError, match="image_3.png: expected 45 x 48"):
        _epochs(small, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_inference_takes_what_is_left_in_order(small, workers):
    batches = InferenceBatches(
        small.dataset(), 2, Frame(40), {"image_1", "image_5", "of another run"}, workers
    )
    collected = list(batches)
    batches.close()
    assert len(batches) == 2
    assert [batch["ids"] for batch in collected] == [["image_0", "image_2"], ["image_3", "image_4"]]
    assert collected[1]["sizes"] == [(45, 48), (50, 44)]
    assert collected[1]["frames"] == [(40, 40, 38, 40), (40, 40, 40, 35)]
    assert [views.shape for views in collected[1]["views"]] == [(2, 3, 40, 40)]


def test_the_last_inference_batch_may_be_smaller(small):
    batches = InferenceBatches(small.dataset(superpixels=False), 4, Frame(60))
    assert [len(batch["views"][0]) for batch in batches] == [4, 2]
    assert len(batches) == 2


def test_nothing_left_gives_no_batch(small):
    batches = InferenceBatches(small.dataset(), 4, Frame(60), set(small.ids))
    assert len(batches) == 0 and list(batches) == []


def test_batches_come_in_groups_of_what_a_step_accumulates(small):
    batches = TrainBatches(small.dataset(), recipe_of(2, accumulation=2), CROP, 0)
    assert [len(group) for group in batches.epoch(0)] == [2] and len(batches) == 1
    kept = TrainBatches(small.dataset(), recipe_of(4, accumulation=2, keep_last_batch=True), CROP, 0)
    assert [[len(batch["ids"]) for batch in group] for group in kept.epoch(0)] == [[4, 2]]


def test_a_fault_that_an_augmentation_finds_names_its_image(small):
    def refuses(image, planes, random):
        raise InputError("label stacks low and high", "one thing", "another")

    with pytest.raises(InputError, match=f"low and high of {small.ids[0]}: expected one thing"):
        _LoadTrainSample(small.dataset(), refuses, 0)((0, 0))
