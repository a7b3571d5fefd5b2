"""A training that `horovodrun` starts in two processes: stopped, killed and resumed it ends with the weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from runs import assert_same_weights, command, environment, execute, horovodrun, make_data, weights_of

EPOCHS = 8


def under_horovod(snapshot) -> list:
    """The command line of a short ICD training in two processes."""
    return [*horovodrun(2), *command("data", snapshot, "--resume", "--until", "train", "--num-epoch", EPOCHS)]


def worker(parent: int, rank: str) -> int:
    """The process of a rank among the descendants of another."""
    import psutil  # which Horovod needs too

    for process in psutil.Process(parent).children(recursive=True):
        words = process.cmdline()
        if (
            len(words) > 1
            and Path(words[1]).name == "run_icd.py"
            and process.environ()["HOROVOD_RANK"] == rank
        ):
            return process.pid
    raise AssertionError(f"no process of rank {rank}")


def interrupted(folder, number) -> str:
    """What a training says whose second process gets a signal after the first steps."""
    process = subprocess.Popen(under_horovod("broken"), cwd=folder, env=environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    lines = []
    while not any("]<stderr>:train: " in line for line in lines):
        line = process.stdout.readline()
        assert line, lines
        lines.append(line)
    os.kill(worker(process.pid, "1"), number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    return said


@pytest.mark.slow
def test_stopped_and_killed_and_resumed_run_has_the_same_weights(tmp_path):
    make_data(tmp_path / "data")
    result = execute(under_horovod("whole"), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[0]<stdout>:train: trained " in result.stdout and "[1]<stdout>:train: " not in result.stdout
    said = interrupted(tmp_path, signal.SIGTERM)
    assert said.count("stopped; ") == 2 and "error:" not in said  # both have saved
    assert list((tmp_path / "broken/checkpoints").iterdir())
    said = interrupted(tmp_path, signal.SIGKILL)
    assert "Process 1 exit with status code 137" in said and "error: another process ended" in said
    assert execute(under_horovod("broken"), tmp_path).returncode == 0
    model = {"epochs": EPOCHS}
    assert_same_weights(weights_of(tmp_path / "whole", **model), weights_of(tmp_path / "broken", **model))
