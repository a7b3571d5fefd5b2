"""mIoU over the background threshold: every threshold from one reading of the score maps.

In: score maps and truths. Out: IoU for every threshold, and two numbers side by side: at the threshold fixed beforehand,
and at the best one, which was chosen with the truth.

A pixel belongs to the class with the largest score if that is above the threshold t, else to the background (a constant
plane t stacked in front of the maps, first maximum wins: spec seam 6, vwe 6, eps 5.5). So a pixel's class is fixed, and t
only decides from which t on it is background: one histogram over (truth, class, number of thresholds below the score)
holds all curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icd.classes import IGNORE, VOC_CLASSES
from icd.data.tags import open_tags
from icd.errors import InputError
from icd.evaluate.policies import Convention, class_scores, convention_of, mean_iou
from icd.evaluate.score import check_evaluated, index_masks, map_on_cores, truth_lookup
from icd.files import read_mask
from icd.grid import maps_on_image, positive_share
from icd.layouts import find_score_maps, read_layout

THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(60))
"""0.00, 0.01 .. 0.59, as SEAM and PPC sweep."""
FIXED = {"eps": 0.20, "psa": 0.20, "seam": 0.26, "ppc": 0.26, "vwe": 0.14, "irn": 0.15}
"""The thresholds that the originals fix for masks without a sweep (their specs)."""
_CHUNK = 8


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
    """

    thresholds: np.ndarray
    counts: np.ndarray
    convention: Convention
    evaluated: tuple
    images: int
    missing: tuple = ()

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
        return int(np.nanargmax(self.miou))

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
    workers=None,
    progress=None,
) -> Curve:
    """Score the masks that every background threshold gives.

    Parameters
    ----------
    score_map_folder : str or os.PathLike
        Score maps of this package or of an original, see `icd.layouts`.
    truth_folder : str or os.PathLike
    ids : sequence of str
    thresholds : sequence of float
        Ascending; compared in float32, as the originals do.
    classes : sequence of str
        Names of the foreground classes 1..C.
    policy : str
        A convention of `icd.evaluate.policies`. No prediction is 255 here, so `drop`, `background` and `error` agree.
    evaluated_classes : sequence of int, optional
        As in `icd.evaluate.score_masks`.
    layout : str, optional
        Layout of the maps, where their content does not tell.
    tag_source : str or os.PathLike, optional
        Any source of `icd.data.tags`, for the layout `icd`.
    normalize : bool
        Take the positive part of every map and divide it by its maximum in the image; for maps that hold logits.
    workers : int, optional
    progress : callable, optional
        Called with (images done, images in all).

    Returns
    -------
    Curve

    Raises
    ------
    InputError
        Maps or truths are missing, damaged or do not fit; the thresholds do not ascend.
    """
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or (np.diff(thresholds.astype(np.float32)) <= 0).any():
        raise InputError("thresholds", "ascending numbers, at least one", f"{thresholds.tolist()}")
    evaluated = check_evaluated(evaluated_classes, len(classes))
    if not Path(score_map_folder).is_dir():
        raise InputError(score_map_folder, "a folder of score maps", "nothing there")
    maps = {image_id: find_score_maps(score_map_folder, image_id) for image_id in ids}
    present = [image_id for image_id in ids if maps[image_id].is_file()]
    if not present:
        raise InputError(
            score_map_folder, "score maps named <id>.npz or <id>.npy", f"none of the {len(ids)} ids"
        )
    truths = index_masks(truth_folder, present)
    items = [(maps[i], truths.get(i, Path(truth_folder) / f"{i}.png"), i) for i in present]
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    count = _CountChunk(
        thresholds.astype(np.float32),
        tuple(classes),
        convention_of(policy),
        evaluated,
        layout,
        tag_source and open_tags(tag_source, classes),
        normalize,
    )
    total = np.zeros((len(classes) + 1, len(classes) + 1, len(thresholds) + 1), np.int64)
    for done, part in enumerate(map_on_cores(count, chunks, workers), 1):
        total += part
        if progress is not None:
            progress(min(done * _CHUNK, len(items)), len(items))
    missing = tuple(image_id for image_id in ids if not maps[image_id].is_file())
    return Curve(thresholds, _tables(total), convention_of(policy), evaluated, len(items), missing)


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

    def __call__(self, items) -> np.ndarray:
        number, bins = len(self.classes) + 1, len(self.thresholds) + 1
        lookup, total = truth_lookup(self.evaluated, number - 1), np.zeros((number, number, bins), np.int64)
        for maps_path, truth_path, image_id in items:
            truth = self._truth(truth_path)
            present, planes = self._planes(maps_path, image_id, truth.shape)
            truth = lookup[truth]
            known = truth < number
            planes = planes[:, known]
            above = np.searchsorted(self.thresholds, planes.max(0), side="left")
            cell = (truth[known].astype(np.int64) * number + present[planes.argmax(0)]) * bins + above
            total += np.bincount(cell, minlength=total.size).reshape(total.shape)
        return total

    def _truth(self, path) -> np.ndarray:
        truth = read_mask(path)
        strange = truth[(truth > len(self.classes)) & (truth != IGNORE)]
        if len(strange) and self.convention.unknown_truth == "refuse":
            wanted = f"class numbers 0..{len(self.classes)} and {IGNORE}"
            raise InputError(path, wanted, f"the value {strange[0]}")
        return truth

    def _planes(self, path, image_id, size):
        """Classes, (L + 1,), and maps, (L + 1, H, W), behind a background that wins only where there is no map."""
        tags = self.tags and self.tags.read(image_id)
        scores = read_layout(path, self.layout, tags, size)
        if len(scores.classes) and scores.classes[-1] > len(self.classes):
            raise InputError(path, f"classes 1..{len(self.classes)}", f"class {scores.classes[-1]}")
        if not np.isfinite(scores.maps).all():
            raise InputError(path, "finite scores", "NaN or infinity", "Localize this image again.")
        planes = maps_on_image(scores)
        if self.normalize:
            planes = positive_share(planes)
        nothing = np.full((1, *size), -np.inf, np.float32)
        return np.array([0, *scores.classes]), np.concatenate([nothing, planes])


def _tables(total: np.ndarray) -> np.ndarray:
    """Turn pixels by (truth, class, bin) into pixels by (threshold, truth, prediction): class where bin > threshold's."""
    above = np.cumsum(total[..., ::-1], -1)[..., ::-1][..., 1:]
    tables = np.moveaxis(above, -1, 0).copy()
    tables[:, :, 0] = total.sum((1, 2)) - tables.sum(2)
    return tables
