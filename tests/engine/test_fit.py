"""The loop: schedules, the guard against losses that are not finite, several devices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from runs import CLASSES, make_data, recipe_of

from icd.compat import mx
from icd.data.augment import ScaledCrop
from icd.data.batches import TrainBatches
from icd.data.dataset import ImageDataset
from icd.engine.build import build_trainable
from icd.engine.checkpoint import checkpoints
from icd.engine.fit import FitOptions, fit, make_trainer, train_step
from icd.engine.log import NonFiniteLoss
from icd.engine.parameters import average_statistics
from icd.engine.parts import split_batch
from icd.engine.schedules import Length, learning_rate, training_length
from icd.engine.world import World
from icd.files import read_list
from icd.methods import make_recipe


@pytest.fixture
def batches(tmp_path):
    data = make_data(tmp_path / "data")
    ids = read_list(data / "list.txt")
    dataset = ImageDataset(data / "JPEGImages", data / "Annotations", ids, CLASSES)
    return TrainBatches(dataset, recipe_of(4), ScaledCrop(65, (1.0,)), seed=0)


def test_poly_schedule_of_the_recipe():
    """Spec 3: twenty epochs from 1e-3."""
    expected = [1.000e-3, 9.549e-4, 9.095e-4, 8.639e-4, 8.181e-4, 7.719e-4, 7.254e-4, 6.786e-4, 6.314e-4, 5.839e-4,
                5.359e-4, 4.874e-4, 4.384e-4, 3.887e-4, 3.384e-4, 2.872e-4, 2.349e-4, 1.813e-4, 1.259e-4,
                6.746e-5]  # fmt: skip
    recipe = make_recipe("icd")
    length = training_length(recipe, 330)
    assert length == Length(20, 6600)
    rates = [learning_rate(recipe, epoch, 330 * epoch, length) for epoch in range(20)]
    np.testing.assert_allclose(rates, expected, rtol=5e-4)


def test_loss_that_is_not_finite_names_the_images(batches, tmp_path):
    recipe = make_recipe("cam", {"image_size": 65, "batch_size": 4, "num_epoch": 3, "learning_rate": 0.01})
    method = build_trainable("cam", "small", 2, [mx.cpu()], recipe=recipe)

    def poison(epoch):
        if epoch == 0:
            weight = method.collect_params()["fc8_weight"]
            weight.set_data(weight.data() * float("nan"))

    options = FitOptions(tmp_path / "run", log_frequency=1)
    with pytest.raises(NonFiniteLoss, match=r"loss cam is nan in step 3 .*picture\d, picture\d"):
        fit(method, batches, [mx.cpu()], options, after_epoch=poison)
    assert [path.name for _, path in checkpoints(tmp_path / "run/checkpoints")] == ["epoch-0000"]
    lines = (tmp_path / "run/losses.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(line)["cam"]) for line in lines)


def test_bad_loss_is_found_before_a_checkpoint_even_if_no_line_is_due(batches, tmp_path):
    recipe = make_recipe("cam", {"image_size": 65, "batch_size": 4, "num_epoch": 1, "learning_rate": 0.01})
    method = build_trainable("cam", "small", 2, [mx.cpu()], recipe=recipe)
    weight = method.collect_params()["fc8_weight"]
    weight.set_data(weight.data() * float("inf"))
    with pytest.raises(NonFiniteLoss):
        fit(method, batches, [mx.cpu()], FitOptions(tmp_path / "run", log_frequency=1000))
    assert not checkpoints(tmp_path / "run/checkpoints")


def test_two_devices_equal_one(batches):
    """Without batch norm in training mode the split must not matter."""
    results = []
    (batch,) = next(batches.epoch(0))
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
        method = build_trainable("cam", "vgg16", 2, contexts, recipe=make_recipe("cam", {"dropout": 0.0}))
        trainer = make_trainer(method)
        for _ in range(2):
            losses = train_step(method, trainer, [split_batch(batch, contexts)])
        results.append(
            (losses["cam"].asscalar(), method.collect_params()["fc8_weight"].data(contexts[0]).asnumpy())
        )
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-3, atol=1e-5)


def test_a_device_without_images_takes_no_part(batches):
    """A last batch of one image, after a full one: the idle device must neither add its old gradient nor stay behind."""
    (batch,) = next(batches.epoch(0))
    single = {name: values if name == "copies" else values[:1] for name, values in batch.items()}
    weights = []
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
        method = build_trainable("cam", "vgg16", 2, contexts, recipe=make_recipe("cam", {"dropout": 0.0}))
        trainer = make_trainer(method)
        for part in (batch, single, batch):
            train_step(method, trainer, [split_batch(part, contexts)])
        weights += method.collect_params()["fc8_weight"].list_data()
    for other in weights[1:]:
        np.testing.assert_allclose(weights[0].asnumpy(), other.asnumpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(weights[1].asnumpy(), weights[2].asnumpy())


def test_statistics_of_all_devices_are_averaged():
    method = build_trainable("cam", "small", 2, [mx.cpu(0), mx.cpu(1)])
    mean = method.collect_params()["conv1_bn_running_mean"]
    for value, array in enumerate(mean.list_data()):
        array[:] = value
    average_statistics(method, World())
    for array in mean.list_data():
        np.testing.assert_array_equal(array.asnumpy(), np.full(16, 0.5, np.float32))


def test_goes_on_behind_an_epoch_whose_end_was_cut_off(batches, tmp_path):
    """The checkpoint is there, but what follows it, such as the epoch's score, may not be."""
    recipe = make_recipe("cam", {"image_size": 65, "batch_size": 4, "num_epoch": 2, "learning_rate": 0.01})

    def train(options, after_epoch):
        fit(
            build_trainable("cam", "small", 2, [mx.cpu()], recipe=recipe),
            batches,
            [mx.cpu()],
            options,
            after_epoch,
        )

    def kill(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(FitOptions(tmp_path / "run"), kill)
    ended = []
    train(FitOptions(tmp_path / "run", resume=True), ended.append)
    assert ended == [0, 1]
    train(FitOptions(tmp_path / "run", begin_epoch=1), ended.append)
    assert ended == [0, 1, 0, 1]


def test_split_gives_every_image_once(batches):
    (batch,) = next(batches.epoch(0))
    for count in (1, 2, 3, 6):
        parts = split_batch(batch, [mx.cpu(index) for index in range(count)])
        images = np.concatenate([part["image"].asnumpy() for part in parts])
        np.testing.assert_array_equal(images, batch["image"].astype(np.float32))
