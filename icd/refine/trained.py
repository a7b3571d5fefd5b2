"""The refiners that are trained, by name. Beside the rest of the room this module needs MXNet."""

from __future__ import annotations

from icd.errors import InputError
from icd.recipe import changed_recipe
from icd.refine.irn import IRN

REFINERS = {
    "irn": IRN,
}


def create_refiner(name: str, backbone, num_classes: int, recipe=None):
    """Make a refiner; arguments as of `icd.methods.create_method`.

    Raises
    ------
    InputError
        No refiner has that name.
    """
    if name not in REFINERS:
        raise InputError("refiner", " or ".join(REFINERS), repr(name))
    return REFINERS[name](backbone, num_classes, recipe or make_recipe(name))


def make_recipe(name: str, changes: dict = None, published: str = None):
    """A refiner's recipe: a published one, with changes; arguments and errors as of `icd.recipe.changed_recipe`."""
    return changed_recipe(name, REFINERS[name].recipes, changes, published)
