"""What belongs to an image id. In: folders and a list of ids. Out: image, superpixels and tags of one id."""

from __future__ import annotations

from pathlib import Path

from icd.data.images import image_path, read_image
from icd.data.tags import annotation_path, read_tags
from icd.errors import InputError
from icd.files import read_superpixels, superpixels_path


class TagDataset:
    """Photographs with image-level tags and, where wanted, superpixels.

    Parameters
    ----------
    image_root : str or os.PathLike
        Folder of `<id>.jpg`.
    annotation_root : str or os.PathLike
        Folder of `<id>.xml`.
    ids : sequence of str
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.
    superpixel_root : str or os.PathLike, optional
        Folder of `<id>.png`.

    Raises
    ------
    InputError
        A folder is missing, or there are no ids.
    """

    def __init__(self, image_root, annotation_root, ids, classes, superpixel_root=None):
        self.image_root, self.annotation_root = Path(image_root), Path(annotation_root)
        self.superpixel_root = None if superpixel_root is None else Path(superpixel_root)
        self.ids, self.classes = tuple(ids), tuple(classes)
        for folder in (self.image_root, self.annotation_root, self.superpixel_root):
            require_folder(folder)
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
        superpixels : numpy.ndarray, shape (H, W), int32, or None
        tags : tuple of int
            Class numbers 1..C, ascending.

        Raises
        ------
        InputError
            One of the files is missing, damaged, or does not fit the image.
        """
        image = read_image(image_path(self.image_root, self.ids[index]))
        superpixels = None
        if self.superpixel_root is not None:
            superpixels = read_superpixels(
                superpixels_path(self.superpixel_root, self.ids[index]), image.shape[:2]
            )
        return image, superpixels, self.tags(index)

    def tags(self, index: int) -> tuple:
        """Read the tags of one image: class numbers 1..C, ascending."""
        return read_tags(annotation_path(self.annotation_root, self.ids[index]), self.classes)


def require_folder(folder) -> None:
    """Raise `InputError` unless `folder` is None or a folder."""
    if folder is not None and not Path(folder).is_dir():
        found = "a file" if Path(folder).exists() else "nothing there"
        raise InputError(folder, "a folder", found, "Give the path of an existing folder.")
