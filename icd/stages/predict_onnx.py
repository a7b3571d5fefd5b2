"""The stage that predicts without MXNet: the masks of an exported segmentation network for photographs that were never seen.

OUT/masks/<id>.png     class numbers, with VOC's palette
OUT/overlays/<id>.jpg  the photograph under the colours of its mask, for people
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from icd.bounded import enlarge_mask
from icd.data.images import image_path, photograph_ids, read_bounded
from icd.engine.predict import OnnxSegmenter
from icd.errors import InputError
from icd.files import mask_path, write_mask
from icd.pictures import overlay, write_picture
from icd.provenance import file_sha256
from icd.stages.base import Stage, ids_without_file, setting


@dataclass(frozen=True)
class PredictOnnx(Stage):
    """See the module's docstring. Photographs that cannot be read are counted and left out: the others get their masks."""

    kind: ClassVar[str] = "predict_onnx"
    segmenter: OnnxSegmenter = None
    crf: bool = setting("whether the CRF of the network's recipe refines the masks", False)

    def products(self):
        """The masks; the pictures of them are no product of their own."""
        return {self.name: self.folder / "masks"}

    @property
    def overlays(self) -> Path:
        """Where the pictures go."""
        return self.folder / "overlays"

    def ids(self):
        """The images of the list, or all photographs of the folder."""
        data = self.job.data
        return data.ids if data.list else photograph_ids(data.images)

    def facts(self, label=""):
        """The model and the CRF."""
        return {"model": file_sha256(self.segmenter.path), "crf": self.crf}

    def check(self):
        """The folder must hold photographs."""
        if not self.ids():
            raise InputError(self.job.data.images, "a folder of photographs", "none")

    def left(self):
        """The ids that lack a mask."""
        return ids_without_file(self.share(), self.products().values(), ".png")

    def work(self, ids):
        """Predict one image after another; ONNX Runtime and the CRF use all processors for each."""
        masks, data = self.products()[self.name], self.job.data
        for image_id in tqdm(ids, unit="image", desc=self.name, dynamic_ncols=True, disable=None):
            try:
                image, size = read_bounded(image_path(data.images, image_id), data.max_side)
            except InputError as error:
                tqdm.write(f"left out: {error}")
                continue
            mask = self.segmenter.mask(image, self.crf)
            write_picture(self.overlays / f"{image_id}.jpg", overlay(image, mask))
            write_mask(
                mask_path(masks, image_id), enlarge_mask(mask, size)
            )  # last: it says that the image is done
