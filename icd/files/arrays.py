"""Arrays in `.npz` and `.npy` files, read without pickles. What a header claims is checked before memory is taken for it."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np

from icd.errors import InputError, reason_of

MOST_BYTES = 2**32
"""Of one file's arrays."""
_MOST_DEFLATED = 1032  # deflate makes at most so many bytes of one
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream) -> tuple:
    """Read the header of a `.npy`; the stream stands at its data afterwards.

    Returns
    -------
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        It is no header of version 1 or 2, or its shape is none.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"a .npy of version {version}")
    shape, _, dtype = _HEADERS[version](stream)
    if any(not isinstance(side, int) or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError("a header with an impossible shape")
    return shape, dtype


def claimed_bytes(shape, dtype) -> int:
    """The memory that an array of this shape takes, without overflow."""
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    return size


def read_array(content: bytes) -> np.ndarray:
    """Read a whole `.npy` of numbers or texts.

    Raises
    ------
    ValueError
        It is damaged, holds objects, or claims more than it has.
    """
    stream = io.BytesIO(content)
    shape, dtype = read_header(stream)
    needed, there = claimed_bytes(shape, dtype), len(content) - stream.tell()
    if dtype.hasobject or needed > there:
        raise ValueError("objects" if dtype.hasobject else f"a header of {needed} bytes on {there}")
    return np.load(io.BytesIO(content), allow_pickle=False)


def read_arrays(path, wanted: str, names=None, missing: str = "", damaged: str = "") -> dict:
    """Read arrays of a `.npz`.

    Parameters
    ----------
    wanted : str
        What is expected there, for the message.
    names : callable, optional
        Name -> whether it is read; all by default.
    missing, damaged : str
        What to do where the file is not there, or damaged.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    InputError
        The file is missing, damaged, holds objects, or claims more than it has or than `MOST_BYTES`.
    """
    try:
        with _archive(path) as archive:
            return _members(archive, names)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(path, wanted, "nothing there", missing) from None
    except OSError as error:
        raise InputError(path, wanted, reason_of(error), damaged) from None
    except MemoryError:
        raise InputError(path, wanted, "arrays larger than the memory", damaged) from None
    except Exception as error:  # whatever a damaged archive provokes
        raise InputError(path, wanted, f"a damaged or other file ({error})", damaged) from None


@contextlib.contextmanager
def _archive(path):
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        yield archive


def _members(archive, names) -> dict:
    found, total = {}, 0
    for info in archive.infolist():
        name = info.filename[: -len(".npy")]
        if not info.filename.endswith(".npy") or (names is not None and not names(name)):
            continue
        if name in found:
            raise ValueError(f"two arrays {name}")
        total += info.file_size
        if info.file_size > _MOST_DEFLATED * (info.compress_size + 64) or total > MOST_BYTES:
            raise ValueError(f"{name}: a claim of {info.file_size} bytes on {info.compress_size}")
        found[name] = read_array(archive.read(info))
    return found
