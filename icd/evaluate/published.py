"""Published numbers, each with the conditions it was measured under, and ours beside them.

In: `icd/published/<name>.yaml`, and what is known of our own result. Out: the differences, and a warning for every
condition that differs or that one of the two sides does not state.

Every entry of a file has: `what` was scored; `stage` (seeds, walk, segmentation, instances); `value` in percent; `metric`
(default mIoU); `split`, `images`; `policy` for 255 in a prediction; `crf`; `threshold` of the background; `extra`
supervision beyond tags; `network`; `initial_weights`; `by` whom (paper, readme, author, user, list); `source`; `verified`
(false for numbers that were recalled and not looked up); `per_class`, background first. What is null is not stated.
"""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import List

import msgspec
import yaml

from icd.errors import InputError, printable, reason_of

FOLDER = Path(__file__).resolve().parents[1] / "published"
CONDITIONS = (
    "dataset",
    "stage",
    "split",
    "images",
    "policy",
    "crf",
    "threshold",
    "extra",
    "network",
    "initial_weights",
)
STATED = ("dataset", "stage", "split", "crf", "extra", "initial_weights")
"""The conditions that a number cannot be placed without."""
SPLITS = {"train": 1464, "train_aug": 10582, "val": 1449, "test": 1456}
"""VOC's splits and their numbers of images; an entry states `images` only where its number is another one."""
_BY = ("paper", "readme", "author", "user", "list")


# msgspec evaluates these types, also on Python 3.8; hence typing's names, and no `from __future__` above.
@dataclass(frozen=True)
class Published:
    """One published number; see the module for the meaning of the fields."""

    what: str
    value: float
    by: str
    source: str
    dataset: str = None
    stage: str = None
    split: str = None
    images: int = None
    policy: str = None
    crf: bool = None
    threshold: str = None
    extra: List[str] = None
    network: str = None
    initial_weights: str = None
    metric: str = "mIoU"
    verified: bool = True
    per_class: List[float] = None


def published_names() -> list:
    """Names of the files that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_published(name) -> tuple:
    """Read published numbers.

    Parameters
    ----------
    name : str or os.PathLike
        One of `published_names()`, or the path of a file of one's own.

    Returns
    -------
    title : str
    entries : list of Published

    Raises
    ------
    InputError
        There is no such file, or an entry has an unknown, missing or impossible field.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError(name, f"one of {', '.join(published_names())} or a YAML file", "nothing there")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = [{**content.get("common", {}), **row} for row in content["results"]]
        title = content["title"]
    except OSError as error:
        raise InputError(path, "YAML with title, common and results", reason_of(error)) from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        found = f"{type(error).__name__}: {printable(error, 200)}"
        raise InputError(path, "YAML with title, common and results", found) from None
    return printable(title), [_entry(path, number, row) for number, row in enumerate(rows, 1)]


def differences(entry: Published, ours: dict) -> list:
    """Say where the conditions of two numbers differ or are unknown.

    Parameters
    ----------
    entry : Published
    ours : dict
        Some of `CONDITIONS`; a missing key or None is not known. `policy` may be "any" where no prediction holds 255.
        `classes_left_out`: number of classes whose truth was not scored.

    Returns
    -------
    list of str
        One clause each; empty where all that both sides state is the same.
    """
    found = []
    for name in CONDITIONS:
        theirs, own = getattr(entry, name), ours.get(name)
        if name == "policy" and own == "any":
            continue
        if theirs is not None and own is not None and not _same(name, theirs, own):
            found.append(f"{name.replace('_', ' ')}: {_text(theirs)} there, {_text(own)} here")
    unknown = [n for n in STATED if getattr(entry, n) is None]
    if unknown:
        found.append(f"not stated there: {', '.join(unknown).replace('_', ' ')}")
    if ours.get("classes_left_out"):
        found.append(f"classes: all there; the truth of {ours['classes_left_out']} was left out here")
    return found


def _same(name: str, theirs, ours) -> bool:
    if isinstance(theirs, list):
        return sorted(theirs) == sorted(ours)
    if (
        name == "threshold"
    ):  # "fixed 0.13, evidently chosen on train" includes "fixed 0.13", "fixed 0.22" not "fixed 0.2"
        a, b = (set(re.findall(r"[a-z]+|[\d.]*\d", _plain_numbers(value))) for value in (theirs, ours))
        return a <= b or b <= a
    if name in (
        "network",
        "initial_weights",
    ):  # "VGG-16" and "vgg16", "ImageNet (ResNet-38 A1)" and "ImageNet" agree
        a, b = (re.sub(r"[^a-z0-9.]", "", str(value).lower()) for value in (theirs, ours))
        return a in b or b in a
    return theirs == ours


def _plain_numbers(value) -> str:
    """Lower case, and 0.20 as 0.2."""
    return re.sub(r"(\.\d*?)0+\b", r"\1", str(value).lower())


def _text(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def _entry(path, number: int, row: dict) -> Published:
    known = {field.name for field in fields(Published)}
    unknown = sorted(key if isinstance(key, str) else "a key that is no text" for key in set(row) - known)
    missing = [name for name in ("what", "value", "by", "source") if row.get(name) is None]
    try:
        stated = {name: value for name, value in row.items() if value is not None}
        entry = None if unknown or missing else msgspec.convert(stated, Published, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        remedy = f"Correct entry {number}."
        raise InputError(
            path, "numbers, texts, yes or no, and lists where they belong", printable(error), remedy
        ) from None
    if entry is None or entry.by not in _BY or not 0 <= entry.value <= 100:
        value = "" if entry is None else f", by {entry.by!r}, the value {entry.value:g}"
        found = f"entry {number} with unknown {unknown[:5]}, missing {missing}{value}"
        raise InputError(path, f"the fields {', '.join(sorted(known))}, by one of {', '.join(_BY)}", found)
    if entry.dataset == "voc12" and entry.images is None:
        return replace(entry, images=SPLITS.get(entry.split))
    return entry
