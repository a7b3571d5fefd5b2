"""True masks from COCO's instances, for evaluation. In: outlines of objects (`icd.data.coco`). Out: a PNG an image.

Polygons are drawn by pycocotools, COCO's own library. Where objects overlap, the smaller one is on top; of two of one size,
the later one. Crowds (iscrowd 1, "a group of persons") have their class too and lie below all others. What no outline covers
is background; an object that has a box and no outline may be anywhere in its box, which is 255 below all outlines.

The masks that EPS was scored with are its authors' own conversion, distributed separately (spec eps 1.1), whose rules are
not published; a score on ours need not be the same to the last digit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import List, Union

import msgspec
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from icd.classes import IGNORE
from icd.data.coco import Instances, read_instances
from icd.data.workers import open_workers
from icd.errors import InputError
from icd.files import mask_path, write_mask

_MOST_PIXELS = 2**27
_LONGEST_OUTLINE = 2**21  # pixels along the edges of one polygon
_LONGEST_NUMBER = 12  # groups of five bits; more than any run length needs
GROUP = 16  # masks that a worker of a cluster draws at once


# msgspec evaluates these types, also on Python 3.8; hence typing's names, and no `from __future__` above.
class _Runs(msgspec.Struct):
    """A region by run lengths, column after column, off and on in turn: as a list, or as COCO's compressed text."""

    size: List[int]
    counts: Union[List[int], str]


def write_coco_masks(path, classes, ids, folder, workers) -> tuple:
    """Draw the masks that are not in a folder yet, with a progress bar.

    Parameters
    ----------
    path : str or os.PathLike
        `instances_*.json`.
    classes : sequence of str
        Foreground class names in the order of their numbers 1..C.
    ids : collection of str
        The images to draw, as `icd.data.coco.read_coco_tags` names them.
    folder : str or os.PathLike
        Masks go to `<folder>/<id>.png`.
    workers : int or icd.stages.cluster.Cluster
        Processes; 0 draws in this one.

    Returns
    -------
    drawn : int
        How many masks were drawn.
    bare : list of str
        Ids of the images among them that have an object without outline.

    Raises
    ------
    InputError
        As `icd.data.coco.read_instances` and `draw_mask`.
    """
    left, bare = set(ids) - {mask.stem for mask in Path(folder).glob("*.png")}, []
    if not left:
        return 0, bare
    pool = open_workers(_WriteMask(Path(path), Path(folder)), workers, GROUP)
    try:
        masks = pool.map(read_instances(path, classes, left))
        for image_id, objects in tqdm(masks, total=len(left), unit="image", desc="masks", disable=None):
            bare += [image_id] if objects else []
    finally:
        pool.close()
    return len(left), bare


@dataclass(frozen=True)
class _WriteMask:
    source: Path
    folder: Path

    def __call__(self, instances: Instances) -> tuple:
        """Draw and write one mask; return its id and the number of objects without outline."""
        mask, bare = draw_mask_and_count(instances, self.source)
        write_mask(mask_path(self.folder, instances.image_id), mask)
        return instances.image_id, bare


def draw_mask(instances: Instances, source) -> np.ndarray:
    """Draw the mask of an image.

    Parameters
    ----------
    instances : Instances
    source : str or os.PathLike
        The file that they come from, for messages.

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
        Class numbers, 0 where there is no object, 255 in the boxes of objects without outline.

    Raises
    ------
    InputError
        The size is no size; an outline is neither polygons nor run lengths of this size, or lies far outside the image.
    """
    return draw_mask_and_count(instances, source)[0]


def draw_mask_and_count(instances: Instances, source) -> tuple:
    """The mask of an image and the number of its objects that have no outline; see `draw_mask`."""
    where = f"{source}, image {instances.image_id}"
    height, width = instances.size
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise InputError(where, "the image's height and width", f"{height} x {width}")
    try:
        regions = [(o, _region(o.segmentation, instances.size)) for o in instances.outlines]
    except (msgspec.MsgspecError, ValueError) as error:
        wanted = f"polygons inside {height} x {width} (height x width) or run lengths that cover it"
        raise InputError(where, wanted, str(error), "Restore the file from its source.") from None
    regions.sort(
        key=lambda entry: (not entry[0].crowd, 0 if entry[1] is None else -np.count_nonzero(entry[1]))
    )
    mask = np.zeros(
        instances.size, np.uint8, order="F"
    )  # as the regions are: run lengths go down the columns
    bare = [outline for outline, region in regions if region is None]
    for outline in bare:
        mask[_box(outline.box, instances.size)] = IGNORE
    for outline, region in regions:
        if region is not None:
            mask[region] = outline.number
    return mask, len(bare)


def _box(box: bytes, size: tuple) -> tuple:
    """The rows and columns of a box (x, y, width, height); none where the file has no box."""
    try:
        x, y, width, height = msgspec.json.decode(box, type=List[float])
    except (msgspec.MsgspecError, ValueError):
        return slice(0), slice(0)
    left, top = (int(np.floor(np.clip(low, 0, side))) for low, side in ((x, size[1]), (y, size[0])))
    right, bottom = (
        int(np.ceil(np.clip(high, 0, side))) for high, side in ((x + width, size[1]), (y + height, size[0]))
    )
    return slice(top, bottom), slice(left, right)


def _region(segmentation: bytes, size: tuple) -> np.ndarray:
    """The pixels of an outline, (H, W) bool; None where there is no outline."""
    shape = msgspec.json.decode(segmentation, type=Union[List[List[float]], _Runs, None])
    if shape is None:
        return None
    if isinstance(shape, _Runs):
        counts = _decompress(shape.counts) if isinstance(shape.counts, str) else shape.counts
        return _of_runs(counts, shape.size, size)
    polygons = [polygon for polygon in shape if len(polygon) >= 6]  # one or two points have no area
    if not polygons:
        return None
    for polygon in polygons:
        _check_polygon(polygon, size)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size))).astype(bool)


def _check_polygon(polygon: list, size: tuple) -> None:
    """Refuse what would cost much memory: pycocotools keeps every step of its walk along the edges."""
    if len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers")
    points = np.reshape(polygon, (-1, 2))
    sides = np.array([size[1], size[0]])
    if not ((points >= -sides) & (points <= 2 * sides)).all():
        raise ValueError("a polygon far outside the image")
    if np.abs(np.diff(points, axis=0)).max(1).sum() > _LONGEST_OUTLINE:
        raise ValueError(f"a polygon with edges of more than {_LONGEST_OUTLINE} pixels")


def _of_runs(counts: list, own_size: list, size: tuple) -> np.ndarray:
    """pycocotools leaves the rest as it finds the memory where runs do not cover the image, so this is ours."""
    if tuple(own_size) != size or min(counts, default=-1) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"{len(counts)} run lengths of {sum(counts)} pixels for the size {own_size}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T


def _decompress(text: str) -> list:
    """Run lengths of COCO's compressed text: groups of five bits, low ones first; from the fourth number on, differences
    to the one before the last."""
    counts, value, groups = [], 0, 0
    for code in text.encode():
        bits = code - 48
        if not 0 <= bits < 64 or groups == _LONGEST_NUMBER:
            raise ValueError("compressed run lengths that are damaged")
        value |= (bits & 31) << (5 * groups)
        groups += 1
        if bits & 32:
            continue
        value -= (bits & 16) and 1 << (5 * groups)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = groups = 0
    if groups:
        raise ValueError("compressed run lengths that are cut off")
    return counts
