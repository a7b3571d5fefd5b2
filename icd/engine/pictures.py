"""The picture strip of a training run. In: a method, a data set. Out: `<model>-<epoch>.jpg`, photographs and score maps."""

from __future__ import annotations

from pathlib import Path

from icd.bounded import bounded_maps
from icd.data.batches import InferenceBatches
from icd.engine.localize import localize_views, score_maps_of
from icd.grid import maps_on_image, positive_share
from icd.pictures import heat_map, picture_row, write_rows

STRIP_IMAGES = 4


class PictureStrip:
    """Writes a strip of the images of a data set, for the first tag of each.

    Parameters
    ----------
    folder : str or os.PathLike
    model : str
        Beginning of the files' names.
    dataset : icd.data.dataset.ImageDataset
        The first `STRIP_IMAGES` of a run, without planes.
    presentation : callable
        From `icd.data.views`.
    """

    def __init__(self, folder, model: str, dataset, presentation):
        self._folder, self._model, self._dataset = Path(folder), model, dataset
        self._batches = InferenceBatches(dataset, 1, presentation)

    def write(self, method, context, epoch: int) -> None:
        """Localize the images with the method as it is now and write the epoch's strip."""
        rows = [self._row(method, context, index, batch) for index, batch in enumerate(self._batches)]
        write_rows(self._folder / f"{self._model}-{epoch:04d}.jpg", rows)

    def _row(self, method, context, index: int, batch: dict):
        image, _ = self._dataset.photograph(index)
        columns = [image]
        outputs = localize_views(method, batch, context)
        for scores in score_maps_of(method, batch, outputs, 0).values():
            maps = maps_on_image(bounded_maps(scores, self._dataset.max_side))
            columns.append(heat_map(positive_share(maps)[0], image))
        return picture_row(columns)
