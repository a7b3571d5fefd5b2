"""The stage of masks of any origin: another program's, or a person's. In: a folder of masks. Out: the same, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.classes import IGNORE
from icd.data.images import image_path, read_image_size
from icd.errors import InputError
from icd.files import mask_path, read_class_mask
from icd.stages import record
from icd.stages.base import Stage


@dataclass(frozen=True)
class GivenMasks(Stage):
    """See the module's docstring; `folder` is the user's."""

    kind: ClassVar[str] = "masks"
    given: ClassVar[bool] = True

    def ids(self):
        """The images to train on."""
        return self.job.data.ids

    def supervision(self, label=""):
        """Whoever gives masks knows what they were made with; here nothing is known but that they are masks."""
        return ("given masks",)

    def record(self, label=""):
        """Where they lie, and what tells them from others there."""
        marks = [record.fingerprint([mask_path(self.folder, image_id)]) for image_id in self.ids()]
        return {"foreign": str(self.folder.resolve()), "files": record.digest(marks)}

    facts = record

    def check(self):
        """Every image must have a mask of its size, of the classes that there are, and some must say something.

        Raises
        ------
        InputError
            Naming the first mask that is missing or does not fit; or all pixels of all masks are undefined.
        """
        defined = False
        for image_id in self.ids():
            size = read_image_size(image_path(self.job.data.images, image_id))
            mask = read_class_mask(mask_path(self.folder, image_id), len(self.job.data.classes), size)
            defined = defined or bool((mask != IGNORE).any())
        if not defined:
            raise InputError(self.folder, "masks that define some pixels", f"{IGNORE} everywhere")

    def left(self):
        """Nothing."""
        return []

    def run(self):
        """Nothing is made."""

    def refuse_conflict(self):
        """Whoever reads them notes what they were."""
