"""What belongs to an image id. In: folders and a list of ids. Out: image, tags, and planes such as saliency of one id."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icd.data.images import image_path, read_image
from icd.data.tags import open_tags
from icd.errors import InputError
from icd.files import (
    mask_path,
    read_saliency,
    read_score_maps,
    read_superpixels,
    score_maps_path,
    superpixels_path,
)

PLANES = ("superpixel", "saliency", "target")


class TagDataset:
    """Photographs with image-level tags and, where wanted, planes that belong to them.

    Parameters
    ----------
    image_root : str or os.PathLike
        Folder of `<id>.jpg`.
    annotation_root : str or os.PathLike
        Folder of `<id>.xml`, or a file of tags: any source of `icd.data.tags`.
    ids : sequence of str
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.
    planes : dict of str or os.PathLike, optional
        A folder for some of `PLANES`: `superpixel` ids, PNG; `saliency`, PNG; `target`, uint8 score maps to learn from.

    Raises
    ------
    InputError
        A folder is missing, a file of tags is damaged, or there are no ids.
    """

    def __init__(self, image_root, annotation_root, ids, classes, planes=None):
        self.image_root = Path(image_root)
        self.planes = {name: Path(folder) for name, folder in (planes or {}).items()}
        self.ids, self.classes = tuple(ids), tuple(classes)
        for folder in (self.image_root, *self.planes.values()):
            require_folder(folder)
        self._tags = open_tags(annotation_root, self.classes)
        if not self.ids:
            raise InputError("list of ids", "at least one id", "none")

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> tuple:
        """Read one image and what belongs to it.

        Returns
        -------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB.
        planes : dict of numpy.ndarray
            `superpixel` int32 (H, W), `saliency` uint8 (H, W), `target` uint8 (C, h, w): those that the dataset has.
        tags : tuple of int
            Class numbers 1..C, ascending.

        Raises
        ------
        InputError
            One of the files is missing, damaged, or does not fit the image.
        """
        image_id = self.ids[index]
        image = read_image(image_path(self.image_root, image_id))
        readers = {"superpixel": self._superpixel, "saliency": self._saliency, "target": self._target}
        planes = {
            name: readers[name](folder, image_id, image.shape[:2]) for name, folder in self.planes.items()
        }
        return image, planes, self.tags(index)

    def _superpixel(self, folder, image_id, size):
        return read_superpixels(superpixels_path(folder, image_id), size)

    def _saliency(self, folder, image_id, size):
        return read_saliency(mask_path(folder, image_id), size)

    def _target(self, folder, image_id, size):
        path = score_maps_path(folder, image_id)
        scores = read_score_maps(path)
        if scores.maps.dtype != np.uint8 or scores.further or (scores.classes > len(self.classes)).any():
            found = f"{len(scores.grids)} of {scores.maps.dtype}, classes {scores.classes.tolist()}"
            raise InputError(path, f"one uint8 map for each of some of {len(self.classes)} classes", found)
        target = np.zeros((len(self.classes), *scores.maps.shape[1:]), np.uint8)
        target[scores.classes - 1] = scores.maps
        return target

    def tags(self, index: int) -> tuple:
        """Read the tags of one image: class numbers 1..C, ascending."""
        return self._tags.read(self.ids[index])


def require_folder(folder) -> None:
    """Raise `InputError` unless `folder` is None or a folder."""
    if folder is not None and not Path(folder).is_dir():
        found = "a file" if Path(folder).exists() else "nothing there"
        raise InputError(folder, "a folder", found, "Give the path of an existing folder.")
