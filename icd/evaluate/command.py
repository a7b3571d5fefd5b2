"""What `icd evaluate` does. In: its arguments. Out: text on the console, JSON where it is asked for, the exit status."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from icd.classes import VOC_CLASSES, evaluated_numbers
from icd.errors import InputError
from icd.evaluate import score_masks, show, threshold_curve
from icd.evaluate.curve import FIXED, THRESHOLDS, threshold_of_policy
from icd.evaluate.published import SPLITS, read_published
from icd.files import read_classes, read_list, write_json
from icd.provenance import describe_file, plain, run_of, supervision_of, versions

_MOST_THRESHOLDS = 10_000


def evaluate(arguments) -> int:
    """Score what the arguments of `icd evaluate` name, print and write the result; the exit status."""
    ids = read_list(arguments.list)
    classes = read_classes(arguments.classes)
    evaluated = evaluated_numbers(arguments.only, classes, "--only") if arguments.only else None
    published = read_published(arguments.against) if arguments.against else None
    if not arguments.curve and (arguments.threshold is not None or arguments.normalize):
        raise InputError("--threshold and --normalize", "--curve beside them", "none")
    command = _score_maps if arguments.curve else _score_masks
    with _Progress() as progress:
        result = command(arguments, ids, classes, evaluated, progress)
    print(result.text)
    ours = {**_conditions(arguments, classes), **result.conditions}
    ours["classes_left_out"] = 0 if evaluated is None else len(classes) + 1 - len(set(evaluated))
    if published is not None:
        print("\n" + show.against_text(*published, result.miou, result.iou, ("background", *classes), ours))
    if arguments.json:
        write_json(arguments.json, plain({**result.content, "about": _about(arguments, ours)}))
    return 1 if result.missing else 0


@dataclass(frozen=True)
class _Result:
    """What the two ways of scoring have in common."""

    text: str
    miou: float
    iou: np.ndarray
    missing: tuple
    conditions: dict
    content: dict


def _score_masks(arguments, ids, classes, evaluated, progress) -> _Result:
    scores = score_masks(
        arguments.predictions,
        arguments.truth,
        ids,
        classes,
        arguments.convention or arguments.policy,
        evaluated_classes=evaluated,
        boundary=not arguments.no_boundary,
        workers=arguments.workers,
        partial=_note_of_progress(arguments),
        progress=progress,
    )
    policy = scores.convention.undefined if scores.coverage < 1 else "any"
    conditions = {"policy": policy, "images": scores.images}
    content = scores.as_dict(arguments.per_image)
    return _Result(show.scores_text(scores), scores.miou, scores.iou, scores.missing, conditions, content)


def _score_maps(arguments, ids, classes, evaluated, progress) -> _Result:
    fixed, of_shares = _rule_of_run(arguments.predictions)
    fixed = FIXED.get(arguments.convention, fixed) if arguments.threshold is None else arguments.threshold
    normalize = arguments.normalize or of_shares
    curve = threshold_curve(
        arguments.predictions,
        arguments.truth,
        ids,
        sorted({*_thresholds(arguments.thresholds), fixed}),
        classes=classes,
        policy=arguments.convention or arguments.policy,
        evaluated_classes=evaluated,
        layout=arguments.layout,
        tag_source=arguments.tags,
        normalize=normalize,
        workers=arguments.workers,
        partial=_note_of_progress(arguments),
        progress=progress,
    )
    place = curve.position(fixed)
    conditions = {"policy": "any", "images": curve.images, "threshold": f"fixed {fixed:g}"}
    text, miou = show.curve_text(curve, fixed, ("background", *classes)), float(curve.miou[place])
    if normalize:
        text += "\nThresholds are shares of each map's maximum (SEAM and PPC: of its range)" + (
            ", as in the run's own seeds." if of_shares else "."
        )
    return _Result(text, miou, curve.iou[place], curve.missing, conditions, curve.as_dict(fixed))


def _rule_of_run(predictions) -> tuple:
    """The threshold by which the run that score maps belong to made its seeds, and whether it is a share of the maximum or range."""
    folder = Path(predictions).resolve()
    policy = run_of(folder).get("threshold_policy")
    if not policy or not folder.name.startswith("scores_"):
        return 0.2, False
    return threshold_of_policy(policy, folder.name[len("scores_") :])


def _about(arguments, conditions: dict) -> dict:
    """How the numbers came about, for the JSON file."""
    return {
        "predictions": str(arguments.predictions),
        "truth": str(arguments.truth),
        "list": describe_file(arguments.list),
        "conditions": conditions,
        "versions": versions(),
        "run": run_of(arguments.predictions),
    }


def _conditions(arguments, classes) -> dict:
    """What is known of the predictions from the command line, their `run.json` and the names of folder and list."""
    source, folder = run_of(arguments.predictions), Path(arguments.predictions).name
    crf = {"crf": True, "nocrf": False, "sal": False}.get(folder)
    if arguments.curve and arguments.layout != "crf":
        crf = False
    extra = supervision_of(source, "nocrf" if arguments.curve else folder)
    if arguments.extra:
        extra = [] if arguments.extra == "none" else arguments.extra.split(",")
    return {
        "dataset": arguments.dataset or ("voc12" if classes == VOC_CLASSES else None),
        "stage": arguments.stage,
        "split": arguments.split or _split_of(arguments.list),
        "crf": {"yes": True, "no": False, None: crf}[arguments.crf],
        "threshold": source.get("threshold_policy"),
        "extra": extra,
        "network": source.get("backbone"),
        "initial_weights": arguments.initial_weights or _start_of(source),
    }


def _start_of(run: dict):
    """What training started from, where `run.json` says it."""
    weights = run.get("initial_weights")
    if weights:
        return Path(weights["path"]).stem
    return "random start" if "initial_weights" in run else None


def _split_of(path):
    """The split that a list is by its name, with the originals' spellings: train_aug_id.txt, trainaug.txt, train_cls.txt."""
    name = re.sub("_(id|cls)$", "", Path(path).stem).replace("trainaug", "train_aug")
    return name if name in SPLITS else None


def _thresholds(text):
    if text == "0:0.59:0.01":
        return THRESHOLDS
    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step)
        if not 0 <= count < _MOST_THRESHOLDS:
            raise ValueError
    except (ValueError, ArithmeticError):
        expected = f"first:last:step, such as 0:0.59:0.01, at most {_MOST_THRESHOLDS} thresholds"
        raise InputError(
            "--thresholds", expected, repr(text), "Take a larger step or a shorter range."
        ) from None
    return [round(first + k * step, 10) for k in range(count + 1)]


def _note_of_progress(arguments) -> Path:
    """Where the counts of an interrupted call are kept: in the user's cache, by folders; emptied for --fresh."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    about = json.dumps(
        [os.path.abspath(path) for path in (arguments.predictions, arguments.truth, arguments.list)]
    )
    note = root / "icd" / "evaluate" / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.npz"
    if arguments.fresh and note.is_file():
        note.unlink()
    return note


class _Progress:
    """A bar on the terminal, called with (done, total); silent where the output is not a terminal."""

    def __enter__(self):
        self.bar = None
        return self

    def __call__(self, done, total):
        if self.bar is None:
            self.bar = tqdm(total=total, unit="img", disable=None, leave=False)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()
