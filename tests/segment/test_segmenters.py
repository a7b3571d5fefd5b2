"""Every segmenter keeps the contract; broken ones are found; the heads stand on every backbone."""

from __future__ import annotations

import numpy as np
import pytest
from segmenter_conformance import CLASSES, SegmenterConformance

from icd.compat import mx
from icd.engine.build import build_trainable
from icd.engine.world import World
from icd.errors import InputError
from icd.segment import SEGMENTERS, find_segmenter
from icd.segment.deeplab_v2 import DeepLabV2, halved, three_quartered


class TestDeepLabV1(SegmenterConformance):
    name = "deeplab_v1"


class TestDeepLabV1AsPublished(SegmenterConformance):
    """The batch's statistics, scale and shift that are not trained, dropout."""

    name = "deeplab_v1"
    changes = {"normalization": "batch", "dropout": 0.5}


class TestDeepLabASPP(SegmenterConformance):
    name = "deeplab_aspp"


class TestDeepLabV2(SegmenterConformance):
    name = "deeplab_v2"


class TestDeepLabV2DRS(SegmenterConformance):
    name = "deeplab_v2_drs"


class TestLargeFOV(SegmenterConformance):
    name = "largefov"
    learning_rate = 0.05  # without batch norm in its head


def test_every_segmenter_has_a_class_here():
    tested = {kind.name for name, kind in globals().items() if name.startswith("Test")}
    assert tested == set(SEGMENTERS)


# The conformance finds what is broken


class CountsIgnored(DeepLabV2):
    """Takes the mean over all pixels."""

    def gather(self, outputs, parts, world):
        shares = super().gather(outputs, parts, world)
        images = sum(len(part["mask"]) for part in parts)
        pixels = [images * logits.shape[2] * logits.shape[3] for logits in outputs[0]]
        return {term: share * 0 + images / count for (term, share), count in zip(shares.items(), pixels)}


class DividesByNothing(DeepLabV2):
    """Divides by the number of valid pixels, whatever it is."""

    def losses(self, outputs, part, gathered):
        valid = sum((target != 255).sum() for target in self.targets(outputs, part["mask"]))
        return {term: loss / valid * valid for term, loss in super().losses(outputs, part, gathered).items()}


class OwnMeans(DeepLabV2):
    """Takes the mean over the valid pixels of each device."""

    def losses(self, outputs, part, gathered):
        return super().losses(outputs, part, self.gather([outputs], [part], World()))


class ForgetsAClass(DeepLabV2):
    """Predicts the foreground only."""

    def predict(self, images):
        return super().predict(images)[:, 1:]


class IdleLayer(DeepLabV2):
    """Has a layer that nothing depends on."""

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.idle = self.params.get("idle_weight", shape=(1,), init=mx.init.One())


class LooksAtOtherImages(DeepLabV2):
    """Subtracts the batch's mean."""

    def predict(self, images):
        return super().predict(images - images.mean(axis=0, keepdims=True))


class DoesNotLearn(DeepLabV2):
    """Trains towards what it predicts already."""

    def losses(self, outputs, part, gathered):
        terms = super().losses(outputs, part, gathered)
        return {term: loss - loss + mx.nd.BlockGrad(loss) for term, loss in terms.items()}


BROKEN = (
    (CountsIgnored, "test_losses_are_means_over_valid_pixels"),
    (DividesByNothing, "test_masks_without_a_valid_pixel"),
    (OwnMeans, "test_two_devices_equal_one"),
    (ForgetsAClass, "test_predicts_any_image_size"),
    (IdleLayer, "test_every_trained_parameter_gets_a_gradient"),
    (LooksAtOtherImages, "test_prediction_does_not_depend_on_the_other_images"),
    (DoesNotLearn, "test_it_learns"),
)


@pytest.mark.parametrize(("broken", "test"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_broken_segmenters_are_found(broken, test):
    class Suite(SegmenterConformance):
        name = "deeplab_v2"

        def make(self, backbone, recipe):
            return broken(backbone, CLASSES, recipe)

    with pytest.raises((AssertionError, UserWarning)):  # Gluon warns of layers without gradient, as an error
        getattr(Suite(), test)()


# Heads on backbones

QUICK = ("small", "mobilenet_v2", "vgg16", "vgg16_torchvision", "resnet50", "resnet50_v1", "resnet50_caffe")
# Every head, and every kind of backbone under one of them: heads know no more of a backbone than its channels and grid.
HEADS = [
    (name, backbone) for name in SEGMENTERS for backbone in ("small", "resnet50") if name != "deeplab_v2_drs"
]
HEADS += [("largefov", backbone) for backbone in QUICK if backbone not in ("small", "resnet50")]


@pytest.mark.parametrize(("name", "backbone"), HEADS)
@pytest.mark.usefixtures("thin")
def test_heads_on_backbones(name, backbone):
    segmenter = build_trainable(name, backbone, 2, [mx.cpu()])
    logits = segmenter.predict(mx.nd.random.uniform(0, 255, (1, 3, 33, 49))).asnumpy()
    assert logits.shape[:2] == (1, 3) and abs(logits.shape[2] - 5) <= 1 and abs(logits.shape[3] - 7) <= 1
    assert np.isfinite(logits).all()
    rates = {p.lr_mult for p in segmenter.collect_params().values() if p.grad_req != "null"}
    assert {1.0, 10.0} <= rates


def test_unknown_names():
    with pytest.raises(InputError, match="deeplab_v1, .*, or gluoncv:NAME"):
        find_segmenter("deeplab")
    with pytest.raises(InputError, match="stride of Small"):
        build_trainable(
            "deeplab_v1", "small", 2, [mx.cpu()], recipe=SEGMENTERS["deeplab_v1"].recipes["mobilenet_v2"]
        )


# The views of three scales


@pytest.mark.parametrize("size", [(8, 8), (97, 129), (66, 51), (321, 90)])
def test_scaled_views(size):
    """Bilinear with half-pixel centres where the step is the given factor, whatever the size (spec deeplab B9)."""
    image = np.random.RandomState(0).rand(1, 2, *size).astype(np.float32)
    for factor, scaled in ((0.5, halved), (0.75, three_quartered)):
        expected = image
        for axis, old in zip((2, 3), size):
            position = (np.arange(int(old * factor)) + 0.5) / factor - 0.5
            low = np.floor(position).astype(int)
            share = (position - low).reshape((-1, 1) if axis == 2 else (1, -1))
            first, second = (expected.take(np.minimum(low + step, old - 1), axis) for step in (0, 1))
            expected = first * (1 - share) + second * share
        np.testing.assert_allclose(scaled(mx.nd, mx.nd.array(image)).asnumpy(), expected, atol=1e-6)
