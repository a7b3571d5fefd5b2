"""Writes `.caffemodel` files: the protocol buffer's wire format, by its public description."""

from __future__ import annotations

import numpy as np

# Fields of a layer, its name and its arrays in the network, in the present format and in the one before.
FORMATS = {"present": (100, 1, 7), "before": (2, 4, 6)}


def varint(value: int) -> bytes:
    """7 bits a byte, the lowest first."""
    parts = []
    while True:
        value, rest = value >> 7, value & 127
        parts.append(rest | (128 if value else 0))
        if not value:
            return bytes(parts)


def field(number: int, content) -> bytes:
    """An integer, or bytes with their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, form: str) -> bytes:
    """An array with its shape: a message of its own, or four numbers."""
    if form == "present":
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    else:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(field(number, size) for number, size in enumerate(sizes, 1))
    return shape + field(5, array.astype("<f4").tobytes())


def caffemodel(layers: dict, form="present") -> bytes:
    """A network of named layers, each a list of arrays; with a field in front that nobody reads."""
    number, name_field, array_field = FORMATS[form]
    parts = [field(1, b"a network")]
    for name, arrays in layers.items():
        body = field(name_field, name.encode()) + field(5 if form == "before" else 10, 4)
        parts.append(
            field(number, body + b"".join(field(array_field, blob(array, form)) for array in arrays))
        )
    return b"".join(parts)
