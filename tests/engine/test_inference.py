"""Fused layers give what the plain ones give, after training and in frozen stages; views one after the other, the same maps."""

from __future__ import annotations

import numpy as np
import pytest
from trainable_conformance import switch_dropout_off, with_lively_weights

from icd.backbones.base import Backbone, layers_of
from icd.compat import mx
from icd.engine import localize
from icd.engine.build import build_trainable, fuse_for_inference
from icd.engine.localize import run_views

CPU = [mx.cpu()]
SIZES = ((2, 3, 65, 81), (1, 3, 97, 64), (2, 3, 65, 81))


def outputs_of(trainable, images) -> dict:
    """What a trainable is asked for once it is trained, by name."""
    images = mx.nd.array(images)
    if hasattr(trainable, "localize"):
        return {name: maps.asnumpy() for name, maps in trainable.localize(images).items()}
    if hasattr(trainable, "predict"):
        return {"logits": trainable.predict(images).asnumpy()}
    return {"affinities": np.asarray(trainable.affinities(images[:1])[0])}


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("eps", "mobilenet_v2"),
        ("icd", "mobilenet_v2"),
        ("icd", "small"),
        ("seam", "small"),
        ("drs", "small"),
        ("ppc", "small"),
        ("vwe", "small"),
        ("affinitynet", "small"),
        ("irn", "small"),
        ("deeplab_v2", "mobilenet_v2"),
    ],
)
def test_fused_layers_differ_in_rounding_only(name, backbone):
    compare_fused(name, backbone)


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(("name", "backbone"), [("eps", "resnet38"), ("deeplab_v2", "resnet101")])
def test_fused_layers_of_deep_networks(name, backbone):
    compare_fused(name, backbone)


def compare_fused(name, backbone):
    """A trainable before and after `fuse_for_inference`, on views of several sizes."""
    trainable = with_lively_weights(build_trainable(name, backbone, 4, CPU))
    random = np.random.RandomState(0)
    images = [random.randint(0, 256, size).astype(np.float32) for size in SIZES]
    plain = [outputs_of(trainable, views) for views in images]
    fuse_for_inference(trainable, CPU)
    for views, expected in zip(images, plain):
        found = outputs_of(trainable, views)
        assert list(found) == list(expected)
        for kind, values in expected.items():
            assert np.isfinite(values).all() and values.std() > 0
            np.testing.assert_allclose(found[kind], values, rtol=0, atol=1e-4 * np.abs(values).max())


@pytest.mark.parametrize(("name", "backbone"), [("seam", "small"), ("icd", "mobilenet_v2")])
def test_large_views_are_seen_one_after_the_other(name, backbone, monkeypatch):
    trainable = with_lively_weights(build_trainable(name, backbone, 4, CPU))
    fuse_for_inference(trainable, CPU)
    random = np.random.RandomState(0)
    views = [random.randint(0, 256, size, np.uint8) for size in ((6, 3, 33, 41), (6, 3, 97, 65))]
    seen = []

    def network(part):
        seen.append(len(part))
        return trainable.localize(part)

    together = run_views(network, views, CPU[0])
    monkeypatch.setattr(localize, "PIXELS_AT_ONCE", 4 * 33 * 41)
    apart = run_views(network, views, CPU[0])
    assert seen == [6, 6, 4, 2, *[1] * 6]
    for expected, found in zip(together, apart):
        assert list(found) == list(expected)
        for kind, values in expected.items():
            np.testing.assert_array_equal(found[kind].asnumpy(), values.asnumpy())


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("eps", "mobilenet_v2"),
        ("seam", "mobilenet_v2"),
        ("irn", "mobilenet_v2"),
        ("affinitynet", "mobilenet_v2"),
        ("vwe_baseline", "resnet50"),  # has no top: the network's last part is empty
    ],
)
def test_frozen_stages_may_have_fused_layers_in_training(name, backbone):
    trainable = with_lively_weights(build_trainable(name, backbone, 4, CPU))
    (network,) = set(layers_of(Backbone, [trainable]))
    assert network.constant_stages and all(stage._backend == "MKLDNN" for stage in network.constant_stages)
    switch_dropout_off(trainable)
    images, found = mx.nd.array(np.random.RandomState(0).randint(0, 256, (2, 3, 97, 97))), []
    for _ in range(2):
        with mx.autograd.record():
            outputs = trainable(images)
            loss = sum(output.square().mean() for output in tensors(outputs))
        loss.backward()
        trained = {k: p for k, p in trainable.collect_params().items() if p.grad_req != "null"}
        found.append((loss.asscalar(), {k: p.grad().asnumpy() for k, p in trained.items()}))
        trainable.hybridize(False)
    (ours, gradients), (plain, expected) = found
    assert abs(ours - plain) <= 1e-4 * plain
    assert sum(values.any() for values in expected.values()) > len(expected) / 2
    # Where a value lies at 0, rounding decides whether a ReLU lets its gradient pass.
    for key, values in expected.items():
        assert np.linalg.norm(gradients[key] - values) <= 2e-2 * np.linalg.norm(values) + 1e-9, key


def tensors(outputs) -> list:
    """The arrays of a trainable's outputs."""
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
