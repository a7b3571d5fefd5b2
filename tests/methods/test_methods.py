"""Every method under the shared conformance tests, and what is particular to one."""

from __future__ import annotations

import numpy as np
import pytest
from conformance import MethodConformance, make_batch

from icd.backbones import BACKBONES, create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer
from icd.errors import InputError
from icd.methods import METHODS, create_method, make_recipe


class TestCAM(MethodConformance):
    name = "cam"


class TestEPS(MethodConformance):
    name = "eps"


class TestEPSBaseline(MethodConformance):
    name = "eps_cam"


class TestDRSClassifier(MethodConformance):
    name = "drs_classifier"
    changes = {"image_size": 65}


class TestDRS(MethodConformance):
    name = "drs"
    changes = {"image_size": 65}


class TestICD(MethodConformance):
    name = "icd"

    def test_warmup_ends(self):
        method = self.build()
        factors = []
        trainer = make_trainer(method, 1)
        for step in range(6):
            self.train(method, trainer, [step])
            factors.append(method.warmup_factor(mx.cpu()).asscalar())
        # 2 epochs of 8 images in batches of 4: W = 4 steps, e^-10 to e^-2.5, then 1.
        np.testing.assert_allclose(factors, np.exp([-10, -7.5, -5, -2.5, 0, 0]), rtol=1e-5)

    def test_bottom_up_loss_reaches_the_directions_only(self):
        method = self.build()
        part = make_batch()
        with mx.autograd.record():
            outputs = method(part["image"])
            loss = method.losses(outputs, part)["bottom_up"]
        loss.backward()
        touched = [
            n for n, p in method.collect_params().items() if p.grad_req != "null" and p.grad().asnumpy().any()
        ]
        assert touched == ["icd_bu_weight"]


def test_every_method_has_its_conformance_class():
    assert {cls.name for cls in MethodConformance.__subclasses__()} >= set(METHODS)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="cam or icd or eps"):
        create_method("cma", create_backbone("small"), 3)
    with pytest.raises(InputError, match="learning_rate"):
        make_recipe("cam", {"learning_rat": 1})
    with pytest.raises(InputError, match="voc, embedded"):
        make_recipe("cam", published="coco")
    with pytest.raises(InputError, match="dropout: expected a value like 0.5; found 'much'"):
        make_recipe("cam", {"dropout": "much"})
    with pytest.raises(InputError, match="vgg16"):
        create_backbone("vgg61")


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_fits_every_backbone(name, backbone):
    recipe = make_recipe(name, {"image_size": 65})
    if name == "icd" and backbone == "vgg16_torchvision":  # superpixels are sampled where cells lie
        with pytest.raises(InputError, match="one whose cells lie on pixels"):
            create_method(name, create_backbone(backbone), 2, recipe)
        return
    method = create_method(name, create_backbone(backbone), 2, recipe)
    method.initialize()
    maps = method.localize(mx.nd.zeros((1, 3, 65, 65)), mx.nd.ones((1, 2)))
    assert all(values.shape[:2] == (1, 2) for values in maps.values())


@pytest.mark.parametrize(
    ("name", "stride"),
    [("vgg16", 8), ("resnet38", 8), ("small", 8), ("mobilenet_v2", 16)],
)
def test_backbone_grid_is_corner_aligned(name, stride):
    backbone = create_backbone(name)
    backbone.initialize()
    size = 4 * stride + 1
    assert backbone.stride == stride
    assert backbone(mx.nd.zeros((1, 3, size, size))).shape == (1, backbone.channels, 5, 5)


class Broken(MethodConformance):
    """The suite itself is tested on methods that are broken on purpose."""

    __test__ = False
    name = "cam"


class ForgetsItsState(Broken):
    """Keeps a momentum of its own outside the checkpoint."""

    def train(self, method, trainer, steps):
        losses = super().train(method, trainer, steps)
        method.calls = getattr(method, "calls", 0) + len(list(steps))
        weight = method.collect_params()["fc8_bias"]
        weight.set_data(weight.data() + method.calls)
        return losses


class DependsOnTheBatch(Broken):
    """Scales score maps by the number of images."""

    def build(self, seed=0, hybrid=True):
        method = super().build(seed, hybrid)
        plain = method.localize
        method.localize = lambda images, labels: {
            k: v * len(images) for k, v in plain(images, labels).items()
        }
        return method


def test_suite_catches_hidden_state(tmp_path):
    with pytest.raises(AssertionError):
        ForgetsItsState().test_resume_equals_uninterrupted(tmp_path)


def test_suite_catches_dependence_on_the_batch():
    with pytest.raises(AssertionError):
        DependsOnTheBatch().test_localization_does_not_depend_on_the_other_images()
