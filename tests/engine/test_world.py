"""Two processes under MXNet's store, started by `icd launch`, and under Horovod: they equal one process with two devices."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import world_steps
from runs import execute, horovodrun

from icd.compat import mx
from icd.engine import rollcall
from icd.engine.rollcall import RollCall
from icd.engine.world import World, check_environment, join
from icd.errors import InputError

LAUNCH = [sys.executable, "-m", "icd.cli.main", "launch", "-n"]


@pytest.fixture(scope="module", params=["store", "horovod"])
def found(request, tmp_path_factory):
    """What each of two processes found; two servers share the arrays of more than a million numbers."""
    starter = [*LAUNCH, "2", "--servers", "2", "--"] if request.param == "store" else horovodrun(2)
    out = tmp_path_factory.mktemp("world")
    result = execute([*starter, sys.executable, str(Path(world_steps.__file__)), str(out)], out)
    assert result.returncode == 0, result.stderr
    return [dict(np.load(out / f"{rank}.npz")) for rank in (0, 1)]


def test_sums_and_rows(found):
    for of_rank in found:
        assert of_rank["whole"].tolist() == [2**31 - 2] and of_rank["whole"].dtype == np.int32
        own, other = np.arange(6.0).reshape(-1, 3), np.arange(12.0).reshape(-1, 3) + 100
        np.testing.assert_array_equal(of_rank["rows"], np.concatenate([own, other]))
        assert of_rank["large"].shape == ((1 << 20) + 5,) and (of_rank["large"] == 3).all()
        np.testing.assert_array_equal(of_rank["many"], np.arange(200)[:, None] * np.full(7, 3.0))
        assert (of_rank["none agrees"].item(), of_rank["one agrees"].item()) == (0, 1)


def test_who_does_not_see_a_shared_folder_is_known(found):
    for of_rank in found:
        assert of_rank["blind"].tolist() == ["[]", "[1]"]


def test_first_steps_do_not_race(found):
    """Twenty trainings that begin while one process is ahead: nobody goes on with a gradient as its weight."""
    for of_rank in found:
        assert of_rank["races"].shape == (world_steps.RACES, 2)
        np.testing.assert_allclose(of_rank["races"], 0.4 - 0.1 * 2.7 * 3, rtol=1e-6)


def test_loss_that_is_not_finite_in_one_process_stops_both(found):
    first, second = (str(of_rank["refusal"]) for of_rank in found)
    assert first == second and "loss cam is nan in step 3" in first and first.count("picture") == 2


@pytest.mark.parametrize("name", world_steps.NAMES)
def test_two_processes_equal_two_devices(found, name):
    """Sign buffer, prototypes, memory bank, pair counts, statistics; the last batch has one image, which both see whole."""
    expected = world_steps.steps(name, [mx.cpu(0), mx.cpu(1)], World())
    start = dict(world_steps.build(name, [mx.cpu()]).collect_params().items())
    assert len(expected) > 5
    for key, value in expected.items():
        begun = start.get(key.split(" ", 1)[1])
        moved = np.abs(value - begun.data().asnumpy()).max() if begun else np.abs(value).max()
        for of_rank in found:
            np.testing.assert_allclose(of_rank[key], value, rtol=0, atol=1e-2 * moved + 1e-7, err_msg=key)
        np.testing.assert_array_equal(found[0][key], found[1][key], err_msg=key)


def test_alone_without_variables(monkeypatch):
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    world = join()
    assert (world.rank, world.size, world.leads, world.share([1, 2])) == (0, 1, True, [1, 2])


def test_missing_horovod_is_said(monkeypatch):
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setitem(sys.modules, "horovod", None)
    with pytest.raises(InputError, match="HOROVOD_RANK: expected Horovod, built with MXNet"):
        join()


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"DMLC_PS_ROOT_URI": ""}, "DMLC_PS_ROOT_URI"), ({"DMLC_NUM_WORKER": "two"}, "DMLC_NUM_WORKER"), ({"ICD_RANK": "2"}, "ICD_RANK")],
)  # fmt: skip
def test_wrong_variables_are_named(changes, word):
    good = {"DMLC_PS_ROOT_URI": "a", "DMLC_PS_ROOT_PORT": "1", "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}
    check_environment(good)
    with pytest.raises(InputError, match=word):
        check_environment({**good, **changes})


class Clock:
    """A time that tests set."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        """The time."""
        return self.now


@pytest.fixture
def make_call(monkeypatch):
    """Makes a roll call of two workers, its clock, and what it said in the end."""

    def make(patience):
        clock, said = Clock(), []
        monkeypatch.setattr(rollcall, "time", clock)
        roll_call = RollCall(2, said.append, patience)
        for rank in (0, 1):
            message = {"role": "worker", "rank": rank, "host": "a", "process": 7 + rank}
            roll_call.hear(rank, message, said.append)
        return roll_call, clock, said

    return make


@pytest.fixture
def call(make_call):
    """One with the usual patience."""
    return make_call(rollcall.PATIENCE)


def hear_both(roll_call, first, second):
    roll_call.hear(0, {"state": first}, None)
    roll_call.hear(1, {"state": second}, None)


def test_roll_call_names_who_broke_the_connection(call):
    roll_call, _, said = call
    roll_call.leave(1)
    sentence = "worker of rank 1 on host a (process 8) ended"
    assert said == [{"end": sentence}, sentence]


def test_roll_call_lets_go_who_is_done(call):
    roll_call, clock, said = call
    roll_call.hear(1, {"done": True}, None)
    roll_call.leave(1)
    clock.now = rollcall.SILENCE - 1
    roll_call.look()
    assert said == []


@pytest.mark.parametrize("patience", [rollcall.PATIENCE, 10.0])
def test_roll_call_names_who_is_silent(make_call, patience):
    """Within half a minute, or within a shorter patience."""
    roll_call, clock, said = make_call(patience)
    clock.now = min(rollcall.SILENCE, patience) - 1
    roll_call.look()
    assert said == [] and clock.now < 30
    clock.now += 2
    roll_call.hear(0, {"state": "waiting"}, None)
    roll_call.look()
    assert "rank 1" in said[-1] and "not been heard" in said[-1]


def test_roll_call_names_who_lets_the_others_wait(call):
    roll_call, clock, said = call
    for state in ("working", "waiting", "working", "waiting", "working"):
        hear_both(roll_call, state, state)
    for now in range(0, int(rollcall.PATIENCE) + 2, 2):
        clock.now = now
        hear_both(roll_call, "waiting", "busy" if now < 2 else "working")
        roll_call.look()
    assert said == []  # who was busy has time from then on
    clock.now += 3
    hear_both(roll_call, "waiting", "working")
    roll_call.look()
    assert "rank 1" in said[-1] and "lets the others wait" in said[-1]


def test_roll_call_is_patient_with_who_is_busy_and_before_the_first_steps(call):
    roll_call, clock, said = call
    for state in ("busy", "working"):
        for _ in range(50):
            clock.now += 5
            hear_both(roll_call, "waiting", state)
            roll_call.look()
    assert said == []


def test_taken_port_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("ICD_ROLL_CALL_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("DMLC_PS_ROOT_URI", "127.0.0.1")
        with pytest.raises(InputError, match="port .* free"):
            rollcall.hold_roll_call(1, lambda sentence: None)
