"""What a process of MXNet's store does that trains nothing: the scheduler, who also holds the roll call, and the servers.

In: `DMLC_ROLE` and its companions. Importing MXNet with such a role runs it until all workers are done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

from icd import compat
from icd.engine.rollcall import Member, hold_roll_call
from icd.engine.world import check_environment
from icd.errors import InputError

FAREWELL = 1.0  # seconds for the sentence to reach the others


def play(role: str) -> int:
    """Be the scheduler or a server until the run ends; the exit status."""
    if role not in ("scheduler", "server"):
        raise InputError("DMLC_ROLE", "scheduler or server, or a command after --", repr(role))
    check_environment(os.environ)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends when the workers have, who save first
    if "ICD_LAUNCHED" in os.environ:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
    if role == "scheduler":
        hold_roll_call(int(os.environ["DMLC_NUM_WORKER"]), _finish)
        _run_store()
        return 0
    member = Member("server")
    _run_store()
    member.close()
    return 0


def _run_store() -> None:
    with contextlib.suppress(SystemExit):  # with which MXNet's import ends in these roles
        compat.mx  # noqa: B018


def _finish(sentence: str) -> None:
    print(f"error: {sentence}; all others end. Go on with --resume.", file=sys.stderr, flush=True)
    time.sleep(FAREWELL)
    os._exit(1)


def _end_with_launcher() -> None:
    while os.read(0, 1024):  # ends when the launcher does
        pass
    os._exit(1)
