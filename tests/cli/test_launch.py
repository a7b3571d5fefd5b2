"""`icd launch`: whole runs of two processes, one that is stopped, one that dies, one that hangs; what goes on from there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import assert_same_weights, command, environment, execute, make_data, weights_of

from icd.cli.main import main

EPOCHS = 8
LAUNCH = [sys.executable, "-m", "icd.cli.main", "launch", "-n"]


def launched(count, data, snapshot, *more) -> list:
    """The command line of a short ICD run on several processes."""
    words = command(data, snapshot, "--resume", "--num-epoch", EPOCHS, *more)
    return [*LAUNCH, str(count), "--", *words[1:]]


def start(folder, snapshot, **variables):
    """Start a training of two processes, wait for its first lines, and say which processes its workers are."""
    process = subprocess.Popen(
        launched(2, "data", snapshot, "--until", "train"), cwd=folder, env={**environment(), **variables},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    lines = []
    while not any(line.startswith("train:") for line in lines):
        line = process.stderr.readline()
        assert line, lines
        lines.append(line)
    return process, {rank_of(child): child for child in children(process.pid) if rank_of(child)}


def children(parent: int) -> list:
    """The processes that a process started."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(number) for number in text.split()]


def rank_of(process: int) -> str:
    """ICD_RANK in the environment of a process."""
    entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next((entry[9:].decode() for entry in entries if entry.startswith(b"ICD_RANK=")), "")


def checkpoints(folder, snapshot) -> list:
    """What a run has saved."""
    return sorted(path.name for path in (folder / snapshot / "checkpoints").glob("*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with data and an uninterrupted run of two processes, from the training to the scores."""
    folder = tmp_path_factory.mktemp("launch")
    make_data(folder / "data")
    result = execute(launched(2, "data", "whole"), folder)
    assert result.returncode == 0, result.stderr
    return folder, result


@pytest.fixture(scope="module")
def died(finished):
    """What a run says, and how long it takes to end, of whose processes the second is killed after the first checkpoint."""
    folder, _ = finished
    process, workers = start(folder, "broken")
    while not checkpoints(folder, "broken"):
        time.sleep(0.05)
    begun = time.monotonic()
    os.kill(workers["1"], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    return errors, time.monotonic() - begun, process.returncode, workers["1"]


def test_the_leader_alone_speaks_and_writes(finished):
    folder, result = finished
    assert result.stdout.count("train: trained ") == 1 and result.stdout.count("mIoU in %") == 1
    assert "[rank 1]" not in result.stderr
    lines = [json.loads(line) for line in (folder / "whole/losses.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)) and steps[-1] == 4 * EPOCHS


def test_a_process_that_dies_is_named_and_ends_the_others(died):
    errors, seconds, status, process = died
    assert seconds < 30 and status == 128 + signal.SIGKILL
    assert errors.count("error:") == 1 and "worker of rank 1 on host" in errors and str(process) in errors


@pytest.mark.slow
def test_killed_and_stopped_and_hanging_run_goes_on_to_the_same_weights(finished, died):
    """One process was killed. Then one is asked to stop: both save. Then one hangs, and is named. Then on to the end."""
    folder, _ = finished
    process, workers = start(folder, "broken")
    os.kill(workers["1"], signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.count("stopped;") == 1 and "error" not in errors
    process, workers = start(folder, "broken", ICD_PATIENCE="10")
    begun = time.monotonic()
    os.kill(workers["1"], signal.SIGSTOP)
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - begun < 60 and process.returncode != 0
    assert errors.count("error:") == 1 and "worker of rank 1" in errors and "not been heard" in errors
    assert f"epoch-{EPOCHS - 1:04d}" not in checkpoints(folder, "broken")
    result = execute(launched(2, "data", "broken", "--until", "train"), folder)
    assert result.returncode == 0, result.stderr
    model = {"epochs": EPOCHS}
    assert_same_weights(weights_of(folder / "whole", **model), weights_of(folder / "broken", **model))


@pytest.mark.slow
def test_ctrl_c_reaches_all_and_another_number_of_processes_goes_on(finished):
    folder, _ = finished
    process, _ = start(folder, "other")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.count("stopped;") == 1
    (*_, saved) = checkpoints(folder, "other")
    result = execute(command("data", "other", "--resume", "--until", "train", "--num-epoch", EPOCHS), folder)
    assert result.returncode == 0, result.stderr
    assert f"{saved} was written by 2 process(es), and 1 go on from it" in result.stdout


@pytest.mark.slow
def test_stages_by_image_are_divided(finished):
    """Score maps, seeds and scores of two processes are those of one, from the same weights."""
    folder, _ = finished
    shutil.copytree(folder / "whole", folder / "alone")
    shutil.rmtree(folder / "alone/results")
    (folder / "alone/scores.json").unlink()
    result = execute(command("data", "alone", "--resume", "--num-epoch", EPOCHS), folder)
    assert result.returncode == 0, result.stderr
    one, other = (
        {str(path.relative_to(folder / name)): path.read_bytes() for path in (folder / name / "results").rglob("*")
         if path.suffix in (".npz", ".png")}
        for name in ("whole", "alone")
    )  # fmt: skip
    assert len(one) == 8 * 6 and one == other
    scores = [(folder / name / "scores.json").read_text() for name in ("whole", "alone")]
    assert scores[0] == scores[1]


def test_bad_input_is_said_once(finished):
    folder, _ = finished
    result = execute(launched(2, "data", "bad", "--until", "train", "--batch-size", "1"), folder)
    assert result.returncode == 2 and result.stderr.count("error:") == 1
    assert "an image for every process" in result.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [(["-n", "1", "--", "no-such-program"], "no-such-program"), ([], "DMLC_ROLE"), (["-n", "2", "--", "icd", "doctor"], "icd doctor")],
)  # fmt: skip
def test_what_cannot_be_started_is_named(words, named, monkeypatch, capsys):
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    assert main(["launch", *words]) == 2
    errors = capsys.readouterr().err
    assert errors.count("error:") == 1 and named in errors
