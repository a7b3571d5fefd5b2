"""The tags of many images in one file. In: `.npy`, `.csv` or `.txt` as in `icd.data.tags`. Out: id to class numbers 1..C,
ascending; none where the file names the image and no class.
"""

from __future__ import annotations

import csv

import numpy as np

from icd.classes import class_number
from icd.errors import InputError
from icd.files import read_lines
from icd.foreign.numpy_files import read_npy

_HEADER = ["id", "tags"]
_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_label_vectors(path, classes) -> dict:
    """Read `cls_labels.npy`.

    Parameters
    ----------
    path : str or os.PathLike
        A pickled dictionary from id to a vector of C values 0 or 1, as PSA, SEAM, EPS and PPC have it. IRN's and VWE's,
        whose keys are numbers, is read too: VOC's ids without their underscore, or COCO's numbers.
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.

    Returns
    -------
    dict of str to tuple of int

    Raises
    ------
    InputError
        The file is missing, damaged, unsafe, holds something else, vectors of another length, or other values.
    """
    content = read_npy(path)
    wanted = f"a dictionary from id to a vector of {len(classes)} zeros and ones"
    if not isinstance(content, dict):
        raise InputError(path, wanted, f"a {type(content).__name__}")
    tags = {}
    for key, vector in content.items():
        image_id = _id_of(key)
        fault = _fault(vector, len(classes))
        if image_id is None or fault or image_id in tags:
            found = fault or ("keys of another type" if image_id is None else "two entries")
            remedy = "Name the classes that it was made for with --classes (voc, coco, or a file)."
            raise InputError(path, wanted, f"{found} for {key!r}", remedy)
        tags[image_id] = tuple((np.flatnonzero(vector) + 1).tolist())
    return tags


def read_tag_csv(path, classes) -> dict:
    """Read a table with the header `id,tags`, a row an image, class names with semicolons between.

    Where all ids end as names of photographs do, such as `a.jpg`, they are read without this end.

    Parameters and result as in `read_label_vectors`.

    Raises
    ------
    InputError
        The file is no UTF-8, has another header, a row without two cells, a class that is not in `classes` (the
        nearest is named), or an id twice.
    """
    tags, lines, suffixed = {}, {}, True
    for number, row in _csv_rows(path):
        where = f"{path}, line {number}"
        if len(row) != 2 or not row[0].strip():
            found = f"{len(row)} cells" if len(row) != 2 else "an empty id"
            raise InputError(where, "an id, a comma, and class names with semicolons between", found)
        image_id = row[0].strip()
        _check_new(image_id, lines, number, path)
        names = {name.strip() for name in row[1].split(";")} - {""}
        tags[image_id] = tuple(sorted(class_number(name, classes, where) for name in names))
        suffixed = suffixed and image_id.lower().endswith(_SUFFIXES)
    return {image_id.rpartition(".")[0]: own for image_id, own in tags.items()} if suffixed else tags


def _csv_rows(path):
    """Yield line number and cells of every row below the header that is not blank."""
    wanted = "a table with the header id,tags and rows such as 2007_000033,dog;cat"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            if header != _HEADER:
                raise InputError(path, wanted, f"the first line {','.join(header)[:80]!r}")
            yield from ((reader.line_num, row) for row in reader if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, wanted, f"damaged content ({error})", "Save it as CSV in UTF-8.") from None


def read_class_list(path, classes) -> dict:
    """Read a list of DRS: `<id> <class> <class> ...`, classes counted from 0.

    Parameters and result as in `read_label_vectors`.

    Raises
    ------
    InputError
        The file is missing or empty, has a blank line inside, an id twice, or anything but numbers 0..C-1 after an id.
    """
    tags, lines = {}, {}
    for number, line in enumerate(read_lines(path), 1):
        image_id, *words = line.split()
        _check_new(image_id, lines, number, path)
        strange = [word for word in words if not _is_below(word, len(classes))]
        if strange:
            wanted = f"an id and class numbers 0..{len(classes) - 1}, with spaces between"
            raise InputError(f"{path}, line {number}", wanted, repr(strange[0][:40]))
        tags[image_id] = tuple(sorted({int(word) + 1 for word in words}))
    return tags


def _is_below(word: str, count: int) -> bool:
    return word.isdecimal() and len(word) < 4 and int(word) < count


def _check_new(image_id: str, lines: dict, number: int, path) -> None:
    if image_id in lines:
        found = f"{image_id!r} in lines {lines[image_id]} and {number}"
        raise InputError(path, "every id once", found, "Remove one.")
    lines[image_id] = number


def _id_of(key):
    """The id that a key stands for: VOC's 2007000032 is 2007_000032, COCO's 9 is 000000000009."""
    if isinstance(key, str):
        return str(key)
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key >= 0:
        return f"{key // 10**6}_{key % 10**6:06d}" if key >= 10**9 else f"{key:012d}"
    return None


def _fault(vector, length: int) -> str:
    """What is wrong with a vector of zeros and ones, or an empty text."""
    if not isinstance(vector, np.ndarray) or vector.dtype.kind not in "biuf":
        return f"a {type(vector).__name__}"
    if vector.shape != (length,):
        return f"an array of shape {vector.shape}"
    return "" if ((vector == 0) | (vector == 1)).all() else "other values"
