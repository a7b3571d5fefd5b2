"""Saliency maps by a network of U^2-Net's kind, run by ONNX Runtime. In: a model, photographs. Out: what stands out, 0..255.

Such a network (Qin et al., Pattern Recognition 2020) was trained on masks of salient objects: maps of it are supervision beyond
tags. Nothing here needs MXNet.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from icd.engine.predict import open_session
from icd.errors import InputError

SIDE = 320
"""Of the network's input, where the model does not say it; U^2-Net's own."""
_MEAN, _DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_WANTED = "a saliency network as U^2-Net: an image (1, 3, H, W), and first of its outputs a map (1, 1, h, w)"


class SaliencyModel:
    """A saliency network, called with a photograph.

    Parameters
    ----------
    path : str or os.PathLike
        ONNX file of one input float32 (1, 3, H, W), of any name, H and W fixed or free (then `SIDE`); the first output is
        the map (1, 1, h, w), others are side outputs.
    providers : sequence of str
        ONNX Runtime's devices, the preferred one first; by default those that are there.
    origin : str
        Where such a file comes from, for the message that there is none.

    Raises
    ------
    InputError
        ONNX Runtime or the file is missing, or it is another network.
    """

    def __init__(self, path, providers=None, origin=""):
        if not Path(path).is_file():
            raise InputError(path, "a saliency network as U^2-Net, .onnx", "nothing there", origin)
        self._session, self._path = open_session(path, providers), path
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        described = "; ".join(f"{one.name} {one.type} {one.shape}" for one in (*inputs, *outputs))
        fits = len(inputs) == 1 and _is_map(inputs[0], 3) and outputs and _is_map(outputs[0], 1)
        if not fits:
            raise InputError(path, _WANTED, described)
        self._input, self._output = inputs[0].name, outputs[0].name
        self._size = tuple(
            side if isinstance(side, int) and side > 0 else SIDE for side in inputs[0].shape[2:]
        )

    def __call__(self, image: np.ndarray, size=None) -> np.ndarray:
        """Compute the saliency of a photograph.

        Parameters
        ----------
        image : numpy.ndarray, shape (h, w, 3), uint8
            RGB.
        size : tuple of int, optional
            Height and width of the result; default the image's.

        Returns
        -------
        numpy.ndarray, shape (H, W), uint8
            0 at the least salient place to 255 at the most salient one; 0 everywhere where the network gives one value.

        Raises
        ------
        InputError
            The network gives another shape than it says, or NaN or infinity.
        """
        found = self._session.run([self._output], {self._input: prepared(image, self._size)})[0]
        if found.shape[:2] != (1, 1) or found.ndim != 4 or not np.isfinite(found).all():
            shown = f"an output {found.shape}" + ("" if np.isfinite(found).all() else " with NaN or infinity")
            raise InputError(self._path, _WANTED, shown)
        return stretched(found[0, 0].astype(np.float32), size or image.shape[:2])


def prepared(image: np.ndarray, size) -> np.ndarray:
    """A photograph as U^2-Net's program shows it to its network, (1, 3, H, W) float32.

    It is squeezed to `size` (Lanczos), divided by its own maximum, and normalised by ImageNet's mean and deviation.
    """
    squeezed = np.array(Image.fromarray(image).resize((size[1], size[0]), Image.LANCZOS), np.float32)
    shares = squeezed / max(float(squeezed.max()), 1e-6)
    return np.ascontiguousarray(((shares - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None])


def stretched(values: np.ndarray, size) -> np.ndarray:
    """A map (h, w) from its least to its largest value as 0..255, uint8 (H, W), interpolated bilinearly."""
    low, high = float(values.min()), float(values.max())
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    large = cv2.resize(np.float32(shares), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * large).astype(np.uint8)


def _is_map(value, channels: int) -> bool:
    """Whether an input or output is float32 of four axes with so many channels, as far as the model says it."""
    shape = value.shape
    if value.type != "tensor(float)" or len(shape) != 4:
        return False
    return all(not isinstance(side, int) or side == known for side, known in zip(shape, (1, channels)))
