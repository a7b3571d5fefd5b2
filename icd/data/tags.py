"""Image-level labels. In: an annotation in VOC's XML. Out: the class numbers of the image.

Only `object/name` and `object/difficult` are read: the tags are the classes of all objects that are not
difficult, or, where every object is difficult, of those.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from icd.classes import VOC_CLASSES
from icd.errors import InputError

_WANTED = "a VOC annotation (XML) with at least one object"


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
        without name, a class that is not in `classes`, or a value of `difficult` other than 0 and 1.
    """
    objects = [_read_object(path, node, classes) for node in _parse(path).findall("object")]
    if not objects:
        raise InputError(path, _WANTED, "no object", "Leave the image out of the list, or name its classes.")
    plain = {number for number, difficult in objects if not difficult}
    return tuple(sorted(plain or {number for number, _ in objects}))


def multi_hot(tags, number_of_classes: int) -> np.ndarray:
    """Turn class numbers 1..C into a vector of 0 and 1, shape (C,), float32; entry c - 1 is class c."""
    label = np.zeros(number_of_classes, np.float32)
    label[np.asarray(tags) - 1] = 1
    return label


def _parse(path):
    try:
        return ElementTree.parse(str(path), forbid_dtd=True).getroot()
    except FileNotFoundError:
        raise InputError(
            path, _WANTED, "nothing there", "Check the annotation folder and the list of ids."
        ) from None
    except OSError as error:
        raise InputError(path, _WANTED, f"a file that cannot be read ({error.strerror})") from None
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
    name = (node.findtext("name") or "").strip()
    difficult = node.findtext("difficult", "0").strip()
    if name not in classes:
        close = difflib.get_close_matches(name, classes, 1)
        remedy = (
            f"Did you mean {close[0]!r}? " if close else ""
        ) + "Name your own classes with --classes FILE."
        raise InputError(path, f"object names among the {len(classes)} classes", f"{name!r}", remedy)
    if difficult not in ("0", "1"):
        raise InputError(path, "0 or 1 in 'difficult'", f"{difficult!r}")
    return classes.index(name) + 1, difficult == "1"
