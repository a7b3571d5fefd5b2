"""COCO's instances. In: `instances_*.json` (2014, 2017, or one's own in that format). Out: tags, or outlines of objects.

The file of train2014 has 83 thousand images and 600 thousand outlines. It is mapped into memory rather than read, and
decoded by msgspec, which skips what is not declared below: that takes a tenth of the memory and time of the standard
library's `json` (`benchmarks/coco.py`).

An image's id is the name of its file without suffix: `COCO_train2014_000000000009`, or `000000000009` in 2017. A
category is a class by its name; the raw category ids, 1 to 90 with gaps, appear nowhere else. Crowds ("a group of
persons", iscrowd 1) count like single objects.
"""

import mmap
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import List, Union

import msgspec

from icd.classes import class_number
from icd.errors import InputError, reason_of
from icd.files import check_id

_WANTED = "COCO's instances (JSON with images, annotations and categories)"
_RESTORE = "Restore the file from its source."
_BOM = b"\xef\xbb\xbf"  # what Windows puts before UTF-8


# msgspec evaluates these types, also on Python 3.8; hence typing's names, and no `from __future__` above.
class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    height: int = 0
    width: int = 0


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    bbox: msgspec.Raw = msgspec.Raw(b"null")
    iscrowd: Union[int, bool] = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: List[_Image]
    annotations: List[_Annotation]
    categories: List[_Category]


@dataclass(frozen=True)
class Outline:
    """The region of an object or a crowd: its class 1..C, its segmentation and its box as they stand in the file (JSON)."""

    number: int
    crowd: bool
    segmentation: bytes
    box: bytes = b"null"


@dataclass(frozen=True)
class Instances:
    """All outlines of an image."""

    image_id: str
    size: tuple  # height, width
    outlines: tuple


def read_coco_tags(path, classes) -> dict:
    """Read the tags of all images.

    Parameters
    ----------
    path : str or os.PathLike
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.

    Returns
    -------
    dict of str to tuple of int
        Class numbers 1..C by id, ascending; none for an image without annotation. Annotations of images that the file does
        not list are left aside.

    Raises
    ------
    InputError
        The file is missing, no JSON of this format, lists an image twice, or has an annotation whose category it does not
        define or whose name is not in `classes`.
    """
    content = _decode(path)
    ids, numbers = _image_ids(content, path), _class_numbers(content, classes, path)
    found = {image: set() for image in ids}
    for annotation in content.annotations:
        if annotation.image_id in found:
            found[annotation.image_id].add(numbers[annotation.category_id])
    return {ids[image]: tuple(sorted(tags)) for image, tags in found.items()}


def read_instances(path, classes, wanted):
    """Read the outlines of images. Errors and other parameters as in `read_coco_tags`.

    Parameters
    ----------
    wanted : collection of str
        Ids.

    Yields
    ------
    Instances
        Of every wanted image that the file lists, in its order. The file must not change meanwhile.
    """
    content = _decode(path)
    ids, numbers = _image_ids(content, path), _class_numbers(content, classes, path)
    found = {image: [] for image, image_id in ids.items() if image_id in wanted}
    for annotation in content.annotations:
        if annotation.image_id in found:
            found[annotation.image_id].append(annotation)
    for image in content.images:
        if image.id in found:
            own = found[image.id]
            outlines = (
                Outline(numbers[a.category_id], bool(a.iscrowd), bytes(a.segmentation), bytes(a.bbox))
                for a in own
            )
            yield Instances(ids[image.id], (image.height, image.width), tuple(outlines))


def _decode(path) -> _File:
    try:
        with open(path, "rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        begins = len(_BOM) if content[: len(_BOM)] == _BOM else 0
        return msgspec.json.decode(content[begins:], type=_File)
    except OSError as error:
        raise InputError(path, _WANTED, reason_of(error)) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: an empty file
        raise InputError(path, _WANTED, f"damaged or other content ({error})", _RESTORE) from None


def _image_ids(content: _File, path) -> dict:
    """Ids of the images by their numbers."""
    ids = {image.id: _id_of(image.file_name, path) for image in content.images}
    if len(ids) < len(content.images) or len(set(ids.values())) < len(ids):
        found = (
            f"{len(content.images)} images with {len(ids)} numbers and {len(set(ids.values()))} file names"
        )
        raise InputError(path, "every image once", found)
    return ids


def _id_of(file_name: str, path) -> str:
    """The id of a file's name, in a folder of Windows or of others."""
    return check_id(PurePosixPath(file_name.replace("\\", "/")).stem, f"{path}, file_name {file_name!r}")


def _class_numbers(content: _File, classes, path) -> dict:
    """Class numbers 1..C by category id, of the categories that are used."""
    names = {}
    for category in content.categories:
        if names.setdefault(category.id, category.name) != category.name:
            found = f"{names[category.id]!r} and {category.name!r} for {category.id}"
            raise InputError(path, "one name for each category id", found, "Number the categories anew.")
    numbers = {}
    for annotation in content.annotations:
        category = annotation.category_id
        if category not in numbers:
            if category not in names:
                found = f"an annotation of category {category}, which it does not define"
                raise InputError(path, "annotations of the categories that it lists", found, _RESTORE)
            numbers[category] = class_number(names[category], classes, path)
    return numbers
