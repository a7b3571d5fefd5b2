"""Draws a small folder in VOC's layout that tests may damage."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icd.data.dataset import ImageDataset
from icd.files import write_mask, write_superpixels

CLASSES = ("cat", "cow", "dog")


class SmallFolder:
    """Six images of several sizes with tags, superpixels, saliency and masks; `path(part, id)` finds a file."""

    suffixes = {"images": "jpg", "tags": "xml", "superpixels": "png", "saliency": "png", "truth": "png"}

    def __init__(self, root):
        self.root, self.ids = root, [f"image_{number}" for number in range(6)]
        for part in self.suffixes:
            (root / part).mkdir()
        for number, image_id in enumerate(self.ids):
            self._write(image_id, number)
        (root / "list.txt").write_text("\n".join(self.ids) + "\n")
        (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")

    def path(self, part, image_id):
        return self.root / part / f"{image_id}.{self.suffixes[part]}"

    def dataset(self, superpixels=True):
        planes = {"superpixel": self.root / "superpixels"} if superpixels else {}
        return ImageDataset(self.root / "images", self.root / "tags", self.ids, CLASSES, planes)

    def arguments(self):
        """The arguments of `icd data check` for this folder."""
        flags = {"image": "images", "annotation": "tags", "superpixel": "superpixels", "saliency": "saliency"}
        words = [word for flag, part in flags.items() for word in (f"--{flag}-root", str(self.root / part))]
        words += ["--eval-root", str(self.root / "truth"), "--data-list", str(self.root / "list.txt")]
        return [*words, "--classes", str(self.root / "classes.txt")]

    def _write(self, image_id, number):
        random = np.random.RandomState(number)
        height, width = 30 + 5 * number, 60 - 4 * number
        pixels = random.randint(0, 256, (height // 5, width // 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(self.path("images", image_id))
        write_tags(self.path("tags", image_id), [(CLASSES[number % 3], 0), (CLASSES[number // 3], 0)])
        blocks = np.arange(height)[:, None] // 8 * 10 + np.arange(width) // 8
        write_superpixels(self.path("superpixels", image_id), blocks)
        Image.fromarray(pixels[..., 0]).resize((width, height)).save(self.path("saliency", image_id))
        write_mask(self.path("truth", image_id), blocks % 4)


def write_tags(path, objects):
    """Write a VOC annotation from (name, difficult) pairs; a difficult of None leaves the element out."""
    entries = "".join(
        f"<object><name>{name}</name>"
        + ("" if difficult is None else f"<difficult>{difficult}</difficult>")
        + "<part><name>head</name></part></object>"
        for name, difficult in objects
    )
    path.write_text(f"<annotation>{entries}</annotation>")
