"""Own photographs: list, classes and suffixes follow from the files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from icd.classes import VOC_CLASSES
from icd.data import catalogue
from icd.data.catalogue import find_data_set
from icd.data.own import list_own, own_classes, photographs_in
from icd.data.tags import open_tags
from icd.errors import InputError

NAMES = ["b.JPG", "a.jpeg", "c.png", "d.jpg", "._d.jpg", "notes.txt"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(
            tmp_path / "photos" / name, format="PNG" if name.endswith("png") else "JPEG"
        )
    return tmp_path / "photos"


def csv(folder, *rows):
    path = folder.parent / "tags.csv"
    path.write_text("\n".join(["id,tags", *rows]) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_list_and_classes_follow_from_a_table(photos, suffix):
    tags = csv(
        photos, *(f"{name}{suffix},{own}" for name, own in (("b", "zebra"), ("a", "ant;zebra"), ("e", "owl")))
    )
    data = find_data_set(places={"images": photos, "tags": tags})
    assert data.name == "folder" and data.list is None
    assert data.classes == ("ant", "owl", "zebra") and data.ids == data.infer_ids == ["b", "a"]
    assert open_tags(data.tags, data.classes).read("a") == (1, 3)
    listing = list_own(photos, tags, data.classes)
    assert listing.bare == ["c", "d"] and listing.lost == ["e"]
    assert str(listing).startswith("photographs: 2 with tags; 2 without tags, left out (c, d); 1 in the tags")


def test_a_photograph_whose_row_is_empty_is_left_out(photos):
    tags = csv(photos, "a,ant", "b,")
    assert list_own(photos, tags, ("ant",)).ids == ["a"]


def test_list_and_classes_follow_from_annotations(photos):
    folder = photos.parent / "xml"
    folder.mkdir()
    for image_id, name in (("c", "owl"), ("a", "ant")):
        (folder / f"{image_id}.xml").write_text(
            f"<annotation><object><name>{name}</name></object></annotation>"
        )
    (folder / "b.xml").write_text("damaged")
    data = find_data_set(places={"images": photos, "tags": folder})
    assert data.classes == ("ant", "owl") and data.ids == ["a", "b", "c"]
    with pytest.raises(InputError, match="b.xml.*damaged"):  # by who reads it
        open_tags(folder, data.classes).read("b")


def test_classes_follow_from_coco(photos):
    path = photos.parent / "instances.json"
    images = [{"id": 1, "file_name": "b.JPG", "height": 9, "width": 9}]
    box = {"image_id": 1, "iscrowd": 0, "segmentation": [], "bbox": [0, 0, 2, 2]}
    annotations = [{"id": k, "category_id": k, **box} for k in (3, 7)]
    categories = [{"id": 3, "name": "owl"}, {"id": 7, "name": "ant"}, {"id": 9, "name": "unused"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    assert own_classes(path) == ("ant", "owl")
    assert list_own(photos, path, own_classes(path)).ids == ["b"]


def test_numbers_have_no_names(photos):
    vectors = np.zeros(20, np.float32)
    vectors[4] = 1
    np.save(photos.parent / "cls_labels.npy", {"a": vectors})
    assert own_classes(photos.parent / "cls_labels.npy") == VOC_CLASSES


def test_what_cannot_be_numbered_is_refused(photos):
    places = {"images": photos, "tags": csv(photos, "a,ant")}
    with pytest.raises(InputError, match="--classes: expected the names .* in the order of the truth"):
        find_data_set(places={**places, "truth": photos})
    assert find_data_set(places={**places, "truth": photos, "classes": "voc"}).classes == VOC_CLASSES
    with pytest.raises(InputError, match="background"):
        own_classes(csv(photos, "a,background;ant"))
    with pytest.raises(InputError, match="tags with names of classes"):
        own_classes(csv(photos, "a,"))


def test_photographs_and_tags_that_name_nothing_alike_are_refused(photos):
    with pytest.raises(InputError, match="such as 'a' and tags such as 'IMG_1'"):
        find_data_set(places={"images": photos, "tags": csv(photos, "IMG_1,ant")}).ids  # noqa: B018


def test_a_list_or_vocs_own_goes_before(photos, monkeypatch):
    tags = csv(photos, "a,cat", "b,cat")
    listed = photos.parent / "list.txt"
    listed.write_text("b\n")
    data = find_data_set(places={"images": photos, "tags": tags, "list": listed})
    assert data.classes == VOC_CLASSES and data.ids == ["b"]
    voc = photos.parent / "voc"
    voc.mkdir()
    monkeypatch.setattr(catalogue, "VOC", voc)
    (voc / "train_aug.txt").write_text("2007_000032\n")
    assert find_data_set(places={"images": photos, "tags": tags}).name == "folder"
    (voc / "train_aug.txt").write_text("a\n")
    assert find_data_set(places={"images": photos, "tags": tags}).name == "voc"


def test_two_spellings_of_a_class_are_refused(photos):
    with pytest.raises(InputError, match="'Red Ant' and 'red  ant'.*--classes"):
        own_classes(csv(photos, "a,red  ant", "b,Red Ant"))


def test_two_photographs_of_one_name_are_refused(photos):
    (photos / "b.JPG").rename(photos / "a.png")
    with pytest.raises(InputError, match="one photograph a; found a.jpeg and a.png"):
        photographs_in(photos)


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(InputError, match="found an empty folder"):
        photographs_in(tmp_path)
    (tmp_path / "IMG_1.HEIC").touch()
    with pytest.raises(InputError, match="files such as IMG_1.HEIC. Convert them to JPEG."):
        photographs_in(tmp_path)
