"""Segmentation networks that learn from masks, one file a family, by name; and those of GluonCV, `gluoncv:NAME`."""

from __future__ import annotations

from icd.errors import InputError
from icd.recipe import changed_recipe
from icd.segment.deeplab_v1 import DeepLabASPP, DeepLabV1
from icd.segment.deeplab_v2 import DeepLabV2, DeepLabV2DRS
from icd.segment.largefov import LargeFOV
from icd.segment.zoo import PREFIX, zoo_segmenter

SEGMENTERS = {
    "deeplab_v1": DeepLabV1,
    "deeplab_aspp": DeepLabASPP,
    "deeplab_v2": DeepLabV2,
    "deeplab_v2_drs": DeepLabV2DRS,
    "largefov": LargeFOV,
}


def find_segmenter(name: str) -> type:
    """The class of a segmenter.

    Parameters
    ----------
    name : str
        A key of `SEGMENTERS`, or `gluoncv:` and a name as `icd.segment.zoo` describes.

    Raises
    ------
    InputError
        No segmenter has that name.
    """
    if name.startswith(PREFIX):
        return zoo_segmenter(name)
    if name not in SEGMENTERS:
        raise InputError("network", f"{', '.join(SEGMENTERS)}, or {PREFIX}NAME", repr(name))
    return SEGMENTERS[name]


def create_segmenter(name: str, backbone, num_classes: int, recipe=None):
    """Make a segmenter.

    Parameters
    ----------
    name : str
        As for `find_segmenter`.
    backbone : icd.backbones.Backbone or None
        None for a network of GluonCV, which has its own.
    num_classes : int
        Foreground classes C.
    recipe : icd.recipe.BaseRecipe, optional
        From `segmentation_recipe`; default the published one.

    Raises
    ------
    InputError
        No segmenter has that name.
    """
    return find_segmenter(name)(backbone, num_classes, recipe or segmentation_recipe(name))


def segmentation_recipe(name: str, changes: dict = None, published: str = None):
    """A segmenter's recipe: a published one, with changes; arguments and errors as of `icd.recipe.changed_recipe`."""
    return changed_recipe(name, find_segmenter(name).recipes, changes, published)


__all__ = ["SEGMENTERS", "create_segmenter", "find_segmenter", "segmentation_recipe"]
