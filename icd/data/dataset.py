"""What belongs to an image id. In: folders and a list of ids. Out: image, tags, and planes such as saliency of one id."""

from __future__ import annotations

from pathlib import Path

from icd.bounded import MAX_SIDE
from icd.data.images import image_path, read_bounded
from icd.data.planes import read_plane
from icd.data.tags import open_tags
from icd.errors import InputError


class ImageDataset:
    """Photographs with, where wanted, image-level tags and planes that belong to them.

    Parameters
    ----------
    image_root : str or os.PathLike
        Folder of `<id>.jpg`.
    annotation_root : str or os.PathLike or None
        Folder of `<id>.xml`, or a file of tags: any source of `icd.data.tags`. None: images without tags.
    ids : sequence of str
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.
    planes : dict of str or os.PathLike, optional
        A folder for some of `icd.data.planes.PLANES`.
    max_side : int or None
        Photographs with a longer side are read at their working size, see `icd.bounded`.

    Raises
    ------
    InputError
        A folder is missing, a file of tags is damaged, or there are no ids.
    """

    def __init__(self, image_root, annotation_root, ids, classes, planes=None, max_side=MAX_SIDE):
        self.image_root = Path(image_root)
        self.planes = {name: Path(folder) for name, folder in (planes or {}).items()}
        self.ids, self.classes, self.max_side = tuple(ids), tuple(classes), max_side
        for folder in (self.image_root, *self.planes.values()):
            require_folder(folder)
        self._tags = None if annotation_root is None else open_tags(annotation_root, self.classes)
        if not self.ids:
            raise InputError("list of ids", "at least one id", "none")

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> tuple:
        """Read one image and what belongs to it.

        Returns
        -------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB, at its working size.
        planes : dict of numpy.ndarray
            (H, W) or (H, W, K); see `icd.data.planes`.
        tags : tuple of int
            Class numbers 1..C, ascending; empty for images without tags.

        Raises
        ------
        InputError
            One of the files is missing, damaged, or does not fit the image.
        """
        image_id = self.ids[index]
        image, size = self.photograph(index)
        planes = {
            name: read_plane(name, folder, image_id, size, len(self.classes), image.shape[:2])
            for name, folder in self.planes.items()
        }
        return image, planes, self.tags(index)

    def photograph(self, index: int) -> tuple:
        """Read one image at its working size, and the height and width that it has; see `icd.data.images.read_bounded`."""
        return read_bounded(image_path(self.image_root, self.ids[index]), self.max_side)

    def tags(self, index: int) -> tuple:
        """Read the tags of one image: class numbers 1..C, ascending; none where the images have no tags."""
        return () if self._tags is None else self._tags.read(self.ids[index])


def require_folder(folder) -> None:
    """Raise `InputError` unless `folder` is None or a folder."""
    if folder is not None and not Path(folder).is_dir():
        found = "a file" if Path(folder).exists() else "nothing there"
        raise InputError(folder, "a folder", found, "Give the path of an existing folder.")
