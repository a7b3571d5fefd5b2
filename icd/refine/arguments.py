"""Checks of arguments that the native kernels rely on. In: what a user gave. Out: the same as a C-contiguous array of the
kernel's dtype or a number in range, or `InputError`. Also for what would take more memory than there is.

Alignment is the business of `csrc/bindings.cpp`, through which every array goes.
"""

from __future__ import annotations

import numbers
from pathlib import Path

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
        Wrong number of axes, length, dtype, an empty axis, NaN, infinity, a value that `dtype` cannot hold, or too little
        memory for a copy in this form.
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
    if array.dtype != dtype or not array.flags.c_contiguous:
        check_memory(name, array.size * dtype.itemsize, f"a copy of {found} as {dtype}")
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


def check_memory(name: str, needed: int, purpose: str) -> None:
    """Refuse, before it is taken, memory that is not there.

    Parameters
    ----------
    name : str
        The argument that makes the need large.
    needed : int
        Bytes.
    purpose : str
        What they are for, with the sizes that matter.

    Raises
    ------
    InputError
        More than is available by `available_memory`. Not for less than 64 MB, which is not worth asking.
    """
    if needed < 2**26:
        return
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(
            name,
            f"a size for which {available / 1e6:.0f} MB suffice, the memory that is available",
            f"{needed / 1e6:.0f} MB for {purpose}",
            "Use smaller inputs, or a machine with more memory.",
        )


def available_memory(root="/"):
    """Bytes that a program can still take on this machine and in its control group; None where the system does not say.

    `root` is where `proc` and `sys` are.
    """
    found = []
    for line in _lines(Path(root, "proc/meminfo")):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    group = Path(root, "sys/fs/cgroup")
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        numbers_of = [line for name in (limit, usage) for line in _lines(group / name)]
        if len(numbers_of) == 2 and all(number.isdigit() for number in numbers_of):
            statistics = dict(line.split()[:2] for line in _lines((group / limit).parent / "memory.stat"))
            cached = int(statistics.get("inactive_file", 0))  # given back when memory is short
            found.append(max(0, int(numbers_of[0]) - int(numbers_of[1]) + cached))
    return min(found, default=None)


def _lines(path: Path) -> list:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
