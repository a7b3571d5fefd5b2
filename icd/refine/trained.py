"""The refiners that are trained, by name. Kept apart from the rest of this room, which works without MXNet."""

from __future__ import annotations

from icd.refine.affinitynet import AffinityNet
from icd.refine.irn import IRN

REFINERS = {"affinitynet": AffinityNet, "irn": IRN}
