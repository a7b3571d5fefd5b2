"""VWE and its variants: what trains what, several devices, images that the original refuses."""

from __future__ import annotations

import numpy as np
import pytest
from conformance import BATCH, CLASSES, make_batch

from icd.backbones import create_backbone
from icd.compat import mx
from icd.engine.fit import make_trainer, train_step
from icd.engine.parts import split_batch
from icd.engine.world import World
from icd.methods import create_method, make_recipe

VARIANTS = ("irn_cam", "vwe_baseline", "vwe", "vwl_l", "vwl_m")


def build(name, contexts=None):
    """A method on a backbone whose batch norm keeps its statistics, so that a split batch is the same batch."""
    backbone = create_backbone("small")
    backbone.freeze(norm="affine")
    changes = {} if name in VARIANTS[:2] else {"words": 16}
    method = create_method(name, backbone, CLASSES, make_recipe(name, changes))
    mx.random.seed(3)
    method.initialize(mx.init.Xavier(), ctx=contexts or mx.cpu())
    method.start()
    method.prepare(8, BATCH)
    return method


def halves():
    part = make_batch()
    batch = {name: part[name].asnumpy() for name in ("image", "label")}
    return {**batch, "ids": list("abcd")}


@pytest.mark.parametrize("name", VARIANTS)
def test_two_devices_equal_one(name):
    found = []
    for contexts in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
        method = build(name, contexts)
        trainer = make_trainer(method)
        for step in range(3):
            mx.random.seed(step)
            losses = train_step(method, trainer, [split_batch(halves(), contexts)])
        arrays = {key: p.list_data() for key, p in method.collect_params().items()}
        found.append(({key: value.asscalar() for key, value in losses.items()}, arrays))
    (one_losses, one), (two_losses, two) = found
    for key, loss in one_losses.items():
        assert two_losses[key] == pytest.approx(loss, rel=1e-4), key
    for key, (array,) in one.items():
        for other in two[key]:
            np.testing.assert_allclose(other.asnumpy(), array.asnumpy(), rtol=1e-3, atol=1e-5, err_msg=key)
        first, *others = (other.asnumpy() for other in two[key])
        for other in others:
            np.testing.assert_array_equal(other, first, err_msg=key)


def gradients_of(method, term) -> set:
    part = make_batch()
    method.collect_params().zero_grad()
    with mx.autograd.record():
        loss = method.losses(method(part["image"]), part, {})[term]
    loss.backward()
    return {
        name
        for name, p in method.collect_params().items()
        if p.grad_req != "null" and p.grad().asnumpy().any()
    }


@pytest.mark.parametrize("name", ["vwe", "vwl_l", "vwl_m"])
def test_what_each_term_trains(name):
    """Spec vwe 3, gradient flow."""
    method = build(name)
    backbone = {n for n, p in method.network.collect_params().items() if p.grad_req != "null"}
    assert gradients_of(method, "image") == backbone | {"classifier_weight"}
    assert gradients_of(method, "word") == backbone | {"fc_b_weight"}
    if name != "vwl_m":
        assert gradients_of(method, "word_to_image") == {"fc_a_weight", "VWE_centroid"}
    if name == "vwl_l":
        assert gradients_of(method, "decorrelation") == {"VWE_centroid"}


def test_terms_of_the_variants():
    part = make_batch()
    expected = {
        "vwe_baseline": {"image"},
        "vwe": {"image", "word_to_image", "word"},
        "vwl_l": {"image", "word_to_image", "word", "decorrelation"},
        "vwl_m": {"image", "word"},
    }
    for name, terms in expected.items():
        method = build(name)
        assert set(method.losses(method(part["image"]), part, {})) == terms


def test_words_without_cells_keep_their_direction():
    """Spec vwe 3: an unassigned word of the bank only shrinks, so its cosines stay."""
    method = build("vwl_m")
    part = make_batch()
    method.bank_filled.set_data(mx.nd.ones(1))
    bank = method.codebook.data().asnumpy().reshape(16, -1)
    output = method(part["image"])
    idle = ~np.isin(np.arange(16), output.words.asnumpy())
    assert idle.any() and not idle.all()
    method.gather([output], [part], World())
    moved = method.codebook.data().asnumpy().reshape(16, -1)
    rho = method.recipe.bank_rate
    np.testing.assert_allclose(moved[idle], (1 - rho) * bank[idle], rtol=1e-5)
    x, words = output.features.asnumpy(), output.words.asnumpy()
    busy = int(words[0, 0, 0])
    cells = x.transpose(0, 2, 3, 1)[words == busy]
    mean = cells.sum(0) / (len(cells) + 1e-4)
    np.testing.assert_allclose(moved[busy], rho * mean + (1 - rho) * bank[busy], rtol=1e-4, atol=1e-6)


def test_processes_pick_the_cells_of_the_first():
    class Second(World):
        rank, size = 1, 2

        def sum(self, arrays):
            assert not arrays[0].asnumpy().any()  # what it drew itself does not count
            return arrays[0] + 5

    picked = build("vwl_m").pick(100, Second())
    assert picked.asnumpy().tolist() == [5] * 16


@pytest.mark.parametrize("size", [16, 40])
def test_small_images_train(size):
    """Spec vwe 2.4: the original fails where a side of the features is below 4 cells."""
    method = build("vwe")
    losses = train_step(method, make_trainer(method), [[make_batch(size=size)]])
    assert all(np.isfinite(value.asscalar()) for value in losses.values())
