"""Score masks, or score maps with --curve, against the truth. Works without MXNet, for masks of any program.

    icd evaluate results/seeds/crf --truth VOC2012/SegmentationClassAug --list train.txt
    icd evaluate pseudo_labels --truth SegmentationClass --list train.txt --as irn --against irn-voc12
    icd evaluate cams --truth SegmentationClass --list train.txt --curve --as seam

Exit status: 0; 1 where predictions are missing (they are listed); 2 for bad input.
"""

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
from icd.cli.flags import add_cluster, at_least
from icd.errors import InputError
from icd.evaluate import score_masks, show, threshold_curve
from icd.evaluate.curve import FIXED, THRESHOLDS, threshold_of_policy
from icd.evaluate.policies import CONVENTIONS, POLICIES
from icd.evaluate.published import SPLITS, published_names, read_published
from icd.files import read_classes, read_list, write_json
from icd.foreign.layouts import LAYOUTS
from icd.provenance import describe_file, plain, run_of, supervision_of, versions

_MOST_THRESHOLDS = 10_000


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("predictions", help="folder of masks <id>.png; with --curve of score maps")
    parser.add_argument("--truth", required=True, help="folder of true masks <id>.png, 255 = not scored")
    parser.add_argument("--list", required=True, help="ids, one a line; the originals' lists are understood")
    parser.add_argument(
        "--classes", help="voc, coco, or a file of foreground class names, one a line (default: voc)"
    )
    parser.add_argument(
        "--only",
        help="score these classes alone, by name or number, with commas between, background too if it is to be scored; "
        "others count as 255 in the truth",
    )
    counting = parser.add_mutually_exclusive_group()
    counting.add_argument(
        "--policy",
        choices=POLICIES,
        default="drop",
        help="what 255 in a prediction counts as (default: %(default)s)",
    )
    originals = [name for name in CONVENTIONS if name not in POLICIES]
    counting.add_argument(
        "--as", dest="convention", choices=originals, help="count exactly as this original's evaluator"
    )
    parser.add_argument("--no-boundary", action="store_true", help="leave out boundary IoU")
    parser.add_argument("--json", help="write everything to this file, with how it came about")
    parser.add_argument("--per-image", action="store_true", help="with the mIoU of every image in --json")
    parser.add_argument("--workers", type=at_least(1), help="processes (default: all cores)")
    add_cluster(parser)
    parser.add_argument("--fresh", action="store_true", help="do not go on from an interrupted call")
    _add_curve_arguments(parser.add_argument_group("score maps"))
    _add_published_arguments(parser.add_argument_group("published numbers"))


def _add_curve_arguments(group) -> None:
    group.add_argument("--curve", action="store_true", help="sweep the background threshold over score maps")
    group.add_argument(
        "--threshold", type=float, help="the fixed threshold (default: the one of --as, of the run, or 0.2)"
    )
    group.add_argument("--thresholds", default="0:0.59:0.01", help="first:last:step (default: %(default)s)")
    group.add_argument(
        "--layout", choices=LAYOUTS, help="layout of the maps (default: told from the content)"
    )
    group.add_argument("--tags", help="folder of <id>.xml or file of tags, which the layout icd needs")
    group.add_argument(
        "--normalize",
        action="store_true",
        help="positive part over its maximum, for maps that hold logits (default: as the run that made them)",
    )


def _add_published_arguments(group) -> None:
    names = ", ".join(published_names())
    group.add_argument("--against", help=f"print published numbers beside ours: {names}, or a YAML file")
    group.add_argument(
        "--dataset", help="what the images are, such as coco14 (default: voc12 for VOC's classes)"
    )
    group.add_argument("--stage", choices=("seeds", "walk", "segmentation"), help="what the predictions are")
    group.add_argument("--split", help="the split that --list is (default: its file name, where that is one)")
    group.add_argument("--crf", choices=("yes", "no"), help="whether a dense CRF made the predictions")
    group.add_argument(
        "--extra", help="supervision beyond tags, with commas between, or none (default: from run.json)"
    )
    group.add_argument("--initial-weights", help="what training started from (default: from run.json)")


def run(arguments) -> int:
    """Run the command and return its exit status."""
    from icd.stages.cluster import opened

    ids = read_list(arguments.list)
    classes = read_classes(arguments.classes)
    evaluated = evaluated_numbers(arguments.only, classes, "--only") if arguments.only else None
    published = read_published(arguments.against) if arguments.against else None
    if not arguments.curve and (arguments.threshold is not None or arguments.normalize):
        raise InputError("--threshold and --normalize", "--curve beside them", "none")
    command = _score_maps if arguments.curve else _score_masks
    places = [arguments.predictions, arguments.truth]
    with _Progress() as progress, opened(
        arguments.cluster, arguments.workers, ".", places
    ) as arguments.workers:
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
    fixed, of_maximum = _rule_of_run(arguments.predictions)
    fixed = FIXED.get(arguments.convention, fixed) if arguments.threshold is None else arguments.threshold
    normalize = arguments.normalize or of_maximum
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
        text += "\nThresholds are shares of each map's maximum" + (
            ", as in the run's own seeds." if of_maximum else "."
        )
    return _Result(text, miou, curve.iou[place], curve.missing, conditions, curve.as_dict(fixed))


def _rule_of_run(predictions) -> tuple:
    """The threshold by which the run that score maps belong to made its seeds, and whether it is a share of the maximum."""
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
