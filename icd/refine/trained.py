"""The refiners by name. Unlike the rest of `icd.refine` it needs MXNet, so it is imported where one is asked for."""

from __future__ import annotations

from icd.refine.affinitynet import AffinityNet

REFINERS = {"affinitynet": AffinityNet}
