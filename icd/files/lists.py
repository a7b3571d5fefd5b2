"""Lists of ids and of class names. In: a text file. Out: its entries, checked.

One reader for every command. A list of ids has one of three forms, told from all of its lines:

=========================================================  ==========================================================
`2007_000033`, `my dog 2`                                  an id a line, spaces included
`/JPEGImages/2007_000033.jpg /SegmentationClassAug/...`    paths of photographs, with or without those of their masks,
                                                           as PSA, SEAM and PPC have them: the name without suffix
`2007_000033 1 14`                                         DRS: an id of VOC or COCO and the numbers of its classes
=========================================================  ==========================================================
"""

from __future__ import annotations

import re
from pathlib import Path

from icd.classes import CLASS_LISTS, IGNORE, VOC_CLASSES
from icd.errors import InputError, printable, reason_of

_LONGEST_ID = 200  # bytes, so that <id>.png and the name of a half-written file fit into a file system's 255
_PAIR = re.compile(r"(?:\S*[/\\])?(?P<id>[^\s/\\]+)\.(?i:jpe?g|png)\s+(?:\S*[/\\])?(?P=id)\.(?i:png)")
_PATH = re.compile(r"(?!.*\.(?i:jpe?g|png)\s)(?:.*[/\\])?(?P<id>[^/\\]+)\.(?i:jpe?g|png)")
_DRS = re.compile(r"(?P<id>\d{4}_\d{6}|(?:COCO_\w+_)?\d{12})(?:\s+\d{1,3})+")
_FORMS = (_PAIR, _PATH, _DRS)


def read_list(path) -> list:
    """Read a list of ids in any of the forms above; CRLF and a missing last newline are allowed.

    Returns
    -------
    list of str
        Ids; every one can be the name of a file.

    Raises
    ------
    InputError
        The file is missing or empty, has a blank line inside, repeats an id, or has one that is no name (`check_id`).
    """
    lines = read_lines(path)
    matches = next((found for found in (_all_match(form, lines) for form in _FORMS) if found), None)
    ids = lines if matches is None else [match["id"] for match in matches]
    first = {}
    for number, (line, image_id) in enumerate(zip(lines, ids), 1):
        if matches is not None and ".." in re.split(r"[/\\\s]", line):
            raise InputError(f"{path}, line {number}", "a path inside the data set", repr(line), _NAME)
        check_id(image_id, f"{path}, line {number}")
        if image_id in first:
            found = f"{image_id!r} twice, in lines {first[image_id]} and {number}"
            raise InputError(path, "every id once", found, "Remove one.")
        first[image_id] = number
    return ids


def _all_match(form, lines):
    matches = []
    for line in lines:
        match = form.fullmatch(line)
        if match is None:
            return None
        matches.append(match)
    return matches


_NAME = "An id is the name of a file without its folder and suffix."


def check_id(image_id: str, where) -> str:
    """Return an id that can be the name of a file in any folder, or raise.

    Raises
    ------
    InputError
        It is empty, has a path separator or a control character, is `.` or `..`, or is too long for a file system.
    """
    fault = None
    if not image_id or image_id in (".", ".."):
        fault = f"{image_id!r}"
    elif "/" in image_id or "\\" in image_id:
        fault = f"the path {image_id!r}"
    elif not all(c.isprintable() or c in "\u200c\u200d" for c in image_id.replace("\u00a0", " ")):
        fault = f"control characters in {image_id!r}"
    elif len(image_id.encode("utf-8", "surrogatepass")) > _LONGEST_ID:
        fault = f"{len(image_id)} characters, {printable(image_id, 60)}"
    if fault:
        raise InputError(where, "an id, which is a name", fault, _NAME)
    return image_id


def read_lines(path, of: str = "id") -> list:
    """Read the lines of a list of what `of` calls them, each once, without the space around them.

    Raises
    ------
    InputError
        The file is missing or empty, no UTF-8, has a blank line inside, or repeats an entry.
    """
    wanted = f"a text file with one {of} a line"
    try:
        content = Path(path).read_bytes()
        lines = [line.strip() for line in content.decode("utf-8-sig").split("\n")]
    except OSError as error:
        raise InputError(path, wanted, reason_of(error), "Give the path of an existing file.") from None
    except UnicodeDecodeError:
        raise InputError(path, wanted, "bytes that are no UTF-8", "Save it as UTF-8.") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(path, wanted, "an empty list", f"Write one {of} a line.")
    seen = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(path, f"one {of} a line", f"a blank line {number}", "Remove it.")
        if line in seen:
            found = f"{line!r} in lines {seen[line]} and {number}"
            raise InputError(path, f"every {of} once", found, "Remove one.")
        seen[line] = number
    return lines


def read_classes(path) -> tuple:
    """Read foreground class names, one a line, in the order of their numbers 1..C.

    Parameters
    ----------
    path : str or os.PathLike or None
        A file, or `voc` or `coco` for their own names; None gives VOC's twenty.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        The file is missing, empty, repeats a name, names the background, has control characters, or holds more than 254
        names (255 is the ignore value).
    """
    if path is None:
        return VOC_CLASSES
    if str(path) in CLASS_LISTS:
        return CLASS_LISTS[str(path)]
    if not Path(path).is_file():
        wanted = f"{', '.join(CLASS_LISTS)}, or a text file with one class name a line"
        raise InputError(path, wanted, "nothing there", "Give the path of an existing file.")
    return check_classes(read_lines(path, "class name"), path)


def check_classes(names, where) -> tuple:
    """Return names of foreground classes as a tuple, or raise `InputError` as `read_classes` does."""
    names = tuple(names)
    for name in names:
        if not name.isprintable():
            raise InputError(
                where, "class names that can be shown", repr(name), "Remove the control characters."
            )
        if name.strip("_ ").lower() == "background" or name.lower() in ("__ignore__", "_ignore_"):
            expected = "names of foreground classes, which are numbered from 1"
            remedy = "Remove it: 0 is the background and 255 is ignored, without a name in the list."
            raise InputError(where, expected, f"{name!r}", remedy)
    if len(names) >= IGNORE:
        remedy = f"{IGNORE} marks ignored pixels."
        raise InputError(where, f"at most {IGNORE - 1} class names", f"{len(names)}", remedy)
    return names
