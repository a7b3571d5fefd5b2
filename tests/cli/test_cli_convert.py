"""`icd convert` and `icd weights` from a fresh folder."""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np
import pytest
from runs import command, execute, make_data

from icd.cli.main import main
from icd.foreign.torchfile import read_torch, write_torch
from icd.weights.families import FAMILIES

ICD = [sys.executable, "-m", "icd.cli.main"]
SIZES = {"classes": 20}


def drs_state() -> dict:
    """DRS's refinement network with small numbers; every convolution of the body goes by two names."""
    _, network = FAMILIES["drs"].networks
    state = {}
    for number, entry in enumerate(network.entries):
        array = np.full([SIZES.get(n, n) for n in entry.shape], number / 100, np.float32)
        state.update(dict.fromkeys((entry.key, *entry.aliases), array))
    return state


def test_a_checkpoint_becomes_params_and_goes_back(tmp_path):
    state = drs_state()
    write_torch(tmp_path / "best.pth", {"model": state, "epoch": 30, "miou": 0.5})
    result = execute([*ICD, "convert", "drs", "best.pth", "new/drs.params"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "34 arrays, 20 classes" in result.stdout and "26 further keys" in result.stdout
    assert "epoch, miou" in result.stdout
    result = execute([*ICD, "convert", "drs", "new/drs.params", "back.pth", "--reverse"], tmp_path)
    assert result.returncode == 0, result.stderr
    back = read_torch(tmp_path / "back.pth")["model"]
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)


def test_faults_are_told_in_one_line(tmp_path, capsys):
    path, target = tmp_path / "best.pth", tmp_path / "out.params"

    def refusal(family, state) -> str:
        write_torch(path, state)
        assert main(["convert", family, str(path), str(target)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "best.pth" in lines[0]
        return lines[0]

    state = drs_state()
    line = refusal("eps", state)
    assert "192 missing" in line and "The file fits: drs" in line
    state["extra_conv3.bias"] = state["extra_conv3.bias"] * np.float32("nan")
    assert "extra_conv3.bias holds values that are not finite" in refusal("drs", state)
    del state["extra_conv3.bias"]
    assert "1 missing: extra_conv3.bias" in refusal("drs", state)
    os.truncate(path, path.stat().st_size // 2)
    assert main(["convert", "drs", str(path), str(target)]) == 2
    assert not target.exists()


class Hostile:
    """Asks to make a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch trace",)


@pytest.mark.parametrize(
    "wrap", [lambda attack: attack, lambda attack: {"state_dict": {"conv1a.weight": attack}}]
)
def test_a_hostile_checkpoint_runs_nothing(tmp_path, wrap):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(wrap(Hostile()), 2))
    result = execute([*ICD, "convert", "eps", "a.pth", "a.params"], tmp_path)
    assert result.returncode == 2 and "the pickle asks for" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_weights_are_listed_and_checked(tmp_path):
    folder = tmp_path / "data/pretrained"
    folder.mkdir(parents=True)
    result = execute([*ICD, "weights"], tmp_path)
    assert result.returncode == 0 and "0 of " in result.stdout
    (folder / "vgg16_20M.params").write_bytes(b"not checked, since its digest is not known")
    (folder / "resnet50-19c8e357.pth").write_bytes(b"something else")
    result = execute([*ICD, "weights"], tmp_path)
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert "not checked" in lines["vgg16_20M"] and "WRONG" in lines["resnet50-torchvision"]
    assert result.returncode == 1 and "missing" in lines["resnet38-a1"]
    result = execute([*ICD, "weights", "vgg16-torchvision", "--folder", "elsewhere"], tmp_path)
    assert result.returncode == 0 and "https://download.pytorch.org" in result.stdout
    assert "icd convert torchvision-vgg16 elsewhere/vgg16-397923af.pth" in result.stdout
    result = execute([*ICD, "weights", "unheard-of"], tmp_path)
    assert result.returncode == 2 and "vgg16_20M" in result.stderr


def test_missing_pretrained_weights_are_explained(tmp_path):
    make_data(tmp_path / "data", count=3)
    result = execute(command("data", "out", "--backbone", "resnet38"), tmp_path)
    assert result.returncode == 2 and "ademxapp" in result.stderr and "--pretrained" in result.stderr


@pytest.mark.parametrize("name", ["convert", "weights"])
def test_help_needs_no_mxnet(tmp_path, name):
    (tmp_path / "mxnet.py").write_text("raise ImportError('no MXNet here')\n")
    code = f"import sys; sys.path.insert(0, '.'); from icd.cli.main import main; sys.exit(main(['{name}', '--help']))"
    result = execute([sys.executable, "-c", code], tmp_path)
    assert result.returncode == 0 and name in result.stdout
