"""Parameters of a method as MXNet `.params` files, by the names of the original checkpoints ("arg:", "aux:").

In: a method, a file. Out: the method with its arrays filled, or an error that lists every mismatch.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from icd.compat import mx
from icd.errors import InputError
from icd.files import atomic_path

SHOWN = 5  # names of each kind of problem
MOST_TEXT = 800  # characters of such a list


def checkpoint_name(name: str, auxiliary: bool) -> str:
    """The name in a `.params` file of the parameter with a Gluon name; auxiliary is what no gradient can change."""
    # Gluon calls the statistics of batch norm running_*, the original's Module API moving_*.
    return f"{'aux' if auxiliary else 'arg'}:{name.replace('_running_', '_moving_')}"


def to_arrays(method) -> dict:
    """Every parameter of a method on its first device, under its checkpoint name."""
    return {
        checkpoint_name(name, not parameter._differentiable): parameter.list_data()[0]
        for name, parameter in method.collect_params().items()
    }


def average_statistics(method, world) -> None:
    """Give all devices of all processes the mean of their batch norm statistics, which each keeps of its own part of the
    batches."""
    kept = {state.name for state in method.states}  # the same on all devices
    for name, parameter in method.collect_params().items():
        arrays = parameter.list_data()
        count = len(arrays) * world.size
        if not parameter._differentiable and name not in kept and count > 1:
            parameter.set_data(world.sum(arrays) / count)


def load_arrays(path) -> dict:
    """Read a `.params` file, with or without "arg:" and "aux:" before the names.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds no named arrays.
    """
    wanted = "an MXNet .params file of named arrays"
    if not Path(path).is_file():
        raise InputError(path, wanted, "nothing there")
    try:
        arrays = mx.nd.load(str(path))
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, wanted, f"a damaged or other file ({reason})", "Fetch it again.") from None
    if not isinstance(arrays, dict) or not arrays:
        raise InputError(path, wanted, "arrays without names")
    return {name.split(":", 1)[-1].replace("_moving_", "_running_"): array for name, array in arrays.items()}


class Loaded(NamedTuple):
    """What a pretrained file gave: the parameters filled; the prefix of the file's names; what nobody wanted."""

    names: list
    prefix: str
    left: list


def fill(method, arrays: dict, path, required, problems=None) -> list:
    """Fill a method's parameters from arrays of the same names.

    Parameters
    ----------
    arrays : dict of NDArray
        From `load_arrays`.
    path : str or os.PathLike
        Where they come from, for the message.
    required : callable
        Tells of a parameter's name whether the file must hold it. A parameter that is not required keeps its value
        when the file lacks it or has it in another shape (a classifier for other classes).
    problems : dict of list, optional
        Further problems of the file, by what they are.

    Returns
    -------
    list of str
        The names filled.

    Raises
    ------
    InputError
        Counting every required array that is missing or misshapen, every array with a value that is not finite, and the
        further problems; the first of each kind are named.
    """
    found, missing, misshapen, infinite = {}, [], [], []
    parameters = method.collect_params()
    for name, parameter in parameters.items():
        array = arrays.get(name.replace("_moving_", "_running_"))
        if array is None:
            missing += [f"{name} {parameter.shape}"] if required(name) else []
        elif array.shape != parameter.shape:
            misshapen += [f"{name} is {array.shape}, not {parameter.shape}"] if required(name) else []
        elif not bool(mx.nd.contrib.isfinite(array.astype("float32")).min().asscalar()):
            infinite.append(name)
        else:
            found[name] = array
    kinds = {"missing": missing, "of another shape": misshapen, "not finite": infinite, **(problems or {})}
    report = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)
    if report:
        raise InputError(
            path, "the network's arrays", report, "Give weights of this network.", longest=MOST_TEXT
        )
    for name, array in found.items():
        parameters[name].set_data(array.astype("float32"))
    return list(found)


def _some(names: list) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def load_checkpoint_weights(method, path) -> None:
    """Load a method's own weights; every one of its parameters must be in the file, in its shape, but
    for state that the original's checkpoints do not know."""
    arrays = load_arrays(path)
    optional = {state.name for state in method.unpublished_states}
    fill(method, arrays, path, lambda name: name not in optional)


def load_pretrained(block, path, backbone) -> Loaded:
    """Load a backbone's pretrained weights strictly, everything else where it fits.

    Parameters
    ----------
    block : mxnet.gluon.Block
        What holds the backbone, or the backbone itself.
    path : str or os.PathLike
        A `.params` file under our names, PyTorch's, or those that the backbone knows of other programs, with or without a
        prefix that all share.
    backbone : icd.backbones.Backbone

    Raises
    ------
    InputError
        As for `fill`; also where the file holds more layers of the trunk than the trunk has. Classifiers and heads that
        nobody wants are left aside.
    """
    arrays, prefix = rename(load_arrays(path), backbone)
    arrays = backbone.adapt_pretrained(arrays)
    own = backbone.pretrained_parameters()
    wanted = {name.replace("_moving_", "_running_") for name in block.collect_params()}
    left = [name for name in arrays if name not in wanted and not name.endswith("num_batches_tracked")]
    known = set(backbone.new_top(0.0, False, "").collect_params())
    layers = {name.split("_")[0] for name in backbone.pretrained_parameters()}
    surplus = [name for name in left if name not in known and name.split("_")[0] in layers]
    kind = "unknown" if not prefix else f"unknown behind the prefix {prefix}"
    return Loaded(fill(block, arrays, path, own.__contains__, {kind: surplus}), prefix, left)


def rename(arrays: dict, backbone):
    """Give arrays the names of a backbone's parameters.

    Parameters
    ----------
    arrays : dict of NDArray
    backbone : icd.backbones.Backbone

    Returns
    -------
    renamed : dict of NDArray
        Names that the backbone does not know stay, but for the prefix and for "_" in the place of ".".
    prefix : str
        What all names that it knows begin with in the file.
    """
    table = {name: name for name in backbone.pretrained_parameters()}
    table.update(backbone.names_elsewhere())
    for theirs, ours in list(table.items()):
        for gluon, torch in (("_gamma", "_weight"), ("_beta", "_bias")):
            if ours.endswith(gluon) and theirs.endswith(gluon):
                table.setdefault(theirs[: -len(gluon)] + torch, ours)
    plain = {name.replace(".", "_"): array for name, array in arrays.items()}
    prefixes = Counter()
    for name in plain:
        parts = name.split("_")
        for place in range(len(parts)):
            if "_".join(parts[place:]) in table:
                prefixes["_".join([*parts[:place], ""])] += 1
    prefix = max(prefixes, key=lambda text: (prefixes[text], -len(text)), default="")
    plain = {name[len(prefix) :] if name.startswith(prefix) else name: a for name, a in plain.items()}
    return {table.get(name, name): array for name, array in plain.items()}, prefix


def save_weights(method, path) -> None:
    """Write a method's parameters as one `.params` file, atomically."""
    save_arrays(path, to_arrays(method))


def save_arrays(path, arrays: dict) -> None:
    """Write arrays under their checkpoint names as one `.params` file, atomically."""
    try:
        with atomic_path(path) as temporary:
            mx.nd.save(str(temporary), arrays)
    except mx.MXNetError as error:
        raise OSError(f"{path}: the weights could not be written: {str(error).splitlines()[-1]}") from None
