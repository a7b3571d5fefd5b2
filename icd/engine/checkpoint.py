"""Checkpoints: a folder each, written under a temporary name, fsynced, renamed.

`epoch-0007` holds the state after epoch 7 (from 0), `epoch-0007-batch-00123` the state inside it, after 123 batches:
`weights.params`, `optimizer.params` (arrays by parameter name; no pickle), `state.json` (position, facts of the run,
sha256 of the two files).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from icd.compat import mx
from icd.engine.parameters import load_arrays, load_checkpoint_weights, to_arrays
from icd.errors import InputError
from icd.files import UMASK, flush, read_json, write_json
from icd.provenance import entries, file_sha256, plain

_NAME = re.compile(r"epoch-(\d{4})(?:-batch-(\d{5}))?$")
_FILES = ("weights.params", "optimizer.params")
_UPDATES = "num_update"  # beside the parameters' names in optimizer.params


def save(folder, method, trainer, position: tuple, facts: dict, keep: int = 5) -> Path:
    """Write a checkpoint and remove those that are older than the newest `keep`.

    Parameters
    ----------
    folder : str or os.PathLike
        Where the checkpoints of the run lie.
    trainer : mxnet.gluon.Trainer
    position : tuple of int
        (epochs done, batches done in the next one).
    facts : dict
        What must be equal for a resume to be exact; stored as JSON.

    Raises
    ------
    OSError
        It could not be written; earlier checkpoints are untouched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    epochs, batches = position
    name = f"epoch-{epochs:04d}-batch-{batches:05d}" if batches else f"epoch-{epochs - 1:04d}"
    target, temporary = folder / name, Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
    try:
        temporary.chmod(0o777 & ~UMASK)
        for file, arrays in zip(_FILES, (to_arrays(method), _optimizer_arrays(trainer))):
            mx.nd.save(str(temporary / file), arrays)
            flush(temporary / file)
        hashes = {file: file_sha256(temporary / file) for file in _FILES}
        write_json(temporary / "state.json", {"position": list(position), "sha256": hashes, **plain(facts)})
        flush(temporary)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except mx.MXNetError as error:  # how MXNet reports a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(
            f"{target}: the checkpoint could not be written: {str(error).splitlines()[-1]}"
        ) from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush(folder)
    # Older ones, and what a process that was killed had begun.
    for old in (*(path for _, path in checkpoints(folder)[:-keep]), *folder.glob(".epoch-*")):
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder) -> list:
    """All checkpoints below a folder, oldest position first: pairs of (position, path)."""
    found = []
    for path in Path(folder).glob("epoch-*"):
        match = _NAME.match(path.name)
        if match:
            epoch, batch = int(match.group(1)), int(match.group(2) or 0)
            found.append(((epoch, batch) if batch else (epoch + 1, 0), path))
    return sorted(found)


def restore(path, method, trainer, facts: dict, free_keys=()) -> tuple:
    """Load a checkpoint into a method and its trainer.

    Parameters
    ----------
    facts : dict
        What must be as it was when the checkpoint was written.
    free_keys : collection of str
        Names of facts, such as `recipe.num_epoch`, that may differ.

    Returns
    -------
    tuple of int
        (epochs done, batches done in the next one).

    Raises
    ------
    InputError
        It is damaged, or was made by a run whose facts differ, so that going on would mix two runs.
    """
    path = Path(path)
    state = read_json(path / "state.json")
    for file, expected in state["sha256"].items():
        if not (path / file).is_file() or file_sha256(path / file) != expected:
            remedy = f"Delete {path}; the run then goes on from the checkpoint before it."
            raise InputError(path / file, f"the file with sha256 {expected[:12]}…", "another or none", remedy)
    before = entries(state)
    for key, value in entries(plain(facts)).items():
        if key not in free_keys and before.get(key) != value:
            remedy = "Resume with the values of the first start, or give another --out folder."
            raise InputError(path / "state.json", f"{key} = {value!r}", repr(before.get(key)), remedy)
    load_checkpoint_weights(method, path / _FILES[0])
    _set_optimizer(trainer, load_arrays(path / _FILES[1]), path)
    return tuple(state["position"])


# Trainer.save_states and load_states are not used: they pickle. The updaters' dictionaries are what they would store.
def _optimizer_arrays(trainer) -> dict:
    """What the optimizer keeps: arrays by parameter name (".0", ".1", where there are several), and its count of updates."""
    names = [parameter.name for parameter in trainer._params]
    arrays = {_UPDATES: mx.nd.array([trainer._optimizer.num_update], dtype="int64")}
    for index, state in trainer._updaters[0].states.items():
        if isinstance(state, tuple):
            arrays.update({f"{names[index]}.{place}": array for place, array in enumerate(state)})
        elif state is not None:
            arrays[names[index]] = state
    return {name: arrays[name] for name in sorted(arrays)}


def _set_optimizer(trainer, arrays: dict, path) -> None:
    trained = {
        i: parameter.name for i, parameter in enumerate(trainer._params) if parameter.grad_req != "null"
    }
    keeps_state = (
        trainer._optimizer.create_state(0, mx.nd.zeros(1)) is not None
    )  # SGD without momentum does not
    states = {i: _state_of(name, arrays) for i, name in trained.items()} if keeps_state else {}
    missing = [trained[i] for i, state in states.items() if not state]
    if missing or _UPDATES not in arrays:
        found = "none for " + ", ".join(missing or [_UPDATES])
        raise InputError(path / _FILES[1], "the optimizer's arrays of every parameter", found)
    count = int(arrays[_UPDATES].asscalar())
    for updater, context in zip(trainer._updaters, trainer._contexts):
        for index, state in states.items():
            copies = tuple(array.copyto(context) for array in state)
            updater.states[index] = copies if len(copies) > 1 else copies[0]
            updater.states_synced[index] = True
    optimizer = trainer._optimizer
    optimizer.num_update = optimizer.begin_num_update = count
    for counts in optimizer._all_index_update_counts.values():
        counts.update(dict.fromkeys(trained, count))


def _state_of(name: str, arrays: dict) -> list:
    several = sorted(key for key in arrays if key.rpartition(".")[0] == name)
    return [arrays[key] for key in ([name] if name in arrays else several)]
