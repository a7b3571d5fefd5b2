"""The published methods, one file a paper, by name."""

from __future__ import annotations

from dataclasses import fields, replace

from icd.errors import InputError
from icd.methods.cam import CAM
from icd.methods.drs import DRS, DRSClassifier
from icd.methods.eps import EPS, Baseline
from icd.methods.icd import ICD

METHODS = {
    "cam": CAM,
    "icd": ICD,
    "eps": EPS,
    "eps_cam": Baseline,
    "drs": DRS,
    "drs_classifier": DRSClassifier,
}


def create_method(name: str, backbone, num_classes: int, recipe=None):
    """Make a method.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    backbone : icd.backbones.Backbone
    num_classes : int
        Foreground classes C.
    recipe : icd.methods.base.BaseRecipe, optional
        From `make_recipe`; default the published one.

    Raises
    ------
    InputError
        No method has that name.
    """
    if name not in METHODS:
        raise InputError("method", " or ".join(METHODS), repr(name))
    return METHODS[name](backbone, num_classes, recipe or make_recipe(name))


def make_recipe(name: str, changes: dict = None, published: str = None):
    """A method's recipe: a published one, with changes.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    changes : dict, optional
        Hyper-parameters that differ.
    published : str, optional
        A key of the method's `recipes`; default the first.

    Raises
    ------
    InputError
        The method has no such recipe, the recipe no such entry, or the entry another type.
    """
    recipes = METHODS[name].recipes
    published = published or next(iter(recipes))
    if published not in recipes:
        raise InputError(f"recipe of {name}", "one of " + ", ".join(recipes), repr(published))
    recipe = recipes[published]
    known = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    values = {}
    for key, value in (changes or {}).items():
        if key not in known:
            raise InputError(f"recipe of {name}", "one of " + ", ".join(known), repr(key))
        values[key] = _same_type(key, value, known[key])
    return replace(recipe, **values)


def _same_type(key: str, value, published):
    """The value with the type of the published one; lists become tuples, whole numbers real ones."""
    kinds = {float: (int, float), tuple: (list, tuple)}.get(type(published), type(published))
    wrong = isinstance(value, bool) and not isinstance(published, bool)
    if wrong or not isinstance(value, kinds):
        raise InputError(f"recipe entry {key}", f"a value like {published!r}", repr(value))
    return type(published)(value)


__all__ = ["METHODS", "create_method", "make_recipe"]
