"""Masks of the simplest baseline with tags and saliency: what is salient is what the tag says.

    python benchmarks/tag_saliency.py --images DIR --tags DIR --saliency DIR --list FILE --out DIR

A photograph of several tags does not say which of them is salient: its salient pixels are 255, so that nothing is learned
from them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import IGNORE  # noqa: E402
from icd.cli.flags import add_place  # noqa: E402
from icd.data.images import image_path, read_image_size  # noqa: E402
from icd.data.tags import open_tags  # noqa: E402
from icd.files import mask_path, read_classes, read_list, read_saliency, write_mask  # noqa: E402

SALIENT = 0.3 * 255


def mask_of(saliency: np.ndarray, tags) -> np.ndarray:
    """The mask of a photograph.

    Parameters
    ----------
    saliency : numpy.ndarray, shape (H, W), uint8
        0 to 255.
    tags : tuple of int
        Numbers of the classes in the photograph.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    value = tags[0] if len(tags) == 1 else IGNORE
    return np.where(saliency >= SALIENT, value, 0).astype(np.uint8)


def write_masks(images, tags, saliency, list, out, classes="voc") -> None:
    """Write the masks of a list; folders and files as the flags name them."""
    source = open_tags(tags, read_classes(classes))
    for image_id in read_list(list):
        size = read_image_size(image_path(images, image_id))
        own = read_saliency(mask_path(saliency, image_id), size)
        write_mask(mask_path(out, image_id), mask_of(own, source.read(image_id)))


def main() -> None:
    """Write the masks of a list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("images", "tags", "saliency", "list", "out"):
        add_place(parser, name, required=True)
    add_place(parser, "classes", "[voc]")
    write_masks(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
