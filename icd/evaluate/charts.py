"""Charts of the report as HTML and SVG that need no script. In: numbers and names. Out: markup, everything escaped.

Colours are the template's classes `c0` to `c5`, so that they follow light and dark mode.
"""

from __future__ import annotations

import math
from html import escape

import numpy as np

COLOURS = 6
_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 34


def table(header, rows, caption: str = "") -> str:
    """A table; the first column names the row. Cells that are None become a dash."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>{"".join(f"<td>{_cell(value)}</td>" for value in rest)}</tr>'
        for first, *rest in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def legend(names) -> str:
    """Names with the colours of their series."""
    entries = "".join(
        f'<li><i class="c{k % COLOURS}"></i>{escape(name)}</li>' for k, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'


def class_bars(names, series: dict) -> str:
    """Horizontal bars, grouped by class.

    Parameters
    ----------
    names : sequence of str
        Classes.
    series : dict of str to sequence
        One value a class, 0..1 or None, for every named score.
    """
    rows = []
    for place, name in enumerate(names):
        bars = "".join(_bar(k, values[place]) for k, values in enumerate(series.values()))
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td>{bars}</td></tr>')
    return f'{legend(series)}<table class="bars"><tbody>{"".join(rows)}</tbody></table>'


def _bar(series: int, value) -> str:
    if value is None:
        return '<div class="bar"><span>not judged</span></div>'
    width = max(0.2, 100 * value)
    return f'<div class="bar"><i class="c{series % COLOURS}" style="width:{width:.1f}%"></i><span>{100 * value:.1f}</span></div>'


def line_chart(title: str, series: dict, x_label: str, y_label: str, marks=()) -> str:
    """Lines over a common x axis.

    Parameters
    ----------
    series : dict of str to (sequence, sequence)
        x and y of every line.
    marks : sequence of (float, float, str)
        Points to point out, each with a text.
    """
    points = [(x, y) for xs, ys in series.values() for x, y in zip(xs, ys)] + [mark[:2] for mark in marks]
    x_axis, y_axis = (
        _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT),
        _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP),
    )
    parts = [_grid(x_axis, y_axis)]
    for k, (xs, ys) in enumerate(series.values()):
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in zip(xs, ys))
        parts.append(f'<polyline class="line c{k % COLOURS}" points="{path}"/>')
    for x, y, text in marks:
        parts.append(
            f'<circle class="mark" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="4"><title>{escape(text)}</title></circle>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    label = escape(f"{title}: {y_label} over {x_label}")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    keys = legend(series) if len(series) > 1 else ""
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{keys}{svg}</figure>'


def _grid(x_axis, y_axis) -> str:
    parts = []
    for value in y_axis.ticks:
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in x_axis.ticks:
        parts.append(
            f'<text x="{x_axis.at(value):.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{value:g}</text>'
        )
    return "".join(parts)


class _Axis:
    """A linear axis from data to pixels, with round numbers to label."""

    def __init__(self, values, start: float, end: float):
        low, high = (min(values), max(values)) if values else (0, 1)
        if high <= low:
            low, high = low - 0.5, high + 0.5
        step = 10 ** math.floor(math.log10((high - low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 5.5)
        first = math.ceil(low / step - 1e-9)
        count = math.floor(high / step + 1e-9) - first + 1
        self.ticks = [round((first + k) * step, 12) for k in range(count)]
        self._low, self._scale, self._start = low, (end - start) / (high - low), start

    def at(self, value: float) -> float:
        """Pixel of a value."""
        return self._start + (value - self._low) * self._scale


def confusion(names, counts) -> str:
    """The confusion matrix as shares of the truth; rows and columns without a pixel are left out.

    Parameters
    ----------
    names : sequence of str
        C + 1 class names.
    counts : numpy.ndarray, shape (C + 1, C + 2), int64
        Last column: predictions of 255.
    """
    rows_used, columns = np.flatnonzero(counts.sum(1)), np.flatnonzero(counts.sum(0))
    column_names = [*names, "255"]
    head = "".join(f'<th scope="col"><span>{escape(column_names[c])}</span></th>' for c in columns)
    rows = []
    for row in rows_used:
        share = counts[row] / max(counts[row].sum(), 1)
        cells = "".join(_shade(share[c], row == c, names[row], column_names[c]) for c in columns)
        rows.append(f'<tr><th scope="row">{escape(names[row])}</th>{cells}</tr>')
    body = f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table class="confusion">{body}</table></div>'


def _shade(share: float, right: bool, truth: str, prediction: str) -> str:
    text = escape(f"{truth} called {prediction}: {100 * share:.1f} %")
    if share < 0.0005:  # most cells; so that the page stays small with many classes
        return "<td></td>"
    number = f"{100 * share:.0f}" if share >= 0.005 else ""
    kind = "right" if right else "wrong"
    return f'<td class="{kind}" style="--share:{math.sqrt(share):.3f}" title="{text}">{number}</td>'


def _cell(value) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else escape(str(value))
