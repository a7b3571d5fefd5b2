"""The published methods, one file a paper, by name."""

from __future__ import annotations

from icd.errors import InputError
from icd.methods.cam import CAM
from icd.methods.icd import ICD

METHODS = {"cam": CAM, "icd": ICD}


def create_method(name: str, backbone, num_classes: int, **recipe):
    """Make a method with its published recipe.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    backbone : icd.backbones.Backbone
    num_classes : int
        Foreground classes C.
    **recipe
        Hyper-parameters that differ from the published ones.

    Raises
    ------
    InputError
        No method has that name, or its recipe no such entry.
    """
    if name not in METHODS:
        raise InputError("method", " or ".join(METHODS), repr(name))
    method = METHODS[name]
    known = method.Recipe.__dataclass_fields__
    for key in recipe:
        if key not in known:
            raise InputError(f"recipe of {name}", "one of " + ", ".join(known), repr(key))
    return method(backbone, num_classes, method.Recipe(**recipe))


__all__ = ["METHODS", "create_method"]
