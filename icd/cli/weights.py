"""List the known weight files: where each comes from, whether it is here, and whether it is the right one.

icd weights
icd weights resnet38-a1
"""

from __future__ import annotations

from pathlib import Path

from icd.errors import InputError
from icd.weights.registry import FOLDER, MISSING, WRONG, find, known_weights


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("name", nargs="?", help="one entry in full: its name, its backbone or its file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where weights lie [%(default)s]")


def run(arguments) -> int:
    """Print the table, or one entry; the exit status is 1 where a file is not what its name says."""
    entries = list(known_weights().values()) if arguments.name is None else find(arguments.name)
    if not entries:
        raise InputError("weights", "one of " + ", ".join(known_weights()), repr(arguments.name))
    states = {entry.name: entry.state(arguments.folder) for entry in entries}
    width = max(map(len, states))
    for entry in entries:
        print(f"{entry.name:<{width}}  {states[entry.name]:<11}  {entry.file}")
        if arguments.name is not None:
            _print_entry(entry, arguments.folder)
    if arguments.name is None:
        print(f"\n{arguments.folder}: {_count(states)}. `icd weights NAME` says more.")
    return 1 if WRONG in states.values() else 0


def _print_entry(entry, folder) -> None:
    digest = entry.digest or "not known"
    rows = {"what": entry.what, "origin": entry.origin, "licence": entry.licence or "not known", "digest": digest,
            "learned from": entry.supervision, "notes": entry.notes, "backbone": entry.backbone, "convert": entry.command(folder)}  # fmt: skip
    for title, text in rows.items():
        if text:
            print(f"  {title:<12}  {text}")


def _count(states: dict) -> str:
    here = [state for state in states.values() if state != MISSING]
    wrong = here.count(WRONG)
    return f"{len(here)} of {len(states)} files" + (f", {wrong} with a WRONG digest" if wrong else "")
