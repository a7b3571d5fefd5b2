"""Files of `torch.save`, read and written without torch.

In: a `.pth` file, in the zip format (torch 1.6 and newer) or the one before. Out: what was saved, with every tensor as a
numpy array that looks into the mapped file, so that a large checkpoint is read when its numbers are used. The other way:
dictionaries of arrays become a file in the zip format that `torch.load(weights_only=True)` reads.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from icd.errors import InputError, printable, reason_of
from icd.files import open_atomic
from icd.foreign.pickles import Unpickler, finished
from icd.foreign.torch_types import CONSTRUCTORS, READ_STORAGES, STORAGES, Storage

_WANTED = "a checkpoint of torch.save"
_REMEDY = "Only tensors, numpy arrays and plain values are read; with other things in it, save its state_dict alone."
_UNPACKED = (
    "A checkpoint is one file, which is a zip archive inside: take it as it was before it was unpacked."
)
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ALIGNMENT = 64


def read_torch(path):
    """Read a file of `torch.save`.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    dict, list, numpy.ndarray or plain value
        What was saved. The arrays of tensors are read-only and of the tensor's own type, shape and strides.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, or its pickle names anything but tensors, arrays and plain
        values.
    """
    try:
        content = np.memmap(path, np.uint8, "r").view(np.ndarray)
        with open(path, "rb") as file:
            head = file.read(16)
            file.seek(0)
            if head.startswith(b"PK"):
                return finished(_read_zip(file, content))
            if head.startswith(b"\x80"):
                return finished(_read_legacy(file, content))
    except IsADirectoryError:
        raise InputError(path, _WANTED, _kind_of_folder(path), _UNPACKED) from None
    except OSError as error:
        raise InputError(path, _WANTED, reason_of(error)) from None
    except RecursionError:
        raise InputError(path, _WANTED, "lists too deep in each other", _REMEDY) from None
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise InputError(path, _WANTED, f"{type(error).__name__}: {error}", _REMEDY) from None
    raise InputError(path, _WANTED, f"a file that begins with {head!r}", "Fetch it again.")


def _kind_of_folder(path) -> str:
    """What a folder in the place of a checkpoint is."""
    unpacked = any(Path(path).glob("data.pkl")) or any(Path(path).glob("*/data.pkl"))
    return "a folder: a checkpoint that was unpacked" if unpacked else "a folder"


class TorchUnpickler(Unpickler):
    """Knows tensors too; `storages` are those that the pickle has named so far."""

    def __init__(self, stream, encoding="utf-8"):
        super().__init__(stream, encoding=encoding)
        self.storages = {}

    def persistent_load(self, parts):
        """The storage of ("storage", type, key, location, elements), in the older format with a sixth part."""
        kind, code, key, _, count, *view = (
            parts if isinstance(parts, tuple) and len(parts) in (5, 6) else (None,) * 5
        )
        known = isinstance(code, str) and code in READ_STORAGES.values()
        if kind != "storage" or not known or not isinstance(key, str) or view not in ([], [None]):
            raise pickle.UnpicklingError("a storage of another kind")
        storage = self.storages.setdefault(key, Storage(code, count))
        new = Storage(code, count)
        if (storage.dtype, storage.short, storage.count) != (new.dtype, new.short, count):
            raise pickle.UnpicklingError(f"storage {printable(key, 40)!r} with two types or sizes")
        return storage


def _read_zip(file, content):
    with zipfile.ZipFile(file) as archive:
        roots = [name[: -len("data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise pickle.UnpicklingError("a zip archive without data.pkl")
        records = {info.filename[len(roots[0]) :]: info for info in archive.infolist()}
        if "byteorder" in records and _record(records, "byteorder", content).tobytes() != b"little":
            raise pickle.UnpicklingError("numbers in big-endian order")
        unpickler = TorchUnpickler(io.BytesIO(_record(records, "data.pkl", content)))
        saved = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(_record(records, f"data/{key}", content))
    return saved


def _record(records: dict, name: str, content) -> np.ndarray:
    """The bytes of a record; torch stores them as they are."""
    if name not in records:
        raise pickle.UnpicklingError(f"the record {name} is missing")
    info = records[name]
    header = content[info.header_offset : info.header_offset + 30].tobytes()
    if len(header) < 30 or not header.startswith(b"PK\3\4") or info.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"the record {name} is damaged or compressed")
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    start = info.header_offset + 30 + name_length + extra_length
    record = content[start : start + info.file_size]
    if len(record) != info.file_size or zlib.crc32(record) != info.CRC:
        raise pickle.UnpicklingError(f"the record {name} is truncated or damaged")
    return record


def _read_legacy(stream, content: np.ndarray):
    """The format before torch 1.6: five pickles in a row, then a count and the numbers of every storage."""
    magic, protocol, system = (TorchUnpickler(stream).load() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL) or not system.get("little_endian", False):
        raise pickle.UnpicklingError("a pickle of another program, or in big-endian order")
    unpickler = TorchUnpickler(stream)
    saved, keys = unpickler.load(), TorchUnpickler(stream).load()
    if set(keys) != set(unpickler.storages):
        raise pickle.UnpicklingError("storages that the file does not hold")
    position = stream.tell()
    for key in keys:
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", content[position : position + 8].tobytes())
        if count != storage.count:
            raise pickle.UnpicklingError(f"a storage of {count} elements instead of {storage.count}")
        storage.fill(content[position + 8 :])
        position += 8 + storage.elements.nbytes
    return saved


def _storage_of_bytes(content):
    """torch's storage inside another pickle, itself a file in the older format."""
    return _read_legacy(io.BytesIO(content), np.frombuffer(bytearray(content), np.uint8))


TorchUnpickler.constructors = {
    **Unpickler.constructors,
    **CONSTRUCTORS,
    ("torch.storage", "_load_from_bytes"): _storage_of_bytes,
}


def write_torch(path, content: dict) -> None:
    """Write a file that `torch.load(weights_only=True)` reads as tensors on the CPU, atomically.

    Parameters
    ----------
    path : str or os.PathLike
    content : dict
        Of numpy arrays, plain values, or such dictionaries. An array that occurs twice is stored once and stays shared.
    """
    arrays = {}
    pickled = pickle.PROTO + b"\2" + b"".join(_opcodes(content, arrays)) + pickle.STOP
    with open_atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, file, "data.pkl", pickled)
        _add(archive, file, "byteorder", b"little")
        for number, array in arrays.values():
            _add(archive, file, f"data/{number}", array.reshape(-1).view(np.uint8).data)
        _add(archive, file, "version", b"3\n")


def _add(archive, file, name: str, content) -> None:
    name = f"archive/{name}"
    info = zipfile.ZipInfo(name)
    padding = -(file.tell() + 30 + len(name) + 4) % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + bytes(padding)  # so that torch can map the file
    archive.writestr(info, content)


def _opcodes(value, arrays: dict):
    """A pickle of protocol 2 without its first and last opcode; the arrays are collected by identity."""
    if isinstance(value, dict):
        yield pickle.EMPTY_DICT + pickle.MARK
        for key, entry in value.items():
            yield from _opcodes(key, arrays)
            yield from _opcodes(entry, arrays)
        yield pickle.SETITEMS
    elif isinstance(value, np.ndarray):
        yield from _tensor_opcodes(value, arrays)
    else:
        yield pickle.dumps(value, 2)[2:-1]


def _tensor_opcodes(value: np.ndarray, arrays: dict):
    array = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
    number, array = arrays.setdefault(id(value), (len(arrays), array))
    names = {np.dtype(code): name for name, code in STORAGES.items()}
    if array.dtype not in names:
        raise TypeError(f"torch has no type for {array.dtype}")
    yield b"ctorch._utils\n_rebuild_tensor_v2\n" + pickle.MARK + pickle.MARK
    yield from _opcodes("storage", arrays)
    yield f"ctorch\n{names[array.dtype]}\n".encode()
    for part in (str(number), "cpu", array.size):
        yield from _opcodes(part, arrays)
    yield pickle.TUPLE + pickle.BINPERSID
    for part in (0, array.shape, tuple(step // array.itemsize for step in array.strides), False):
        yield from _opcodes(part, arrays)
    yield b"ccollections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    yield pickle.TUPLE + pickle.REDUCE
