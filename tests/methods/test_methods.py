"""Every method under the shared conformance tests, and what is particular to one."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from conformance import CLASSES, MethodConformance, make_batch
from thin import thin_layers

from icd.backbones import BACKBONES, create_backbone
from icd.compat import mx
from icd.data.batches import steps_in_epoch
from icd.engine.fit import make_trainer
from icd.engine.schedules import learning_rate, training_length
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


class TestIRNCAM(MethodConformance):
    name = "irn_cam"


class TestVWEBaseline(MethodConformance):
    name = "vwe_baseline"


class TestVWE(MethodConformance):
    name = "vwe"
    changes = {"words": 32}


class TestVWLL(MethodConformance):
    name = "vwl_l"
    changes = {"words": 32}


class TestVWLM(MethodConformance):
    name = "vwl_m"
    changes = {"words": 32}

    def test_the_bank_is_filled_then_moves_slowly(self):
        method = self.build()
        trainer = make_trainer(method)
        drawn = method.codebook.data().asnumpy()
        self.train(method, trainer, [0])
        picked = method.codebook.data().asnumpy()
        assert method.bank_filled.data().asscalar() == 1 and not np.allclose(drawn, picked)
        self.train(method, trainer, [1])
        moved = method.codebook.data().asnumpy()
        assert not np.array_equal(moved, picked)
        np.testing.assert_allclose(moved, picked, atol=method.recipe.bank_rate * 2 * np.abs(picked).max())


class TestSEAM(MethodConformance):
    name = "seam"
    changes = {"second_view": 0.5}


class TestPPC(MethodConformance):
    name = "ppc"
    changes = {"second_view": 33.0, "contrast_grid": 5}


class TestPPCOnEPS(MethodConformance):
    name = "ppc_eps"
    changes = {"second_view": 33.0, "contrast_grid": 5}


class TestICD(MethodConformance):
    name = "icd"

    def test_warmup_ends(self):
        method = self.build()
        factors = []
        trainer = make_trainer(method)
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
            loss = method.losses(outputs, part, {})["bottom_up"]
        loss.backward()
        touched = [
            n for n, p in method.collect_params().items() if p.grad_req != "null" and p.grad().asnumpy().any()
        ]
        assert touched == ["icd_bu_weight"]


def test_every_method_has_its_conformance_class():
    assert {cls.name for cls in MethodConformance.__subclasses__()} >= set(METHODS)


def test_published_recipes_of_eps():
    """Spec eps 1.3 and 7.4: the four published runs, and the schedule that the logs of COCO followed."""
    for name, share in (("eps", 0.5), ("eps_cam", None)):
        voc, coco, script = (make_recipe(name, published=run) for run in ("voc", "coco", "coco_script"))
        assert (voc.batch_size, voc.image_size, voc.shortest, voc.longest) == (8, 448, 256, 512)
        assert (coco.batch_size, coco.image_size, coco.shortest, coco.longest) == (16, 321, 256, 448)
        assert (voc.num_iterations, coco.num_iterations, script.num_iterations) == (20000, 76950, 256500)
        for recipe in (voc, coco, script):
            assert (recipe.learning_rate, recipe.weight_decay, recipe.momentum) == (0.01, 5e-4, 5e-4)
            assert recipe.infer_scales == (0.5, 1.0, 1.5, 2.0) and not recipe.num_epoch
        if share:
            assert (voc.overlap_threshold, voc.foreground_share, coco.foreground_share) == (0.4, 0.5, 0.9)
    length = training_length(make_recipe("eps", published="coco"), 82081 // 16)
    assert length.epochs == 15 and length.steps == 76950
    printed = {0: 0.0100, 10000: 0.0088, 50000: 0.0039, 70000: 0.0011}
    for step, rate in printed.items():
        assert learning_rate(make_recipe("eps", published="coco"), 0, step, length) == pytest.approx(
            rate, abs=5e-5
        )


def test_published_recipe_of_drs():
    """Spec drs 4.2 and 4.3: rates of the epochs, counted from 1, and the partial batch that is kept."""
    recipe = make_recipe("drs_classifier")
    length = training_length(recipe, steps_in_epoch(10582, recipe))
    assert length == (15, 15 * 1059)
    rates = [learning_rate(recipe, epoch, 0, length) for epoch in range(15)]
    np.testing.assert_allclose(rates, [1e-3] * 4 + [1e-4] * 5 + [1e-5] * 6)
    recipe = make_recipe("drs")
    rates = [learning_rate(recipe, epoch, 0, length) for epoch in range(30)]
    np.testing.assert_allclose(rates, [1e-4] * 9 + [1e-5] * 10 + [1e-6] * 11)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="cam or icd or eps"):
        create_method("cma", create_backbone("small"), 3)
    with pytest.raises(InputError, match="learning_rate"):
        make_recipe("cam", {"learning_rat": 1})
    with pytest.raises(InputError, match="voc, mobilenet_v2, embedded"):
        make_recipe("cam", published="coco")
    with pytest.raises(InputError, match="dropout: expected a value like 0.5; found 'much'"):
        make_recipe("cam", {"dropout": "much"})
    with pytest.raises(InputError, match="vgg16"):
        create_backbone("vgg61")


def pairs() -> list:
    """Every method with the backbone of the real runs, one with each published backbone, and CAM with every backbone; the suite
    above has every method with the small one, and the parity tests with its own."""
    few = {(name, "mobilenet_v2") for name in METHODS}
    published = {
        (name, backbone) for backbone, name in {METHODS[name].backbone: name for name in METHODS}.items()
    }
    return sorted(
        {*few, *published, *(("cam", backbone) for backbone in BACKBONES), ("icd", "vgg16_torchvision")}
    )


# These have parameters outside of layers, or put features beside the picture: thin_layers does not suit them.
NEVER_THIN = ("icd", "vwe", "vwl_l", "vwl_m", "seam", "ppc")


@pytest.mark.parametrize(("name", "backbone"), pairs())
def test_every_method_fits_its_backbones(name, backbone):
    recipe = make_recipe(name, {"image_size": 65})
    if name == "icd" and backbone == "vgg16_torchvision":  # superpixels are sampled where cells lie
        with pytest.raises(InputError, match="one whose cells lie on pixels"):
            create_method(name, create_backbone(backbone), 2, recipe)
        return
    with contextlib.nullcontext() if name in NEVER_THIN else thin_layers():
        method = create_method(name, create_backbone(backbone), 2, recipe)
    method.initialize(mx.init.Zero())
    maps = method.localize(mx.nd.zeros((1, 3, 65, 65)))
    assert all(values.asnumpy().shape[:2] == (1, 2) for values in maps.values())


@pytest.mark.parametrize(
    ("name", "stride"),
    [("vgg16", 8), ("resnet38", 8), ("small", 8), ("mobilenet_v2", 16)],
)
def test_backbone_grid_is_corner_aligned(name, stride):
    backbone = create_backbone(name)
    backbone.initialize(mx.init.Zero())
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
        method.localize = lambda images: {k: v * len(images) for k, v in plain(images).items()}
        return method


class Explodes(Broken):
    """Has a loss that is not a number."""

    def build(self, seed=0, hybrid=True):
        method = super().build(seed, hybrid)
        plain = method.losses
        method.losses = lambda *given: {k: v * float("nan") for k, v in plain(*given).items()}
        return method


class DrawsByItself(Broken):
    """Draws random numbers that no seed rules."""

    def train(self, method, trainer, steps):
        losses = super().train(method, trainer, steps)
        weight = method.collect_params()["fc8_bias"]
        weight.set_data(weight.data() + float(np.random.default_rng().random()))
        return losses


class LosesAParameter(Broken):
    """Has a layer that is not part of the network, so that no file holds it."""

    def build(self, seed=0, hybrid=True):
        method = super().build(seed, hybrid)
        stray = mx.nd.random.uniform(shape=(1, CLASSES, 1, 1))
        plain = method.localize
        method.localize = lambda images: {k: v * stray for k, v in plain(images).items()}
        return method


class ForgetsALayer(Broken):
    """Trains a layer that nothing reaches."""

    def build(self, seed=0, hybrid=True):
        method = super().build(seed, hybrid)
        method.params.get("idle", shape=(3,)).initialize()
        return method


def test_suite_catches_losses_that_are_not_finite():
    with pytest.raises(AssertionError):
        Explodes().test_losses_and_gradients_are_finite()


def test_suite_catches_randomness_of_its_own():
    with pytest.raises(AssertionError):
        DrawsByItself().test_two_runs_are_equal()


def test_suite_catches_what_no_file_holds(tmp_path):
    with pytest.raises(AssertionError):
        LosesAParameter().test_saved_and_loaded_weights_localize_alike(tmp_path)


def test_suite_catches_a_parameter_without_gradient():
    with pytest.raises((AssertionError, UserWarning)):
        ForgetsALayer().test_every_trained_parameter_gets_a_gradient()


def test_suite_catches_hidden_state(tmp_path):
    with pytest.raises(AssertionError):
        ForgetsItsState().test_resume_equals_uninterrupted(tmp_path)


def test_suite_catches_dependence_on_the_batch():
    with pytest.raises(AssertionError):
        DependsOnTheBatch().test_localization_does_not_depend_on_the_other_images()
