"""The pictures of the report: image, score maps, seeds, truth, small enough to travel inside the page.

In: a run folder, photographs, truths, and the mIoU of every image. Out: markup with the pictures as data URLs. Pictures
are WebP: photographs and score maps lossy, masks lossless.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from icd.classes import IGNORE, voc_palette
from icd.data.images import image_path, read_image
from icd.files import mask_path, read_mask, read_score_maps, score_maps_path
from icd.grid import maps_on_image, positive_share
from icd.pictures import heat_map

_VARIANTS = {"nocrf": "seed", "crf": "after CRF", "sal": "with saliency"}
RANKS = ("best", "median", "worst")


@dataclass(frozen=True)
class Gallery:
    """Makes the pictures of one image; calling it with a list of (id, rank, mIoU or None) returns its figures' markup.

    Attributes
    ----------
    run_folder : pathlib.Path
    image_root, truth_root : pathlib.Path or None
        What is None or has no file for an id is left out.
    names : tuple of str
        Class names, background first.
    side : int
        Longest side of a picture in pixels.
    """

    run_folder: Path
    image_root: Path
    truth_root: Path
    names: tuple
    side: int

    def __call__(self, chosen) -> list:
        return [self._figure(*entry) for entry in chosen]

    def _figure(self, image_id, rank, miou) -> str:
        panels = list(self._panels(image_id))
        classes = self._classes(image_id)
        shown = ", ".join(self.names[number] for number in classes)
        score = "" if miou is None or miou != miou else f" · {100 * miou:.1f} %"
        pictures = "".join(
            f'<span><img alt="{escape(alt)}" src="{source}"><small>{escape(alt)}</small></span>'
            for alt, source in panels
        )
        numbers = " ".join(map(str, classes))
        return (
            f'<figure class="shot" tabindex="0" role="button" data-rank="{rank}" data-classes="{numbers}">'
            f"<figcaption><b>{escape(image_id)}</b>{score} · {escape(shown)}</figcaption>"
            f'<div class="panels">{pictures}</div></figure>'
        )

    def _panels(self, image_id):
        """Yield (name, data URL) of what is there."""
        photograph = None
        if self.image_root and image_path(self.image_root, image_id).is_file():
            photograph = self._small(read_image(image_path(self.image_root, image_id)), cv2.INTER_AREA)
            yield "image", data_url(photograph, 60)
        for folder in score_map_folders(self.run_folder):
            path = score_maps_path(folder, image_id)
            if path.is_file():
                yield f"{folder.name[7:]} map", data_url(self._heat(read_score_maps(path), photograph), 50)
        for variant, name in _VARIANTS.items():
            path = mask_path(self.run_folder / "results" / "seeds" / variant, image_id)
            if path.is_file():
                yield name, data_url(self._colours(read_mask(path)))
        path = self._truth(image_id)
        if path is not None:
            yield "truth", data_url(self._colours(read_mask(path)))

    def _truth(self, image_id):
        path = mask_path(self.truth_root, image_id) if self.truth_root else None
        return path if path and path.is_file() else None

    def _classes(self, image_id) -> list:
        """Foreground classes of the truth, or of the score maps where there is no truth."""
        path = self._truth(image_id)
        if path is not None:
            values = np.unique(read_mask(path))
            return [int(value) for value in values if 0 < value < len(self.names) and value != IGNORE]
        for folder in score_map_folders(self.run_folder):
            path = score_maps_path(folder, image_id)
            if path.is_file():
                return [int(number) for number in read_score_maps(path).classes]
        return []

    def _heat(self, scores, photograph) -> np.ndarray:
        """The strongest class's share of its maximum as colours, over the photograph in gray."""
        planes = positive_share(maps_on_image(scores))
        strongest = planes.max(0) if len(planes) else np.zeros(scores.size, np.float32)
        return heat_map(self._small(strongest, cv2.INTER_AREA), photograph)

    def _colours(self, mask) -> np.ndarray:
        return voc_palette()[self._small(mask, cv2.INTER_NEAREST)]

    def _small(self, picture, interpolation) -> np.ndarray:
        scale = min(1.0, self.side / max(picture.shape[:2]))
        size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
        return picture if scale == 1 else cv2.resize(picture, size, interpolation=interpolation)


def score_map_folders(run_folder) -> list:
    """The folders of score maps in a run folder; `scores_demo`, which holds pictures, is none."""
    folders = sorted((Path(run_folder) / "results").glob("scores_*"))
    return [folder for folder in folders if any(folder.glob("*.npz"))]


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
        mIoU of the scored images; empty where there is no truth.
    ids : sequence of str
        All images of the run.
    size : int
        How many to show at most.

    Returns
    -------
    list of (str, str, float or None)
        Id, rank and mIoU: the best, those around the median and the worst, a third each. Without scores the first images.
    """
    order = sorted((i for i in per_image if per_image[i] == per_image[i]), key=lambda i: (-per_image[i], i))
    if not order:
        return [(image_id, "unscored", None) for image_id in ids[:size]]
    if len(order) > size:
        third = max(1, size // 3)
        middle = len(order) // 2 - third // 2
        order = [*order[:third], *order[middle : middle + third], *order[-third:]]
    parts = np.array_split(np.arange(len(order)), len(RANKS))
    return [(order[k], rank, per_image[order[k]]) for rank, part in zip(RANKS, parts) for k in part]
