"""Several processes of one command, which train together through MXNet's distributed store.

    icd launch -n 2 -- icd run icd --gpus ''        two processes on this machine, over loopback

Process 0 speaks; of the others only warnings and errors are shown, with their rank before them. The first Ctrl-C or SIGTERM lets
all finish their step and save; a second one ends them at once. When one dies, a line names it and the others end.

On several machines the same command is started by ssh, SLURM or Kubernetes, as docs/cluster.md shows, with DMLC_ROLE=worker and
its companions in the environment; there `icd launch` without a command is the scheduler or a server, as DMLC_ROLE says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from icd.cli.flags import at_least
from icd.errors import InputError

VERDICT = 8.0  # seconds in which the scheduler may say who is missing
REFUSED = 2  # exit status for bad input
GRACE = 10.0  # seconds in which the others may end by themselves


def add_arguments(parser) -> None:
    """Declare the flags."""
    parser.add_argument("-n", "--processes", type=at_least(1), default=2, help="how many train together [2]")
    parser.add_argument("--servers", type=at_least(1), default=1, help="how many share the adding [1]")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="such as icd run icd")


def run(arguments) -> int:
    """Start all, wait for all; the exit status of the first worker that failed, or 0."""
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        from icd.engine.roles import play

        return play(os.environ.get("DMLC_ROLE", ""))
    if words[0] == "icd" and words[1:2] != ["run"]:
        found, remedy = " ".join(words[:2]), "It needs no processes beside it, or takes --cluster."
        raise InputError("icd launch", "icd run, which trains, or a program of yours", found, remedy)
    crew = Crew(arguments.processes, arguments.servers, words)
    try:
        return crew.wait()
    finally:
        crew.end()


class Crew:
    """The processes of a command on this machine."""

    def __init__(self, processes: int, servers: int, words: list):
        self._shared = {
            **os.environ, "ICD_LAUNCHED": "1", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_INTERFACE": "lo",
            "DMLC_NUM_WORKER": str(processes), "DMLC_NUM_SERVER": str(servers),
            **dict(zip(("DMLC_PS_ROOT_PORT", "ICD_ROLL_CALL_PORT"), map(str, free_ports(2)))),
        }  # fmt: skip
        self._held, self._stopping = {}, 0
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._forward)
        self.workers, self.helpers = [], []
        own = [sys.executable, "-m", "icd.cli.main", "launch"]
        self.helpers = [self._start(own, role) for role in ["scheduler", *["server"] * servers]]
        self.workers = [self._start(command_of(words), "worker", rank) for rank in range(processes)]

    def _start(self, words, role: str, rank: int = None):
        environment = {**self._shared, "DMLC_ROLE": role}
        options = {
            "start_new_session": True,
            "stdin": subprocess.PIPE if rank is None else subprocess.DEVNULL,
        }
        if rank is not None:
            environment["ICD_RANK"] = str(rank)
            if rank:
                options.update(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        elif role == "scheduler":
            options["stderr"] = subprocess.PIPE
        try:
            process = subprocess.Popen(words, env=environment, **options)
        except OSError as error:
            self.end()
            raise InputError(words[0], "a program", error.strerror or str(error)) from None
        if rank != 0 and process.stderr is not None:
            threading.Thread(target=self._show, args=(process.stderr, rank), daemon=True).start()
        return process

    def _show(self, stream, rank) -> None:
        """Show what a process but the first writes; keep its error, which process 0 may say as well. None: the scheduler."""
        with contextlib.suppress(ValueError):
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                if text.startswith("error: "):
                    self._held[rank] = text
                elif text and not text.startswith("stopped;"):
                    who = "scheduler" if rank is None else f"rank {rank}"
                    print(f"[{who}] {text}", file=sys.stderr, flush=True)

    def _forward(self, number, frame) -> None:
        self._stopping += 1
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number if self._stopping < 3 else signal.SIGKILL)

    def wait(self) -> int:
        """Wait until all workers are done, or one failed."""
        while True:
            codes = self._codes()
            if any(codes) or (self.helpers[0].poll() and None in codes):
                return self._failed()
            if None not in codes:
                return 0
            time.sleep(0.1)

    def _failed(self) -> int:
        """Let the scheduler say who is missing, or say it; the exit status."""
        died = [rank for rank, process in enumerate(self.workers) if process.poll() not in (None, 0, 1)]
        _wait_for(self.helpers[:1] if None in self._codes() else self.workers, VERDICT)
        _wait_for(self.workers, GRACE)
        failed = [rank for rank, code in enumerate(self._codes()) if code]
        first = (died or failed or [None])[0]
        codes = {self.workers[rank].returncode for rank in failed}
        if len(failed) == len(self.workers) and len(codes) == 1 and None not in self._held:
            return exit_status(codes.pop())  # all were stopped, or failed after the same step
        if self.workers[0].returncode != REFUSED:  # else it has said why
            if first is not None and first in self._held:
                print(f"[rank {first}] {self._held[first]}", file=sys.stderr)
            print(self._held.get(None) or self._verdict(failed), file=sys.stderr)
        return exit_status(self.workers[first].returncode) if first is not None else 1

    def _codes(self) -> list:
        return [process.poll() for process in self.workers]

    def _verdict(self, failed: list) -> str:
        """What the scheduler would have said, where nobody joined."""
        named = ", ".join(f"{rank} ({ending(self.workers[rank].returncode)})" for rank in failed)
        return f"error: the worker of rank {named} ended; all others end. Go on with --resume."

    def end(self) -> None:
        """End whatever still runs, and give the signals back."""
        well = self.workers and all(process.poll() == 0 for process in self.workers)
        _wait_for(self.helpers, GRACE if well else 0.5)
        for sign, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
            left = [process for process in (*self.workers, *self.helpers) if process.poll() is None]
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(sign)
            _wait_for(left, patience)
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _wait_for(processes, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(process.poll() is None for process in processes):
        time.sleep(0.05)


def command_of(words: list) -> list:
    """The command line to start; `icd` is this installation's, by this Python."""
    if words[0] == "icd":
        return [sys.executable, "-m", "icd.cli.main", *words[1:]]
    if Path(words[0]).suffix == ".py":
        return [sys.executable, *words]
    return words


def exit_status(code: int) -> int:
    """An exit status as shells give it: 128 and the signal's number where one ended the process."""
    return 128 - code if code < 0 else code


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def free_ports(count: int) -> list:
    """Ports of loopback that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
