"""A dataset gives what belongs to an id, and says what is missing before a run begins."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_folder import CLASSES

from icd.data.dataset import ImageDataset
from icd.errors import InputError
from icd.files import write_superpixels


def test_load(small):
    dataset = small.dataset()
    assert len(dataset) == 6
    image, planes, tags = dataset.load(1)
    assert image.shape == (35, 56, 3) and planes["superpixel"].shape == (35, 56)
    assert tags == (1, 2)
    assert small.dataset(superpixels=False).load(1)[1] == {}


@pytest.mark.parametrize("part", ["images", "tags", "superpixels"])
def test_missing_file_is_found(small, part):
    path = small.path(part, "image_4")
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: expected .*nothing there"):
        small.dataset().load(4)


def test_truncated_image_is_found(small):
    path = small.path("images", "image_2")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="image_2.jpg: .*truncated"):
        small.dataset().load(2)


def test_superpixels_of_another_size_are_refused(small):
    write_superpixels(small.path("superpixels", "image_0"), np.zeros((60, 30), int))
    with pytest.raises(InputError, match="image_0.png: expected 30 x 60 .*found 60 x 30"):
        small.dataset().load(0)


def test_superpixels_of_the_unturned_image_are_refused(small):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = small.path("images", "image_0")
    Image.open(path).save(path, exif=exif)
    with pytest.raises(InputError, match="expected 60 x 30 .*found 30 x 60"):
        small.dataset().load(0)


@pytest.mark.parametrize("place", range(3))
def test_missing_folder_is_refused(small, place):
    folders = [small.root / "images", small.root / "tags", small.root / "superpixels"]
    folders[place] = small.root / "nowhere"
    with pytest.raises(InputError, match="nowhere: expected a folder.*; found nothing there"):
        ImageDataset(folders[0], folders[1], small.ids, CLASSES, {"superpixel": folders[2]})


def test_file_in_the_place_of_a_folder_is_refused(small):
    with pytest.raises(InputError, match="expected a folder; found a file"):
        ImageDataset(small.root / "list.txt", small.root / "tags", small.ids, CLASSES)


def test_no_ids_are_refused(small):
    with pytest.raises(InputError, match="at least one id"):
        ImageDataset(small.root / "images", small.root / "tags", [], CLASSES)
