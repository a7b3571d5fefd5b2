"""The one error that bad input raises: what is wrong, where, what was expected and what to do about it.

Its message is one line that any terminal can show: text from files may hold control sequences or be endless.
"""

from __future__ import annotations

import errno
import os

_LONGEST = 320  # characters of one clause
_REASONS = {
    errno.ENOENT: "nothing there",
    errno.ENOTDIR: "nothing there",
    errno.EISDIR: "a folder (directory)",
    errno.ELOOP: "a link that leads back to itself",
    errno.EACCES: "a file that may not be read",
    errno.ENAMETOOLONG: "a name that is too long",
}


class InputError(ValueError):
    """Something the user gave cannot be used.

    Parameters
    ----------
    where : str or os.PathLike
        The file, folder, flag or argument that is at fault.
    expected, found, remedy : str
        One clause each; `remedy` may be empty where the first two already say it. They are shown as `printable` makes
        them.
    longest : int
        Characters of `found`; more than usual only where it is a list that the program itself keeps short.
    """

    def __init__(self, where, expected: str, found: str, remedy: str = "", longest: int = _LONGEST):
        self.where, self.expected = printable(where), printable(expected)
        self.found, self._longest = printable(found, longest), longest
        self.remedy = printable(remedy, 2 * _LONGEST)
        message = f"{self.where}: expected {self.expected}; found {self.found}"
        super().__init__(message + (f". {self.remedy}" if self.remedy else ""))

    def __reduce__(self):  # so that the error survives the way back from a worker process
        return type(self), (self.where, self.expected, self.found, self.remedy, self._longest)


def printable(value, longest: int = _LONGEST) -> str:
    r"""A value's text in one line for a terminal.

    Parameters
    ----------
    value : object
        Its `str` must be short or a text: nested values are not guarded against here.
    longest : int
        Characters; the middle of a longer text is left out.

    Returns
    -------
    str
        Control characters, invisible ones and halves of characters (from file names in no known encoding) stand as
        escapes such as ``\x1b``.
    """
    text = _shortened(
        value if type(value) is str else str(value), longest
    )  # first, so that endless text costs nothing
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _shortened(shown, longest)


def _shortened(text: str, longest: int) -> str:
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def reason_of(error: OSError) -> str:
    """What was found instead of a file that could be read, for `InputError`."""
    reason = _REASONS.get(error.errno)
    return reason or f"a file that cannot be read ({error.strerror or type(error).__name__})"


def os_error_text(error: OSError) -> str:
    """An `OSError` outside of the readers in one line: the file that it is about, what happened, and what to do."""
    remedies = {
        errno.ENOSPC: "Free some space on this disk, or write to another; the same call goes on from here",
        errno.EDQUOT: "Your share of the disk is used up: delete something, or write elsewhere",
        errno.EEXIST: "Remove it, or name another place",
        errno.ENOTDIR: "Part of the path is a file; name another place",
        errno.EISDIR: "A folder is in the way; remove it, or name another place",
        errno.EACCES: "Name a place where you may write, or change the permissions",
        errno.EROFS: "Name a place where you may write",
        errno.EMFILE: "Fewer --workers need fewer open files (ulimit -n)",
        errno.ENOMEM: "Fewer --workers need less memory",
    }
    name = error.filename2 if error.filename2 is not None else error.filename
    where = "" if name is None else f"{printable(os.fsdecode(name) if not isinstance(name, int) else name)}: "
    what = error.strerror or str(error) or type(error).__name__
    remedy = remedies.get(error.errno, "Check the path and the disk")
    return f"{where}{printable(what)}. {remedy}."
