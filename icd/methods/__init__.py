"""The published methods, one file a paper, by name."""

from __future__ import annotations

from icd.errors import InputError
from icd.methods.cam import CAM
from icd.methods.drs import DRS, DRSClassifier
from icd.methods.eps import EPS, Baseline
from icd.methods.icd import ICD
from icd.methods.irn_cam import IRNCAM
from icd.methods.ppc import PPC, PPCOnEPS
from icd.methods.seam import SEAM
from icd.methods.vwe import VWE, VWLL, VWLM, HybridPoolingBaseline
from icd.recipe import changed_recipe

METHODS = {
    "cam": CAM,
    "icd": ICD,
    "eps": EPS,
    "eps_cam": Baseline,
    "drs": DRS,
    "drs_classifier": DRSClassifier,
    "irn_cam": IRNCAM,
    "vwe": VWE,
    "vwe_baseline": HybridPoolingBaseline,
    "vwl_l": VWLL,
    "vwl_m": VWLM,
    "seam": SEAM,
    "ppc": PPC,
    "ppc_eps": PPCOnEPS,
}


SEED_RULES = {rule.name: rule for method in METHODS.values() for rule in method.score_maps.values()}
"""The rules of all papers by name; `cam` is the usual one."""


def create_method(name: str, backbone, num_classes: int, recipe=None):
    """Make a method.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    backbone : icd.backbones.Backbone
    num_classes : int
        Foreground classes C.
    recipe : icd.recipe.BaseRecipe, optional
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
    """A method's recipe: a published one, with changes; arguments and errors as of `icd.recipe.changed_recipe`."""
    return changed_recipe(name, METHODS[name].recipes, changes, published)


__all__ = ["METHODS", "SEED_RULES", "create_method", "make_recipe"]
