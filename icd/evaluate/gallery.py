"""The pictures of the report: image, truth, score maps, seeds, small enough to travel inside the page.

In: a run folder, photographs, truths, and the mIoU of every image. Out: markup with the pictures as data URLs. Pictures
are WebP: photographs and score maps lossy, masks lossless.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from icd.bounded import MAX_SIDE, bounded_maps, shrink_labels, working_size
from icd.classes import IGNORE, voc_palette
from icd.data.images import image_path, read_bounded
from icd.evaluate.threshold_slider import is_seed_of, levels, strongest
from icd.files import mask_path, read_mask, read_score_maps, score_maps_path
from icd.grid import maps_on_image, positive_share
from icd.pictures import heat_map

VARIANTS = {"crf": "after CRF", "nocrf": "seed", "sal": "with saliency"}
"""Names of the folders of seeds, those that images are ranked by first, and what they are called."""
RANKS = ("best", "median", "worst")


@dataclass(frozen=True)
class Gallery:
    """Makes the pictures of one image; calling it with a list of (id, rank, mIoU or None) returns its figures' markup.

    Attributes
    ----------
    kinds : list of Kind
        See `kinds_of_run`.
    image_root, truth_root : pathlib.Path or None
        What is None or has no file for an id is left out.
    names : tuple of str
        Class names, background first.
    side : int
        Longest side of a picture in pixels.
    max_side : int or None
        At which the run worked, see `icd.bounded`.
    thresholds : dict of float
        By kind the run's own, where the page has a slider; see `icd.evaluate.threshold_slider`.
    """

    kinds: list
    image_root: Path
    truth_root: Path
    names: tuple
    side: int
    max_side: int = MAX_SIDE
    thresholds: dict = field(default_factory=dict)

    def __call__(self, chosen) -> list:
        return [self._figure(*entry) for entry in chosen]

    def _figure(self, image_id, rank, miou) -> str:
        classes = self._classes(image_id)
        shown = ", ".join(self.names[number] for number in classes)
        score = "" if miou is None or miou != miou else f" · {100 * miou:.1f} %"
        rows = "".join(f'<div class="panels">{row}</div>' for row in self._rows(image_id))
        numbers = " ".join(map(str, classes))
        return (
            f'<figure class="shot" tabindex="0" role="button" data-rank="{rank}" data-classes="{numbers}">'
            f"<figcaption><b>{escape(image_id)}</b>{score} · {escape(shown)}</figcaption>"
            f"{rows}</figure>"
        )

    def _rows(self, image_id) -> list:
        """Rows of pictures: one for every kind of score maps, with image and truth in front."""
        photograph, truth = None, self._truth(image_id)
        path = self.image_root and image_path(self.image_root, image_id)
        if path and path.is_file():
            photograph = self._small(read_bounded(path, self.max_side)[0], cv2.INTER_AREA)
        rows = [self._kind(kind, image_id, photograph) for kind in self.kinds] or [[]]
        if photograph is not None:
            rows[0].insert(0, _panel("image", photograph, 60))
        if truth is not None:
            rows[-1].insert(0 if len(rows) > 1 else 1, _panel("truth", self._colours(self._bounded(truth))))
        return ["".join(row) for row in rows if row]

    def _kind(self, kind, image_id, photograph) -> list:
        """Score map and seeds of one kind."""
        panels, scores = [], None
        if kind.maps is not None and score_maps_path(kind.maps, image_id).is_file():
            scores = read_score_maps(score_maps_path(kind.maps, image_id))
            panels.append(_panel(f"{kind.name} map", self._heat(scores, photograph), 50))
        for variant in [name for name in ("nocrf", "crf", "sal") if name in kind.variants] or kind.variants:
            path = mask_path(kind.seeds / variant, image_id)
            if path.is_file():
                name = f"{kind.name} {kind.variants[variant]}".strip()
                mask = self._bounded(path)
                more = self._redrawn(kind, scores, mask) if variant == "nocrf" else ""
                panels.append(_panel(name, self._colours(mask), more=more))
        return panels

    def _redrawn(self, kind, scores, seed) -> str:
        """What the slider redraws a seed from, as attributes; nothing where it would not draw the run's own seed."""
        own = self.thresholds.get(kind.name)
        if own is None or scores is None or not len(scores.classes):
            return ""
        strong = strongest(scores, self.max_side, levels(own))
        if not is_seed_of(seed, strong, levels(own).index(own)):
            return ""
        small = self._small(strong, cv2.INTER_NEAREST)
        return f' data-kind="{escape(kind.name)}" data-map="{data_url(small)}"'

    def _bounded(self, path) -> np.ndarray:
        """A mask at the working size of its photograph."""
        mask = read_mask(path)
        size = working_size(mask.shape, self.max_side)
        return mask if size == mask.shape else shrink_labels(mask, size)

    def _truth(self, image_id):
        path = mask_path(self.truth_root, image_id) if self.truth_root else None
        return path if path and path.is_file() else None

    def _classes(self, image_id) -> list:
        """Foreground classes of the truth, or of the score maps where there is no truth."""
        path = self._truth(image_id)
        if path is not None:
            values = np.unique(read_mask(path))
            return [int(value) for value in values if 0 < value < len(self.names) and value != IGNORE]
        for kind in self.kinds:
            if kind.maps is not None and score_maps_path(kind.maps, image_id).is_file():
                scores = read_score_maps(score_maps_path(kind.maps, image_id), len(self.names) - 1)
                return [int(number) for number in scores.classes]
        return []

    def _heat(self, scores, photograph) -> np.ndarray:
        """The strongest class's share of its maximum as colours, over the photograph in gray."""
        scores = bounded_maps(scores, self.max_side)
        planes = positive_share(maps_on_image(scores))
        strongest = planes.max(0) if len(planes) else np.zeros(scores.size, np.float32)
        return heat_map(self._small(strongest, cv2.INTER_AREA), photograph)

    def _colours(self, mask) -> np.ndarray:
        return voc_palette()[self._small(mask, cv2.INTER_NEAREST)]

    def _small(self, picture, interpolation) -> np.ndarray:
        scale = min(1.0, self.side / max(picture.shape[:2]))
        size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
        return picture if scale == 1 else cv2.resize(picture, size, interpolation=interpolation)


@dataclass(frozen=True)
class Kind:
    """One kind of score maps of a run, such as CAM: its name, the folder of its maps or None, the folder of its seeds, and
    the folders in there with what they are called."""

    name: str
    maps: Path
    seeds: Path
    variants: dict = field(default_factory=lambda: VARIANTS)


def kinds_of_run(run_folder) -> list:
    """The kinds of score maps in a run folder, the method's own last: its seeds are in `seeds`, others' in `seeds_<kind>`.

    A run with seeds but without score maps has one kind without a name, and so has a folder of masks. `scores_demo`, which holds pictures, is none.
    """
    results = Path(run_folder) / "results"
    names = [folder.name[7:] for folder in sorted(results.glob("scores_*")) if any(folder.glob("*.npz"))]
    kinds = [Kind(name, results / f"scores_{name}", results / f"seeds_{name}") for name in names]
    kinds.sort(key=lambda kind: not kind.seeds.is_dir())
    if kinds:
        kinds[-1] = replace(kinds[-1], seeds=results / "seeds")
    if kinds:
        return kinds
    if (results / "seeds").is_dir():
        return [Kind("", None, results / "seeds")]
    folder = Path(run_folder).resolve()
    masks = any(folder.glob("[!.]*.png"))
    return [Kind("", None, folder.parent, {folder.name: "prediction"})] if masks else []


def _panel(name: str, picture: np.ndarray, quality=None, more="") -> str:
    source = data_url(picture, quality)
    return f'<span><img alt="{escape(name)}" src="{source}"{more}><small>{escape(name)}</small></span>'


def mask_legend(names) -> str:
    """Markup: the colours of the masks, with the names of their classes, background first; and that of what is undefined."""
    entries = [*enumerate(names), (IGNORE, "undefined (255)")]
    palette = voc_palette()
    shown = "".join(
        f'<li><i style="background:#{bytes(palette[number]).hex()}"></i>{escape(name)}</li>'
        for number, name in entries
    )
    return f'<ul class="legend colours" aria-label="Colours of the masks">{shown}</ul>'


def data_url(picture: np.ndarray, quality=None) -> str:
    """An RGB picture, (H, W, 3) uint8, as a WebP data URL; lossless where no quality is given."""
    buffer = io.BytesIO()
    settings = {"lossless": True, "quality": 100} if quality is None else {"quality": quality}
    Image.fromarray(picture).save(buffer, "WEBP", method=4, **settings)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def choose(per_image: dict, ids, size: int) -> list:
    """Choose the images to show.

    Parameters
    ----------
    per_image : dict of str to float
        mIoU of the scored images, NaN or None where it has none; empty where there is no truth.
    ids : sequence of str
        All images of the run.
    size : int
        How many to show at most.

    Returns
    -------
    list of (str, str, float or None)
        Id, rank and mIoU: the best, those around the median and the worst, a third each. Without scores the first images.
    """
    scored = [i for i, miou in per_image.items() if miou is not None and miou == miou]
    order = sorted(scored, key=lambda i: (-per_image[i], i))
    if not order:
        return [(image_id, "unscored", None) for image_id in ids[:size]]
    if len(order) > size:
        third = max(1, size // 3)
        middle = len(order) // 2 - third // 2
        order = [*order[:third], *order[middle : middle + third], *order[-third:]]
    parts = np.array_split(np.arange(len(order)), len(RANKS))
    return [(order[k], rank, per_image[order[k]]) for rank, part in zip(RANKS, parts) for k in part]
