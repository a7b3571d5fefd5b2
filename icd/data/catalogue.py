"""The data sets by name: where photographs, tags and the rest of each lie, and what suits it.

In: a name and the places that a user gives. Out: a `DataSet`. Places that a user gives take precedence; derived files, such as
superpixels, belong to the data that they are derived from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from icd.bounded import MAX_SIDE
from icd.data.images import image_path
from icd.errors import InputError
from icd.files import read_classes, read_list

VOC, COCO, EMBEDDED = Path("data/VOC2012"), Path("data/COCO2014"), Path("data/embedded")


@dataclass(frozen=True)
class DataSet:
    """Photographs and what is known of them. Paths are `pathlib.Path`, None where there is nothing.

    Attributes
    ----------
    name : str
        Of the catalogue.
    classes : tuple of str
        Foreground classes 1..C.
    images : Path
        Folder of `<id>.jpg`.
    tags : Path
        Any source of `icd.data.tags`.
    list : Path
        Ids to train on. None: those of the photographs that have tags, or all without tags, see `icd.data.own`.
    infer_list : Path
        Ids to localize and to make masks of; those of `list` where it is None.
    superpixels, saliency, truth : Path
        Folders of `<id>.png`. Superpixels that are missing are computed; None: they go beside the run.
    truth_list : Path
        Ids to score; those of `infer_list` where it is None.
    val_list : Path
        Ids that a trained segmentation network is scored on.
    masks : Path
        Folder of masks to train a segmentation network on, for the chain `segment`.
    sample : int
        Use only the first ids of `list`; 0: all.
    recipe, backbone : str
        What suits the data set, None where the method's own does.
    infer_size : int
        Side of the inference frame.
    use_saliency : bool
        Whether seeds with saliency are made unasked.
    max_side : int
        Photographs with a longer side are worked on at a bounded size, see `icd.bounded`.
    expected : int
        Images of `list` where it is complete, for plans that are made before the data are at hand.
    """

    name: str
    classes: tuple
    images: Path
    tags: Path
    list: Path
    infer_list: Path = None
    superpixels: Path = None
    saliency: Path = None
    truth: Path = None
    truth_list: Path = None
    val_list: Path = None
    masks: Path = None
    sample: int = 0
    recipe: str = None
    backbone: str = None
    infer_size: int = 513
    use_saliency: bool = False
    expected: int = 0
    max_side: int = MAX_SIDE

    @cached_property
    def ids(self) -> list:
        """The images to train on."""
        ids = read_list(self.list) if self.list else self.listing.ids
        return ids[: self.sample] if self.sample else ids

    @cached_property
    def listing(self):
        """Which photographs have tags, where there is no list: an `icd.data.own.Listing`."""
        from icd.data.own import list_own

        return list_own(self.images, self.tags, self.classes)

    @cached_property
    def infer_ids(self) -> list:
        """The images to localize and to make masks of."""
        return read_list(self.infer_list) if self.infer_list else self.ids

    @cached_property
    def scored_ids(self) -> list:
        """Of those the images to score: the ones on the list of truths, if there is a list.

        Raises
        ------
        InputError
            None of the list of truths gets a mask.
        """
        if self.truth is None:
            return []
        there = set(self.infer_ids)
        ids = [i for i in read_list(self.truth_list) if i in there] if self.truth_list else self.infer_ids
        if not ids:
            raise InputError(
                self.truth_list, "ids of images that get masks", "none", "See --infer-list and --list."
            )
        return ids

    @cached_property
    def val_ids(self) -> list:
        """The images that a trained segmentation network is scored on."""
        return read_list(self.val_list) if self.val_list else []


def voc(places: dict) -> DataSet:
    """PASCAL VOC 2012 as `icd data prepare` puts it into ./data/VOC2012."""
    truth = VOC / "SegmentationClassAug"
    val = VOC / "val.txt"
    return DataSet(
        "voc",
        read_classes("voc"),
        VOC / "JPEGImages",
        VOC / "Annotations",
        VOC / "train_aug.txt",
        superpixels=Path("data/superpixels/voc_superpixels"),
        saliency=Path("data/saliency/saliency_aug"),
        truth=truth if truth.is_dir() else None,
        val_list=val if val.is_file() else None,
        expected=10582,
    )


def coco(places: dict) -> DataSet:
    """COCO 2014 as `icd data coco` prepares it; photographs and instances must be given."""
    truth = COCO / "SegmentationClass"
    return DataSet(
        "coco",
        read_classes("coco"),
        _given(places, "images", "the folder of COCO's train2014"),
        _given(places, "tags", "COCO's instances_train2014.json"),
        COCO / "train2014.txt",
        saliency=COCO / "saliency",
        truth=truth if truth.is_dir() else None,
        recipe="coco",
        expected=82783,
    )


def embedded(places: dict) -> DataSet:
    """The scenes that this package draws itself, in ./data/embedded."""
    from icd.data.embedded import prepare_embedded

    paths = prepare_embedded(EMBEDDED)
    return DataSet(
        "embedded",
        read_classes(paths.classes_file),
        paths.image_root,
        paths.annotation_root,
        paths.data_list,
        superpixels=EMBEDDED / "superpixels",
        saliency=paths.saliency_root,
        truth=paths.truth_root,
        val_list=paths.val_list,
        recipe="embedded",
        backbone="small",
        infer_size=161,
        use_saliency=True,
    )


def folder(places: dict) -> DataSet:
    """The user's own photographs and tags; without a list, it and the classes follow from the tags."""
    from icd.data.own import own_classes

    images = _given(places, "images", "a folder of photographs")
    tags = _given(places, "tags", "a folder of <id>.xml, or a file of tags")
    if "list" in places or "classes" in places:
        classes = read_classes(places.get("classes"))
    elif "truth" in places:
        expected = "the names of the classes in the order of the truth's numbers"
        raise InputError("--classes", expected, "none", "Write them into a file, one a line.")
    else:
        classes = own_classes(tags)
    return DataSet("folder", classes, images, tags, places.get("list"))


def _given(places: dict, name: str, wanted: str) -> Path:
    if places.get(name) is None:
        raise InputError(f"--{name}", wanted, "none")
    return places[name]


CATALOGUE = {"voc": voc, "coco": coco, "embedded": embedded, "folder": folder}


def find_data_set(name: str = None, places: dict = None) -> DataSet:
    """A data set of the catalogue.

    Parameters
    ----------
    name : str, optional
        A key of `CATALOGUE`. By default the user's own where photographs and tags are given, unless there is no list and
        VOC's, as prepared here, fits the photographs; else VOC 2012 if it has been prepared here or one of the three is
        given, else the embedded set.
    places : dict, optional
        What the user says of the fields of `DataSet`; entries of None are as if they were not there. `classes` is a file or
        the name of a list, see `icd.files.read_classes`.

    Raises
    ------
    InputError
        There is no such data set, or something that it needs is not given.
    """
    places = {key: value for key, value in (places or {}).items() if value is not None}
    if name is None:
        name = _default_name(places)
    if name not in CATALOGUE:
        raise InputError("--data", "one of " + ", ".join(CATALOGUE), repr(name))
    found = CATALOGUE[name](places)
    own_images = places.get("images", found.images) != found.images
    changes = {key: value for key, value in places.items() if key != "classes"}
    if "classes" in places:
        changes["classes"] = read_classes(places["classes"])
    if own_images:  # what was derived from, or drawn for, other photographs
        derived = ("superpixels", "saliency", "truth", "val_list")
        changes = {**dict.fromkeys(derived), **changes}
    return replace(found, **changes)


def _default_name(places: dict) -> str:
    given = [key for key in ("images", "tags", "list") if key in places]
    if {"images", "tags"} <= {*given} and ("list" in given or not _has_voc(places["images"])):
        return "folder"
    return "voc" if given or (VOC / "train_aug.txt").is_file() else "embedded"


def _has_voc(images) -> bool:
    """Whether VOC's list has been prepared here and a folder holds its first photograph."""
    listed = VOC / "train_aug.txt"
    return listed.is_file() and image_path(images, read_list(listed)[0]).is_file()
