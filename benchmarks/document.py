"""Puts a benchmark's table into a document. In: a name and text. Out: the part between `<!-- name:begin -->` and end."""

from __future__ import annotations

from pathlib import Path

PERFORMANCE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


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
