"""What torch's pickles are made of: storages, tensors, and what stands beside them. In: a pickle's arguments. Out: arrays.

All that `torch.load(weights_only=True)` reads has a constructor in `CONSTRUCTORS`; what numpy cannot hold becomes `Aside`, so
that it does not stop what stands beside it.
"""

from __future__ import annotations

import math
import pickle

import numpy as np

from icd.foreign.pickles import Pending, TakesState, check_key

STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}  # fmt: skip
# What torch can read and we do not write; the types of 16 bits that numpy lacks are named by what their bytes are.
READ_STORAGES = {
    **STORAGES, "ComplexFloatStorage": "<c8", "ComplexDoubleStorage": "<c16", "BFloat16Storage": "bfloat16",
    "UntypedStorage": "|u1", "QInt8Storage": "|i1", "QUInt8Storage": "|u1", "QInt32Storage": "<i4",
}  # fmt: skip
_DTYPES = {
    "float64": "<f8", "double": "<f8", "float32": "<f4", "float": "<f4", "float16": "<f2", "half": "<f2",
    "int64": "<i8", "long": "<i8", "int32": "<i4", "int": "<i4", "int16": "<i2", "short": "<i2", "int8": "|i1",
    "uint8": "|u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "|b1", "complex64": "<c8",
    "cfloat": "<c8", "complex128": "<c16", "cdouble": "<c16", "bfloat16": "bfloat16",
}  # fmt: skip
_NAMES = (
    "complex32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "qint8", "quint8", "qint32",
    "quint4x2", "strided", "sparse_coo", "sparse_csr", "per_tensor_affine", "per_channel_affine", "contiguous_format",
    "channels_last", "preserve_format",
)  # fmt: skip
_MOST_EXPANDED = 2**24  # numbers of a tensor that repeats those of its storage


class Storage(TakesState):
    """The numbers behind tensors; they arrive with `fill`, after the pickle that names them."""

    def __init__(self, code: str, count: int):
        if type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a storage of an impossible size")
        self.short = code == "bfloat16"  # the upper halves of float32
        self.dtype, self.count, self.elements = np.dtype("<u2" if self.short else code), count, None

    def fill(self, content: np.ndarray) -> None:
        """Take the first bytes of `content`, uint8, as the storage's numbers."""
        size = self.count * self.dtype.itemsize
        if size > len(content):
            raise pickle.UnpicklingError(f"a storage of {size} bytes where there are {len(content)}")
        self.elements = content[:size].view(self.dtype)

    def of_type(self, code: str):
        """The same numbers as another type; torch's untyped storages count bytes."""
        other = Storage(
            code, self.elements.nbytes // np.dtype("<u2" if code == "bfloat16" else code).itemsize
        )
        other.fill(self.elements.view(np.uint8))
        return other

    def __setstate__(self, state):
        raise pickle.UnpicklingError("a state for a storage")


class _Tensor(Pending):
    """A window of a storage: sizes and strides in elements, as torch means them."""

    def __init__(self, storage, offset, size, stride, *_):
        size, stride = _sizes(size), _sizes(stride)
        if type(offset) is not int:
            raise pickle.UnpicklingError("a tensor at no place")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        self.code = None

    def finish(self):
        if not isinstance(self.storage, Storage) or len(self.size) != len(self.stride):
            raise pickle.UnpicklingError("a tensor without storage")
        if min((0, self.offset, *self.size, *self.stride)) < 0:
            raise pickle.UnpicklingError("a tensor of negative size")
        storage = self.storage if self.code is None else self.storage.of_type(self.code)
        elements, dtype = storage.elements, storage.dtype
        if 0 in self.size:
            return np.zeros(self.size, np.float32 if storage.short else dtype)
        last, count = self.offset, 1
        for n, step in zip(self.size, self.stride):
            last, count = last + (n - 1) * step, count * n
        # The second condition keeps a tensor that repeats a few numbers (torch's expand) from growing without bounds.
        if last >= len(elements) or count > max(len(elements), _MOST_EXPANDED):
            raise pickle.UnpicklingError(f"a tensor {self.size[:8]} that does not fit its storage")
        strides = [step * dtype.itemsize for step in self.stride]
        window = np.lib.stride_tricks.as_strided(elements[self.offset :], self.size, strides)
        return (window.astype(np.uint32) << 16).view(np.float32) if storage.short else window


def _sizes(value) -> tuple:
    """A tuple of whole numbers, which torch.Size is too."""
    if (
        not isinstance(value, (tuple, list))
        or len(value) > 64
        or not all(type(side) is int for side in value)
    ):
        raise pickle.UnpicklingError("a tensor of an impossible shape")
    return tuple(value)


def _tensor_of_type(storage, offset, size, stride, gradient, hooks, dtype, *_):
    """`_rebuild_tensor_v3`: an untyped storage and the type of its numbers."""
    tensor = _Tensor(storage, offset, size, stride)
    if not isinstance(dtype, str) or dtype not in _DTYPES.values():
        return Aside("tensor of a type that numpy does not have")
    tensor.code = dtype
    return tensor


class Aside(TakesState):
    """Stands for what torch can read and numpy does not have: a quantized or sparse tensor, a device. `what` names it."""

    def __init__(self, what: str = "something"):
        self.what = what

    def __repr__(self):
        return f"<{self.what}>"

    def __setstate__(self, state):
        pass


def _aside(what: str):
    def make(*_):
        return Aside(what)

    return make


def _counter(pairs=(), *_):
    return dict(pairs) if isinstance(pairs, (dict, list, tuple)) else {}


def _tuple(parts=(), *_):
    return tuple(parts) if isinstance(parts, (list, tuple)) else ()


def _set(parts=(), *_):
    for part in parts if isinstance(parts, (list, tuple, set, frozenset)) else ():
        check_key(part)
    return set(parts)


class _Sparse(Pending):
    """A sparse tensor in coordinates, made dense where it is small enough."""

    def __init__(self, layout, parts, *_):
        self.parts = parts

    def finish(self):
        indices, values, size = (
            part.finish() if isinstance(part, Pending) else part for part in self.parts[:3]
        )
        size = _sizes(size)
        if (
            min(size, default=0) < 0
            or math.prod(size) > _MOST_EXPANDED
            or indices.shape != (len(size), len(values))
        ):
            return Aside("sparse tensor")
        dense = np.zeros(size, values.dtype)
        np.add.at(dense, tuple(indices), values)
        return dense


def _of_subclass(function, kind, arguments, state=None):
    """`_rebuild_from_type_v2`: a tensor with attributes, which are left aside."""
    return function(*arguments)


class _Parameter(Pending):
    """torch's Parameter: around a tensor, which torch before 0.2 put first into a state of five parts."""

    tensor = None

    def __init__(self, tensor=None, *_):
        self.tensor = tensor

    def __setstate__(self, state):
        if isinstance(state, tuple) and len(state) == 5:
            self.tensor = state[0]

    def finish(self):
        if not isinstance(self.tensor, _Tensor):
            raise pickle.UnpicklingError("a parameter without tensor")
        return self.tensor.finish()


CONSTRUCTORS = {
    ("torch._utils", "_rebuild_tensor"): _Tensor,  # torch before 0.4
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_type,
    ("torch._utils", "_rebuild_parameter_with_state"): _Parameter,
    ("torch._utils", "_rebuild_sparse_tensor"): _Sparse,
    ("torch._utils", "_rebuild_qtensor"): _aside("quantized tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _aside("nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _aside("tensor without numbers"),
    ("torch._utils", "_rebuild_wrapper_subclass"): _aside("tensor of a class of its own"),
    ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
    ("torch.serialization", "_get_layout"): _aside("layout"),
    ("torch", "Tensor"): _aside("tensor"),
    ("torch", "Size"): _tuple,
    ("torch", "device"): _aside("device"),
    ("torch.storage", "UntypedStorage"): "|u1",
    **{("torch", name): code for name, code in {**_DTYPES, **READ_STORAGES}.items()},
    **{("torch", name): name for name in _NAMES},
    ("collections", "Counter"): _counter,
    ("collections", "defaultdict"): _counter,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _set,
    ("builtins", "bytearray"): lambda content=b"", *_: (
        bytes(content) if isinstance(content, (bytes, str)) else b""
    ),
    ("builtins", "complex"): lambda real=0, imaginary=0: complex(real, imaginary),
    ("builtins", "slice"): _aside("slice"),
    ("argparse", "Namespace"): _aside("Namespace"),
    ("datetime", "datetime"): _aside("date"),
    ("pathlib", "PosixPath"): _aside("path"),
    ("pathlib", "WindowsPath"): _aside("path"),
}
"""Names in pickles and what stands for them."""
