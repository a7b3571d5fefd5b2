"""The one error that bad input raises: what is wrong, where, what was expected and what to do about it."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    Parameters
    ----------
    where : str or os.PathLike
        The file, folder, flag or argument that is at fault.
    expected, found, remedy : str
        One clause each; `remedy` may be empty where the first two already say it.
    """

    def __init__(self, where, expected: str, found: str, remedy: str = ""):
        self.where, self.expected, self.found, self.remedy = str(where), expected, found, remedy
        message = f"{self.where}: expected {expected}; found {found}"
        super().__init__(message + (f". {remedy}" if remedy else ""))

    def __reduce__(self):  # so that the error survives the way back from a worker process
        return type(self), (self.where, self.expected, self.found, self.remedy)
