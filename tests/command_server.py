"""Runs Python command lines in forks of one process that has imported MXNet, which takes seconds, once for all tests.

As a program: reads a request as a line of JSON, `{"arguments", "cwd", "environment", "stdout", "stderr"}`, and answers with the exit
status. Every command still is a process of its own, in its own folder, with its own environment, that ends.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

SECONDS = 300  # after which a command is ended


@functools.lru_cache(maxsize=1)
def _server():
    """The program, once for a process of pytest; it ends with it."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, __file__], env=variables, text=True, bufsize=1, **pipes)
    atexit.register(process.stdin.close)
    return process


def run(arguments, cwd, environment) -> subprocess.CompletedProcess:
    """What `subprocess.run` gives with captured text, for `[python, script or -m module, ...]`; `-c` gets a new Python."""
    if arguments[1] == "-c":  # such programs often begin by hiding a module
        captured = {"capture_output": True, "text": True, "timeout": SECONDS}
        return subprocess.run(arguments, cwd=cwd, env=environment, **captured)
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        files = {name: os.path.join(folder, name) for name in ("stdout", "stderr")}
        words = [str(word) for word in arguments]
        server.stdin.write(
            json.dumps({"arguments": words[1:], "cwd": str(cwd), "environment": environment, **files}) + "\n"
        )
        status = int(server.stdout.readline())
        out, err = (Path(path).read_text() for path in files.values())
    return subprocess.CompletedProcess(words, status, out, err)


def serve() -> None:
    """Answer requests until there are no more."""
    import icd.methods
    import icd.stages.chain  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_carry_out(request))
        _, status = os.waitpid(child, 0)
        print(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), flush=True)


def _carry_out(request: dict) -> int:
    """Be the program that a request asks for; its exit status."""
    signal.alarm(SECONDS)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *rest = request["arguments"]
    try:
        if first == "-m":
            sys.argv, sys.path[0] = rest, os.getcwd()
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = [first, *rest], str(Path(first).resolve().parent)
            runpy.run_path(first, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()  # as the end of a program does: pools and loggers finish
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve()
