"""Plain tables for terminals and Markdown. In: rows of cells. Out: one string."""

from __future__ import annotations

from icd.errors import printable


def format_table(header, rows, markdown: bool = False) -> str:
    """Lay out a table; columns that hold only numbers are set to the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence
        Floats are written with two decimals; None and NaN as a dash.
    markdown : bool
    """
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(isinstance(row[k], (int, float, type(None))) for row in rows) for k in range(len(header))]
    widths = [max(len(row[k]) for row in [list(header), *cells]) for k in range(len(header))]

    def line(row):
        padded = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right)]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    rule = ["-" * (w - 1) + (":" if r else "-") if markdown else "-" * w for w, r in zip(widths, right)]
    ruler = f"| {' | '.join(rule)} |" if markdown else "  ".join(rule)
    return "\n".join([line(header), ruler, *map(line, cells)])


def percent(fraction):
    """A fraction as percent, or None for None and NaN."""
    return None if fraction is None or fraction != fraction else 100 * float(fraction)


def _cell(value) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else printable(value)
