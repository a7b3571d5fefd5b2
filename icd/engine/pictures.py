"""The picture strip of a training run. In: a method, a data set. Out: `<model>-<epoch>.jpg`, photographs and score maps."""

from __future__ import annotations

from pathlib import Path

from icd.compat import mx
from icd.data.augment import inference_sample
from icd.data.tags import multi_hot
from icd.files import ScoreMaps
from icd.grid import maps_on_image, positive_share
from icd.pictures import heat_map, picture_row, write_rows

STRIP_IMAGES = 4


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
        count = min(STRIP_IMAGES, len(self._dataset))
        rows = [self._row(method, context, index) for index in range(count)]
        write_rows(self._folder / f"{self._model}-{epoch:04d}.jpg", rows)

    def _row(self, method, context, index: int):
        image, _, tags = self._dataset.load(index)
        sample = inference_sample(image, None, self._size)
        label = mx.nd.array(multi_hot(tags, len(self._dataset.classes))[None], context)
        batch = mx.nd.array(sample.image.transpose(2, 0, 1)[None], context, dtype="float32")
        columns = [image]
        for maps in method.localize(batch, label).values():
            scores = ScoreMaps(tags[:1], maps[0, tags[0] - 1 : tags[0]].asnumpy(), sample.size, sample.frame)
            columns.append(heat_map(positive_share(maps_on_image(scores))[0], image))
        return picture_row(columns)
