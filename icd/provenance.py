"""How a result came about: `run.json` beside every result.

In: facts that the caller knows. Out: the file, with command, versions and machine filled in. Never imports MXNet; its
version is read from the installed package.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

import icd
from icd.errors import InputError
from icd.files import read_json, read_list, write_json
from icd.files.records import checked_run

FILE = "run.json"
_PACKAGES = ("mxnet", "numpy", "opencv-python-headless", "opencv-python", "Pillow", "scipy", "pydensecrf2")


def write_run(
    folder,
    *,
    recipe=None,
    command=None,
    device="cpu",
    data_list=None,
    initial_weights=None,
    extra_supervision=(),
    threshold_policy=None,
    seed=None,
    **facts,
) -> dict:
    """Write `run.json` into a folder.

    Parameters
    ----------
    folder : str or os.PathLike
    recipe : dataclass or dict, optional
        Hyper-parameters of the method.
    command : sequence of str, optional
        Default: this process's command line.
    device : str
        What the run used, as a person would say it ("cpu", "gpu 0: Tesla V100").
    data_list, initial_weights : str or os.PathLike, optional
        Files; their name and sha256 are kept, and the number of ids of the list. No weights means a random start.
    extra_supervision : sequence of str
        What was used beyond tags ("saliency", "masks for choosing the threshold").
    threshold_policy : str, optional
        How the background threshold came about: "none", "fixed 0.2", "best on train masks".
    seed : int, optional
    **facts
        Anything else: dataset, split, stage, crf, backbone, ...

    Returns
    -------
    dict
        What was written.
    """
    run = {
        "recipe": recipe,
        "command": shlex.join(sys.argv if command is None else [str(part) for part in command]),
        "device": device,
        "data_list": None if data_list is None else describe_file(data_list, len(read_list(data_list))),
        "initial_weights": None if initial_weights is None else describe_file(initial_weights),
        "extra_supervision": list(extra_supervision),
        "threshold_policy": threshold_policy,
        "seed": seed,
        **facts,
        "versions": versions(),
        "machine": machine(),
    }
    run = plain(run)
    write_json(Path(folder) / FILE, run)
    return run


def read_run(folder) -> dict:
    """Read `run.json` of a folder; an empty dict where there is none.

    Raises
    ------
    InputError
        The file is damaged, or an entry has another type than we write.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    return checked_run(path, read_json(path, "a JSON object"))


def run_of(folder) -> dict:
    """`run.json` of the run that a folder belongs to: of the folder itself or one of the three above it; else empty."""
    folder = Path(folder).resolve()
    return next((run for run in map(read_run, [folder, *folder.parents][:4]) if run), {})


def entries(facts: dict, prefix: str = "") -> dict:
    """Facts one by one, those of inner dictionaries under dotted names."""
    flat = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            flat.update(entries(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def write_derived_run(folder, source, **facts) -> None:
    """Write `run.json` beside what was made from another result: what is known of that one, `facts`, and this command.

    A run's own folder keeps its `run.json`.

    Parameters
    ----------
    folder, source : str or os.PathLike
        Where the new result lies, and the result it was made from.
    """
    own = read_run(folder)
    if own and "made_from" not in own:
        return
    origin = {"command": shlex.join(sys.argv), "made_from": os.path.abspath(source)}
    run = {**run_of(source), **origin, **facts, "versions": versions(), "machine": machine()}
    write_json(Path(folder) / FILE, plain(run))


def supervision_of(run: dict, variant=None):
    """What predictions of a run used beyond tags; None where that is not known.

    Parameters
    ----------
    run : dict
        Content of `run.json`.
    variant : str, optional
        Of the run's seeds: without saliency (`nocrf`, `crf`) they used what training used.
    """
    extra = run.get("extra_supervision")
    return run.get("training_supervision", extra) if variant in ("nocrf", "crf") else extra


def file_sha256(path) -> str:
    """sha256 of a file in hexadecimal; `InputError` where it is missing."""
    return file_digest(path, "sha256")


def file_digest(path, algorithm: str) -> str:
    """Digest of a file in hexadecimal by an algorithm of `hashlib`; `InputError` where the file is missing."""
    digest = hashlib.new(algorithm)
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(path, "a file", "nothing there") from None
    return digest.hexdigest()


def versions() -> dict:
    """Versions of this package, Python, and the packages that numbers depend on."""
    found = {"icd": icd.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    loaded = sys.modules.get("mxnet")
    if loaded is not None:
        found["mxnet"] = loaded.__version__
    return found


def machine() -> dict:
    """Processor model, usable cores and operating system."""
    return {"cpu": _cpu_model(), "cores": available_cores(), "system": platform.platform()}


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plain(value):
    """The same value in JSON's types: dataclasses, paths, tuples and numpy values are turned into theirs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and value != value:
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def describe_file(path, ids=None) -> dict:
    """Path and sha256 of a file, with the number of ids where it is a list."""
    content = {"path": os.path.abspath(path), "sha256": file_sha256(path)}
    return content if ids is None else {**content, "ids": ids}


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
