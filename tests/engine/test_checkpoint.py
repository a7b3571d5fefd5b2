"""Checkpoints: whole or not at all, checked when read, never a pickle."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
from runs import ROOT

from icd.compat import mx
from icd.engine import checkpoint
from icd.engine.build import build_trainable
from icd.engine.fit import make_trainer
from icd.engine.parameters import load_arrays, load_pretrained, save_weights
from icd.errors import InputError
from icd.files import read_json, write_json
from icd.methods import make_recipe

FACTS = {"seed": 3, "recipe": {"image_size": 65}}


def build(seed=0):
    method = build_trainable("cam", "small", 2, [mx.cpu()], seed=seed)
    return method, make_trainer(method)


def save(folder, position, seed=0, **options):
    method, trainer = build(seed)
    step(method, trainer)
    return checkpoint.save(folder, method, trainer, position, FACTS, **options)


def step(method, trainer):
    mx.random.seed(0)  # of the dropout
    with mx.autograd.record():
        loss = method(mx.nd.ones((1, 3, 33, 33))).sum()
    loss.backward()
    trainer.step(1)


def test_names_and_order(tmp_path):
    for position in ((1, 0), (1, 7), (2, 0)):
        save(tmp_path, position)
    found = checkpoint.checkpoints(tmp_path)
    assert [path.name for _, path in found] == ["epoch-0000", "epoch-0001-batch-00007", "epoch-0001"]
    assert [position for position, _ in found] == [(1, 0), (1, 7), (2, 0)]


def test_only_the_newest_are_kept(tmp_path):
    for epoch in range(1, 5):
        save(tmp_path, (epoch, 0), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0002", "epoch-0003"]


def test_momenta_come_back(tmp_path):
    method, trainer = build()
    step(method, trainer)
    path = checkpoint.save(tmp_path, method, trainer, (1, 0), FACTS)
    other, other_trainer = build(seed=5)
    assert checkpoint.restore(path, other, other_trainer, FACTS) == (1, 0)
    for pair in ((method, trainer), (other, other_trainer)):
        step(*pair)
    found = other.collect_params()
    for name, parameter in method.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), found[name].data().asnumpy())


def test_an_optimizer_without_momentum_comes_back(tmp_path):
    recipe = make_recipe("cam", {"momentum": 0.0})
    method = build_trainable("cam", "small", 2, [mx.cpu()], recipe=recipe)
    trainer = make_trainer(method)
    step(method, trainer)
    path = checkpoint.save(tmp_path, method, trainer, (1, 0), FACTS)
    other = make_trainer(method)
    assert checkpoint.restore(path, method, other, FACTS) == (1, 0)
    assert other._optimizer.num_update == 1


def test_folders_are_as_open_as_others_and_leave_nothing_behind(tmp_path):
    (tmp_path / ".epoch-0000.killed").mkdir()
    path = save(tmp_path, (1, 0))
    (tmp_path / "other").mkdir()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["epoch-0000", "other"]


def test_another_recipe_is_named_by_its_entry(tmp_path):
    path = save(tmp_path, (1, 0))
    with pytest.raises(InputError, match="expected recipe.image_size = 97; found 65"):
        checkpoint.restore(path, *build(), {"recipe": {"image_size": 97}})


@pytest.mark.parametrize("file", ["weights.params", "optimizer.params"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damaged_files_are_named(tmp_path, file, damage):
    path = save(tmp_path, (1, 0))
    content = (path / file).read_bytes()
    if damage == "remove":
        (path / file).unlink()
    elif damage == "truncate":
        (path / file).write_bytes(content[: len(content) // 2])
    else:
        (path / file).write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(InputError, match=file):
        checkpoint.restore(path, *build(), FACTS)


def test_another_runs_checkpoint_is_refused(tmp_path):
    path = save(tmp_path, (1, 0))
    with pytest.raises(InputError, match="seed = 4"):
        checkpoint.restore(path, *build(), {**FACTS, "seed": 4})


def test_state_is_plain_json(tmp_path):
    path = save(tmp_path, (1, 0))
    state = read_json(path / "state.json")
    assert state["position"] == [1, 0] and state["seed"] == 3
    write_json(path / "state.json", {**state, "sha256": {**state["sha256"], "weights.params": "0" * 64}})
    with pytest.raises(InputError, match="sha256"):
        checkpoint.restore(path, *build(), FACTS)


FULL_DISK = """
import resource, sys
sys.path.insert(0, {root!r}); sys.path.insert(0, {tests!r}); sys.path.insert(0, {engine!r})
from test_checkpoint import *
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    save({folder!r}, (2, 0), seed=1)
except OSError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("limit", [5000, 300_000])
def test_full_disk_keeps_the_last_good_checkpoint(tmp_path, limit):
    """A limit on the file size stands for the full disk: a write ends short with an error, as there."""
    good = save(tmp_path, (1, 0))
    script = FULL_DISK.format(
        root=str(ROOT),
        tests=str(ROOT / "tests"),
        engine=str(ROOT / "tests/engine"),
        limit=limit,
        folder=str(tmp_path),
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "refused:" in result.stdout, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0000"]
    assert checkpoint.restore(good, *build(), FACTS) == (1, 0)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_pretrained_mismatches_are_all_listed(tmp_path):

    method = build_trainable("cam", "mobilenet_v2", 2, [mx.cpu()])
    path = tmp_path / "weights.params"
    save_weights(method, path)
    arrays = mx.nd.load(str(path))
    first, second, third = [name for name in arrays if name.startswith("arg:features_conv")][:1] + [
        "arg:features_linearbottleneck0_conv0_weight",
        "arg:features_linearbottleneck3_conv1_weight",
    ]
    del arrays[first]
    arrays[second] = mx.nd.zeros((1, 2, 3))
    arrays[third] = arrays[third] * float("nan")
    mx.nd.save(str(path), arrays)
    with pytest.raises(InputError) as caught:
        load_pretrained(method, path, method.network.backbone)
    for name in (first, second, third):
        assert name[4:] in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not params", b"\x80\x04."])
def test_other_files_are_refused_as_weights(tmp_path, content):
    path = tmp_path / "weights.params"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.params"):
        load_arrays(path)
