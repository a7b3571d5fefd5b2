"""Image-level labels. In: annotations of any kind below, and ids. Out: the class numbers of an image.

=================  ==========================================================================================
a folder           `<id>.xml` of VOC's detection task
`.json`            COCO's `instances_*.json`, see `icd.data.coco`
`.npy`             `cls_labels.npy` of PSA, SEAM, EPS, IRN: id to a vector of 0 and 1 (spec eps 1.1, vwe 1.1)
`.csv`             header `id,tags`; tags are class names with semicolons between: `2007_000033,dog;dining table`
`.txt`             the lists of DRS: `<id> <class> <class> ...`, classes counted from 0 (spec drs 1.2)
=================  ==========================================================================================

The XML is read when an image is asked for; a file is read once, and what is kept of it is small, because it travels to
worker processes. Of XML only `object/name` and `object/difficult` are read: the tags are the classes of all objects that
are not difficult, or, where every object is difficult, of those.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from icd.classes import VOC_CLASSES, KnownClasses, class_number
from icd.data.tag_files import read_class_list, read_label_vectors, read_tag_csv
from icd.errors import InputError, reason_of
from icd.files.pictures import near_match

_WANTED = "a VOC annotation (XML) with at least one object"
# VOC's own 0 and 1, and what other tools write there; an empty element and VOC's "Unspecified" say nothing.
_DIFFICULT = {
    "0": False,
    "": False,
    "unspecified": False,
    "false": False,
    "no": False,
    "1": True,
    "true": True,
    "yes": True,
}
_LEAVE_OUT = "Leave the image out of the list, or name its classes."


def open_tags(source, classes=VOC_CLASSES):
    """Open a source of tags.

    Parameters
    ----------
    source : str or os.PathLike, or what this function returned
        A folder of `<id>.xml`, or a file of one of the kinds above.
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C. `KnownClasses`: tags of other classes are left out.

    Returns
    -------
    XmlTags or TableTags
        Both have `read(image_id)`, the class numbers 1..C of an image, and `path(image_id)`, the file that they stand
        in. They are picklable.

    Raises
    ------
    InputError
        There is nothing at that path, or a file that is none of these, damaged, or names other classes.
    """
    if isinstance(source, (XmlTags, TableTags)):
        return source
    source, classes = Path(source), classes if isinstance(classes, KnownClasses) else tuple(classes)
    if source.is_dir():
        return XmlTags(source, classes)
    kind = source.suffix.lower()
    if kind not in _READERS or not source.is_file():
        found = f"a file ending in {kind!r}" if source.is_file() else "nothing there"
        wanted = f"a folder of <id>.xml, or a file of tags ({', '.join(_READERS)})"
        raise InputError(source, wanted, found, "Give the path of an existing folder or file.")
    tags = {
        i: tuple(number for number in own if number) for i, own in _READERS[kind](source, classes).items()
    }
    if not any(tags.values()):
        raise InputError(source, "the tags of at least one image", "none")
    shared = {}
    return TableTags(source, {image_id: shared.setdefault(own, own) for image_id, own in tags.items()})


@dataclass(frozen=True)
class XmlTags:
    """Tags in a folder of VOC annotations; see `open_tags`."""

    folder: Path
    classes: tuple

    def path(self, image_id) -> Path:
        """The annotation of an id."""
        return annotation_path(self.folder, image_id)

    def read(self, image_id) -> tuple:
        """Read the class numbers 1..C of an id, ascending, at least one; errors as in `read_tags`."""
        return read_tags(self.path(image_id), self.classes)


@dataclass(frozen=True)
class TableTags:
    """Tags that were read from one file; see `open_tags`.

    Attributes
    ----------
    source : pathlib.Path
    tags : dict of str to tuple of int
        Class numbers 1..C of every id in the order of the file, ascending; empty where the file names no class.
    """

    source: Path
    tags: dict

    def path(self, image_id) -> Path:
        """The file, for every id."""
        return self.source

    def read(self, image_id) -> tuple:
        """The class numbers 1..C of an id, ascending, at least one.

        Raises
        ------
        InputError
            The file has no entry for the id, or one without tags.
        """
        tags = self.tags.get(image_id)
        if tags:
            return tags
        wanted = f"at least one tag of {image_id}"
        if tags is not None:
            raise InputError(self.source, wanted, "none", _LEAVE_OUT)
        plain = unicodedata.normalize("NFC", image_id).casefold()
        near = [key for key in self.tags if unicodedata.normalize("NFC", key).casefold().rpartition(".jp")[0] == plain
                or unicodedata.normalize("NFC", key).casefold() == plain]  # fmt: skip
        named = f"such as {near[0]!r}" if near else f"the first of which is {next(iter(self.tags))!r}"
        found = f"{len(self.tags)} other ids, {named}"
        raise InputError(self.source, wanted, found, "Check the list of ids: both must name images alike.")


def annotation_path(folder, image_id) -> Path:
    """Where the annotation of an id lies."""
    return Path(folder) / f"{image_id}.xml"


def read_tags(path, classes=VOC_CLASSES) -> tuple:
    """Read the tags of one image.

    Parameters
    ----------
    path : str or os.PathLike
        Annotation in the XML of VOC's detection task.
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.

    Returns
    -------
    tuple of int
        Class numbers 1..C, ascending, each once, at least one.

    Raises
    ------
    InputError
        The file is missing, is not XML, declares entities or a document type, holds no object, an object
        without name, a class that is not in `classes`, or a value of `difficult` that is neither yes nor no.
    """
    objects = [_read_object(path, node, classes) for node in _parse(path).findall("object")]
    if not objects:
        raise InputError(path, _WANTED, "no object", _LEAVE_OUT)
    plain = {number for number, difficult in objects if not difficult and number}
    tags = plain or {number for number, _ in objects if number}
    if not tags:
        raise InputError(path, _WANTED, "objects of unknown classes alone", _LEAVE_OUT)
    return tuple(sorted(tags))


def multi_hot(tags, number_of_classes: int) -> np.ndarray:
    """Turn class numbers 1..C into a vector of 0 and 1, shape (C,), float32; entry c - 1 is class c."""
    label = np.zeros(number_of_classes, np.float32)
    label[np.asarray(tags, int) - 1] = 1
    return label


def _parse(path):
    try:
        return ElementTree.parse(str(path), forbid_dtd=True).getroot()
    except FileNotFoundError:
        found = f"nothing there{near_match(path)}"
        raise InputError(path, _WANTED, found, "Check the annotation folder and the list of ids.") from None
    except OSError as error:
        raise InputError(path, _WANTED, reason_of(error)) from None
    except RecursionError:
        raise InputError(path, _WANTED, "elements too deep in each other", _LEAVE_OUT) from None
    except DefusedXmlException:
        found = "a document type or entities, which can be used to exhaust the memory"
        raise InputError(
            path, _WANTED, found, "Remove the declaration; VOC's annotations have none."
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(
            path, _WANTED, f"damaged XML ({error})", "Restore the file from its source."
        ) from None


def _read_object(path, node, classes) -> tuple:
    number = class_number((node.findtext("name") or "").strip(), classes, path)
    difficult = node.findtext("difficult", "0").strip()
    if difficult.lower() not in _DIFFICULT:
        raise InputError(path, "0 or 1 in 'difficult'", f"{difficult!r}", "Correct the annotation.")
    return number, _DIFFICULT[difficult.lower()]


def _read_coco(path, classes) -> dict:
    from icd.data.coco import read_coco_tags  # here: only COCO's file needs the package msgspec

    return read_coco_tags(path, classes)


_READERS = {".json": _read_coco, ".npy": read_label_vectors, ".csv": read_tag_csv, ".txt": read_class_list}
