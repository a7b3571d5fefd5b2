"""The numbers in a `.caffemodel`, read without Caffe. In: the file. Out: named arrays, as a PyTorch state dict has them.

A `.caffemodel` is a protocol buffer: fields of a number, a kind and a content. Only the fields that hold layers, their names
and their numbers are looked at; the rest is skipped. Source: Caffe's file format, `caffe.proto`.
"""

from __future__ import annotations

import math

import numpy as np

from icd.errors import InputError

_WANTED = "a .caffemodel"
# Fields of a network that hold layers: their number, and in a layer the numbers of its name and of its arrays.
_LAYERS = {100: (1, 7), 2: (4, 6)}
_DATA, _SHAPE, _OLD_SHAPE = 5, 7, (1, 2, 3, 4)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_caffemodel(path) -> dict:
    """Read the layers of a `.caffemodel`.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    dict of numpy.ndarray, float32
        "<layer>.weight" and "<layer>.bias" (1-dimensional); of a layer with batch norm's three arrays
        "<layer>.running_mean" and "<layer>.running_var", divided by its third, the weight of the sums.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format.
    """
    try:
        content = np.memmap(path, np.uint8, "r").view(np.ndarray)
        arrays = {}
        for number, layer in _fields(memoryview(content)):
            if number in _LAYERS:
                arrays.update(_layer(layer, *_LAYERS[number]))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(path, _WANTED, "nothing there") from None
    except Exception as error:  # whatever a damaged file provokes
        found = f"a damaged or other file ({type(error).__name__}: {error})"
        raise InputError(path, _WANTED, found, "Fetch it again.") from None
    if not arrays:
        raise InputError(path, _WANTED, "no layers with numbers", "Fetch it again.")
    return arrays


def _fields(message: memoryview):
    """Number and content of every field: an integer or a part of the message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind, length = tag & 7, {_FIXED64: 8, _FIXED32: 4}.get(tag & 7, 0)
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind in (_BYTES, _FIXED64, _FIXED32):
            if kind == _BYTES:
                length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f"a field of kind {kind}")
        if position > len(message):
            raise ValueError("a field that goes on behind the end")
        yield tag >> 3, value


def _varint(message: memoryview, position: int):
    """An integer of 7 bits a byte, the lowest first, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + shift // 7 + 1
    raise ValueError("an integer of more than ten bytes")


def _layer(message: memoryview, name_field: int, array_field: int) -> dict:
    fields = list(_fields(message))
    name = next((bytes(value).decode() for number, value in fields if number == name_field), "")
    blobs = [_array(value) for number, value in fields if number == array_field]
    if len(blobs) == 3 and blobs[2].size == 1:
        factor = float(blobs[2].reshape(-1)[0])
        with np.errstate(all="ignore"):  # numbers that are not finite are reported later
            statistics = [blob.reshape(-1) * np.float32(1 / factor if factor else 0) for blob in blobs[:2]]
        parts = zip(("running_mean", "running_var"), statistics)
    elif len(blobs) > 2:
        raise ValueError(f"the layer {name} with {len(blobs)} arrays")
    else:
        parts = zip(("weight", "bias"), [*blobs[:1], *(blob.reshape(-1) for blob in blobs[1:])])
    return {f"{name}.{field}": array for field, array in parts}


def _array(message: memoryview) -> np.ndarray:
    fields = list(_fields(message))
    data = np.concatenate(
        [np.frombuffer(value, "<f4") for number, value in fields if number == _DATA] or [[]]
    )
    shape = [value for number, value in fields if number == _SHAPE]
    if shape:
        sizes = [n for number, value in _fields(shape[0]) for n in _dimensions(value)]
    else:
        old = dict(field for field in fields if field[0] in _OLD_SHAPE)
        sizes = [old.get(number, 1) for number in _OLD_SHAPE]
    if math.prod(sizes) != data.size:
        raise ValueError(f"{data.size} numbers for a shape of {sizes}")
    return data.reshape(sizes)


def _dimensions(value):
    """The integers of a repeated field, packed or alone."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = _varint(value, position)
        yield number
