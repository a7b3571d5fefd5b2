"""Seeds of which every label is probably right: what IRN learns boundaries from (spec irn 4.2). In: score maps, a photograph.

Two thresholds and two CRFs: what is a class above a high background is that class, what is background above a low one is
background, the rest is undefined.
"""

from __future__ import annotations

import numpy as np

from icd.classes import IGNORE
from icd.files import ScoreMaps
from icd.grid import maps_on_image, share_of_maximum
from icd.refine.crf import dense_crf

FOREGROUND, BACKGROUND = 0.30, 0.05  # as published: spec irn 1.1
CONFIDENCE = 0.7  # probability of a label in the CRF's unary term


def confident_seed(
    scores: ScoreMaps,
    image,
    foreground=FOREGROUND,
    background=BACKGROUND,
    crf="irn",
    backend="native",
    threads=0,
) -> np.ndarray:
    """The seed of IRN's training, `cam_to_ir_label` of its program (Ahn et al., CVPR 2019; spec irn 4.2).

    Parameters
    ----------
    scores : ScoreMaps
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    foreground, background : float, 0..1
        Shares of a map's maximum: below the first nothing is a class, above the second nothing is background.
    crf : str or icd.refine.crf.CrfParameters
    backend : {"native", "pydensecrf"}
    threads : int
        0: all cores.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
        Class numbers, 255 where neither is sure.
    """
    shares = share_of_maximum(maps_on_image(scores))
    certain, possible = (
        _labels(shares, scores.classes, image, threshold, crf, backend, threads)
        for threshold in (foreground, background)
    )
    seed = np.where(certain > 0, certain, IGNORE).astype(np.uint8)
    seed[(certain == 0) & (possible == 0)] = 0
    return seed


def _labels(shares, classes, image, threshold, crf, backend, threads) -> np.ndarray:
    """The strongest label of every pixel, the background having the same score everywhere, after the CRF."""
    hard = np.concatenate([np.full_like(shares[:1], threshold, shape=(1, *image.shape[:2])), shares]).argmax(
        0
    )
    count = len(classes) + 1
    if count > 1:
        unary = np.full((count, *hard.shape), -np.log((1 - CONFIDENCE) / (count - 1)), np.float32)
        np.put_along_axis(unary, hard[None], np.float32(-np.log(CONFIDENCE)), axis=0)
        hard = dense_crf(image, unary, crf, backend=backend, threads=threads).argmax(0)
    return np.concatenate([[0], classes])[hard].astype(np.uint8)
