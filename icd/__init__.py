"""Weakly-supervised semantic segmentation on MXNet: from image-level tags to pseudo masks.

The rooms, in the order in which the data flows: `icd.data`, `icd.backbones`, `icd.methods`, `icd.engine`, `icd.refine`,
`icd.evaluate`; `icd.files` defines what lies between two stages. `icd.data`, `icd.files`, `icd.refine` and
`icd.evaluate` work without MXNet.
"""

__version__ = "0.1.0"
