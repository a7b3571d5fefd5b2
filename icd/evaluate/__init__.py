"""Scores and how they are shown: confusion, IoU under named conventions, threshold curve, published numbers, report.

In: masks or score maps of one folder, the truth of another. Out: numbers with everything that a reader needs to place them.
"""

import importlib

_MODULES = {"Curve": "curve", "Scores": "scores", "score_masks": "score", "threshold_curve": "curve"}
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    """Import what is asked for, and no more: command lines need the names of conventions, and no OpenCV."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
