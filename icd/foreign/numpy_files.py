"""Pickled `.npy` files of other programs, read without running anything that they name.

In: a `.npy` file: an array, or a pickled dictionary of arrays as PSA, SEAM, IRN, VWE, EPS and PPC write them. Out: arrays,
and dictionaries and lists of arrays and plain values. IRN's dictionaries hold torch tensors: these are read here too,
without torch.
"""

from __future__ import annotations

import io
import pickle

import numpy as np

from icd.errors import InputError, reason_of
from icd.files import write_atomic
from icd.files.arrays import read_array, read_header
from icd.foreign.pickles import finished
from icd.foreign.torchfile import TorchUnpickler

_WANTED = "a .npy file with an array or a dictionary of arrays"
_REMEDY = "Only numpy arrays, torch tensors and plain values are read from pickles."


def read_npy(path):
    """Read a `.npy` file.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    numpy.ndarray, or the dict, list or value that a 0-dimensional object array holds

    Raises
    ------
    InputError
        The file is missing or damaged, or its pickle names anything but arrays and plain values.
    """
    try:
        with open(path, "rb") as file:
            return _read(file.read())
    except OSError as error:
        raise InputError(path, _WANTED, reason_of(error)) from None
    except RecursionError:
        raise InputError(path, _WANTED, "lists too deep in each other", _REMEDY) from None
    except Exception as error:  # whatever a damaged or hostile pickle provokes
        raise InputError(path, _WANTED, f"{type(error).__name__}: {error}", _REMEDY) from None


def write_npy(path, content) -> None:
    """Write an array, or a dictionary of arrays (pickled, as the originals do), atomically."""
    buffer = io.BytesIO()
    np.save(buffer, content if isinstance(content, np.ndarray) else np.array(content, dtype=object))
    write_atomic(path, buffer.getvalue())


def _read(content: bytes):
    stream = io.BytesIO(content)
    _, dtype = read_header(stream)
    if not dtype.hasobject:
        return read_array(content)
    if dtype != np.dtype(object):
        raise pickle.UnpicklingError("an array of composed objects")
    found = finished(
        TorchUnpickler(stream, encoding="latin1").load()
    )  # the bytes of Python 2's texts and arrays
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
