"""Prediction: the classes of every pixel of whole images. In: a trained segmenter or its ONNX model, images. Out: logits.

Networks see the views that the segmenter's `presentation` makes; `icd.fusion` makes one map of them. With an ONNX model
nothing here needs MXNet.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from icd.data.views import FloatPyramid
from icd.engine.localize import over_devices, run_views
from icd.errors import InputError
from icd.files import ImageLogits
from icd.fusion import Fusion, crf_probabilities, logits_on_image, mask_of

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def predict(segmenter, batches, contexts: list, write) -> None:
    """Compute the logits of every image that `batches` yields.

    Parameters
    ----------
    segmenter : icd.segment.base.MaskSegmenter
    batches : icd.data.batches.InferenceBatches
        With the segmenter's presentation.
    contexts : list of mxnet.Context
    write : callable
        Called with an id and its `icd.files.ImageLogits`, image by image.
    """

    def finish(batch, outputs):
        outputs = [logits.asnumpy() for logits in outputs]
        for place, image_id in enumerate(batch["ids"]):
            write(image_id, image_logits_of(batch, outputs, place))

    over_devices(
        batches,
        contexts,
        lambda batch, context: _start(segmenter, batch["views"], context),
        finish,
        "predict",
    )


def predict_views(segmenter, views: list, context) -> list:
    """The logits of a segmenter for views, one array a scale, as numpy arrays."""
    return [logits.asnumpy() for logits in _start(segmenter, views, context)]


def _start(segmenter, views: list, context) -> list:
    outputs = run_views(lambda part: {"logits": segmenter.predict(part)}, views, context)
    return [output["logits"] for output in outputs]


def image_logits_of(batch: dict, outputs: list, place: int) -> ImageLogits:
    """The logits of one image of a batch of `icd.data.batches.InferenceBatches`.

    Parameters
    ----------
    outputs : list of numpy.ndarray
        From `predict_views`.
    place : int
        The image's place in the batch.
    """
    count = len(batch["views"][0]) // len(batch["sizes"])
    grids = tuple(output[count * place : count * (place + 1)] for output in outputs)
    return ImageLogits(grids, tuple(view.shape[2:] for view in batch["views"]), tuple(batch["sizes"][place]))


def prediction_facts(segmenter) -> dict:
    """What `OnnxSegmenter` must know of a segmenter beside its network, for `icd.engine.onnx_export.onnx_model`."""
    recipe = segmenter.recipe
    return {
        "presentation": {"FloatPyramid": asdict(segmenter.presentation(recipe))},
        "fusion": asdict(segmenter.fusion),
        "crf": {"preset": recipe.crf, "picture": recipe.crf_picture},
    }


class OnnxSegmenter:
    """A segmenter that was exported, run by ONNX Runtime.

    Parameters
    ----------
    path : str or os.PathLike
        From `icd export-onnx`.
    providers : sequence of str, optional
        ONNX Runtime's devices, the preferred one first; by default CUDA where it is there, then the processor.

    Attributes
    ----------
    path
        As given.
    classes : tuple of str
        Names of the foreground classes, if the model holds them.
    presentation, fusion
        As the segmenter's.

    Raises
    ------
    InputError
        ONNX Runtime is missing, or the file is no segmentation model of this package.
    """

    def __init__(self, path, providers=None):
        self.path = path
        self._session = open_session(path, providers)
        facts = self._session.get_modelmeta().custom_metadata_map
        try:
            self.presentation = FloatPyramid(**json.loads(facts["presentation"])["FloatPyramid"])
            self.fusion = Fusion(**json.loads(facts["fusion"]))
            self._crf = json.loads(facts["crf"])
        except (KeyError, TypeError, ValueError) as error:
            found = f"a model that does not say how it predicts ({error})"
            raise InputError(path, "a segmentation model of `icd export-onnx`", found) from None
        self.classes = tuple(json.loads(facts.get("classes", "[]")))

    def logits(self, image) -> ImageLogits:
        """Compute the logits of an image (H, W, 3), uint8 RGB, on the network's grids."""
        shown = self.presentation(image)
        outputs = [self._session.run(None, {"image": view})[0] for view in shown.views]
        return image_logits_of({"views": shown.views, "sizes": [shown.size]}, outputs, 0)

    def mask(self, image, crf=False, threads=0) -> np.ndarray:
        """Compute the class of every pixel.

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB, as `icd.data.images.read_image` gives it.
        crf : bool
            Whether the CRF of the recipe follows, on `threads` threads (0 = all processors).

        Returns
        -------
        numpy.ndarray, shape (H, W), uint8
            0 = background.
        """
        logits = logits_on_image(self.logits(image), self.fusion)
        if not crf:
            return mask_of(logits)
        return mask_of(crf_probabilities(image, logits, **self._crf, threads=threads))


def open_session(path, providers):
    """Open an ONNX model; `InputError` where ONNX Runtime is missing, or the file is no model that it can run."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "onnxruntime", "it for ONNX models", "not installed", "Run: pip install onnxruntime"
        ) from None
    if providers is None:
        providers = [name for name in _PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), providers=list(providers))
    except Exception as error:  # the runtime's own exceptions have no common type
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, "an ONNX model", f"a missing, damaged or other file ({reason})") from None
