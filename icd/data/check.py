"""Read a whole folder once, before hours are spent on it. In: the folders of a run. Out: what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icd.bounded import MAX_SIDE, read_at, shrink_labels, shrink_values, working_size
from icd.classes import VOC_CLASSES
from icd.data.dataset import require_folder
from icd.data.images import image_path, read_image
from icd.data.tags import open_tags
from icd.data.workers import open_workers
from icd.errors import InputError
from icd.files import mask_path, read_class_mask, read_saliency, read_superpixels, superpixels_path

GROUP = 16  # images that a cluster's worker reads at once


@dataclass(frozen=True)
class RunFolders:
    """The folders that a run reads, None where it does not; `annotation_root` is any source of `icd.data.tags`."""

    image_root: Path
    annotation_root: Path
    superpixel_root: Path = None
    saliency_root: Path = None
    truth_root: Path = None
    classes: tuple = VOC_CLASSES
    max_side: int = MAX_SIDE


def check_run(folders: RunFolders, ids, workers: int, needed=None):
    """Check every image of a list.

    Parameters
    ----------
    folders : RunFolders
    ids : sequence of str
    workers : int or icd.stages.cluster.Cluster
        Number of processes; 0 checks in this process.
    needed : dict, optional
        For the fields of `folders` but `image_root` the ids that must have a file, or tags, there; all by default.

    Yields
    ------
    list of InputError
        For each id in turn, what is wrong with its files; an empty list where nothing is.

    Raises
    ------
    InputError
        A folder is missing, so that there is nothing to look into; or a file of tags is damaged.
    """
    for folder in (folders.image_root, folders.superpixel_root, folders.saliency_root, folders.truth_root):
        require_folder(folder)
    tags = open_tags(folders.annotation_root, folders.classes)
    needed = {name: frozenset(wanted) for name, wanted in (needed or {}).items()}
    pool = open_workers(partial(_problems, folders, tags, needed), workers, GROUP)
    try:
        yield from pool.map(ids, ahead=64)
    finally:
        pool.close()


def _problems(folders: RunFolders, tags, needed: dict, image_id: str) -> list:
    """Read all files of one image to the last pixel; return an `InputError` for each unusable one."""

    def is_needed(name):
        return getattr(folders, name) is not None and image_id in needed.get(name, (image_id,))

    image, problems = _attempt(read_image, image_path(folders.image_root, image_id))
    size = working = None
    if image is not None:
        size, working = image.shape[:2], working_size(image.shape[:2], folders.max_side)
    readings = [(tags.read, image_id)] if is_needed("annotation_root") else []
    if is_needed("superpixel_root"):
        read = partial(read_superpixels, superpixels_path(folders.superpixel_root, image_id))
        readings.append((read_at, read, size, working, shrink_labels))
    if is_needed("saliency_root"):
        read = partial(read_saliency, mask_path(folders.saliency_root, image_id))
        readings.append((read_at, read, size, working, shrink_values))
    if is_needed("truth_root"):
        readings.append(
            (read_class_mask, mask_path(folders.truth_root, image_id), len(folders.classes), size)
        )
    for reading in readings:
        problems += _attempt(*reading)[1]
    return problems


def _attempt(read, *arguments) -> tuple:
    try:
        return read(*arguments), []
    except InputError as error:
        return None, [error]
