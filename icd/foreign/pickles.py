"""Pickles of other programs, read without running anything that they name.

In: a stream with a pickle. Out: dictionaries, lists, plain values and numpy arrays. The few names that a pickle may use
stand for small constructors of this package; numpy's own are never called with what the file says, because a crafted dtype
can make them read any memory. `icd.foreign.torchfile` adds torch's tensors.
"""

from __future__ import annotations

import pickle
import struct

import numpy as np

from icd.errors import printable

_KINDS = "biufcSUO"
_PLAIN = (str, bytes, int, float, complex, np.generic)
_DEEPEST, _MOST_ENTRIES, _MOST_DIGITS, _SPARE_BYTES = 60, 2**26, 1000, 1 << 20


class Unpickler(pickle._Unpickler):
    """An unpickler that knows `constructors` and nothing else; `finished` its result.

    It is Python's own in Python: the one in C makes a table as long as the largest number that the file gives a value, so
    that one damaged byte (LONG_BINPUT 2,000,000,000) fills the memory. Its time and memory are linear in the file: what is
    read or rebuilt is never more than the file can hold.
    """

    constructors: dict
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream, **options):
        self._stream = _Bounded(stream)
        self._left = 2 * self._stream.size + _SPARE_BYTES
        super().__init__(self._stream, **options)

    def find_class(self, module, name):
        """The constructor that stands for a name; `pickle.UnpicklingError` where there is none."""
        module = str(module).replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (module, name) not in self.constructors:
            raise pickle.UnpicklingError(f"the pickle asks for {printable(module, 60)}.{printable(name, 60)}")
        return self.constructors[module, name]

    def load_build(self):
        """Give a state to one of our own objects; nothing else takes one."""
        if not isinstance(self.stack[-2], TakesState):
            raise pickle.UnpicklingError(f"a state for {type(self.stack[-2]).__name__}")
        super().load_build()
        self._spend(self.stack[-1])

    def load_reduce(self):
        """Call a constructor."""
        super().load_reduce()
        self._spend(self.stack[-1])

    def _spend(self, value) -> None:
        """One content can be named often, and each time becomes an array of its own."""
        array = value.value if isinstance(value, _Array) else value
        if isinstance(array, np.ndarray):
            self._left -= array.nbytes + 1
            if self._left < 0:
                raise pickle.UnpicklingError("more numbers than the file holds: one content under many names")

    def load_setitem(self):
        """Add an entry to a dictionary."""
        check_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self):
        """Add entries to a dictionary."""
        for key in self.stack[::2]:
            check_key(key)
        super().load_setitems()

    def load_dict(self):
        """Make a dictionary, as protocol 0 does."""
        for key in self.stack[::2]:
            check_key(key)
        super().load_dict()

    def load_additems(self):
        """Add entries to a set."""
        for key in self.stack:
            check_key(key)
        super().load_additems()

    def load_frozenset(self):
        """Make a set that cannot change."""
        for key in self.stack:
            check_key(key)
        super().load_frozenset()

    def load_bytearray8(self):
        """Read bytes whose number stands before them."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def load_decimal(self):
        """Read a number written in digits: Python needs the square of their number to read them."""
        digits = self.readline()[:-1]
        if len(digits) > _MOST_DIGITS:
            raise pickle.UnpicklingError(f"a number of {len(digits)} digits")
        text = digits.decode("ascii").rstrip("L")
        self.append({"00": False, "01": True}[text] if text in ("00", "01") else int(text, 0))

    for _opcode, _method in (
        (pickle.BUILD, load_build), (pickle.REDUCE, load_reduce), (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems), (pickle.DICT, load_dict), (pickle.ADDITEMS, load_additems),
        (pickle.FROZENSET, load_frozenset), (pickle.BYTEARRAY8, load_bytearray8), (pickle.INT, load_decimal),
        (pickle.LONG, load_decimal),
    ):  # fmt: skip
        dispatch[_opcode[0]] = _method


class _Bounded:
    """A stream that never takes memory for more than it holds."""

    def __init__(self, stream):
        self._stream, place = stream, stream.tell()
        self.size = stream.seek(0, 2) - place
        self._end = place + self.size
        stream.seek(place)
        self.readline = stream.readline

    def read(self, count: int) -> bytes:
        """The next `count` bytes, or fewer where there are no more."""
        return self._stream.read(max(0, min(count, self._end - self._stream.tell())))

    def readinto(self, buffer) -> int:
        """Fill a buffer."""
        return self._stream.readinto(buffer)


def check_key(key) -> None:
    """Raise `pickle.UnpicklingError` unless a key of a dictionary or an element of a set is plain.

    A tuple of two references to one tuple, and so on 40 times, takes a hundred bytes, and years to hash.
    """
    parts = key if isinstance(key, tuple) and len(key) <= 16 else (key,)
    if not all(part is None or isinstance(part, _PLAIN) for part in parts):
        raise pickle.UnpicklingError(f"a key that is a {type(key).__name__}")


class TakesState:
    """What a pickle may give a state to (BUILD)."""


class Pending(TakesState):
    """Stands in a pickle's result for an array whose content comes later."""

    def finish(self) -> np.ndarray:
        """The array."""
        raise NotImplementedError

    def __setstate__(self, state):  # a crafted pickle could otherwise set any attribute
        raise pickle.UnpicklingError(f"a state for {type(self).__name__}")


def finished(value):
    """Replace the stand-ins in a pickle's result by their arrays.

    Parameters
    ----------
    value : object
        What `Unpickler.load` returned.

    Raises
    ------
    pickle.UnpicklingError
        Lists and dictionaries lie deeper in each other than 60, or hold more than 67 million entries when every one that
        is named often is counted as often: who walks through them must come to an end.
    """
    return _Finisher().finish(value, 0)[0]


class _Finisher:
    """`done`: results and their entries, by identity, with the originals so that no identity is used twice."""

    def __init__(self):
        self.done = {}

    def finish(self, original, depth: int) -> tuple:
        """The result of one value, and its number of entries with those of all that it holds."""
        known = self.done.get(id(original))
        if known is not None:
            return known[:2]
        if depth > _DEEPEST:
            raise pickle.UnpicklingError(f"lists more than {_DEEPEST} deep in each other")
        value = original.finish() if isinstance(original, Pending) else original
        result, size = self._parts(value, depth + 1)
        if size > _MOST_ENTRIES:
            raise pickle.UnpicklingError("more entries than can be: one list under many names")
        self.done[id(original)] = result, size, original
        return result, size

    def _parts(self, value, depth: int) -> tuple:
        size = 1
        if isinstance(value, np.ndarray) and value.dtype.kind == "O":
            array = np.empty(value.shape, object)
            for place in np.ndindex(value.shape):
                array[place], more = self.finish(value[place], depth)
                size += more
            return array, size
        if isinstance(value, dict):
            entries = {}
            for key, entry in value.items():
                entries[key], more = self.finish(entry, depth)
                size += more
            return entries, size
        if isinstance(value, (list, tuple)):
            parts = [self.finish(entry, depth) for entry in value]
            return type(value)(part for part, _ in parts), size + sum(more for _, more in parts)
        return value, size


class _Dtype(TakesState):
    """A simple dtype; its state may set the byte order and nothing else."""

    def __init__(self, code, *_):
        if not isinstance(code, (str, bytes)) or len(code) > 16:
            raise pickle.UnpicklingError("a type without a name")
        self.dtype = np.dtype(code if isinstance(code, str) else code.decode("ascii"))
        if self.dtype.kind not in _KINDS or self.dtype.fields or self.dtype.subdtype:
            raise pickle.UnpicklingError(f"an array of {self.dtype}")

    def __setstate__(self, state):
        order, parts = _text(state[1]), state[2:5]
        if any(part is not None for part in parts) or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array of a composed type")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array(Pending):
    """An array whose content arrives as its state: (version, shape, dtype, Fortran order, content)."""

    value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")

    def finish(self):
        return self.value


class _OrderedDict(dict, TakesState):
    """A dictionary; what a program has attached to it (torch: the versions of its layers) is left aside."""

    def __setstate__(self, state):
        pass


def _text(value):
    """A text that Python 2 may have pickled as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _array(content, dtype: _Dtype, shape, order="C"):
    if (
        not isinstance(shape, tuple)
        or len(shape) > 32
        or not all(type(side) is int and side >= 0 for side in shape)
    ):
        raise pickle.UnpicklingError("an array of an impossible shape")
    if dtype.dtype.kind != "O":
        content = content.encode("latin1") if isinstance(content, str) else content  # a text of Python 2
        flat = np.frombuffer(content, dtype.dtype)
        return flat.astype(dtype.dtype.newbyteorder("="), copy=False).reshape(shape, order=_text(order))
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


_NDARRAY = ("numpy", "ndarray")
Unpickler.constructors = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _OrderedDict,
}
