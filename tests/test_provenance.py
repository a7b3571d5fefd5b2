"""run.json says how a result came about."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import icd
from icd.errors import InputError
from icd.provenance import read_run, run_of, supervision_of, write_derived_run, write_run


@dataclass(frozen=True)
class _Recipe:
    learning_rate: float = 0.1
    sizes: tuple = (321, 513)


def test_what_is_written_is_read_back(tmp_path):
    ids, weights = tmp_path / "ids.txt", tmp_path / "w.params"
    ids.write_text("a\nb\n")
    weights.write_bytes(b"weights")
    run = write_run(
        tmp_path / "run",
        recipe=_Recipe(),
        command=["icd", "train", "a b"],
        data_list=ids,
        initial_weights=weights,
        extra_supervision=("saliency",),
        threshold_policy="none",
        seed=np.int64(3),
        truth=tmp_path,
        spread=float("nan"),
    )
    assert read_run(tmp_path / "run") == run
    assert run["recipe"] == {"learning_rate": 0.1, "sizes": [321, 513]}
    assert run["command"] == "icd train 'a b'"
    assert run["data_list"] == {"path": str(ids), "sha256": hashlib.sha256(b"a\nb\n").hexdigest(), "ids": 2}
    assert run["initial_weights"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert (run["seed"], run["truth"], run["spread"]) == (3, str(tmp_path), None)
    assert run["versions"]["icd"] == icd.__version__ and run["versions"]["numpy"] == np.__version__
    assert run["machine"]["cores"] >= 1 and run["machine"]["cpu"]


def test_missing_and_damaged_files_are_named(tmp_path):
    assert read_run(tmp_path) == {}
    with pytest.raises(InputError, match="nowhere"):
        write_run(tmp_path, initial_weights=tmp_path / "nowhere.params")
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(InputError, match="JSON object"):
        read_run(tmp_path)


def test_saliency_in_the_seeds_is_not_saliency_in_training():
    run = {"extra_supervision": ["saliency"], "training_supervision": []}
    assert supervision_of(run, "crf") == supervision_of(run, "nocrf") == []
    assert supervision_of(run, "sal") == supervision_of(run) == ["saliency"]
    assert supervision_of({"extra_supervision": ["saliency"]}, "crf") == ["saliency"]
    assert supervision_of({}) is None


def test_what_is_made_from_a_result_says_so(tmp_path):
    write_run(tmp_path / "run", method="icd", seed=3, command=["icd", "run"])
    maps, target = tmp_path / "run" / "results" / "scores_cam", tmp_path / "exported"
    for layout in ("psa", "irn"):
        write_derived_run(target, maps, layout=layout)
        found = read_run(target)
        assert (found["method"], found["seed"], found["layout"]) == ("icd", 3, layout)
        assert found["made_from"] == str(maps) and found["command"] != "icd run"
    write_derived_run(tmp_path / "run", maps, layout="psa")
    assert read_run(tmp_path / "run")["command"] == "icd run"
    assert run_of(maps)["seed"] == 3 and run_of(tmp_path) == {}


def test_evaluator_and_provenance_do_not_import_mxnet():
    code = "import sys, icd.provenance, icd.evaluate; assert 'mxnet' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
