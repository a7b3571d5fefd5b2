"""Checks of arguments that the native kernels rely on. In: what a user gave. Out: the same as a C-contiguous array of the
kernel's dtype or a number in range, or `InputError`.
"""

from __future__ import annotations

import numbers

import numpy as np

from icd.errors import InputError


def checked_array(name: str, value, dtype, shape) -> np.ndarray:
    """Check an array and bring it into the form a kernel reads.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : array_like
        Read-only and non-contiguous arrays are welcome.
    dtype : numpy dtype
        `uint8` takes only uint8; an integer dtype takes any integers in its range; `float32` takes any real numbers
        that stay finite in it.
    shape : tuple
        One entry an axis: the length it must have, or a letter for any length above 0.

    Returns
    -------
    numpy.ndarray
        C-contiguous, of `dtype`.

    Raises
    ------
    InputError
        Wrong number of axes, length, dtype, an empty axis, NaN, infinity, or a value that `dtype` cannot hold.
    """
    dtype = np.dtype(dtype)
    wanted = f"{dtype} ({', '.join(map(str, shape))})"
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(name, wanted, "a ragged sequence") from None
    found = f"{array.dtype} {array.shape}"
    kinds = {"u": "u", "i": "iu", "f": "iuf"}[dtype.kind]
    if array.dtype.kind not in kinds or (dtype.kind == "u" and array.dtype != dtype):
        raise InputError(name, wanted, found, f"Convert it to {dtype}.")
    fits = array.ndim == len(shape) and all(
        length > 0 if isinstance(axis, str) else length == axis for length, axis in zip(array.shape, shape)
    )
    if not fits:
        raise InputError(name, wanted, found)
    if dtype.kind == "i" and array.dtype != dtype:
        low, high, limits = array.min(), array.max(), np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise InputError(name, f"values that fit {dtype}", f"{low} to {high}")
    with np.errstate(over="ignore"):  # an overflow to infinity is reported below
        array = np.ascontiguousarray(array, dtype)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(name, f"finite {dtype} values", "NaN, infinity, or values too large")
    return array


def checked_number(name: str, value, low: float, high: float) -> float:
    """Check a real number in `low..high`; `InputError` otherwise."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (numbers.Real, np.number))
        or not low <= value <= high
    ):
        raise InputError(name, f"a number in {low}..{high}", repr(value))
    return float(value)


def checked_integer(name: str, value, low: int, high: int = 2**31 - 1) -> int:
    """Check an integer in `low..high`; `InputError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        raise InputError(name, f"an integer in {low}..{high}", repr(value))
    return int(value)


def checked_threads(threads) -> int:
    """Check a number of threads, 0 = all processors."""
    return checked_integer("threads", threads, 0, 1024)
