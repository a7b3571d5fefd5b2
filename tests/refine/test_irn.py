"""IRN as a trained refiner: steps, devices, resume, whole images, every backbone."""

from __future__ import annotations

import numpy as np
import pytest
from refiner_conformance import KINDS_OF_BACKBONE

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine import checkpoint
from icd.engine.build import find_trainable, make_trainable
from icd.engine.fit import make_trainer, train_step
from icd.engine.parameters import load_checkpoint_weights, save_weights
from icd.engine.parts import split_batch
from icd.engine.world import World
from icd.errors import InputError
from icd.files import ScoreMaps
from icd.recipe import changed_recipe
from icd.refine.boundary_walk import walk_to_boundaries
from icd.refine.irn import IRN, on_grid, pairs_of, strongest_cells
from icd.refine.path_affinity import path_affinities as native_affinities
from icd.refine.path_affinity import path_offsets
from icd.refine.random_walk import random_walk


def make_recipe(changes):
    return changed_recipe("irn", IRN.recipes, changes)


SIZE, BATCH, CHANGES = 81, 4, {"radius": 5, "frame": 96}


def make_batch(seed=0):
    random = np.random.RandomState(seed)
    mask = np.repeat(np.repeat(random.randint(0, 3, (BATCH, 9, 9)), 9, axis=1), 9, axis=2)
    image = np.stack([mask * 100, mask % 2 * 200, 250 - mask * 90], 1) + random.randint(
        0, 6, (BATCH, 3, SIZE, SIZE)
    )
    mask[random.rand(*mask.shape) < 0.1] = 255
    return {
        "image": image.astype(np.float32),
        "mask": mask.astype(np.uint8),
        "ids": list("abcd"),
    }


def build(seed=0, contexts=None, backbone="small", **changes):
    refiner = make_trainable(
        "irn", create_backbone(backbone), 3, make_recipe({"image_size": SIZE, **CHANGES, **changes})
    )
    mx.random.seed(seed)
    refiner.initialize(mx.init.Xavier(), ctx=contexts or [mx.cpu()])
    refiner(mx.nd.zeros((1, 3, SIZE, SIZE)))
    refiner.start()
    refiner.prepare(8, BATCH)
    refiner.hybridize()
    return refiner


def train(refiner, trainer, steps, contexts=None):
    for step in steps:
        losses = train_step(refiner, trainer, [split_batch(make_batch(step), contexts or [mx.cpu()])])
    return {name: value.asscalar() for name, value in losses.items()}


def arrays_of(refiner):
    return {name: p.list_data()[0].asnumpy() for name, p in refiner.collect_params().items()}


def test_only_the_branches_learn():
    refiner = build()
    before = arrays_of(refiner)
    losses = train(refiner, make_trainer(refiner), range(3))
    assert len(losses) == 5 and all(np.isfinite(value) for value in losses.values())
    frozen = set(refiner.network.collect_params()) | {"mean_shift_running_mean"}
    for name, after in arrays_of(refiner).items():  # statistics of batch norm included
        assert np.array_equal(before[name], after) == (name in frozen), name


def test_the_losses_fall():
    refiner = build(learning_rate=0.3)
    trainer = make_trainer(refiner)
    first = train(refiner, trainer, [0])
    last = train(refiner, trainer, [0] * 20)
    pairs = ("same_background", "same_class", "different")
    assert sum(last[name] for name in pairs) < 0.95 * sum(first[name] for name in pairs)
    assert last["displacement_background"] < 0.5 * first["displacement_background"]


def test_two_devices_equal_one():
    """The counts of pairs are those of the whole batch, however it is split."""
    found = []
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)], [mx.cpu(0), mx.cpu(1), mx.cpu(2)]):
        refiner = build(contexts=contexts)
        losses = train(refiner, make_trainer(refiner), range(2), contexts)
        found.append((losses, {name: p.list_data() for name, p in refiner.collect_params().items()}))
    (losses, arrays), *others = found
    for other_losses, other_arrays in others:
        for name, value in losses.items():
            assert other_losses[name] == pytest.approx(value, rel=1e-4), name
        for name, (array,) in arrays.items():
            for other in other_arrays[name]:
                np.testing.assert_allclose(
                    other.asnumpy(), array.asnumpy(), rtol=1e-3, atol=1e-5, err_msg=name
                )


def test_two_runs_are_equal_and_so_is_a_resumed_one(tmp_path):
    whole = build()
    train(whole, make_trainer(whole), range(4))
    first = build()
    trainer = make_trainer(first)
    train(first, trainer, range(2))
    path = checkpoint.save(tmp_path, first, trainer, (0, 2), {"seed": 0})
    second = build(seed=99)
    trainer = make_trainer(second)
    assert checkpoint.restore(path, second, trainer, {"seed": 0}) == (0, 2)
    train(second, trainer, range(2, 4))
    found = arrays_of(second)
    for name, array in arrays_of(whole).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def picture(height, width):
    return np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(50, 70), (70, 41), (5, 7), (100, 130)])
def test_spreads_on_images_of_any_size(size):
    """Larger than the frame, too, which the original cuts (spec irn 8.12)."""
    refiner, image = build(), picture(*size)
    boundary = refiner.boundary(image)
    assert boundary.shape == tuple((side - 1) // 4 + 1 for side in size)
    assert boundary.dtype == np.float32 and boundary.min() >= 0 and boundary.max() <= 1
    maps = np.random.RandomState(0).rand(2, *size).astype(np.float32)
    scores = ScoreMaps(np.array([1, 3], np.int16), maps, size, (*size, *size))
    stack = refiner.spread(image, scores, background=0.4, steps=8)
    assert stack.labels.tolist() == [0, 1, 3] and stack.planes.shape == (3, *size)
    again = walk_to_boundaries(boundary, scores, 0.4, 10, 8, 5)
    np.testing.assert_array_equal(stack.planes, again.planes)


def test_affinities_are_what_a_walk_takes():
    refiner, image = build(), picture(40, 52)
    planes, offsets = refiner.affinities(mx.nd.array(image.transpose(2, 0, 1)[None]))
    walked = random_walk(np.random.RandomState(0).rand(1, 10, 13), planes, offsets, 10, 4)
    assert walked.shape == (1, 10, 13) and len(offsets) == 34


def test_a_mirrored_image_has_the_mirrored_boundary():
    refiner, image = build(), picture(49, 65)
    own, mirrored = refiner.boundary(image), refiner.boundary(image[:, ::-1])
    np.testing.assert_allclose(own, mirrored[:, ::-1], atol=1e-5)


def test_saved_and_loaded_weights_give_the_same_boundary(tmp_path):
    refiner, other, image = build(), build(seed=99), picture(40, 52)
    train(refiner, make_trainer(refiner), range(2))
    save_weights(refiner, tmp_path / "weights.params")
    load_checkpoint_weights(other, tmp_path / "weights.params")
    np.testing.assert_array_equal(refiner.boundary(image), other.boundary(image))


def test_the_mean_displacement_is_taken_at_the_end(tmp_path):
    refiner = build(contexts=[mx.cpu(0), mx.cpu(1)])
    images = [picture(50, 70), picture(60, 60), picture(30, 90)]
    views = np.concatenate([refiner.presentation(refiner.recipe, 0)(image).views[0] for image in images])
    assert views.shape == (3, 3, 96, 96)
    refiner.conclude([{"views": [views[:2]]}, {"views": [views[2:]]}], World())
    mean = refiner.displacement_branch(*refiner.frozen_taps(mx.nd.array(views))).mean(axis=(0, 2, 3))
    for kept in refiner.mean_shift.list_data():
        np.testing.assert_allclose(kept.asnumpy(), mean.asnumpy(), rtol=1e-4, atol=1e-6)
    centred = np.mean([refiner.displacement(image[:, :, ::1]).mean((1, 2)) for image in images], axis=0)
    assert np.isfinite(centred).all()
    save_weights(refiner, tmp_path / "weights.params")
    other = build(seed=5)
    load_checkpoint_weights(other, tmp_path / "weights.params")
    np.testing.assert_array_equal(other.mean_shift.data().asnumpy(), kept.asnumpy())


@pytest.mark.parametrize("name", KINDS_OF_BACKBONE)
def test_every_backbone_has_taps_for_it(name):
    refiner = make_trainable("irn", create_backbone(name), 3, make_recipe({"frame": 32}))
    refiner.initialize(mx.init.Zero())
    boundary = refiner.boundary(picture(29, 31))
    assert boundary.shape == (8, 8) and np.isfinite(boundary).all()
    assert refiner.displacement(picture(29, 31)).shape == (2, 8, 8)
    assert {p.grad_req for p in refiner.network.collect_params().values()} == {"null"}


def test_paths_like_the_native_kernel():
    B = np.random.RandomState(0).rand(2, 20, 23).astype(np.float32)
    cells = np.concatenate([group.asnumpy() for group in strongest_cells(mx.nd.array(B), 6)], 1).astype(int)
    for image, own in zip(B, 1 - B.ravel()[cells]):
        np.testing.assert_array_equal(own.reshape(len(own), -1), native_affinities(image, 6))


def test_kinds_of_pairs():
    """By hand: a pair for every cell and step, none where a label is undefined."""
    labels, radius = np.random.RandomState(0).choice([0, 1, 2, 255], (2, 9, 12)), 3
    kinds = [kind.asnumpy() for kind in pairs_of(mx.nd.array(labels), radius)]
    for image in range(2):
        for index, (dy, dx) in enumerate(path_offsets(radius)):
            for row in range(9 - 2):
                for column in range(2, 12 - 2):
                    one, other = labels[image, row, column], labels[image, row + dy, column + dx]
                    known = one != 255 and other != 255
                    expected = [
                        known and one == other == 0, known and one == other > 0, known and one != other,
                    ]  # fmt: skip
                    assert [kind[image, index, row, column - 2] for kind in kinds] == expected


def test_seeds_on_the_grid():
    """Spec irn 3.3: Pillow's nearest neighbour takes 4 i + 2."""
    seeds = mx.nd.arange(512).reshape((1, 1, 512)).broadcast_to((1, 512, 512))
    assert on_grid(seeds, (128, 128))[0, 0].asnumpy().tolist() == list(range(2, 512, 4))


def test_refuses():
    with pytest.raises(InputError, match="image_size: expected 76 or more; found 75 with radius 10"):
        make_trainable("irn", create_backbone("small"), 3, make_recipe({"image_size": 75}))
    assert find_trainable("irn") is IRN
