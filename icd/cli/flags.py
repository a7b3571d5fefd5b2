"""Flags that several commands share: one name for one thing. In: a flag's text. Out: its value, or a message and exit status 2.

The original's names (`--image-root`, `--data-list`, …) stay valid everywhere; help shows one name for each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from icd.errors import InputError

PLACES = {
    "images": ("image-root", "folder of photographs <id>.jpg, .JPG, .jpeg, .png"),
    "tags": ("annotation-root", "folder of <id>.xml, or one file of tags (.npy, .json, .csv, .txt)"),
    "list": ("data-list", "text file, one id a line"),
    "classes": (None, "voc, coco, or a text file of class names"),
    "superpixels": ("superpixel-root", "folder of superpixels <id>.png"),
    "saliency": ("saliency-root", "folder of saliency maps <id>.png"),
    "truth": ("eval-root", "folder of true masks <id>.png"),
    "truth-list": ("eval-list", "text file, one id a line: the images to score"),
    "out": ("snapshot", "folder for everything that is made"),
}
"""Places that commands read and write, by the name of their flag: the original's name, and what they are."""


def add_max_side(parser, bounded=True) -> None:
    """Declare the flag of the size at which photographs are worked on; by default there is a bound or none."""
    from icd.bounded import MAX_SIDE  # here: it needs OpenCV, and not every command has the flag

    parser.add_argument(
        "--max-side",
        type=at_least(8),
        default=MAX_SIDE if bounded else None,
        help="pixels: photographs with a longer side are worked on at this size; masks come back at the photographs' own "
        f"[{MAX_SIDE if bounded else 'their own size'}]",
    )


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows of every flag its first name only; the others are synonyms."""

    def _format_action_invocation(self, action):
        names, action.option_strings = action.option_strings, action.option_strings[-1:]
        if not any(name.startswith("--") and len(name) > 2 for name in names) or "-h" in names:
            action.option_strings = names
        else:
            action.option_strings = names[:1]
        try:
            return super()._format_action_invocation(action)
        finally:
            action.option_strings = names


def add_place(parser, name: str, more: str = "", original=False, **options) -> None:
    """Declare the flag of a place.

    Parameters
    ----------
    name : str
        A key of `PLACES`.
    more : str
        What the command adds to its meaning, such as a default in brackets.
    original : bool
        Show the original's name.
    **options
        For `add_argument`.
    """
    synonym, meaning = PLACES[name]
    names = [f"--{name}", *([f"--{synonym}"] if synonym else [])]
    options.setdefault("type", Path)
    parser.add_argument(
        *(names[::-1] if original else names),
        dest=name.replace("-", "_"),
        help=meaning + ("" if more[:1] in (":", ",", ";", "") else " ") + more,
        **options,
    )


def classes_of_maps(arguments) -> tuple:
    """The class names that `--classes` gives, else those of the run that made `--maps`, else VOC's."""
    from icd.files import read_classes
    from icd.provenance import run_of

    classes = read_classes(arguments.classes)
    if arguments.classes is None:
        classes = tuple(run_of(arguments.maps).get("classes") or classes)
    return classes


def add_cluster(parser) -> None:
    """Declare the flag of a cluster."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="who works image by image: local for --workers processes here, or a Dask scheduler, tcp://host:8786 "
        "[this process]",
    )


def at_least(least: int):
    """Make a flag's type: a whole number that is not smaller than `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on; found {text!r}")
        return value

    return parse


def plain_name(text: str) -> str:
    """A flag's type: a name that is no path."""
    if not text or text in (".", "..") or set(text) & set("/\\\0"):
        raise argparse.ArgumentTypeError(f"expected a name without a path; found {text!r}")
    return text


def shard(text: str) -> tuple:
    """A flag's type: K/N as (K, N).

    Raises
    ------
    InputError
        It is no share.
    """
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise InputError("--shard", "K/N, such as 3/16", repr(text)) from None
    if not 1 <= index <= count:
        raise InputError("--shard", "K/N with K from 1 to N", repr(text))
    return index, count
