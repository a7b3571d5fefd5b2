"""Pickled `.npy` files of other programs, read without running anything that they name.

In: a `.npy` file: an array, or a pickled dictionary of arrays as PSA, SEAM, IRN, VWE, EPS and PPC write them. Out: arrays,
and dictionaries and lists of arrays and plain values. IRN's dictionaries hold torch tensors: these are read here too,
without torch.
"""

from __future__ import annotations

import io

import numpy as np

from icd.errors import InputError
from icd.files import write_atomic
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
            return _read(io.BytesIO(file.read()))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(path, _WANTED, "nothing there") from None
    except Exception as error:  # whatever a damaged or hostile pickle provokes
        raise InputError(path, _WANTED, f"{type(error).__name__}: {error}", _REMEDY) from None


def write_npy(path, content) -> None:
    """Write an array, or a dictionary of arrays (pickled, as the originals do), atomically."""
    buffer = io.BytesIO()
    np.save(buffer, content if isinstance(content, np.ndarray) else np.array(content, dtype=object))
    write_atomic(path, buffer.getvalue())


def _read(stream):
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read_header(stream)
    if not dtype.hasobject:
        stream.seek(0)
        return np.load(stream, allow_pickle=False)
    content = finished(TorchUnpickler(stream).load())
    return content.item() if isinstance(content, np.ndarray) and content.shape == () else content
