"""Writes files in COCO's format."""

from __future__ import annotations

import json

from icd.classes import COCO_CLASSES

# COCO's category ids: 1 to 90 without these.
GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CATEGORY_IDS = [number for number in range(1, 91) if number not in GAPS]
SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


def write_coco(path, images, annotations, categories=None):
    """Write instances.

    Parameters
    ----------
    images : sequence of (number, file name) or (number, file name, height, width)
    annotations : sequence of dict
        `image_id` and `category_id`; a square and no crowd unless they say otherwise.
    categories : dict, optional
        Names by number; by default COCO's.
    """
    categories = categories or dict(zip(CATEGORY_IDS, COCO_CLASSES))
    image_keys = ("id", "file_name", "height", "width")
    common = {"segmentation": SQUARE, "iscrowd": 0, "bbox": [2, 2, 4, 4], "area": 16.0}
    content = {
        "info": {"description": "a test"},
        "images": [{"license": 1, **dict(zip(image_keys, (*image, 10, 12)[:4]))} for image in images],
        "annotations": [{"id": number, **common, **entry} for number, entry in enumerate(annotations)],
        "categories": [{"supercategory": "thing", "id": k, "name": name} for k, name in categories.items()],
    }
    path.write_text(json.dumps(content))
    return path
