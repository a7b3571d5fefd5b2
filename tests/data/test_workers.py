"""Processes give the same as no processes, bring errors home, and leave nothing behind."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from icd.data.tags import read_tags
from icd.data.workers import Workers
from icd.errors import InputError


@pytest.fixture(params=[0, 2])
def make(request):
    """Makes `Workers` without and with processes, and ends them."""
    made = []

    def make_workers(function):
        made.append(Workers(function, request.param))
        return made[-1]

    yield make_workers
    for workers in made:
        workers.close()


def test_results_come_in_order_and_again(make):
    workers = make(math.factorial)
    for _ in range(2):
        assert list(workers.map(range(20))) == [math.factorial(n) for n in range(20)]


def test_items_are_taken_as_they_are_needed(make):
    taken = []
    items = (taken.append(n) or n for n in itertools.count())
    results = make(math.factorial).map(items, ahead=3)
    assert [next(results) for _ in range(4)] == [1, 1, 2, 6]
    assert len(taken) <= 4 + 2 * 2 + 3


def test_errors_come_home_in_their_place(make, tmp_path):
    (tmp_path / "good.xml").write_text("<a><object><name>dog</name></object></a>")
    results = make(read_tags).map([tmp_path / "good.xml", tmp_path / "bad.xml"])
    assert next(results) == (12,)
    with pytest.raises(InputError, match="bad.xml: expected .*found nothing there") as caught:
        next(results)
    assert caught.value.remedy.startswith("Check the annotation folder")


def test_killed_process_is_reported_and_replaced():
    workers = Workers(os._exit, 1)
    for _ in range(2):
        with pytest.raises(InputError, match="killed, perhaps for lack of memory. Try fewer --workers"):
            list(workers.map([9]))
    workers.close()


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(
        "import math\n"
        "from icd.data.workers import Workers\n"
        "print('once')\n"
        "workers = Workers(math.factorial, 2)\n"
        "print(list(workers.map(range(4))))\n"
        "workers.close()\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    output = subprocess.check_output([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": paths})
    assert output == b"once\n[1, 1, 2, 6]\n"


def _children(pid):
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE, text=True)
    direct = [int(word) for word in listing.stdout.split()]
    return direct + [child for parent in direct for child in _children(parent)]


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_end_when_the_caller_is_killed(tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(
        textwrap.dedent(
            """
            import math, time
            from icd.data.workers import Workers
            if __name__ == "__main__":
                results = Workers(math.factorial, 2).map(range(100))
                next(results)
                print("ready", flush=True)
                time.sleep(60)
            """
        )
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    caller = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    assert caller.stdout.readline() == b"ready\n"
    processes = _children(caller.pid)
    assert len(processes) >= 3  # the fork server and two workers
    caller.send_signal(signal.SIGKILL)
    caller.communicate()
    until = time.monotonic() + 20
    while any(map(_alive, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_alive, processes))
