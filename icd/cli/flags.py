"""Types of flags that several commands share. In: a flag's text. Out: its value, or argparse's message and exit status 2."""

from __future__ import annotations

import argparse


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
