"""The lists of VOC 2012. In: the user's copy with augmented masks. Out: the ids of train, val, train_aug.

train and val are VOC's own lists; train_aug holds, in ascending order, every id that has an augmented mask
(SBD's) and is not in val. What the original used is known by number, by ids a year, and by the hash of its
list.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from icd.data.dataset import require_folder
from icd.data.images import image_path
from icd.data.tags import annotation_path
from icd.errors import InputError
from icd.files import read_list

_LENGTHS = {"train": 1464, "val": 1449, "train_aug": 10582}
_YEARS = {"2007": 311, "2008": 3967, "2009": 2392, "2010": 2695, "2011": 1217}  # of train_aug
_HASH_ENDS = (
    "ee439a79",
    "b2214825",
)  # sha256 of the original's train_aug.txt, lines joined by newlines, none at the end


MASK_FOLDERS = ("SegmentationClassAug", "extra/SegmentationClassAug")


@dataclass(frozen=True)
class VocLists:
    """`lists` from name to ids; `missing` and `different`, a sentence for each thing that is not as expected."""

    lists: dict
    missing: list
    different: list


def derive_lists(voc_root) -> VocLists:
    """Derive the lists from a folder.

    Parameters
    ----------
    voc_root : str or os.PathLike
        `VOC2012`, or a folder that holds `VOC2012` or `VOCdevkit/VOC2012`; masks in `SegmentationClassAug` or
        `extra/SegmentationClassAug`.

    Raises
    ------
    InputError
        The folder, its images, annotations, or the lists of train and val are not there.
    """
    root = _find_root(Path(voc_root))
    for part in ("JPEGImages", "Annotations"):
        require_folder(root / part)
    lists = {name: read_list(_list_path(root, name)) for name in ("train", "val")}
    missing = []
    masks = _first_folder(root, MASK_FOLDERS)
    if masks is None:
        where = root / "SegmentationClassAug"
        missing.append(f"{where}: no folder of augmented masks (SBD), so train_aug cannot be derived")
    else:
        held_out = set(lists["val"])
        lists["train_aug"] = sorted(
            path.stem for path in masks.glob("[!.]*.png") if path.stem not in held_out
        )
    for name, ids in lists.items():
        missing += _missing_files(root, name, ids)
    return VocLists(lists, missing, _differences(lists))


def link_folders(voc_root, output) -> list:
    """Link VOC's folders into `output`, where `run_icd.py` looks for them; what is there already stays.

    Returns
    -------
    list of pathlib.Path
        The links made.
    """
    root, output = _find_root(Path(voc_root)), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    made = []
    for source in (root / "JPEGImages", root / "Annotations", _first_folder(root, MASK_FOLDERS)):
        link = output / source.name if source else None
        if link is not None and not link.exists():
            link.unlink(missing_ok=True)  # a link to a folder that has gone
            link.symlink_to(source.resolve(), target_is_directory=True)
            made.append(link)
    return made


def _find_root(voc_root: Path) -> Path:
    require_folder(voc_root)
    found = _first_folder(voc_root, ("JPEGImages", "VOC2012/JPEGImages", "VOCdevkit/VOC2012/JPEGImages"))
    if found is None:
        raise InputError(
            voc_root, "VOC 2012 with its folder JPEGImages", "no such folder", "Give the folder VOC2012."
        )
    return found.parent


def _first_folder(root: Path, names):
    return next((root / name for name in names if (root / name).is_dir()), None)


def _list_path(root: Path, name: str) -> Path:
    usual = root / "ImageSets" / "Segmentation" / f"{name}.txt"
    short = root / "ImageSets" / f"{name}.txt"
    return short if short.is_file() and not usual.is_file() else usual


def _missing_files(root: Path, name: str, ids) -> list:
    sentences = []
    for kind, place, folder in (
        ("image", image_path, "JPEGImages"),
        ("annotation", annotation_path, "Annotations"),
    ):
        absent = [image_id for image_id in ids if not place(root / folder, image_id).is_file()]
        if absent:
            some = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
            sentences.append(
                f"{root / folder}: {len(absent)} of the {len(ids)} ids of {name} have no {kind}: {some}"
            )
    return sentences


def _differences(lists: dict) -> list:
    sentences = [
        f"{name}: {len(ids)} ids, where VOC 2012 has {_LENGTHS[name]}"
        for name, ids in lists.items()
        if len(ids) != _LENGTHS[name]
    ]
    augmented = lists.get("train_aug")
    if augmented is None:
        return sentences
    years = Counter(image_id[:4] for image_id in augmented)
    sentences += [
        f"train_aug: {years[year]} ids of {year}, where the original has {count}"
        for year, count in _YEARS.items()
        if years[year] != count
    ]
    found = list_hash(augmented)
    same = found.startswith(_HASH_ENDS[0]) and found.endswith(_HASH_ENDS[1])
    if not same and len(augmented) == _LENGTHS["train_aug"]:
        expected = "...".join(_HASH_ENDS)
        sentences.append(
            f"train_aug: sha256 {found[:8]}...{found[-8:]}, where the original's list has {expected}"
        )
    return sentences


def list_hash(ids) -> str:
    """sha256 of ids, one a line, without a newline at the end."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
