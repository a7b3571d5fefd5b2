"""Pickled `.npy` files of other programs, read without running anything that they name.

In: a `.npy` file: an array, or a pickled dictionary of arrays as PSA, SEAM, IRN, VWE, EPS and PPC write them. Out: arrays,
and dictionaries and lists of arrays and plain values. The pickle's few known names stand for small constructors of this
module; numpy's own are never called with what the file says, because a crafted dtype can make them read any memory. IRN's
dictionaries hold torch tensors: these are read here too, without torch.
"""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np

from icd.errors import InputError
from icd.files import write_atomic

_WANTED = "a .npy file with an array or a dictionary of arrays"
_REMEDY = "Only numpy arrays, torch tensors and plain values are read from pickles."
_KINDS = "biufSUO"
_TORCH_TYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
_TORCH_MAGIC, _TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


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
    content = _finish(_Unpickler(stream).load())
    return content.item() if isinstance(content, np.ndarray) and content.shape == () else content


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in _CONSTRUCTORS:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return _CONSTRUCTORS[module, name]


class _Dtype:
    """A simple dtype; its state may set the byte order and nothing else."""

    def __init__(self, code, *_):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in _KINDS or self.dtype.fields or self.dtype.subdtype:
            raise pickle.UnpicklingError(f"an array of {self.dtype}")

    def __setstate__(self, state):
        order, parts = state[1], state[2:5]
        if any(part is not None for part in parts) or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array of a composed type")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array whose content arrives as its state: (version, shape, dtype, Fortran order, content)."""

    value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content, dtype: _Dtype, shape, order="C"):
    if dtype.dtype.kind != "O":
        flat = np.frombuffer(content, dtype.dtype)
        return flat.astype(dtype.dtype.newbyteorder("=")).reshape(shape, order=order)
    flat = np.empty(len(content), object)
    flat[:] = content
    return flat.reshape(shape, order=order)


def _reconstruct(marker, *_):
    if marker is not _NDARRAY:
        raise pickle.UnpicklingError("an array of an unknown class")
    return _Array()


def _scalar(dtype: _Dtype, content):
    return _array(content, dtype, ())[()]


def _encode(text, encoding="latin1"):
    return text.encode("latin1")  # how protocol 2 spells bytes


def _storage_of_bytes(content):
    """torch's storage inside a pickle: five pickles in a row, then the raw elements (torch.save's legacy format)."""
    stream = io.BytesIO(content)
    heads = [_Unpickler(stream).load() for _ in range(3)]
    if heads[:2] != [_TORCH_MAGIC, _TORCH_PROTOCOL] or not heads[2].get("little_endian", False):
        raise pickle.UnpicklingError("a torch storage of another format")
    code, key = _StorageUnpickler(stream).load()
    if _Unpickler(stream).load() != [key]:
        raise pickle.UnpicklingError("a torch storage with more than one part")
    (length,) = struct.unpack("<q", stream.read(8))
    dtype = np.dtype(code).newbyteorder("<")
    content = stream.read(length * dtype.itemsize)
    return np.frombuffer(content, dtype, length)


class _StorageUnpickler(_Unpickler):
    def find_class(self, module, name):
        if module == "torch" and name in _TORCH_TYPES:
            return _TORCH_TYPES[name]
        return super().find_class(module, name)

    def persistent_load(self, parts):
        return parts[1], parts[2]  # ("storage", type, key, location, elements, view)


def _tensor(storage, offset, size, stride, *_):
    if (
        not isinstance(storage, np.ndarray)
        or len(size) != len(stride)
        or min((0, offset, *size, *stride)) < 0
    ):
        raise pickle.UnpicklingError("a torch tensor that does not fit its storage")
    if 0 in size:
        return np.zeros(size, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if last >= len(storage):
        raise pickle.UnpicklingError("a torch tensor that does not fit its storage")
    positions = np.full((), offset, np.int64)
    for n, step in zip(size, stride):
        positions = positions[..., None] + np.arange(n) * step
    return storage[positions]


def _finish(value):
    """Replace the constructors' stand-ins by arrays."""
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        finished = np.empty(value.shape, object)
        for place in np.ndindex(value.shape):
            finished[place] = _finish(value[place])
        return finished
    if isinstance(value, dict):
        return {key: _finish(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_finish(entry) for entry in value)
    return value


_NDARRAY = ("numpy", "ndarray")
_CONSTRUCTORS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage_of_bytes,
}
