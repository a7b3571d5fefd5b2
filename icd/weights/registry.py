"""Which weight files there are: what each holds, where it comes from, and whether the one at hand is the right one.

In: `registry.yaml`, whose first lines explain its fields, and the folder where weights lie. Out: entries, their state, and what
to do about a missing file. MXNet is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from icd.errors import InputError
from icd.provenance import file_digest

FOLDER = Path("data/pretrained")
REGISTRY = Path(__file__).with_name("registry.yaml")
MISSING, RIGHT, WRONG, UNCHECKED = "missing", "right", "WRONG", "not checked"


@dataclass(frozen=True)
class WeightFile:
    """An entry of the registry; see there for the fields."""

    name: str
    what: str
    file: str
    origin: str
    licence: str
    digest: str
    family: str = None
    gives: str = None
    backbone: str = None
    supervision: str = None
    notes: str = ""

    def state(self, folder=FOLDER) -> str:
        """Whether the file lies in a folder: `MISSING`, `RIGHT` or `WRONG` by its digest, `UNCHECKED` where none is known."""
        path = Path(folder) / self.file
        if not path.is_file():
            return MISSING
        if self.digest is None:
            return UNCHECKED
        algorithm, digits = self.digest.split(":")
        return RIGHT if file_digest(path, algorithm).startswith(digits) else WRONG

    def command(self, folder=FOLDER) -> str:
        """The command that makes `gives` of the file; empty where MXNet reads it as it is."""
        if self.family is None:
            return ""
        return f"icd convert {self.family} {Path(folder) / self.file} {Path(folder) / self.gives}"


@lru_cache(maxsize=None)
def known_weights() -> dict:
    """The entries of the registry by name."""
    content = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    return {name: WeightFile(name, **fields) for name, fields in content.items()}


def find(name: str) -> list:
    """The entries that a name may mean.

    Parameters
    ----------
    name : str
        Of an entry, a backbone, a weight file, or the file that a conversion makes; files with or without a folder.
    """
    file = Path(name).name
    return [
        entry
        for entry in known_weights().values()
        if name in (entry.name, entry.backbone) or file in (entry.file, entry.gives)
    ]


def backbone_file(backbone: str, folder=FOLDER) -> Path:
    """Where the weights that a backbone starts from are looked for.

    Raises
    ------
    InputError
        The registry has none for it.
    """
    for entry in known_weights().values():
        if entry.backbone == backbone:
            return Path(folder) / (entry.gives or entry.file)
    raise InputError(
        f"weights of {backbone}", "a file in the registry", "none", "Give one with --pretrained."
    )


def pretrained_of(backbone: str):
    """Where the weights that a backbone starts from are looked for; None where the registry has none for it."""
    known = any(entry.backbone == backbone for entry in known_weights().values())
    return backbone_file(backbone) if known else None


def supervision_of_weights(path) -> list:
    """What initial weights bring beyond image-level labels, as far as the registry knows a file of that name.

    Returns
    -------
    list of str
        Such as "masks of COCO in the initial weights"; empty for weights of classifiers, and for unknown files.
    """
    found = [entry.supervision for entry in find(Path(path).name) if entry.supervision]
    return [f"{supervision} in the initial weights" for supervision in dict.fromkeys(found)]


def explain(name: str, folder=FOLDER) -> str:
    """What to do where weights are missing: where each file comes from, where to put it, and how to convert it.

    Parameters
    ----------
    name : str
        As for `find`.
    """
    entries = find(name)
    if not entries:
        return "`icd weights` lists the known files."
    return " Or: ".join(_steps(entry, folder) for entry in entries)


def _steps(entry: WeightFile, folder) -> str:
    text = f"Get {entry.file} ({entry.what}; from: {entry.origin}) and put it into {folder}"
    return f"{text}, then run: {entry.command(folder)}." if entry.family else f"{text}."
