"""What the files of a folder were made with, `stage.json`, and who works on them now, `.lock`.

In: the facts of a stage and the fingerprints of the images that it reads. Out: the record, or an `InputError` that names the
entry that differs and the two ways out. Nothing is ever taken from a folder that other inputs or settings filled.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import socket
import sys
import time
from pathlib import Path

from icd.errors import InputError
from icd.files import read_json, write_json
from icd.provenance import entries, plain, versions

FILE = "stage.json"
_TAIL = 1024  # bytes of a file that its fingerprint holds besides its size: compressed pictures differ there


def read_record(folder) -> dict:
    """`stage.json` of a folder; an empty dict where there is none.

    Raises
    ------
    InputError
        It is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("facts"), dict):
        raise InputError(
            path, "the record of a stage", "something else", "Delete the folder, or name another one."
        )
    return record


def claim(folder, name: str, kind: str, facts: dict, images: dict, free_keys=()) -> None:
    """Note in a folder what its files are made with, or see that they are made with nothing else.

    Parameters
    ----------
    name, kind : str
        Of the stage.
    facts : dict
        JSON values, dictionaries within dictionaries allowed.
    images : dict of str
        A fingerprint for every image that is worked on, by id.
    free_keys : collection of str
        Facts that may change and are then noted anew.

    Raises
    ------
    InputError
        Something else is noted there.
    """
    facts = plain(facts)
    record = read_record(folder)
    refuse_other(folder, name, record, facts, images, free_keys)
    noted = {**record.get("images", {}), **images}
    if record.get("facts") == facts and record.get("images") == noted:
        return
    write_json(
        Path(folder) / FILE,
        {
            "stage": name,
            "kind": kind,
            "facts": facts,
            "images": dict(sorted(noted.items())),
            "command": shlex.join(sys.argv),
            "software": versions(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )


def forget(folder) -> None:
    """Remove a record that no files belong to: those of a call that failed before it made any."""
    (Path(folder) / FILE).unlink(missing_ok=True)


def refuse_other(folder, name: str, record: dict, facts: dict, images: dict, free_keys=()) -> None:
    """Raise `InputError` where a record says other facts, or other fingerprints of the same ids; see `claim`."""
    ways_out = f"Give another --out, or make them anew: --redo {name}."
    noted, wanted = entries(record.get("facts", {})), entries(plain(facts))
    for key in sorted(noted.keys() | wanted.keys()) if record else ():
        if noted.get(key) != wanted.get(key) and key not in free_keys:
            raise InputError(
                folder, f"files made with {key} = {_short(wanted.get(key))}", _short(noted.get(key)), ways_out
            )
    before = record.get("images", {})
    changed = [image_id for image_id, mark in images.items() if before.get(image_id, mark) != mark]
    if changed:
        some = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        found = f"files made from other photographs, tags or planes of {len(changed)} ids ({some})"
        raise InputError(folder, "files made from these photographs, tags and planes", found, ways_out)


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"


def digest(value) -> str:
    """A short name of JSON values: the first 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(paths, *more) -> str:
    """What tells the files of an image from those of another one with the same id: their sizes and ends, and JSON values."""
    return digest([*(_file_mark(path) for path in paths), *more])


def _file_mark(path):
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return [size, hashlib.sha256(file.read()).hexdigest()[:16]]
    except (OSError, TypeError):  # what is missing is the business of the check of inputs
        return None


@contextlib.contextmanager
def locked(folder, name: str, shard: tuple = (1, 1)):
    """Hold a stage's folder against other processes; shards of one stage may work beside each other.

    The operating system gives the lock back when the process ends, however it ends.

    Raises
    ------
    InputError
        Another process holds it: which, on which machine, since when.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        whole = shard == (1, 1)
        stack.enter_context(_lock(folder / f".{name}.lock", fcntl.LOCK_EX if whole else fcntl.LOCK_SH))
        if not whole:
            stack.enter_context(_lock(folder / f".{name}-{shard[0]}-of-{shard[1]}.lock", fcntl.LOCK_EX))
        yield whole


@contextlib.contextmanager
def _lock(path, operation):
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            found = file.read().strip() or "in use by another process"
            raise InputError(
                path.parent, "a folder that nobody works on", found, "Wait for it, or stop it."
            ) from None
        file.truncate(0)
        file.write(
            f"in use by process {os.getpid()} on host {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
        )
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def sweep(folder) -> None:
    """Remove what killed processes had begun to write into a folder; nobody else may be working on it."""
    for path in (*Path(folder).glob(".*.part"), *Path(folder).glob(".epoch-*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
