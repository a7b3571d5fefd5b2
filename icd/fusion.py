"""From the logits of several views of an image to the classes of its pixels. In: logits on a network's grids. Out: a mask.

Works without MXNet, on what any runtime computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.files import ImageLogits
from icd.grid import interpolation
from icd.refine.crf import crf_picture, dense_crf, unary_from_probabilities

AVERAGES = ("logits", "probabilities")


@dataclass(frozen=True)
class Fusion:
    """How the logits of several views become one.

    Attributes
    ----------
    alignment : {"centres", "corners"}
        How a grid lies on its view and a view on the image; see `icd.files.ScoreMaps`.
    through_view : bool
        Whether logits are first resized to their view, then to the image, as programs do whose networks end with the size
        of their input; else at once.
    average : {"logits", "probabilities"}
        Of what the mean over the views is taken.
    """

    alignment: str = "centres"
    through_view: bool = False
    average: str = "logits"


def logits_on_image(logits: ImageLogits, fusion: Fusion) -> np.ndarray:
    """Fuse the logits of all views of an image and resize them to it.

    Parameters
    ----------
    logits : icd.files.ImageLogits
    fusion : Fusion

    Returns
    -------
    numpy.ndarray, shape (1 + C, H, W), float32
        Their softmax are the probabilities; of a mean of probabilities, the logarithm.
    """
    total, count = 0, 0
    for grids, view in zip(logits.grids, logits.views):
        rows, columns = (
            _weights(old, middle, new, fusion) for old, middle, new in zip(grids.shape[2:], view, logits.size)
        )
        for mirrored, grid in enumerate(grids):
            maps = rows @ grid.astype(np.float32) @ columns.T
            if fusion.average == "probabilities":
                maps = softmax(maps)
            total, count = total + (maps[..., ::-1] if mirrored else maps), count + 1
    mean = total / np.float32(count)
    return np.log(np.maximum(mean, np.float32(1e-37))) if fusion.average == "probabilities" else mean


def _weights(old: int, middle: int, new: int, fusion: Fusion) -> np.ndarray:
    if not fusion.through_view:
        return interpolation(old, new, fusion.alignment)
    return interpolation(middle, new, fusion.alignment) @ interpolation(old, middle, fusion.alignment)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the first axis."""
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def mask_of(logits: np.ndarray) -> np.ndarray:
    """The class of the largest logit at every pixel, uint8 (H, W); logits (1 + C, H, W)."""
    return logits.argmax(0).astype(np.uint8)


def crf_probabilities(image, logits, preset, picture="rgb", threads=0, backend="native") -> np.ndarray:
    """Refine the logits of an image by a dense CRF.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    logits : numpy.ndarray, shape (1 + C, H, W), float32
    preset, threads, backend
        As for `icd.refine.crf.dense_crf`.
    picture : str
        As `kind` for `icd.refine.crf.crf_picture`.

    Returns
    -------
    numpy.ndarray, shape (1 + C, H, W), float32
        Probabilities.
    """
    unary = unary_from_probabilities(softmax(logits))
    return dense_crf(crf_picture(image, picture), unary, preset, threads=threads, backend=backend)
