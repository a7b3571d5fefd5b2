"""Checkpoints of other programs into `.params` files under our names, and back. In: a file. Out: a file, and what happened.

Reading a checkpoint needs neither torch nor Caffe; reading and writing `.params` needs MXNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icd.compat import mx
from icd.engine.parameters import checkpoint_name, load_arrays, save_arrays
from icd.errors import InputError
from icd.foreign.numpy_files import read_npy, write_npy
from icd.foreign.safetensors_files import read_safetensors
from icd.foreign.torchfile import read_torch, write_torch
from icd.weights.caffe import read_caffemodel
from icd.weights.families import FAMILIES
from icd.weights.mapping import state_dict_of, to_ours, to_theirs


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes
    ----------
    network : str
        Which network of the family the file holds.
    arrays : int
        The number of arrays, each counted once.
    sizes : dict
        Sizes that the file decides: classes, words.
    aliases : int
        Further keys of the same arrays, compared with them (or, on the way back, written again).
    ignored : dict
        What the table names as left aside: its meaning and number of keys.
    beside : list of str
        What the file holds beside the state dict.
    codebook : str
        The file of the codebook that was read or written too; empty: none.
    """

    network: str
    arrays: int
    sizes: dict
    aliases: int
    ignored: dict
    beside: list
    codebook: str = ""


def convert(family: str, source, target) -> Conversion:
    """Convert a checkpoint of a family into a `.params` file, float32, under Gluon's names.

    VWL-M keeps its codebook in a file of its own; where that lies beside the checkpoint it is converted too.

    Parameters
    ----------
    family : str
        A key of `FAMILIES`.
    source, target : str or os.PathLike

    Raises
    ------
    InputError
        The source is missing, damaged, hostile or of another network; listing what is missing, unknown or misshapen.
    OSError
        The target cannot be written.
    """
    kind, beside = FAMILIES[family].format, []
    _check_paths(source, target)
    if kind == "mxnet":
        arrays = _read_params(source)
    elif kind == "caffe":
        arrays = read_caffemodel(source)
    else:
        read = read_safetensors if str(source).endswith(".safetensors") else read_torch
        arrays, beside = state_dict_of(read(source), source)
    ours, fit = to_ours(family, arrays, source)
    codebook = _codebook_path(source) if FAMILIES[family].codebook else None
    if codebook is not None and codebook.is_file():
        ours.update(_read_codebook(codebook, ours["fc_b_weight"].shape))
    else:
        codebook = None
    _write_params(target, ours)
    return _conversion(fit, beside, sum(len(keys) - 1 for keys in fit.found.values()), codebook)


def convert_back(family: str, source, target) -> Conversion:
    """Convert a `.params` file under our names into a checkpoint of a family; arguments and errors as `convert`."""
    _check_paths(source, target)
    arrays, codebook = _read_params(source), None
    if FAMILIES[family].codebook and "codebook" in arrays:
        words, codebook = arrays.pop("codebook"), _codebook_path(target)
        arrays.pop("codebook_filled", None)
    theirs, fit = to_theirs(family, arrays, source)
    wrapper = FAMILIES[family].wrapper
    if FAMILIES[family].format == "mxnet":
        _write_params(target, theirs)
    else:
        write_torch(target, {wrapper: theirs} if wrapper else theirs)
    if codebook is not None:
        write_npy(codebook, words.reshape(len(words), -1))
    return _conversion(fit, [], sum(len(entry.aliases) for entry in fit.found), codebook)


def _codebook_path(checkpoint) -> Path:
    """Where the codebook of a checkpoint lies: VWL-M's program writes both (spec vwe 1.2)."""
    return Path(checkpoint).with_name(f"{Path(checkpoint).stem}_codebook.npy")


def _read_codebook(path, shape) -> dict:
    """The state of a memory bank; `shape` is (words, channels, 1, 1)."""
    words = read_npy(path)
    if (
        not isinstance(words, np.ndarray)
        or words.dtype.kind != "f"
        or words.shape not in (shape, shape[:2])
        or not np.isfinite(words).all()
    ):
        found = f"{words.dtype} {words.shape}" if isinstance(words, np.ndarray) else type(words).__name__
        raise InputError(path, f"finite numbers of the shape {shape[:2]}, the checkpoint's", found)
    return {"codebook": words.reshape(shape), "codebook_filled": np.ones(1)}


def _check_paths(source, target) -> None:
    if Path(source).resolve() == Path(target).resolve():
        raise InputError(target, "another file than the source", "the source itself")


def _read_params(path) -> dict:
    return {name: array.asnumpy() for name, array in load_arrays(path).items()}


_STATISTICS = (
    "_running_mean",
    "_running_var",
    "_moving_mean",
)  # how our names of batch norm's statistics and states end


def _write_params(path, arrays: dict) -> None:
    # An array of torch may lie anywhere in its file; MXNet wants its numbers aligned and in a row.
    save_arrays(
        path,
        {
            checkpoint_name(name, name.endswith(_STATISTICS)): mx.nd.array(
                np.require(array, np.float32, "CA")
            )
            for name, array in arrays.items()
        },
    )


def _conversion(fit, beside, aliases: int, codebook=None) -> Conversion:
    ignored = dict(fit.ignored)
    return Conversion(
        fit.network.title, len(fit.found), fit.sizes, aliases, ignored, beside, str(codebook or "")
    )
