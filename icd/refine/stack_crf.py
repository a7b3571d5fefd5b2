"""Label stacks from score maps, and dense CRFs of label stacks. In: score maps or a stack, a photograph. Out: a label stack.

Symbols (spec psa 5.2, ppc 9.1): v score maps of the present classes, b background plane, alpha its exponent.
"""

from __future__ import annotations

import numpy as np

from icd.errors import InputError
from icd.files import LabelStack, ScoreMaps
from icd.grid import shares_on_image
from icd.refine.crf import dense_crf, unary_from_probabilities

GT_PROBABILITY = 0.7  # of a label that is certain (spec ppc 9.1)


def background_plane(v: np.ndarray, background) -> np.ndarray:
    """The background plane of score maps.

    Parameters
    ----------
    v : numpy.ndarray, shape (L, H, W), float32
        Shares: see `icd.grid.shares_on_image`. Those below 0, of SEAM, leave more than 1 for the background, as published.
    background : float or dict
        A constant, or {"power": alpha} for (1 - max v)^alpha.

    Returns
    -------
    numpy.ndarray, shape (H, W), float32

    Raises
    ------
    InputError
        It is neither.
    """
    if isinstance(background, dict) and set(background) == {"power"}:
        return (1 - v.max(0)) ** np.float32(background["power"])
    if isinstance(background, (int, float)) and not isinstance(background, bool):
        return np.full(v.shape[1:], background, np.float32)
    raise InputError("background", "a number, or {power: number}", repr(background))


def stack_of_scores(scores: ScoreMaps, background) -> LabelStack:
    """Score maps of an image as shares, with a background plane in front; `background` as in `background_plane`."""
    v = shares_on_image(scores)
    labels = np.concatenate([[0], scores.classes]).astype(np.int16)
    return LabelStack(labels, np.concatenate([background_plane(v, background)[None], v]))


def crf_of_stack(
    stack: LabelStack, image, preset, *, hard=False, rows_first=False, num_classes=None, threads=0, **options
) -> LabelStack:
    """The marginals of a dense CRF whose unary energies come from a label stack.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    preset : str or icd.refine.crf.CrfParameters
    hard : bool
        Take the label of the largest plane for certain (PPC, spec ppc 9.1): it has the probability 0.7, all others of
        `num_classes` share the rest. Otherwise the planes are taken for probabilities, clipped to 1e-5..1 (PSA, SEAM).
    rows_first : bool
        Lay the lattice as PPC's program does, along the rows first: results differ a little (spec ppc 9.1).
    num_classes : int, optional
        Foreground classes that compete where `hard`; default: those of the stack.
    options
        `iterations`, `backend` of `icd.refine.crf.dense_crf`.

    Returns
    -------
    LabelStack
        Of the same labels; planes float32, a probability of each.
    """
    if hard:
        places = _places(stack.planes.argmax(0), len(stack.labels), num_classes)
        unary = unary_from_probabilities(places)
    else:
        unary = unary_from_probabilities(np.clip(stack.planes.astype(np.float32), 1e-5, 1))
    if rows_first:
        image, unary = np.ascontiguousarray(image.swapaxes(0, 1)), np.ascontiguousarray(unary.swapaxes(1, 2))
    marginals = dense_crf(image, unary, preset, threads=threads, **options)
    if rows_first:
        marginals = np.ascontiguousarray(marginals.swapaxes(1, 2))
    return LabelStack(stack.labels, marginals[: len(stack.labels)])


def _places(label: np.ndarray, present: int, num_classes) -> np.ndarray:
    """Probabilities of hard labels: present ones first, then those of absent classes, which differ nowhere."""
    labels = present if num_classes is None else num_classes + 1
    rest = (1 - GT_PROBABILITY) / max(labels - 1, 1)
    planes = np.full((labels, *label.shape), rest, np.float32)
    rows, columns = np.indices(label.shape, sparse=True)
    planes[label, rows, columns] = GT_PROBABILITY
    return planes
