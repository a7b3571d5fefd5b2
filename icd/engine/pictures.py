"""Pictures for people: score maps over photographs, a strip after every epoch.

In: a method and a data set. Out: `<model>-<epoch>.jpg`, a row an image: photograph, then one column a score map.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icd.compat import mx
from icd.data.augment import inference_sample
from icd.data.tags import multi_hot
from icd.files import write_atomic

STRIP_IMAGES = 4
STRIP_HEIGHT = 160  # pixels a row


def heat_map(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Lay the positive part of a score map over a photograph.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    scores : numpy.ndarray, shape (H, W)

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    """
    positive = np.maximum(scores, 0)
    level = np.uint8(255 * positive / max(positive.max(), 1e-5))
    colours = cv2.applyColorMap(level, cv2.COLORMAP_JET)[..., ::-1]
    return cv2.addWeighted(image, 0.5, np.ascontiguousarray(colours), 0.5, 0)


class PictureStrip:
    """Writes a strip of the first images of a data set, for the first tag of each.

    Parameters
    ----------
    folder : str or os.PathLike
    model : str
        Beginning of the files' names.
    dataset : icd.data.dataset.TagDataset
    size : int
        Inference frame.
    """

    def __init__(self, folder, model: str, dataset, size: int):
        self._folder, self._model, self._dataset, self._size = Path(folder), model, dataset, size

    def write(self, method, context, epoch: int) -> None:
        """Localize the images with the method as it is now and write the epoch's strip."""
        rows = [self._row(method, context, index) for index in range(min(STRIP_IMAGES, len(self._dataset)))]
        width = max(row.shape[1] for row in rows)
        rows = [
            cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3)
            for row in rows
        ]
        _, content = cv2.imencode(".jpg", np.concatenate(rows)[..., ::-1])
        write_atomic(self._folder / f"{self._model}-{epoch:04d}.jpg", content.tobytes())

    def _row(self, method, context, index: int) -> np.ndarray:
        image, _, tags = self._dataset.load(index)
        sample = inference_sample(image, None, self._size)
        label = multi_hot(tags, len(self._dataset.classes))[None]
        batch = mx.nd.array(sample.image.transpose(2, 0, 1)[None], context, dtype="float32")
        maps = method.localize(batch, mx.nd.array(label, context))
        height, width = sample.frame[2:]
        shown = sample.image[:height, :width]
        columns = [shown]
        for name in method.score_maps:
            scores = cv2.resize(maps[name][0, tags[0] - 1].asnumpy(), (self._size, self._size))[
                :height, :width
            ]
            columns.append(heat_map(shown, scores))
        row = np.concatenate(columns, axis=1)
        return cv2.resize(row, (round(row.shape[1] * STRIP_HEIGHT / height), STRIP_HEIGHT))
