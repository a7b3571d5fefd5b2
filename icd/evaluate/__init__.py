"""Scores and how they are shown: confusion, IoU under named conventions, threshold curve, published numbers, report.

In: masks or score maps of one folder, the truth of another. Out: numbers with everything that a reader needs to place them.
"""

from icd.evaluate.curve import Curve, threshold_curve
from icd.evaluate.score import score_masks
from icd.evaluate.scores import Scores

__all__ = ["Curve", "Scores", "score_masks", "threshold_curve"]
