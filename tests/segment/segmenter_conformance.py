"""What every segmenter must do; a segmenter's test class inherits it and says how to build the segmenter."""

from __future__ import annotations

import numpy as np
from trainable_conformance import TrainableConformance, parameters_of, switch_dropout_off

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, step_seed, train_step
from icd.engine.parameters import load_checkpoint_weights, save_weights
from icd.engine.parts import split_batch
from icd.engine.world import World
from icd.segment import find_segmenter, segmentation_recipe

CLASSES, SIZE, BATCH, IGNORE = 3, 65, 4, 255


def make_batch(seed=0, size=SIZE):
    """A batch as the loader gives it: random pictures, blocks of classes that the colours tell, some pixels ignored."""
    random = np.random.RandomState(seed)
    mask = random.randint(0, 1 + CLASSES, (BATCH, size // 16 + 1, size // 16 + 1))
    mask = mask.repeat(16, 1).repeat(16, 2)[:, :size, :size].astype(np.uint8)
    image = 60 * mask[:, None] + random.randint(0, 60, (BATCH, 3, size, size))
    mask[random.rand(*mask.shape) < 0.1] = IGNORE
    label = np.array([[(row == c).any() for c in range(1, 1 + CLASSES)] for row in mask], np.float32)
    return {"image": image.astype(np.float32), "mask": mask, "label": label, "ids": list(range(BATCH))}


class SegmenterConformance(TrainableConformance):
    """Inherit, set `name`, and every test below runs for the segmenter."""

    name: str
    backbone = "small"
    changes: dict = {}
    contexts = (mx.cpu(0),)
    learning_rate = 0.01  # at which twelve steps must lower the loss by a tenth

    def make(self, backbone, recipe):
        return find_segmenter(self.name)(backbone, CLASSES, recipe)

    def build(self, seed=0, hybrid=True, contexts=None, **changes):
        mx.random.seed(seed)
        recipe = segmentation_recipe(self.name, {**self.changes, **changes}, "embedded")
        backbone = self.backbone and create_backbone(self.backbone)
        segmenter = self.make(backbone, recipe)
        contexts = list(contexts or self.contexts)
        segmenter.initialize(mx.init.Normal(0.01), ctx=contexts)
        segmenter(mx.nd.zeros((1, 3, SIZE, SIZE), contexts[0]))
        segmenter.start()
        if hybrid:
            segmenter.hybridize()
        return segmenter

    def train(self, segmenter, trainer, steps, contexts=None, batch=None):
        for step in steps:
            mx.random.seed(step_seed(0, 0, step))
            parts = split_batch(batch or make_batch(step), list(contexts or self.contexts))
            losses = train_step(segmenter, trainer, [parts])
        return {name: value.asscalar() for name, value in losses.items()}

    def losses_of(self, segmenter, batch):
        (part,) = split_batch(batch, list(self.contexts))
        with mx.autograd.record():
            outputs = segmenter(part["image"])
            with mx.autograd.pause():
                gathered = segmenter.gather([outputs], [part], World())
            terms = segmenter.losses(outputs, part, gathered)
            total = sum(terms.values())
        total.backward()
        return {name: value.asscalar() for name, value in terms.items()}, outputs, part

    def test_it_learns(self):
        segmenter = self.build()
        trainer, batch = make_trainer(segmenter), make_batch()
        trainer.set_learning_rate(self.learning_rate)
        first = sum(self.train(segmenter, trainer, range(1), batch=batch).values())
        last = sum(self.train(segmenter, trainer, range(1, 12), batch=batch).values())
        assert last < 0.9 * first

    def test_two_devices_equal_one(self):
        """With batch norm frozen, since each device has statistics of its own; parts differ in their ignored pixels."""
        results, batch = [], make_batch()
        batch["mask"][BATCH // 2 :, : SIZE // 2] = IGNORE
        for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
            segmenter = self.build(contexts=contexts, normalization="frozen")
            switch_dropout_off(segmenter)
            trainer = make_trainer(segmenter)
            trainer.set_learning_rate(0.01)
            losses = self.train(segmenter, trainer, range(2), contexts, batch)
            results.append((losses, parameters_of(segmenter)))
        for (name, one), two in zip(results[0][0].items(), results[1][0].values()):
            np.testing.assert_allclose(one, two, rtol=1e-4, err_msg=name)
        for name, values in results[0][1].items():
            np.testing.assert_allclose(values, results[1][1][name], rtol=1e-3, atol=1e-5, err_msg=name)

    def test_losses_are_means_over_valid_pixels(self):
        segmenter = self.build()
        switch_dropout_off(segmenter)
        batch = make_batch()
        batch["mask"][0] = IGNORE
        losses, outputs, part = self.losses_of(segmenter, batch)
        maps, targets = segmenter.maps(outputs, part["mask"]), segmenter.targets(outputs, part["mask"])
        for term, weight, logits, target in zip(segmenter.terms, segmenter.weights, maps, targets):
            logits, target = logits.asnumpy().astype(np.float64), target.asnumpy().astype(int)
            powers = np.exp(logits - logits.max(1, keepdims=True))
            shares = powers / powers.sum(1, keepdims=True)
            valid = target != IGNORE
            own = np.take_along_axis(shares, np.where(valid, target, 0)[:, None], 1)[:, 0]
            expected = -weight * np.log(own[valid]).mean()
            np.testing.assert_allclose(losses[term] / BATCH, expected, rtol=1e-4, err_msg=term)

    def test_masks_without_a_valid_pixel(self):
        segmenter = self.build()
        batch = make_batch()
        batch["mask"][:] = IGNORE
        losses, _, _ = self.losses_of(segmenter, batch)
        assert [losses[term] for term in segmenter.terms] == [0] * len(segmenter.terms)
        assert all(np.isfinite(value) for value in losses.values())
        for name, parameter in segmenter.collect_params().items():
            if parameter.grad_req != "null":
                assert np.isfinite(parameter.grad().asnumpy()).all(), name

    def test_predicts_any_image_size(self):
        segmenter = self.build()
        stride = segmenter.recipe.stride
        for height, width in ((33, 65), (66, 97), (51, 70)):
            images = np.random.RandomState(0).randint(0, 256, (2, 3, height, width))
            logits = segmenter.predict(mx.nd.array(images))
            assert logits.shape[:2] == (2, 1 + CLASSES) and np.isfinite(logits.asnumpy()).all()
            assert height // stride <= logits.shape[2] and width // stride <= logits.shape[3]

    def test_saved_and_loaded_weights_predict_alike(self, tmp_path):
        segmenter = self.build()
        self.train(segmenter, make_trainer(segmenter), range(2))
        save_weights(segmenter, tmp_path / "weights.params")
        other = self.build(seed=99)
        load_checkpoint_weights(other, tmp_path / "weights.params")
        images = mx.nd.array(make_batch()["image"])
        expected, found = (s.predict(images).asnumpy() for s in (segmenter, other))
        assert expected.std() > 0
        np.testing.assert_array_equal(expected, found)

    def test_prediction_does_not_depend_on_the_other_images(self):
        segmenter = self.build()
        self.train(segmenter, make_trainer(segmenter), range(2))
        images = mx.nd.array(make_batch()["image"])
        together, alone = segmenter.predict(images).asnumpy(), segmenter.predict(images[1:2]).asnumpy()
        np.testing.assert_allclose(together[1], alone[0], rtol=0, atol=1e-4 * np.abs(together).max())

    def test_crops_fit_all_recipes(self):
        kind = find_segmenter(self.name)
        assert {"voc", "embedded", "mobilenet_v2"} <= set(kind.recipes)
        image = np.random.RandomState(0).randint(0, 256, (90, 140, 3)).astype(np.uint8)
        planes = {"mask": np.full((90, 140), 2, np.uint8)}
        for recipe in kind.recipes.values():
            crop, planes_of_crop = kind.augmentation(recipe)(image, planes, np.random.RandomState(1))
            side = recipe.image_size
            assert crop.shape == (side, side, 3) and crop.min() >= 0 and crop.max() <= 255
            assert planes_of_crop["mask"].shape == (side, side) and planes_of_crop["mask"].dtype == np.uint8
            assert set(np.unique(planes_of_crop["mask"])) <= {2, IGNORE}
