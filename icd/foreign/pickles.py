"""Pickles of other programs, read without running anything that they name.

In: a stream with a pickle. Out: dictionaries, lists, plain values and numpy arrays. The few names that a pickle may use
stand for small constructors of this package; numpy's own are never called with what the file says, because a crafted dtype
can make them read any memory. `icd.foreign.torchfile` adds torch's tensors.
"""

from __future__ import annotations

import pickle

import numpy as np

_KINDS = "biufSUO"


class Unpickler(pickle._Unpickler):
    """An unpickler that knows `constructors` and nothing else; `finished` its result.

    It is Python's own in Python: the one in C makes a table as long as the largest number that the file gives a value, so
    that one damaged byte (LONG_BINPUT 2,000,000,000) fills the memory.
    """

    constructors: dict

    def find_class(self, module, name):
        """The constructor that stands for a name; `pickle.UnpicklingError` where there is none."""
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in self.constructors:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return self.constructors[module, name]


class Pending:
    """Stands in a pickle's result for an array whose content comes later."""

    def finish(self) -> np.ndarray:
        """The array."""
        raise NotImplementedError

    def __setstate__(self, state):  # a crafted pickle could otherwise set any attribute
        raise pickle.UnpicklingError(f"a state for {type(self).__name__}")


def finished(value, done=None):
    """Replace the stand-ins in a pickle's result by their arrays.

    Parameters
    ----------
    value : object
        What `Unpickler.load` returned.
    done : dict
        What has been replaced already, by identity: a pickle of 100 bytes can name the same list a billion times.
    """
    done = {} if done is None else done
    if id(value) not in done:
        done[id(value)] = _finished(value.finish() if isinstance(value, Pending) else value, done)
    return done[id(value)]


def _finished(value, done):
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        array = np.empty(value.shape, object)
        for place in np.ndindex(value.shape):
            array[place] = finished(value[place], done)
        return array
    if isinstance(value, dict):
        return {key: finished(entry, done) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(finished(entry, done) for entry in value)
    return value


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


class _Array(Pending):
    """An array whose content arrives as its state: (version, shape, dtype, Fortran order, content)."""

    value = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")

    def finish(self):
        return self.value


class _OrderedDict(dict):
    """A dictionary; what a program has attached to it (torch: the versions of its layers) is left aside."""

    def __setstate__(self, state):
        pass


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
