"""What every refiner must do; a refiner's test class inherits it and says how to build the refiner and a batch."""

from __future__ import annotations

import numpy as np
import pytest
from trainable_conformance import TrainableConformance, parameters_of

from icd.backbones import BACKBONES, create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, step_seed, train_step
from icd.engine.parts import split_batch
from icd.files import LabelStack, ScoreMaps
from icd.recipe import changed_recipe
from icd.refine.affinitynet import AffinityNet
from icd.refine.irn import IRN

CLASSES, SIZE, BATCH = 3, 80, 4
ONE, TWO = (mx.cpu(0),), (mx.cpu(0), mx.cpu(1))

# Those of 101 layers differ from those of 50 in the number of equal blocks alone; the deep stem is a kind of its own.
KINDS_OF_BACKBONE = sorted(set(BACKBONES) - {"resnet101", "resnet101_v1", "resnet101_caffe"})


class RefinerConformance(TrainableConformance):
    """Inherit, set `kind` and `make_batch`, and every test below runs for the refiner."""

    kind: type
    changes: dict = {}
    keeps_constants = True

    def make_batch(self, seed: int) -> dict:
        """A batch of numpy arrays, with `ids` and everything that the refiner's losses read."""
        raise NotImplementedError

    def build(self, seed=0, hybrid=True, contexts=ONE):
        mx.random.seed(seed)
        backbone = create_backbone("small")
        backbone.freeze(norm="statistics")  # so that the split over devices cannot matter
        recipe = changed_recipe("refiner", self.kind.recipes, self.changes)
        refiner = self.kind(backbone, CLASSES, recipe)
        refiner.initialize(mx.init.Xavier(), ctx=list(contexts))
        refiner(mx.nd.zeros((1, 3, SIZE, SIZE), contexts[0]))
        refiner.start()
        refiner.prepare(8, BATCH)
        if hybrid:
            refiner.hybridize()
        return refiner

    def train(self, refiner, trainer, steps, contexts=ONE):
        for step in steps:
            mx.random.seed(step_seed(0, 0, step))
            losses = train_step(refiner, trainer, [split_batch(self.make_batch(step), list(contexts))])
        return {name: value.asscalar() for name, value in losses.items()}

    def image(self, height=61, width=90):
        return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)

    def scores(self, height=61, width=90):
        maps = np.random.RandomState(1).rand(2, 9, 11).astype(np.float32)
        return ScoreMaps(np.int16([1, 3]), maps, (height, width), (height, width, height, width))

    def test_one_device_equals_two(self):
        results, losses = [], []
        for contexts in (ONE, TWO):
            refiner = self.build(contexts=contexts)
            losses.append(self.train(refiner, make_trainer(refiner), range(2), contexts))
            results.append(parameters_of(refiner))
        for name, value in losses[0].items():
            np.testing.assert_allclose(value, losses[1][name], rtol=1e-4, err_msg=name)
        start = parameters_of(self.build())
        for name in results[0]:
            moved = np.abs(results[0][name] - start[name]).max()
            np.testing.assert_allclose(
                results[0][name], results[1][name], rtol=0, atol=1e-3 * moved + 1e-7, err_msg=name
            )

    def test_spread_gives_a_stack_of_the_image(self):
        refiner = self.build()
        for height, width in ((61, 90), (64, 80), (17, 130)):
            stack = refiner.spread(self.image(height, width), self.scores(height, width))
            assert stack.labels.tolist() == [0, 1, 3]
            assert stack.planes.shape == (3, height, width) and np.isfinite(stack.planes).all()
            assert stack.planes[0].any()  # the background
            assert stack.mask().shape == (height, width) and stack.mask().dtype == np.uint8

    def test_spread_survives_tiny_images(self):
        refiner = self.build()
        for height, width in ((1, 1), (8, 70), (33, 5)):
            stack = refiner.spread(self.image(height, width), self.scores(height, width))
            assert stack.planes.shape == (3, height, width) and np.isfinite(stack.planes).all()

    def test_spread_does_not_depend_on_what_came_before(self):
        refiner = self.build()
        first = refiner.spread(self.image(), self.scores())
        refiner.spread(self.image(30, 40), self.scores(30, 40))
        np.testing.assert_array_equal(refiner.spread(self.image(), self.scores()).planes, first.planes)

    def test_spread_uses_the_image(self):
        refiner = self.build()
        other = 255 - self.image()
        assert (
            refiner.spread(self.image(), self.scores()).planes != refiner.spread(other, self.scores()).planes
        ).any()

    def test_a_constant_stays_a_constant(self):
        """Whatever the affinities are, and so on a constant image; only whole cells, because outside of an image is 0."""
        if not self.keeps_constants:
            pytest.skip("its walk weighs scores before it spreads them")
        refiner = self.build()
        stack = LabelStack(
            np.int16([0, 2]), np.full((2, 64, 80), 0.3, np.float32) + np.float32([0, 0.4])[:, None, None]
        )
        for image in (np.full((64, 80, 3), 90, np.uint8), self.image(64, 80)):
            walked = refiner.spread(image, stack)
            assert walked.labels.tolist() == [0, 2] and (walked.mask() == 2).all()
            np.testing.assert_allclose(walked.planes, stack.planes, atol=1e-5)


class AffinityNetConformance(RefinerConformance):
    """AffinityNet on labels drawn at random."""

    kind = AffinityNet
    changes = {"image_size": SIZE}

    def make_batch(self, seed):
        random = np.random.RandomState(seed)
        label = random.choice([0, 0, 1, 2, 255], size=(BATCH, SIZE // 8, SIZE // 8)).astype(np.uint8)
        return {
            "image": random.randint(0, 256, (BATCH, 3, SIZE, SIZE)).astype(np.float32),
            "affinity": label,
            "label": np.ones((BATCH, 3), np.float32),
            "ids": [str(index) for index in range(BATCH)],
        }


class IRNConformance(RefinerConformance):
    """IRN on seeds in squares of nine pixels."""

    kind = IRN
    changes = {"image_size": SIZE, "radius": 5, "frame": 96}
    keeps_constants = False

    def make_batch(self, seed):
        random = np.random.RandomState(seed)
        mask = random.randint(0, 3, (BATCH, 9, 9)).repeat(9, axis=1).repeat(9, axis=2)[:, :SIZE, :SIZE]
        image = np.stack([mask * 100, mask % 2 * 200, 250 - mask * 90], 1)
        return {
            "image": (image + random.randint(0, 6, image.shape)).astype(np.float32),
            "mask": mask.astype(np.uint8),
            "label": np.ones((BATCH, 3), np.float32),
            "ids": [str(index) for index in range(BATCH)],
        }
