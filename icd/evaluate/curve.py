"""mIoU over the background threshold: every threshold from one reading of the score maps.

In: score maps and truths. Out: IoU for every threshold, and two numbers side by side: at the threshold fixed beforehand,
and at the best one, which was chosen with the truth.

A pixel belongs to the class with the largest score if that is above the threshold t, else to the background (a constant
plane t stacked in front of the maps, first maximum wins: spec seam 6, vwe 6, eps 5.5). So a pixel's class is fixed, and t
only decides from which t on it is background: one histogram over (truth, class, number of thresholds below the score)
holds all curves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icd.classes import IGNORE, VOC_CLASSES
from icd.data.tags import open_tags
from icd.errors import InputError
from icd.evaluate.confusion import count_values, refuse_unknown
from icd.evaluate.findings import Findings, count_findings, no_findings
from icd.evaluate.policies import Convention, class_scores, convention_of, mean_iou
from icd.evaluate.score import check_evaluated, index_masks, truth_lookup
from icd.evaluate.tally import tally
from icd.files import read_mask_and_palette
from icd.foreign.layouts import find_score_maps, read_layout
from icd.grid import maps_on_image, positive_share, shares_on_image

THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(60))
"""0.00, 0.01 .. 0.59, as SEAM and PPC sweep."""
FIXED = {"eps": 0.20, "psa": 0.20, "seam": 0.26, "ppc": 0.26, "vwe": 0.14, "irn": 0.15}
"""The thresholds that the originals fix for masks without a sweep (their specs)."""


@dataclass(frozen=True)
class Curve:
    """Scores over the background threshold.

    Attributes
    ----------
    thresholds : numpy.ndarray, shape (T,), float64
    counts : numpy.ndarray, shape (T, C + 1, C + 1), int64
        Pixels by threshold, truth and prediction.
    convention : Convention
    evaluated : tuple of int
    images : int
    missing : tuple of str
        Ids without score maps.
    findings : icd.evaluate.findings.Findings or None
        What makes the numbers doubtful; "predictions" are the strongest classes without a threshold.
    """

    thresholds: np.ndarray
    counts: np.ndarray
    convention: Convention
    evaluated: tuple
    images: int
    missing: tuple = ()
    findings: Findings = None

    @property
    def iou(self) -> np.ndarray:
        """IoU by threshold and class, (T, C + 1) float64; NaN for classes that are not judged."""
        nothing = np.zeros(self.counts.shape[1], np.int64)
        iou = np.stack(
            [class_scores(table, nothing, self.convention.epsilon)["iou"] for table in self.counts]
        )
        iou[:, [number for number in range(iou.shape[1]) if number not in self.evaluated]] = np.nan
        return iou

    @property
    def miou(self) -> np.ndarray:
        """mIoU by threshold, (T,) float64."""
        truth = self.counts[0].sum(1)
        return np.array([mean_iou(row, truth, self.evaluated, self.convention.mean) for row in self.iou])

    @property
    def best(self) -> int:
        """Position of the best threshold; it was chosen with the truth, which a published number must say."""
        return int(np.argmax(np.nan_to_num(self.miou, nan=-1.0)))

    def position(self, threshold: float) -> int:
        """Position of a threshold; `InputError` where it was not swept."""
        found = np.flatnonzero(np.isclose(self.thresholds, threshold, atol=1e-9))
        if not len(found):
            raise InputError("the fixed threshold", "one of the thresholds swept", f"{threshold}")
        return int(found[0])

    def as_dict(self, fixed=None) -> dict:
        """Plain numbers for JSON; `fixed` adds the mIoU at a threshold that was not chosen on this truth."""
        miou = self.miou
        content = {
            "thresholds": self.thresholds.tolist(),
            "miou": miou.tolist(),
            "images": self.images,
            "missing": list(self.missing),
            "best": {
                "threshold": float(self.thresholds[self.best]),
                "miou": float(miou[self.best]),
                "iou": self.iou[self.best].tolist(),
                "chosen_with": "the truth it is scored on",
            },
        }
        if fixed is not None:
            place = self.position(fixed)
            content["fixed"] = {
                "threshold": fixed,
                "miou": float(miou[place]),
                "iou": self.iou[place].tolist(),
            }
        return content


def threshold_curve(
    score_map_folder,
    truth_folder,
    ids,
    thresholds=THRESHOLDS,
    *,
    classes=VOC_CLASSES,
    policy="drop",
    evaluated_classes=None,
    layout=None,
    tag_source=None,
    normalize=False,
    **effort,
) -> Curve:
    """Score the masks that every background threshold gives.

    Parameters
    ----------
    score_map_folder, truth_folder : str or os.PathLike
        Score maps may be those of an original, see `icd.foreign.layouts`.
    ids : sequence of str
    thresholds : sequence of float
        Ascending; compared in float32, as the originals do.
    classes : sequence of str
        Names of the foreground classes 1..C.
    policy : str
        A convention of `icd.evaluate.policies`. No prediction is 255 here, so `drop`, `background` and `error` agree.
    evaluated_classes : sequence of int, optional
        As in `icd.evaluate.score_masks`.
    layout, tag_source : optional
        Layout of the maps, where their content does not tell; for the layout `icd` any source of `icd.data.tags`.
    normalize : bool
        Take the positive part of every map and divide it by its maximum in the image, or stretch it over its range where the
        maps say so (SEAM); for maps that hold logits.
    **effort
        `workers`, `partial`, `save_every`, `progress` of `icd.evaluate.tally.tally`.

    Returns
    -------
    Curve

    Raises
    ------
    InputError
        Maps or truths are missing, damaged or do not fit; the thresholds do not ascend.
    """
    thresholds = _checked_thresholds(thresholds)
    evaluated = check_evaluated(evaluated_classes, len(classes))
    maps = _index_score_maps(score_map_folder, ids)
    present = [image_id for image_id in ids if image_id in maps]
    truths = index_masks(truth_folder, present, complete=True)
    convention = convention_of(policy)
    levels, tags = thresholds.astype(np.float32), tag_source and open_tags(tag_source, classes)
    count = _CountChunk(levels, tuple(classes), convention, evaluated, layout, tags, normalize)
    about = [
        "curve, 2",
        thresholds.tolist(),
        len(classes),
        policy,
        evaluated,
        layout,
        str(tag_source),
        normalize,
    ]
    items = [(maps[image_id], truths[image_id]) for image_id in present]
    (total, *found), _ = tally(count, items, about=about, **effort)
    missing = tuple(image_id for image_id in ids if image_id not in maps)
    findings = Findings(len(present), *found)
    return Curve(thresholds, _tables(total), convention, evaluated, len(present), missing, findings)


def _checked_thresholds(thresholds) -> np.ndarray:
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or (np.diff(thresholds.astype(np.float32)) <= 0).any():
        raise InputError("thresholds", "ascending numbers, at least one", f"{thresholds.tolist()}")
    return thresholds


FIXED_RULE = re.compile(r"fixed ([\d.]+(?:e-?\d+)?)( of the (?:maximum|range))?")
"""A rule with a fixed threshold: the number, and what it is a share of, if of anything."""


def rule_of_policy(policy: str, kind: str) -> str:
    """What `threshold_policy` of `run.json` says of a kind of score maps, or of all kinds; "" where it says nothing."""
    policies = dict(part.rpartition(": ")[::2] for part in policy.split("; "))
    return policies.get(kind) or policies.get("") or ""


def threshold_of_policy(policy: str, kind: str) -> tuple:
    """The background threshold by which a run made its own seeds.

    Parameters
    ----------
    policy : str
        `threshold_policy` of `run.json`, such as "cam: fixed 0.2 of the maximum; icd: none", or one for all kinds.
    kind : str
        Of score maps.

    Returns
    -------
    (float, bool)
        The threshold, 0 for "none" and 0.2 where none is recorded, and whether it is a share of each map's maximum or range.
    """
    rule = rule_of_policy(policy, kind) or "fixed 0.2 of the maximum"
    fixed = FIXED_RULE.search(rule)
    return (float(fixed[1]), fixed[2] is not None) if fixed else (0.0, True)


def _shares(scores) -> np.ndarray:
    """As masks are made of them: by range where the method says so, else over the maximum."""
    return (
        shares_on_image(scores) if scores.normalization == "range" else positive_share(maps_on_image(scores))
    )


def _index_score_maps(folder, ids) -> dict:
    """Paths of the score maps, without the ids that have none; `InputError` where none has any."""
    if not Path(folder).is_dir():
        raise InputError(folder, "a folder of score maps", "nothing there")
    paths = {image_id: find_score_maps(folder, image_id) for image_id in ids}
    found = {image_id: str(path) for image_id, path in paths.items() if path.is_file()}
    if not found:
        raise InputError(folder, "score maps named <id>.npz or <id>.npy", f"none of the {len(ids)} ids")
    return found


@dataclass(frozen=True)
class _CountChunk:
    """Counts pixels by truth, class and bin in some images; bin k holds scores above exactly the first k thresholds."""

    thresholds: np.ndarray
    classes: tuple
    convention: Convention
    evaluated: tuple
    layout: str
    tags: object
    normalize: bool

    def __call__(self, items) -> tuple:
        number, bins = len(self.classes) + 1, len(self.thresholds) + 1
        found = no_findings(number - 1)
        lookup, total = truth_lookup(self.evaluated, number - 1), np.zeros((number, number, bins), np.int64)
        for maps_path, truth_path in items:
            truth, palette = read_mask_and_palette(truth_path)
            if self.convention.unknown_truth == "refuse":
                refuse_unknown(truth_path, count_values(truth, 256)[:IGNORE], number - 1)
            winner, best = self._strongest(maps_path, truth.shape)
            for sums, part in zip(
                found, count_findings(truth, palette, winner.astype(np.uint8), None, number - 1)
            ):
                sums += part
            truth = lookup[truth]
            known = truth < number
            above = np.searchsorted(self.thresholds, best[known], side="left")
            cell = (truth[known].astype(np.int64) * number + winner[known]) * bins + above
            total += np.bincount(cell, minlength=total.size).reshape(total.shape)
        return (total, *found), np.full(len(items), np.nan)

    def _strongest(self, path, size) -> tuple:
        """The class with the largest score and that score, both (H, W); 0 and minus infinity where there is no map."""
        tags = self.tags and self.tags.read(Path(path).stem)
        scores = read_layout(path, self.layout, tags, size, len(self.classes))
        planes = _shares(scores) if self.normalize else maps_on_image(scores)
        winner, best = np.zeros(size, np.int64), np.full(size, -np.inf, np.float32)
        # np.argmax over the first axis is several times slower.
        for number, plane in zip(scores.classes, planes):
            winner[plane > best] = number
            np.maximum(best, plane, out=best)
        return winner, best


def _tables(total: np.ndarray) -> np.ndarray:
    """Turn pixels by (truth, class, bin) into pixels by (threshold, truth, prediction): class where bin > threshold's."""
    above = np.cumsum(total[..., ::-1], -1)[..., ::-1][..., 1:]
    tables = np.moveaxis(above, -1, 0).copy()
    tables[:, :, 0] = total.sum((1, 2)) - tables.sum(2)
    return tables
