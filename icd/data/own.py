"""A person's own photographs: the list and the classes follow from the files. In: photographs, tags. Out: ids, class names.

The ids are those of the photographs that have a tag: in the order of the file of tags, or alphabetically where the tags are a
folder of XML. The classes are the names in the tags, alphabetically, numbered from 1.
"""

from __future__ import annotations

import contextlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from icd.classes import VOC_CLASSES, KnownClasses
from icd.data.images import photograph_ids
from icd.data.tag_files import read_tag_csv
from icd.data.tags import XmlTags, open_tags, read_tags
from icd.errors import InputError, printable
from icd.files import check_classes

_SHOWN = 3


@dataclass(frozen=True)
class Listing:
    """Which photographs and tags belong together.

    Attributes
    ----------
    ids : list of str
        Photographs with at least one tag.
    bare : list of str
        Photographs without.
    lost : list of str
        Ids with tags and without photograph.
    """

    ids: list
    bare: list
    lost: list

    def __str__(self):
        parts = [f"{len(self.ids)} with tags"]
        for names, what in ((self.bare, "without tags"), (self.lost, "in the tags without photograph")):
            if names:
                some = ", ".join(map(printable, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
                parts.append(f"{len(names)} {what}, left out ({some})")
        return "photographs: " + "; ".join(parts)


def list_own(images, tags, classes) -> Listing:
    """Find the photographs of a folder that have tags; all of them where there are no tags at all.

    Parameters
    ----------
    images : str or os.PathLike
        Folder of photographs, of any suffix in `icd.data.images.SUFFIXES`.
    tags : str or os.PathLike, optional
        Any source of `icd.data.tags`.
    classes : sequence of str

    Raises
    ------
    InputError
        No photograph has tags, a folder is missing, or the tags are damaged.
    """
    photographs = photographs_in(images)
    if tags is None:
        return Listing([*photographs.values()], [], [])
    source = open_tags(tags, KnownClasses(classes))
    if isinstance(source, XmlTags):
        tagged = {_plain(path.stem): path.stem for path in sorted(source.folder.glob("*.xml"))}
    else:
        tagged = {_plain(image_id): image_id for image_id, own in source.tags.items() if own}
    ids = [image_id for key, image_id in tagged.items() if key in photographs]
    bare = [name for key, name in photographs.items() if key not in tagged]
    lost = [image_id for key, image_id in tagged.items() if key not in photographs]
    if not ids:
        found = f"photographs such as {_first(bare)} and tags such as {_first(lost)}"
        raise InputError(
            images, f"photographs whose names stand in {tags}", found, "Both must name images alike."
        )
    return Listing(ids, bare, lost)


def photographs_in(folder) -> dict:
    """The ids of the photographs of a folder, alphabetically, by their names in Unicode's composed form.

    Raises
    ------
    InputError
        There is none, or as `icd.data.images.photograph_ids`.
    """
    ids = photograph_ids(folder)
    if not ids:
        names = sorted(entry.name for entry in Path(folder).iterdir() if not entry.name.startswith("."))
        there = f"files such as {names[0]}" if names else "an empty folder"
        raise InputError(folder, "photographs .jpg, .jpeg or .png", there, "Convert them to JPEG.")
    return {_plain(image_id): image_id for image_id in ids}


def own_classes(tags) -> tuple:
    """The names of the classes in tags, alphabetically; VOC's where the tags are numbers.

    Raises
    ------
    InputError
        The tags are missing or damaged, name no class, the background, or more than 254; or two names differ in nothing but
        capitals and spaces.
    """
    found, source = KnownClasses(()), Path(tags)
    kind = source.suffix.lower()
    if source.is_dir():
        for path in source.glob("*.xml"):
            with contextlib.suppress(
                InputError
            ):  # what is wrong with one is the business of the check of inputs
                read_tags(path, found)
    elif kind == ".csv" and source.is_file():
        read_tag_csv(source, found)
    elif kind == ".json" and source.is_file():
        from icd.data.coco import read_coco_tags  # here: only COCO's file needs the package msgspec

        read_coco_tags(source, found)
    else:
        open_tags(source)  # which says what is wrong, if anything is
        return VOC_CLASSES
    if not found.unknown:
        wanted = (
            "tags with names of classes: <id>.xml of VOC" if source.is_dir() else "tags with names of classes"
        )
        raise InputError(source, wanted, "none")
    names = {}
    for name in sorted(found.unknown):
        other = names.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            remedy = "Write it in one way; or, if they are two classes, name all classes with --classes."
            raise InputError(source, "one spelling for each class", f"{other!r} and {name!r}", remedy)
    return check_classes(names.values(), source)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _first(names) -> str:
    return repr(names[0]) if names else "none"
