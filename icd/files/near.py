"""Names that are nearly the one looked for. In: a path where nothing is. Out: what its folder has instead."""

from __future__ import annotations

import itertools
import os
import unicodedata
from pathlib import Path

_MOST_ENTRIES = 50_000  # of a folder that is looked through
_SHOWN = 3


def near_names(path) -> list:
    """Names in the folder of `path` that differ from its own in case, suffix, spaces at the ends or Unicode form.

    Returns
    -------
    list of str
        At most three; a name that differs only in how its accents are stored is marked so.
    """
    path = Path(path)
    wanted, stem = path.name, _plain(path.stem)
    found = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in itertools.islice(entries, _MOST_ENTRIES):
                if entry.name.startswith("._"):  # a Mac's notes about a file
                    continue
                if _plain(os.path.splitext(entry.name)[0]) == stem or _plain(entry.name) == stem:
                    found.append(entry.name)
    except (OSError, ValueError):
        return []
    return [_described(name, wanted) for name in sorted(found)[:_SHOWN]]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _described(name: str, wanted: str) -> str:
    same = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", wanted)
    return f"{name} (the same letters in another Unicode form)" if same else name
