"""Photographs of noise, for benchmarks that need files. In: a folder, how many, their size. Out: a job on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icd.data.catalogue import DataSet
from icd.stages.base import Job

CLASSES = ("disc", "box")


def noise_job(folder, count: int, height: int, width: int, workers: int = 0) -> Job:
    """Write photographs, tags of both classes and a list into a folder; a job on the CPU that reads them."""
    folder, random = Path(folder), np.random.RandomState(0)
    (folder / "images").mkdir()
    ids = [str(number) for number in range(count)]
    for image_id in ids:
        coarse = random.randint(0, 256, (30, 40, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{image_id}.jpg"), cv2.resize(coarse, (width, height)))
    (folder / "tags.csv").write_text("id,tags\n" + "".join(f"{image_id},disc;box\n" for image_id in ids))
    (folder / "list.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    data = DataSet("folder", CLASSES, folder / "images", folder / "tags.csv", folder / "list.txt")
    return Job(data, folder / "out", gpus="", workers=workers)
