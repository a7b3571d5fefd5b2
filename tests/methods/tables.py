"""The goldens' tables: a row of 65 numbers stands for an array, its norm and its first 64 entries."""

from __future__ import annotations

import numpy as np


def rows_beside(rows, arrays):
    """Norm, golden norm, first entries, golden ones, and the root of the mean square, of every array."""
    for row, array in zip(rows, arrays):
        values = array.astype(np.float64).ravel()
        first = np.zeros(64)
        first[: min(64, values.size)] = values[:64]
        yield np.linalg.norm(values), row[0], first, row[1:], np.linalg.norm(values) / np.sqrt(values.size)


def compare_tables(parity, part, what, rows, arrays, norm_tolerance, first_tolerance, names):
    """Compare arrays with a table by norm and, unless the tolerance is None, by first entries."""
    norms, firsts = [], []
    for name, (norm, expected, first, expected_first, rms) in zip(names, rows_beside(rows, arrays)):
        norms.append(abs(norm - expected) / max(expected, 1e-30))
        # Of ICD's, whose gradient is tiny: 30 % (golden README).
        factor = first_tolerance / 0.3 if name == "conv1_1_bias" else 1
        firsts.append(np.abs(first - expected_first).max() / max(rms, 1e-30) * factor)
    title = f"{what}: norms of {len(norms)} arrays (relative)"
    parity(part, title, norms, np.zeros(len(norms)), norm_tolerance)
    if first_tolerance is not None:
        parity(part, f"{what}: first 64 entries (of the rms)", firsts, np.zeros(len(firsts)), first_tolerance)


def decays(deltas, initials) -> np.ndarray:
    """Projections of updates on initial values: a wrong decay, multiplier or gradient scale shows that norms hide."""
    return np.array([(d * v).sum() / (v * v).sum() for d, v in zip(deltas, initials)])
