"""Lists of ids and of class names. In: a text file. Out: its lines, checked."""

from __future__ import annotations

from pathlib import Path

from icd.classes import CLASS_LISTS, IGNORE, VOC_CLASSES
from icd.errors import InputError


def read_list(path, of: str = "id") -> list:
    """Read a list of ids, or of what `of` calls them: one a line, CRLF and a missing last newline allowed.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        The file is missing or empty, has a blank line inside, or repeats an entry.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, f"a text file with one {of} a line", "nothing there")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise InputError(path, f"a UTF-8 text file with one {of} a line", "other bytes") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(path, f"a text file with one {of} a line", "an empty list")
    seen = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(path, f"one {of} a line", f"a blank line {number}", "Remove it.")
        if line in seen:
            raise InputError(
                path, f"every {of} once", f"{line!r} in lines {seen[line]} and {number}", "Remove one."
            )
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
        The file is missing, empty, repeats a name, or holds more than 254 names (255 is the ignore value).
    """
    if path is None:
        return VOC_CLASSES
    if str(path) in CLASS_LISTS:
        return CLASS_LISTS[str(path)]
    if not Path(path).is_file():
        wanted = f"{', '.join(CLASS_LISTS)}, or a text file with one class name a line"
        raise InputError(path, wanted, "nothing there")
    names = tuple(read_list(path, "class name"))
    if len(names) >= IGNORE:
        raise InputError(
            path, f"at most {IGNORE - 1} class names", f"{len(names)}", "255 marks ignored pixels."
        )
    return names
