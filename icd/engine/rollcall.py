"""Who of a training on several processes is still there. In: signs of life over TCP. Out: one sentence that names who is not.

MXNet's store lets the others wait for ever when a worker dies. So the scheduler's process listens, one port above the store's, and
every worker and server tells it what it does. A connection that breaks, silence, or a worker for whom all others wait: the
scheduler says who it is, everybody else hears the sentence, and all end. Messages are lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field

from icd.errors import InputError, printable

BEAT = 3.0  # seconds between two signs of life
SILENCE = 25.0  # seconds without one until somebody counts as lost
PATIENCE = 45.0  # seconds that all others wait for one, or three times the longest wait so far
JOINING = 600.0  # seconds until all must have joined, and the first step be done
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def roll_call_address(environment=os.environ) -> tuple:
    """Where the roll call is held: the scheduler's host, and `ICD_ROLL_CALL_PORT` or the port above the store's."""
    port = environment.get("ICD_ROLL_CALL_PORT") or int(environment["DMLC_PS_ROOT_PORT"]) + 1
    return environment["DMLC_PS_ROOT_URI"], int(port)


@dataclass
class Record:
    """What the scheduler knows of a process that has joined.

    Attributes
    ----------
    name : str
        Such as "worker of rank 1 on host a (process 7)".
    rank : int or None
        None for servers, and for workers that do not know it yet.
    state : str
        "working"; "waiting" for the others; "busy" with something that may take long.
    heard, since : float
        When it was heard last, and since when it is in its state, in seconds of `time.monotonic`.
    waits : int
        How often it has waited.
    """

    name: str
    rank: int
    send: object
    state: str = "busy"
    heard: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    waits: int = 0
    done: bool = False
    failed: str = ""


class RollCall:
    """What the scheduler does with the messages.

    Parameters
    ----------
    workers : int
        How many must join.
    finish : callable
        Called with the sentence once somebody is missing.
    patience : float
        Seconds that all others wait for one; where it is shorter than `SILENCE`, that is as short.
    """

    def __init__(self, workers: int, finish, patience: float = PATIENCE):
        self._workers, self._finish, self._patience = workers, finish, patience
        self._silence = min(SILENCE, patience)
        self._lock, self._records, self._ended = threading.Lock(), {}, False
        self._longest, self._joined, self._began = 0.0, set(), time.monotonic()

    def hear(self, key, message: dict, send) -> None:
        """Take a message of the process behind a connection `key`; `send` takes one line of bytes for it."""
        with self._lock:
            now = time.monotonic()
            record = self._records.setdefault(key, Record("", None, send))
            if "host" in message:
                rank = record.rank = message.get("rank")
                who = f"worker of rank {rank}" if rank is not None else message["role"]
                record.name = printable(f"{who} on host {message['host']} (process {message['process']})")
                if message["role"] == "worker":
                    self._joined.add(key)
            record.heard, record.done = now, message.get("done", False)
            state = message.get("state", record.state)
            if state != record.state:
                if record.state == "waiting":
                    self._longest = max(self._longest, now - record.since)
                record.waits += state == "waiting"
                record.state, record.since = state, now
            record.failed = printable(message.get("failed", record.failed))

    def leave(self, key) -> None:
        """Note that a connection broke; who had not said that he is done is missing."""
        with self._lock:
            record = self._records.pop(key, None)
        if record is not None and record.name and not record.done:
            self._end(f"{record.name} ended" + (f" ({record.failed})" if record.failed else ""))

    def look(self) -> None:
        """Look for somebody who is silent, late, or has never come."""
        with self._lock:
            now = time.monotonic()
            sentence = self._silent(now) or self._late(now) or self._absent(now)
        if sentence:
            self._end(sentence)

    def _silent(self, now) -> str:
        for record in self._records.values():
            if now - record.heard > self._silence and not record.done:
                return f"{record.name} has not been heard for {now - record.heard:.0f} s"
        return ""

    def _late(self, now) -> str:
        workers = [record for record in self._records.values() if record.rank is not None and not record.done]
        waiting = [record for record in workers if record.state == "waiting"]
        late = [record for record in workers if record.state != "waiting"]
        if len(late) != 1 or not waiting or late[0].state == "busy" or len(workers) < self._workers:
            return ""
        waited = now - max(record.since for record in (*waiting, *late))
        limit = max(self._patience, 3 * self._longest) if late[0].waits > 1 else JOINING
        return f"{late[0].name} lets the others wait for {waited:.0f} s" if waited > limit else ""

    def _absent(self, now) -> str:
        absent = self._workers - len(self._joined)
        if absent > 0 and now - self._began > JOINING:
            return f"{absent} of {self._workers} workers have not joined within {JOINING:.0f} s"
        return ""

    def _end(self, sentence: str) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            others = [record.send for record in self._records.values() if not record.done]
        for send in others:
            with contextlib.suppress(OSError):
                send({"end": sentence})
        self._finish(sentence)


def hold_roll_call(workers: int, finish) -> RollCall:
    """Listen on the roll call's port in threads of this process; `finish` is called with the sentence when somebody is missing.

    Raises
    ------
    InputError
        The port is taken.
    """
    patience = float(os.environ.get("ICD_PATIENCE") or PATIENCE)
    call, (host, port) = RollCall(workers, finish, patience), roll_call_address()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            key = object()
            with contextlib.suppress(OSError, ValueError):
                for line in self.rfile:
                    call.hear(key, json.loads(line), lambda message: self.wfile.write(_line(message)))
            call.leave(key)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

    try:
        server = Server((host if host in LOOPBACK else "", port), Handler)
    except OSError as error:
        remedy = "Give another DMLC_PS_ROOT_PORT, or the port alone with ICD_ROLL_CALL_PORT."
        raise InputError(f"port {port}", "one that is free", error.strerror or str(error), remedy) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_look_for_ever, args=(call,), daemon=True).start()
    return call


def _look_for_ever(call: RollCall) -> None:
    while True:
        time.sleep(1.0)
        call.look()


def _line(message: dict) -> bytes:
    return json.dumps(message).encode() + b"\n"


class Member:
    """The connection of a worker or server to the roll call.

    Parameters
    ----------
    role : str
        "worker" or "server".
    rank : int, optional
        Where it is known already.

    Raises
    ------
    InputError
        Nobody holds a roll call there.
    """

    def __init__(self, role: str, rank: int = None):
        self._role, self._rank, self._state, self._closed = role, rank, "busy", False
        self._lock = threading.Lock()
        self._socket = _connected(roll_call_address())
        self._tell(self._about())
        threading.Thread(target=self._stay, daemon=True).start()

    def _about(self) -> dict:
        return {"role": self._role, "rank": self._rank, "host": socket.gethostname(), "process": os.getpid()}

    def name_rank(self, rank: int) -> None:
        """Tell the rank that is known now."""
        self._rank = rank
        self._tell(self._about())

    @contextlib.contextmanager
    def being(self, state: str):
        """Say "waiting" or "busy" while something lasts."""
        before, self._state = self._state, state
        self._tell({"state": state})
        try:
            yield
        finally:
            self._state = before
            self._tell({"state": before})

    def begin(self) -> None:
        """Say that from now on the others should not have to wait long."""
        self._state = "working"
        self._tell({"state": "working"})

    def rest(self) -> None:
        """Say that from now on this may take long."""
        self._state = "busy"
        self._tell({"state": "busy"})

    def close(self, failed: str = "") -> None:
        """Leave: done, or because something failed."""
        self._closed = True
        self._tell({"failed": failed} if failed else {"done": True})
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _tell(self, message: dict) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(_line(message))

    def _stay(self) -> None:
        """Give signs of life until a sentence comes, or the scheduler is gone; then end this process."""
        received = b""
        while b"\n" not in received:
            try:
                more = self._socket.recv(4096)
                if not more:
                    break
                received += more
            except socket.timeout:
                self._tell({"state": self._state})
            except OSError:
                break
        if not self._closed and self._role == "server":
            os._exit(0)  # its work is done, or others say what happened
        if not self._closed:
            sentence = json.loads(received)["end"] if b"\n" in received else "the scheduler ended"
            if "ICD_LAUNCHED" not in os.environ:  # else `icd launch` says it, once
                print(f"error: {sentence}; this process ends too. Go on with --resume.", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


def _connected(address):
    begun = time.monotonic()
    while True:
        try:
            connection = socket.create_connection(address, timeout=BEAT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            if time.monotonic() - begun > JOINING:
                where = f"{address[0]}:{address[1]}"
                remedy = "Start it: DMLC_ROLE=scheduler icd launch; and see DMLC_PS_ROOT_URI and _PORT."
                raise InputError(where, "the scheduler of this run", str(error), remedy) from None
            time.sleep(0.3)
