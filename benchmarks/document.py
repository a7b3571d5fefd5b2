"""Puts a benchmark's table into a document. In: a name and text. Out: the part between `<!-- name:begin -->` and end.

A table of measurements stands there once for every processor that it was measured on.
"""

from __future__ import annotations

import re
from pathlib import Path

PERFORMANCE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def table(header, rows) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def write_measured(name: str, text: str, path: Path = PERFORMANCE) -> None:
    """Replace what was measured under that name on this processor, or add it; see `write_part`."""
    from benchmarks.machine import processor  # here: the other programs import this file alone

    write_part(f"{name}, {re.sub('[^A-Za-z0-9]+', ' ', processor()).strip()}", text, path)


def write_part(name: str, text: str, path: Path = PERFORMANCE) -> None:
    """Replace the part of that name, or add it at the end where the document does not have it yet."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    content = path.read_text(encoding="utf-8") if path.is_file() else "# Performance\n"
    part = f"{begin}\n{text.strip()}\n{end}"
    if begin in content and end in content:
        before, rest = content.split(begin, 1)
        content = before + part + rest.split(end, 1)[1]
    else:
        content = f"{content.rstrip()}\n\n{part}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
