"""Seeds: partial masks from score maps. In: score maps of one image, perhaps saliency. Out: class numbers, 255 = ignore.

Three rules: ICD's (the sign of the top-down logit is the answer, no threshold), the usual one for CAM (a share of the
maximum) and that of DRS. All in the variants without CRF, with dense CRF, and with saliency as background.
"""

from __future__ import annotations

import numpy as np

from icd.classes import IGNORE
from icd.errors import InputError
from icd.files import ScoreMaps
from icd.grid import maps_on_image, positive_share, share_of_maximum
from icd.refine.crf import CRF_PRESETS, dense_crf

CAM_THRESHOLD = 0.2  # of the maximum; Zhou et al., CVPR 2016, section 3.2
SALIENT = 0.01  # ICD: a pixel below this saliency is background
LEAST_SALIENT_SHARE = 0.01  # ICD: with less than this share of salient pixels, saliency alone is not believed
SEED_CONFIDENCE = 0.5  # ICD: probability of the seed's label in the CRF's unary term
DRS_LEAST = 0.2  # DRS: alpha, the least value of a class
DRS_SALIENT = 50  # DRS: what is above it, of 255, is salient
DRS_SURE, DRS_MOST_SURE = 0.9, 2  # DRS: with more than two planes that sure, a pixel is ignored
EPSILON = 1e-5


def icd_seed(icd: ScoreMaps, cam: ScoreMaps, saliency=None) -> np.ndarray:
    """The seed of ICD (Fan et al., CVPR 2020), before any CRF.

    Foreground is where a tag's top-down logit A is positive; where several are, the class with the larger product of
    normalised CAM and normalised logit wins. Background is where all logits are negative or, with saliency, where the
    saliency is below 0.01. Pixels that are both or neither are ignored.

    Parameters
    ----------
    icd, cam : ScoreMaps
        Top-down logits A and CAM logits B of the same classes.
    saliency : numpy.ndarray, shape (H, W), uint8, optional

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    if not np.array_equal(icd.classes, cam.classes):
        raise InputError(
            "score maps", "the same classes in both", f"{icd.classes.tolist()}, {cam.classes.tolist()}"
        )
    A, B = maps_on_image(icd), maps_on_image(cam)
    f = positive_share(A)
    proposal = f > EPSILON
    foreground = proposal.any(0)
    winner = proposal.argmax(0)
    undecided = np.zeros_like(foreground)
    if len(A) > 1:
        q = _normalize_stack(np.maximum(B, 0)) * f
        winner = np.where(proposal.sum(0) > 1, q.argmax(0), winner)
        undecided = foreground & (q.max(0) - q.min(0) <= EPSILON)
    b = np.minimum(A, 0) / np.minimum(A.min((1, 2), keepdims=True), -EPSILON)
    background = _background((b > EPSILON).all(0), saliency)
    seed = (icd.classes[winner]).astype(np.uint8)
    seed[background] = 0
    seed[~(background ^ foreground) | undecided] = IGNORE
    return seed


def cam_seed(cam: ScoreMaps, threshold: float = CAM_THRESHOLD, saliency=None) -> np.ndarray:
    """The usual seed of class activation maps (Zhou et al., CVPR 2016).

    The positive part of every tag's map is divided by its maximum; a pixel belongs to the strongest class, or to the
    background where that is below `threshold`. With saliency, ICD's rule for the background takes the threshold's
    place: salient and above the threshold is foreground, neither is background, one of the two is ignored.

    Parameters
    ----------
    cam : ScoreMaps
    threshold : float, 0..1
    saliency : numpy.ndarray, shape (H, W), uint8, optional

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    f = share_of_maximum(maps_on_image(cam))
    foreground = f.max(0) > threshold
    background = _background(~foreground, saliency)
    seed = cam.classes[f.argmax(0)].astype(np.uint8)
    seed[background] = 0
    seed[~(background ^ foreground)] = IGNORE
    return seed


def drs_seed(maps: ScoreMaps, saliency=None) -> np.ndarray:
    """The pseudo label of DRS (Kim et al., AAAI 2021; spec drs 5.3 and 5.4).

    Every class is worth its value, or nothing below 0.2; the background is worth 1 where the saliency is at most 50 of 255, and
    else nothing. The largest wins. Ignored are pixels where more than two of all these exceed 0.9, and salient pixels that
    no class wins. Values above 1 win even against the background: they are not clipped, as published.

    Parameters
    ----------
    maps : ScoreMaps
        Of the refinement network, raw, or of the classifier.
    saliency : numpy.ndarray, shape (H, W), uint8, optional
        Without it nothing speaks for the background, and the pixels that no class wins are background.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    v = maps_on_image(maps)
    v[v < DRS_LEAST] = 0
    salient = np.ones(maps.size, bool) if saliency is None else saliency > DRS_SALIENT
    planes = np.concatenate([(~salient[None]).astype(np.float32), v])
    label = np.concatenate([[0], maps.classes]).astype(np.uint8)[planes.argmax(0)]
    ignored = (planes > DRS_SURE).sum(0) > DRS_MOST_SURE
    if saliency is not None:
        ignored |= salient & (label == 0)
    label[ignored] = IGNORE
    return label


def _background(from_scores: np.ndarray, saliency) -> np.ndarray:
    if saliency is None:
        return from_scores
    background = saliency / 255.0 < SALIENT
    if 1 - background.mean() < LEAST_SALIENT_SHARE:
        background &= from_scores
    return background


def _normalize_stack(maps: np.ndarray) -> np.ndarray:
    """Over the whole stack, so that the strength of one class against another is kept."""
    maps = maps - maps.min()
    return maps / max(maps.max(), EPSILON)


def crf_seed(
    seed: np.ndarray, image: np.ndarray, num_classes: int, preset="icd", backend="native", threads=0
):
    """Refine a seed by the dense CRF, as ICD does: all classes compete, each seed label with probability 0.5.

    Parameters
    ----------
    seed : numpy.ndarray, shape (H, W), uint8
        Class numbers; ignored pixels are equally likely everything.
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    num_classes : int
        Foreground classes.
    preset : str or icd.refine.crf.CrfParameters
    backend : {"native", "pydensecrf"}
    threads : int
        0: all cores.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
        255 where no label reaches a probability of 0.1.
    """
    labels = num_classes + 1
    probability = np.full((labels, *seed.shape), SEED_CONFIDENCE / labels, np.float32)
    rows, columns = np.nonzero(seed != IGNORE)
    probability[seed[rows, columns], rows, columns] = SEED_CONFIDENCE
    probability /= probability.sum(0)
    unary = -np.log(np.maximum(probability, EPSILON))
    parameters = CRF_PRESETS[preset] if isinstance(preset, str) else preset
    marginals = dense_crf(image, unary, parameters, backend=backend, threads=threads)
    marginals = marginals / marginals.sum(0)
    refined = marginals.argmax(0).astype(np.uint8)
    refined[marginals.max(0) < 0.1] = IGNORE
    return refined
