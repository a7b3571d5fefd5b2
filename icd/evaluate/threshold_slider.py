"""The slider of the report that redraws seeds at another background threshold. In: score maps, a run's threshold. Out: markup.

Without a truth the threshold can only be chosen by looking. For every pixel of a picture the page holds the strongest class and,
as 8 bits, how many of the slider's thresholds lie below its score. So at every position of the slider the redrawn mask is the
one that `--threshold` makes there, pixel for pixel, and at the run's own threshold the run's own mask.
"""

from __future__ import annotations

from html import escape

import numpy as np

from icd.bounded import bounded_maps
from icd.evaluate.curve import FIXED_RULE, rule_of_policy
from icd.grid import shares_on_image

_STEPS = 200
_MOST_DIFFERENT = (
    0.01  # of a picture's pixels, where its mask was enlarged, or where it is not what the policy says
)


def fixed_threshold(policy: str, kind: str):
    """The share of the maximum, or of the range, at which a run made the seeds of a kind of score maps.

    Parameters
    ----------
    policy : str
        `threshold_policy` of `run.json`, such as "cam: fixed 0.2 of the maximum; icd: none".
    kind : str

    Returns
    -------
    float or None
        None where the rule has no such threshold, or nobody has written it down.
    """
    match = FIXED_RULE.fullmatch(rule_of_policy(policy, kind))
    return float(match[1]) if match and match[2] else None


def levels(own: float) -> list:
    """The thresholds of the slider: 0 to 1 in steps of 0.005, and the run's own; at most 255, ascending."""
    return sorted({*(k / _STEPS for k in range(_STEPS + 1)), own})


def strongest(scores, max_side, thresholds) -> np.ndarray:
    """What the page must know of every pixel.

    Parameters
    ----------
    scores : icd.files.ScoreMaps
        Of at least one class.
    max_side : int or None
        As in the run; see `icd.bounded`.
    thresholds : sequence of float
        From `levels`.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        At the working size: the strongest class, the number of thresholds below its share, and 0.
    """
    shares = shares_on_image(bounded_maps(scores, max_side))
    winner = scores.classes[shares.argmax(0)].astype(np.uint8)
    # As float32, as the seed rule compares; side "left" counts those that are strictly smaller.
    below = np.searchsorted(np.float32(thresholds), shares.max(0), side="left").astype(np.uint8)
    return np.dstack([winner, below, np.zeros_like(winner)])


def is_seed_of(seed: np.ndarray, strong: np.ndarray, position: int) -> bool:
    """Whether a seed, (H, W), is what the slider draws at the position of the run's own threshold."""
    drawn = np.where(strong[..., 1] > position, strong[..., 0], 0)
    return drawn.shape == seed.shape and bool((drawn != seed).mean() <= _MOST_DIFFERENT)


def slider(kind: str, own: float) -> str:
    """Markup of the slider of a kind of score maps."""
    thresholds = levels(own)
    position, name = thresholds.index(own), escape(kind, quote=True)
    return (
        f'<div class="filters slider"><label>background threshold of {name} '
        f'<input type="range" min="0" max="{len(thresholds) - 1}" step="1" value="{position}" data-kind="{name}" '
        f'data-own="{position}" data-levels="{" ".join(repr(level) for level in thresholds)}"></label>'
        f'<output aria-live="polite"></output></div>'
    )
