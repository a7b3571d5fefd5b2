"""What a run writes down: `run.json`, `scores.json`, `losses.jsonl`. In: a path. Out: the content, of the right types.

The schemas name what this package reads of these files; what else stands in them stays. Numbers that are none (NaN, infinity:
a training that diverged) become None.
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, TypedDict

import msgspec

from icd.errors import InputError, printable, reason_of

_REPAIR = "Correct it, or make it again with the command that wrote it."


# msgspec evaluates these types, also on Python 3.8; hence typing's names, and no `from __future__` above.
class _File(TypedDict, total=False):
    path: str
    sha256: str
    ids: int


class _Run(TypedDict, total=False):
    recipe: Optional[Dict[str, Any]]
    teacher_recipe: Optional[Dict[str, Any]]
    other_recipes: Optional[Dict[str, Dict[str, Any]]]
    command: Optional[str]
    device: Optional[str]
    data_list: Optional[_File]
    initial_weights: Optional[_File]
    extra_supervision: Optional[List[str]]
    training_supervision: Optional[List[str]]
    threshold_policy: Optional[str]
    max_side: Optional[int]
    seed: Optional[int]
    method: Optional[str]
    backbone: Optional[str]
    classes: Optional[List[str]]
    eval_classes: Optional[List[int]]
    image_root: Optional[str]
    eval_root: Optional[str]
    eval_list: Optional[str]
    images: Optional[int]
    seconds: Optional[Dict[str, Optional[float]]]
    processor_seconds: Optional[Dict[str, Optional[float]]]
    versions: Optional[Dict[str, Any]]
    machine: Optional[Dict[str, Any]]


class _Class(TypedDict, total=False):
    name: str
    iou: Optional[float]


class _Score(TypedDict, total=False):
    name: str
    variant: Optional[str]
    extra_supervision: Optional[List[str]]
    convention: Optional[str]
    undefined: Optional[str]
    images: Optional[int]
    missing: List[str]
    evaluated_classes: List[int]
    miou: Optional[float]
    miou_per_policy: Optional[Dict[str, Optional[float]]]
    coverage: Optional[float]
    pixel_accuracy: Optional[float]
    foreground_precision: Optional[float]
    foreground_recall: Optional[float]
    boundary_iou: Optional[float]
    empty_predictions: Optional[int]
    classes: List[_Class]
    counts: Optional[List[List[int]]]
    per_image: Optional[Dict[str, Optional[float]]]


def read_json(path, wanted: str = "a JSON file"):
    """Read JSON in UTF-8, with or without a byte order mark; NaN and infinities become None.

    Raises
    ------
    InputError
        The file is missing, is not JSON, or is nested so deep that no program of ours wrote it.
    """
    try:
        return parse_json(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(path, wanted, reason_of(error)) from None
    except RecursionError:
        raise InputError(path, wanted, "lists or objects too deep in each other", _REPAIR) from None
    except ValueError as error:
        raise InputError(path, wanted, f"damaged content ({error})", _REPAIR) from None


def parse_json(text: str):
    """The value of a JSON text; errors of `json.loads`."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str):
    value = float(text)
    return value if math.isfinite(value) else None


def checked_run(path, run) -> dict:
    """Return the content of a `run.json`, or raise `InputError` where an entry has another type than we write."""
    _check(path, run, _Run, "a JSON object as `icd run` writes it")
    for name in ("data_list", "initial_weights"):
        missing = [part for part in ("path", "sha256") if run.get(name) and part not in run[name]]
        if missing:
            raise InputError(path, f"path and sha256 in {name}", f"no {missing[0]}", _REPAIR)
    return run


def checked_scores(path, entries) -> list:
    """Return the content of a `scores.json`, a list of scores with name, miou and classes, or raise `InputError`."""
    _check(path, entries, List[_Score], "a list of scores with name, miou and classes")
    for place, entry in enumerate(entries):
        fault = _fault_of_score(entry)
        if fault:
            raise InputError(
                path,
                "scores with name, miou and classes, and what fits them",
                f"$[{place}]: {fault}",
                _REPAIR,
            )
    return entries


def _fault_of_score(entry: dict) -> str:
    missing = {"name", "miou", "classes"} - set(entry)
    if missing:
        return f"no {' and no '.join(sorted(missing))}"
    if not all({"name", "iou"} <= set(row) for row in entry["classes"]):
        return "classes without name and iou"
    number = len(entry["classes"])
    if number and not all(0 <= k < number for k in entry.get("evaluated_classes", ())):
        return f"evaluated_classes {entry['evaluated_classes'][:5]} of {number}"
    counts = entry.get("counts")
    if counts and (len(counts) != number or any(len(row) != number + 1 for row in counts)):
        return f"counts that are no table of {number} x {number + 1}"
    if counts and not all(0 <= count < 2**62 for row in counts for count in row):
        return "counts that are none"
    return ""


def read_losses(path) -> list:
    """Read `losses.jsonl`: a JSON object a line, with a number for every loss.

    Returns
    -------
    list of dict of str to float or None
        `step` is never None.

    Raises
    ------
    InputError
        A line is no such object; it is named.
    """
    wanted = "one JSON object a line, with a step and numbers"
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(path, wanted, reason_of(error)) from None
    except UnicodeDecodeError:
        raise InputError(path, wanted, "bytes that are no UTF-8", _REPAIR) from None
    steps = []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            entry = parse_json(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            reason = "lists too deep in each other" if isinstance(error, RecursionError) else error
            raise InputError(where, wanted, f"damaged content ({reason})", _REPAIR) from None
        if entry is not None or line.strip():
            _check(where, entry, Dict[str, Optional[float]], wanted)
            if entry.get("step") is None:
                raise InputError(where, wanted, "no step", _REPAIR)
            steps.append(entry)
    return steps


def _check(where, value, schema, wanted: str) -> None:
    try:
        msgspec.convert(value, schema, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        raise InputError(where, wanted, printable(error), _REPAIR) from None
