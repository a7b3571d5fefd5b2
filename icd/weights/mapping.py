"""A checkpoint's arrays under our names, and back. In and out: dictionaries of numpy arrays; no file is touched.

Strict: every array of the network must be there, in its shape and finite, and every array of the file must be one of them,
an alias of one with the same numbers, or named by the table as left aside.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from icd.errors import InputError, printable
from icd.weights.families import FAMILIES
from icd.weights.tables import Network

_WRAPPERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema",
)
_PREFIXES = ("module.", "_orig_mod.")
_COMMON = (
    "model.",
    "net.",
    "network.",
)  # taken away where all names have it; no network of ours has such a part
_MOST_WRAPPERS = 4  # in each other
_SHOWN = 12


@dataclass
class Fit:
    """How the keys and shapes of a file fit a network.

    Attributes
    ----------
    network : icd.weights.tables.Network
    found : dict
        Entry to the keys under which the file has it; a key and its aliases.
    sizes : dict
        What the words in the shapes stand for.
    ignored : collections.Counter
        What was left aside, by what it is.
    missing, unknown, misshapen : list of str
    """

    network: Network
    found: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    ignored: Counter = field(default_factory=Counter)
    missing: list = field(default_factory=list)
    unknown: list = field(default_factory=list)
    misshapen: list = field(default_factory=list)

    @property
    def problems(self) -> int:
        """The number of keys that do not fit."""
        return len(self.missing) + len(self.unknown) + len(self.misshapen)


def state_dict_of(content, path):
    """The state dict in a checkpoint, without wrappers.

    Parameters
    ----------
    content : object
        From `icd.foreign.torchfile.read_torch`: a state dict, or a dictionary that holds one under a name of `_WRAPPERS`.
        Where several of them are there, the first in that order counts. Prefixes that programs put in front of all names
        (`module.` of data parallelism, `_orig_mod.` of torch.compile), also twice and also in front of some, are taken away
        where no two names become one.
    path : str or os.PathLike
        Where it comes from, for the message.

    Returns
    -------
    state : dict
    beside : list of str
        What the checkpoint holds beside it, and the prefixes that were taken away.

    Raises
    ------
    InputError
        There is no state dict, or two names differ in their prefixes alone.
    """
    beside = []
    for _ in range(_MOST_WRAPPERS):
        key = next(
            (key for key in _WRAPPERS if isinstance(content, dict) and isinstance(content.get(key), dict)),
            None,
        )
        if key is None:
            break
        beside += [printable(other, 60) for other in content if other != key]
        content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        found = f"a {type(content).__name__}" + (" without names" if isinstance(content, dict) else "")
        raise InputError(path, "a state dict: names and arrays", found)
    state, prefixes = _without_prefixes(content, path)
    return state, beside + [f"the prefix {prefix}" for prefix in prefixes]


def _without_prefixes(content: dict, path) -> tuple:
    """The same arrays without the prefixes of `_PREFIXES`, and those that were there."""
    state, prefixes, origin = {}, {}, {}
    for key, value in content.items():
        name = key
        while True:
            prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
            if prefix is None:
                break
            name, prefixes[prefix] = name[len(prefix) :], prefix
        if name in state and not (isinstance(value, np.ndarray) and _same(state[name], value)):
            found = f"{origin[name]!r} and {key!r}"
            raise InputError(
                path, "names that differ in more than a prefix", found, "Save one of the two networks."
            )
        if name != "n_averaged":  # the counter of torch's averaged models
            state[name], origin[name] = value, key
    common = next(
        (prefix for prefix in _COMMON if state and all(name.startswith(prefix) for name in state)), None
    )
    if common is not None:
        state, prefixes[common] = {name[len(common) :]: value for name, value in state.items()}, common
    return state, list(prefixes)


def compare(network: Network, arrays: dict) -> Fit:
    """Compare the keys and shapes of a file with a network's."""
    fit, used = Fit(network), set()
    for entry in network.entries:
        keys = [key for key in (entry.key, *entry.aliases) if key in arrays]
        used.update(keys)
        bad = next((key for key in keys if not _has_shape(arrays[key], entry.shape, fit.sizes)), None)
        if not keys:
            fit.missing.append(entry.key)
        elif bad is not None:
            wanted = " x ".join(str(fit.sizes.get(n, n)) for n in entry.shape)
            fit.misshapen.append(f"{bad} is {_shape(arrays[bad])}, not {wanted}")
        else:
            fit.found[entry] = keys
    for key in arrays:
        if key not in used:
            meaning = next((what for pattern, what in network.ignored if re.fullmatch(pattern, key)), None)
            if meaning is None:
                fit.unknown.append(key)
            else:
                fit.ignored[meaning] += 1
    return fit


def _shape(value) -> str:
    if not isinstance(value, np.ndarray):
        return f"a {type(value).__name__}"
    return " x ".join(map(str, value.shape)) or "a single number"


def _has_shape(array, shape: tuple, sizes: dict) -> bool:
    if not isinstance(array, np.ndarray) or array.ndim != len(shape):
        return False
    return all(
        (sizes.setdefault(wanted, n) if isinstance(wanted, str) else wanted) == n
        for wanted, n in zip(shape, array.shape)
    )


def to_ours(name: str, arrays: dict, path):
    """Give the arrays of a family's checkpoint our names.

    Parameters
    ----------
    name : str
        A key of `FAMILIES`.
    arrays : dict of numpy.ndarray
        A state dict, without wrappers.
    path : str or os.PathLike
        Where it comes from, for the message.

    Returns
    -------
    ours : dict of numpy.ndarray
        Under Gluon's names.
    fit : Fit

    Raises
    ------
    InputError
        Something is missing, unknown, misshapen, not a finite number, or differs from its alias.
    """
    family = FAMILIES[name]
    if family.renamed:
        arrays = {re.sub(*family.renamed, key): array for key, array in arrays.items()}
    fit = _best_fit(name, arrays, path)
    ours = {entry.name: arrays[keys[0]] for entry, keys in fit.found.items()}
    if family.turned:
        ours.update({e.name: ours[e.name][:, ::-1] for e in fit.found if e.key == family.turned})
    return ours, fit


def to_theirs(name: str, arrays: dict, path):
    """Give arrays under our names those of a family's checkpoint, with all aliases; the other way of `to_ours`.

    Returns
    -------
    theirs : dict of numpy.ndarray
        The state dict; an alias is the same array, batch norm's counters are 0.
    fit : Fit
    """
    family = FAMILIES[name]
    if family.format == "caffe":
        raise InputError(
            "--reverse", "a family whose files are written", f"{name}, whose files are only read"
        )
    fit = _best_fit(name, arrays, path, back=True)
    theirs = {}
    for entry in fit.network.entries:
        for key in (entry.name, *entry.aliases):
            theirs[key] = arrays[entry.key]
            if family.counters and key.endswith(".running_var"):
                theirs[key.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return theirs, fit


def _fits(name: str, arrays: dict, back: bool) -> list:
    networks = FAMILIES[name].networks
    return [compare(_turned_round(network) if back else network, arrays) for network in networks]


def _turned_round(network: Network) -> Network:
    """The table for arrays under our names."""
    entries = tuple(replace(entry, key=entry.name, name=entry.key) for entry in network.entries)
    return replace(network, entries=entries, ignored=())


def _best_fit(name: str, arrays: dict, path, back=False) -> Fit:
    """How the arrays fit the network of the family that they fit best; `InputError` where they do not fit it."""
    best = min(_fits(name, arrays, back), key=lambda fit: fit.problems)
    kinds = {"missing": best.missing, "unknown": best.unknown, "of another shape": best.misshapen}
    found = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in kinds.items() if keys)
    if found:
        others = [
            other
            for other, family in FAMILIES.items()
            if family.format == FAMILIES[name].format
            and not min(fit.problems for fit in _fits(other, arrays, back))
        ]
        remedy = f"The file fits: {', '.join(others)}" if others else ""
        raise InputError(path, f"the arrays of {name} ({best.network.title})", found, remedy)
    problems = _wrong_values(best, arrays)
    if problems:
        raise InputError(path, f"finite arrays of {name} ({best.network.title})", _some(problems))
    return best


def _wrong_values(fit: Fit, arrays: dict) -> list:
    problems = []
    for keys in fit.found.values():
        array = arrays[keys[0]]
        if array.dtype.kind != "f":
            problems.append(f"{keys[0]} holds {array.dtype}")
        elif not np.isfinite(array).all():
            problems.append(f"{keys[0]} holds values that are not finite")
        problems += [f"{key} differs from {keys[0]}" for key in keys[1:] if not _same(array, arrays[key])]
    return problems


def _same(array, other) -> bool:
    """Whether two arrays hold the same numbers, or are the same memory."""
    if not (isinstance(array, np.ndarray) and isinstance(other, np.ndarray)):
        return False
    places = ((a.__array_interface__["data"][0], a.strides, a.dtype) for a in (array, other))
    return next(places) == next(places) or np.array_equal(array, other)


def _some(parts: list) -> str:
    rest = len(parts) - _SHOWN
    return ", ".join(parts[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
