"""What every method must do; a method's test class inherits it and says how to build the method."""

from __future__ import annotations

import numpy as np
from trainable_conformance import TrainableConformance

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, step_seed, train_step
from icd.engine.localize import localize_views, score_maps_of
from icd.engine.parameters import load_checkpoint_weights, save_weights
from icd.grid import maps_on_image
from icd.methods import create_method, make_recipe

CLASSES, SIZE, BATCH = 3, 65, 4


def make_batch(seed=0, size=SIZE):
    """A batch on one device: random pictures, one or two tags each, and every plane that a method may need."""
    random = np.random.RandomState(seed)
    label = np.zeros((BATCH, CLASSES), np.float32)
    label[np.arange(BATCH), np.arange(BATCH) % CLASSES] = 1
    label[-1, :2] = 1
    rows, columns = np.mgrid[:size, :size] // 16
    ids = rows * (columns.max() + 1) + columns
    return {
        "image": mx.nd.array(random.randint(0, 256, (BATCH, 3, size, size)), dtype="float32"),
        "label": mx.nd.array(label),
        "saliency": mx.nd.array(random.rand(BATCH, size, size)),
        "target": mx.nd.array(random.randint(0, 256, (BATCH, CLASSES, size, size))) * label_planes(label),
        "superpixel": mx.nd.array(np.tile(ids, (BATCH, 1, 1)), dtype="float32"),
        "regions": mx.nd.arange(int(ids.max()) + 1),
    }


def label_planes(label):
    """Tags (N, C) as planes (N, C, 1, 1), which multiply maps."""
    return mx.nd.array(label[:, :, None, None])


class MethodConformance(TrainableConformance):
    """Inherit, set `name`, and every test below runs for the method."""

    name: str
    changes: dict = {}

    def build(self, seed=0, hybrid=True):
        mx.random.seed(seed)
        method = create_method(
            self.name, create_backbone("small"), CLASSES, make_recipe(self.name, self.changes)
        )
        method.initialize(mx.init.Normal(0.01))
        method(mx.nd.zeros((1, 3, SIZE, SIZE)))
        method.start()
        method.prepare(8, BATCH)
        if hybrid:
            method.hybridize()
        return method

    def train(self, method, trainer, steps):
        for step in steps:
            mx.random.seed(step_seed(0, 0, step))
            losses = train_step(method, trainer, [[make_batch(step)]])
        return {name: value.asscalar() for name, value in losses.items()}

    def test_saved_and_loaded_weights_localize_alike(self, tmp_path):
        method = self.build()
        self.train(method, make_trainer(method), range(2))
        save_weights(method, tmp_path / "weights.params")
        other = self.build(seed=99)
        load_checkpoint_weights(other, tmp_path / "weights.params")
        batch = make_batch()
        expected, found = (m.localize(batch["image"]) for m in (method, other))
        for name in method.score_maps:
            np.testing.assert_array_equal(expected[name].asnumpy(), found[name].asnumpy(), err_msg=name)

    def test_whole_images_get_maps_of_their_tags_only(self):
        method = self.build()
        presentation = method.presentation(method.recipe, 81)
        image = np.random.RandomState(0).randint(0, 256, (50, 70, 3)).astype(np.uint8)
        shown = presentation(image)
        batch = {
            "views": shown.views,
            "label": np.float32([[0, 1, 1]]),
            "sizes": [shown.size],
            "frames": [shown.frame],
        }
        found = score_maps_of(method, batch, localize_views(method, batch, mx.cpu()), 0, method.map_type)
        assert tuple(found) == tuple(method.score_maps)
        for scores in found.values():
            assert scores.classes.tolist() == [2, 3] and scores.size == (50, 70)
            maps = maps_on_image(scores)
            assert maps.shape == (2, 50, 70) and np.isfinite(maps).all()

    def test_localizes_any_image_size(self):
        method = self.build()
        for size in (33, 65, 97, 100):
            batch = make_batch(size=size)
            maps = method.localize(batch["image"])
            assert tuple(maps) == tuple(method.score_maps)
            for values in maps.values():
                assert values.shape[:2] == (BATCH, CLASSES) and np.isfinite(values.asnumpy()).all()

    def test_localization_does_not_depend_on_the_other_images(self):
        method = self.build()
        self.train(method, make_trainer(method), range(2))
        batch = make_batch()
        together = method.localize(batch["image"])
        alone = method.localize(batch["image"][1:2])
        for name in method.score_maps:
            np.testing.assert_allclose(
                together[name][1].asnumpy(), alone[name][0].asnumpy(), rtol=1e-4, atol=1e-4
            )
