"""Parameters of a method as MXNet `.params` files, by the names of the original checkpoints ("arg:", "aux:").

In: a method, a file. Out: the method with its arrays filled, or an error that lists every mismatch.
"""

from __future__ import annotations

from pathlib import Path

from icd.compat import mx
from icd.errors import InputError
from icd.files import atomic_path


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


def average_statistics(method) -> None:
    """Give all devices the mean of their batch norm statistics, which each keeps of its own part of the batches."""
    kept = {state.name for state in method.states}  # the same on all devices
    for name, parameter in method.collect_params().items():
        arrays = parameter.list_data()
        if not parameter._differentiable and name not in kept and len(arrays) > 1:
            home = arrays[0].context
            parameter.set_data(sum(array.as_in_context(home) for array in arrays) / len(arrays))


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


def fill(method, arrays: dict, path, required) -> list:
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

    Returns
    -------
    list of str
        The names filled.

    Raises
    ------
    InputError
        Listing every required array that is missing or misshapen, and every array with a value that is not finite.
    """
    problems, found = [], {}
    for name, parameter in method.collect_params().items():
        array = arrays.get(name.replace("_moving_", "_running_"))
        if array is None:
            if required(name):
                problems.append(f"{name} {parameter.shape} is missing")
        elif array.shape != parameter.shape:
            if required(name):
                problems.append(f"{name} is {array.shape}, not {parameter.shape}")
        elif not bool(mx.nd.contrib.isfinite(array.astype("float32")).min().asscalar()):
            problems.append(f"{name} holds values that are not finite")
        else:
            found[name] = array
    if problems:
        raise InputError(path, "the network's arrays", "; ".join(problems), "Give weights of this network.")
    for name, array in found.items():
        method.collect_params()[name].set_data(array.astype("float32"))
    return list(found)


def load_checkpoint_weights(method, path) -> None:
    """Load a method's own weights; every one of its parameters must be in the file, in its shape, but
    for state that the original's checkpoints do not know."""
    arrays = load_arrays(path)
    optional = {state.name for state in method.unpublished_states}
    fill(method, arrays, path, lambda name: name not in optional)


def load_pretrained(method, path, backbone) -> list:
    """Load a backbone's pretrained weights strictly, everything else where it fits; returns the names filled."""
    arrays = backbone.rename_pretrained(load_arrays(path))
    own = set(backbone.pretrained_parameters(method))
    return fill(method, arrays, path, lambda name: name in own)


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
