"""Files of the safetensors library, read with numpy. In: a `.safetensors` file. Out: names and arrays."""

from __future__ import annotations

import numpy as np

from icd.errors import InputError, reason_of

_WANTED = "a checkpoint in the format safetensors"
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def read_safetensors(path) -> dict:
    """Read all tensors of a file.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    dict of str to numpy.ndarray
        bfloat16 becomes float32.

    Raises
    ------
    InputError
        The file is missing or damaged, or has a tensor of a type that numpy does not have.
    """
    from safetensors import SafetensorError, deserialize  # here: only these files need the package

    try:
        with open(path, "rb") as file:
            parts = deserialize(file.read())
    except OSError as error:
        raise InputError(path, _WANTED, reason_of(error)) from None
    except (SafetensorError, ValueError, OverflowError) as error:
        raise InputError(path, _WANTED, f"a damaged or other file ({error})", "Fetch it again.") from None
    return {name: _array(path, name, part) for name, part in parts}


def _array(path, name: str, part: dict) -> np.ndarray:
    content, shape = bytes(part["data"]), tuple(part["shape"])
    if part["dtype"] == "BF16":  # the upper half of float32
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if part["dtype"] not in _DTYPES:
        raise InputError(
            path, "tensors of numpy's types or bfloat16", f"{part['dtype']} for {name!r}", "Save it as F32."
        )
    return np.frombuffer(content, _DTYPES[part["dtype"]]).reshape(shape)
