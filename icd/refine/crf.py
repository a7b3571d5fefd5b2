"""The fully connected CRF: energies of labels and an image in, marginal probabilities out.

    scores --your choice--> probabilities --unary_from_probabilities--> energies --dense_crf--> marginals

The kernel is `csrc/dense_crf.cpp`; it releases the GIL, and several Python threads may call it at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from icd import _native
from icd.errors import InputError
from icd.refine.arguments import check_memory, checked_array, checked_integer, checked_number, checked_threads


@dataclasses.dataclass(frozen=True)
class CrfParameters:
    """What a CRF does beyond its unary energies.

    Attributes
    ----------
    gaussian_sxy, gaussian_compat : float
        Standard deviation in pixels and weight of the smoothness kernel.
    bilateral_sxy, bilateral_srgb, bilateral_compat : float
        Standard deviations in pixels and in colour steps, and weight of the appearance kernel.
    iterations : int
        Mean-field iterations.
    """

    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    iterations: int = 10


CRF_PRESETS = {
    "psa": CrfParameters(3, 3, 80, 13, 10),  # PSA's tool/imutils.py; also SEAM, PPC and the code of EPS
    "irn": CrfParameters(3, 3, 50, 5, 10),  # IRN's misc/imutils.py
    "icd": CrfParameters(3, 3, 80, 13, 10),  # ICD's run_icd.py
    "deeplab-r101": CrfParameters(
        1, 3, 67, 3, 4
    ),  # README of EPS; kazuto1011/deeplab-pytorch (spec deeplab B7)
    "vwe": CrfParameters(1, 3, 64, 3, 4),  # VWE's v2/crf.py
    "seam-deeplab": CrfParameters(3, 3, 32, 13, 10, 1),  # SEAM's segmentation program (spec deeplab A5)
    "afa": CrfParameters(3, 3, 64, 5, 4),  # AFA, issue 6
}
"""Published parameters by name. The names say whose they are, not where they may be used."""


CRF_PICTURES = ("rgb", "bgr", "wrapped", "truncated")
_MEAN_OF_CAFFE = (104.008, 116.669, 122.675)  # of B, G, R
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def crf_picture(image: np.ndarray, kind: str) -> np.ndarray:
    """The picture that a published program gives to its CRF in an image's place.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    kind : {"rgb", "bgr", "wrapped", "truncated"}
        "rgb": the image itself. "bgr": with its channels turned round, which changes what the CRF's approximation gives, if not
        what it approximates. "wrapped": "bgr" minus the mean colour, cast to 8 bits, so that colours below the mean wrap to the
        bright end: what the published command of DeepLab-v2 does, by mistake, and what its numbers were made with (spec
        deeplab B7). "truncated": normalised and back, cut off to whole numbers, at most one too dark (spec deeplab A5).

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    image = checked_array("image", image, np.uint8, ("H", "W", 3))
    if kind == "rgb":
        return image
    if kind == "bgr":
        return np.ascontiguousarray(image[..., ::-1])
    if kind == "wrapped":
        # A cast of negative floating-point numbers to uint8 is undefined; this is what x86 does.
        shifted = image[..., ::-1].astype(np.float32) - np.float32(_MEAN_OF_CAFFE)
        return np.trunc(shifted).astype(np.int64).astype(np.uint8)
    if kind == "truncated":
        normalised = ((image / 255.0 - _MEAN) / _STD).astype(np.float32)
        restored = (normalised * _STD.astype(np.float32) + _MEAN.astype(np.float32)) * 255
        return restored.clip(0, 255).astype(np.uint8)
    raise InputError("crf_picture", " or ".join(CRF_PICTURES), repr(kind))


def unary_from_probabilities(probabilities, lowest=1e-5) -> np.ndarray:
    """Energies `-log(max(p, lowest))` of probabilities (PSA 5.2, ICD 4.3).

    Parameters
    ----------
    probabilities : numpy.ndarray, shape (L, H, W), float32
        0..1; they need not sum to 1.
    lowest : float
        Smaller probabilities are raised to this.

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32

    Examples
    --------
    >>> unary_from_probabilities(np.array([[[1.0, 0.5]], [[0.0, 0.5]]], np.float32)).round(2).tolist()
    [[[-0.0, 0.6899999976158142]], [[11.510000228881836, 0.6899999976158142]]]
    """
    probabilities = checked_array("probabilities", probabilities, np.float32, ("L", "H", "W"))
    return -np.log(np.maximum(probabilities, np.float32(checked_number("lowest", lowest, 1e-37, 1))))


def dense_crf(image, unary, preset_or_parameters, iterations=None, threads=0, backend="native") -> np.ndarray:
    """Mean-field marginals of a fully connected CRF with Potts compatibility (Kraehenbuehl & Koltun, NIPS 2011).

    Labels whose energies are the same at every pixel are found and carried once, which is exact: 21 labels of which three
    differ cost as much as four.

    Parameters
    ----------
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    unary : numpy.ndarray, shape (L, H, W), float32
        Energies, finite: minus the log of a probability.
    preset_or_parameters : str or CrfParameters
        A name of `CRF_PRESETS` or one's own parameters.
    iterations : int, optional
        Default: the preset's. 0 gives the softmax of `-unary`.
    threads : int
        0 = all processors; the result does not depend on it. The `pydensecrf` backend always uses one.
    backend : {"native", "pydensecrf"}
        This package's kernel, or `pydensecrf2` for the very numbers that published results were made with (the two differ
        by about 1e-5).

    Returns
    -------
    numpy.ndarray, shape (L, H, W), float32
        Probabilities that sum to 1 at each pixel.

    Raises
    ------
    InputError
        Wrong shapes or dtypes, NaN or infinite energies, an unknown preset, parameters out of range, the backend is not
        installed, more memory needed than there is.
    """
    image = checked_array("image", image, np.uint8, ("H", "W", 3))
    unary = checked_array("unary", unary, np.float32, ("L", *image.shape[:2]))
    if image.size >= 2**30:
        raise InputError("image", "less than 2^30 / 3 pixels", f"{image.shape[0]} x {image.shape[1]}")
    parameters = _checked_parameters(preset_or_parameters, iterations)
    labels, height, width = unary.shape
    check_memory("unary", (8 * labels + 80) * height * width, f"{labels} labels of {height} x {width} pixels")
    threads = checked_threads(threads)
    if backend not in _BACKENDS:
        raise InputError("backend", " or ".join(_BACKENDS), repr(backend))
    return _BACKENDS[backend](image, unary, parameters, threads)


def _checked_parameters(preset_or_parameters, iterations) -> CrfParameters:
    if isinstance(preset_or_parameters, CrfParameters):
        chosen = preset_or_parameters
    elif isinstance(preset_or_parameters, str) and preset_or_parameters in CRF_PRESETS:
        chosen = CRF_PRESETS[preset_or_parameters]
    else:
        raise InputError(
            "preset", f"one of {', '.join(CRF_PRESETS)}, or CrfParameters", repr(preset_or_parameters)
        )
    for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
        checked_number(name, getattr(chosen, name), 0.01, 1e6)
    for name in ("gaussian_compat", "bilateral_compat"):
        checked_number(name, getattr(chosen, name), 0, 1e6)
    count = chosen.iterations if iterations is None else iterations
    return dataclasses.replace(chosen, iterations=checked_integer("iterations", count, 0, 10000))


def _native_crf(image, unary, parameters: CrfParameters, threads: int) -> np.ndarray:
    try:
        return _native.dense_crf(image, unary, *dataclasses.astuple(parameters), threads)
    except ValueError as error:
        raise InputError("parameters", "standard deviations that suit the image", str(error)) from None


def _pydensecrf(image, unary, parameters: CrfParameters, threads: int) -> np.ndarray:
    del threads  # pydensecrf2 has one
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError:
        remedy = "pip install pydensecrf2, or use the backend native."
        raise InputError("backend", "pydensecrf2 installed", "no module pydensecrf", remedy) from None
    labels, height, width = unary.shape
    field = DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(unary.reshape(labels, -1))
    field.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy,
        srgb=parameters.bilateral_srgb,
        rgbim=image,
        compat=parameters.bilateral_compat,
    )
    return np.array(field.inference(parameters.iterations), np.float32).reshape(unary.shape)


_BACKENDS = {"native": _native_crf, "pydensecrf": _pydensecrf}
