"""Seeds: partial masks from score maps. In: score maps of one image, perhaps saliency. Out: class numbers, 255 = ignore.

Here are the usual rule for CAM, a share of the maximum, and the dense CRF of a seed. The rule of a paper stands in the
paper's file in `icd.methods`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from icd.classes import IGNORE
from icd.files import ScoreMaps
from icd.grid import shares_on_image
from icd.refine.crf import CRF_PRESETS, dense_crf

CAM_THRESHOLD = 0.2  # of the maximum; Zhou et al., CVPR 2016, section 3.2
SALIENT = 0.01  # ICD: a pixel below this saliency is background
LEAST_SALIENT_SHARE = 0.01  # ICD: with less than this share of salient pixels, saliency alone is not believed
SEED_CONFIDENCE = 0.5  # ICD: probability of the seed's label in the CRF's unary term
EPSILON = 1e-5


class SeedRule(NamedTuple):
    """How the seeds of a kind of score maps are made.

    Attributes
    ----------
    name : str
        For `icd seeds --rule`.
    seed : callable
        (score maps, saliency or None, score maps of the companion or None, threshold or None) -> mask (H, W) uint8.
    policy : str
        How the rule comes by its background threshold.
    threshold : float or None
        The published one, a share of a map's maximum; None where the rule has none to choose.
    companion : str or None
        Another kind of score maps of the same image that the rule reads too.
    """

    name: str
    seed: object
    policy: str
    threshold: float = None
    companion: str = None

    def policy_at(self, threshold=None) -> str:
        """How the rule comes by its background threshold where a user may have chosen another one."""
        if threshold is None or self.threshold is None:
            return self.policy
        return self.policy.replace(f"{self.threshold}", f"{threshold:g}")


def cam_seed(cam: ScoreMaps, threshold: float = CAM_THRESHOLD, saliency=None) -> np.ndarray:
    """The usual seed of class activation maps (Zhou et al., CVPR 2016).

    The positive part of every tag's map is divided by its maximum (SEAM's stretched over its range); a pixel belongs to the
    strongest class, or to the background where that is below `threshold`. With saliency, ICD's rule for the background takes
    the threshold's place: salient and above the threshold is foreground, neither is background, one of the two is ignored.

    Parameters
    ----------
    cam : ScoreMaps
    threshold : float, 0..1
    saliency : numpy.ndarray, shape (H, W), uint8, optional

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    if not len(cam.classes):
        return seed_without_maps(cam.size, saliency)
    f = shares_on_image(cam)
    foreground = f.max(0) > threshold
    background = background_of(~foreground, saliency)
    seed = cam.classes[f.argmax(0)].astype(np.uint8)
    seed[background] = 0
    seed[~(background ^ foreground)] = IGNORE
    return seed


def seed_without_maps(size, saliency=None) -> np.ndarray:
    """The seed of an image that has no score maps: background, and 255 where something is salient, by ICD's rule."""
    return np.where(background_of(np.ones(size, bool), saliency), 0, IGNORE).astype(np.uint8)


def background_of(from_scores: np.ndarray, saliency) -> np.ndarray:
    """The background that scores and ICD's rule for saliency give: the saliency decides, unless nearly nothing is salient."""
    if saliency is None:
        return from_scores
    background = saliency / 255.0 < SALIENT
    if 1 - background.mean() < LEAST_SALIENT_SHARE:
        background &= from_scores
    return background


def share_rule(name: str, published: float) -> SeedRule:
    """The usual rule with a paper's own threshold, a share of the maximum."""
    rule = functools.partial(_share_rule, published)
    return SeedRule(name, rule, f"fixed {published} of the maximum", published)


def _share_rule(published, maps, saliency=None, companion=None, threshold=None):
    return cam_seed(maps, published if threshold is None else threshold, saliency)


CAM_RULE = share_rule("cam", CAM_THRESHOLD)


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
