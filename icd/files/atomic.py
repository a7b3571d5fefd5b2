"""Writing files whole or not at all. In: a path and its content. Out: the file, also when the process dies."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path


def _read_umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


UMASK = _read_umask()
"""What new files and folders may not allow. Read once: to read it means to change it, for all threads."""


@contextlib.contextmanager
def atomic_path(path):
    """Name a file to write that takes the place of `path` whole or not at all, also when the process or the machine dies.

    Yields
    ------
    temporary : pathlib.Path
        It takes its name at the end of the `with` block, unless the block raised; then no rest is left.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written; the old file, if any, is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        error.filename = str(path)  # nobody knows the temporary name
        raise
    os.close(handle)
    try:
        yield Path(temporary)
        flush(temporary)
        os.chmod(temporary, 0o666 & ~UMASK)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def open_atomic(path):
    """Open a file for writing, io.BufferedRandom, that appears as with `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "w+b") as file:
        yield file


def flush(path) -> None:
    """Wait until a file or folder is on the disk."""
    with contextlib.suppress(PermissionError):  # some systems cannot open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomic(path, content: bytes) -> None:
    """Write a whole file as `open_atomic` does."""
    with open_atomic(path) as file:
        file.write(content)


def write_json(path, value) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, sort_keys=False) + "\n").encode())
