"""Counts of pixels by truth and prediction: one pass over an image, exact in int64.

In: two label maps of one image. Out: a table from which every convention's score follows, so that masks are read once.
"""

from __future__ import annotations

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError
from icd.evaluate.policies import Convention


def joint_table(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count every pair of values.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, shape (H, W), uint8

    Returns
    -------
    numpy.ndarray, shape (256, 256), int64
        Pixels by truth (row) and prediction (column).
    """
    pairs = truth.astype(np.uint16)
    pairs <<= 8
    pairs |= prediction
    return count_values(pairs, 65536).reshape(256, 256)


def count_values(values: np.ndarray, number: int) -> np.ndarray:
    """Count every value of an array, run by run: masks are made of long runs, so most pixels are only compared.

    Parameters
    ----------
    values : numpy.ndarray, uint8 or uint16, all below `number`

    Returns
    -------
    numpy.ndarray, shape (number,), int64
    """
    flat = values.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    if 4 * len(ends) > len(flat):  # noise rather than a mask
        return np.bincount(flat, minlength=number)
    ends = np.append(ends, len(flat) - 1)[: len(flat)]
    lengths = np.diff(ends, prepend=-1)
    return np.bincount(flat[ends], lengths, number).astype(np.int64)  # float64 sums are exact below 2^53


def class_counts(
    table: np.ndarray, classes: int, convention: Convention, truth_name, prediction_name
) -> np.ndarray:
    """Reduce a table of values to a table of classes.

    Parameters
    ----------
    table : numpy.ndarray, shape (256, 256), int64
    classes : int
        C, the number of foreground classes.
    truth_name, prediction_name : str or os.PathLike
        For the message.

    Returns
    -------
    numpy.ndarray, shape (C + 1, C + 2), int64
        Rows: truth 0..C (255 is left out); columns: prediction 0..C, then undefined (255).

    Raises
    ------
    InputError
        A value is neither a class number nor 255, or a prediction holds 255, and the convention refuses that.
    """
    known = table[:IGNORE]
    if convention.unknown_truth == "refuse":
        refuse_unknown(truth_name, known.sum(1), classes)
    known = known[: classes + 1]
    if convention.unknown_prediction == "refuse":
        refuse_unknown(prediction_name, known.sum(0)[:IGNORE], classes)
    if convention.undefined == "refuse" and known[:, IGNORE].any():
        found = f"{int(known[:, IGNORE].sum())} pixels of 255"
        remedy = (
            f"The evaluator of {convention.name} breaks on them; choose a policy: drop, background or error."
        )
        raise InputError(prediction_name, "class numbers only", found, remedy)
    undefined = known[:, classes + 1 :].sum(1, keepdims=True)
    return np.concatenate([known[:, : classes + 1], undefined], 1)


def refuse_unknown(name, pixels: np.ndarray, classes: int) -> None:
    """Raise `InputError` where there are pixels of a value above `classes`.

    Parameters
    ----------
    name : str or os.PathLike
        The file, for the message.
    pixels : numpy.ndarray, shape (255,)
        Number of pixels by value.
    """
    strange = classes + 1 + np.flatnonzero(pixels[classes + 1 :])
    if len(strange):
        found = f"the value {', '.join(map(str, strange[:5]))}"
        remedy = "Is the number of classes right (--classes)?"
        raise InputError(name, f"class numbers 0..{classes} and {IGNORE}", found, remedy)
