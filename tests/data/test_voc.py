"""Lists from a copy of VOC: which ids, what is missing, what differs."""

from __future__ import annotations

import pytest

from icd.data import voc
from icd.data.voc import derive_lists
from icd.errors import InputError


@pytest.fixture
def root(tmp_path):
    """VOC in small: 3 ids of train, 2 of val, 4 augmented masks outside val."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    lists = {"train": ["2007_1", "2008_1", "2008_2"], "val": ["2007_2", "2009_1"]}
    masks = ["2011_1", "2008_2", "2007_2", "2007_1", "2009_1", "2008_1"]
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    for name, ids in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\r\n".join(ids))
    for image_id in masks:
        (root / "JPEGImages" / f"{image_id}.jpg").touch()
        (root / "Annotations" / f"{image_id}.xml").touch()
        (root / "SegmentationClassAug" / f"{image_id}.png").touch()
    return root


@pytest.fixture
def expected(monkeypatch):
    """What a complete copy would have, in small."""
    ids = ["2007_1", "2008_1", "2008_2", "2011_1"]
    found = voc.list_hash(ids)
    monkeypatch.setattr(voc, "_LENGTHS", {"train": 3, "val": 2, "train_aug": 4})
    monkeypatch.setattr(voc, "_YEARS", {"2007": 1, "2008": 2, "2011": 1})
    monkeypatch.setattr(voc, "_HASH_ENDS", (found[:8], found[-8:]))
    return ids


def test_complete_copy(root, expected):
    for given in (root, root.parent, root.parent.parent):
        derived = derive_lists(given)
        assert derived.lists["train"] == ["2007_1", "2008_1", "2008_2"]
        assert derived.lists["val"] == ["2007_2", "2009_1"]
        assert derived.lists["train_aug"] == expected
        assert derived.missing == [] and derived.different == []


def test_masks_may_lie_in_extra(root, expected):
    (root / "extra").mkdir()
    (root / "SegmentationClassAug").rename(root / "extra" / "SegmentationClassAug")
    assert derive_lists(root).lists["train_aug"] == expected


def test_another_number_of_masks_is_told(root, expected):
    (root / "SegmentationClassAug" / "2011_1.png").unlink()
    told = derive_lists(root).different
    assert told == [
        "train_aug: 3 ids, where VOC 2012 has 4",
        "train_aug: 0 ids of 2011, where the original has 1",
    ]


def test_another_id_is_told_by_its_hash(root, expected):
    for folder, suffix in (("SegmentationClassAug", "png"), ("JPEGImages", "jpg"), ("Annotations", "xml")):
        (root / folder / f"2011_1.{suffix}").rename(root / folder / f"2011_9.{suffix}")
    derived = derive_lists(root)
    assert derived.missing == [] and len(derived.different) == 1
    assert derived.different[0].startswith("train_aug: sha256")


def test_published_numbers_agree_with_each_other():
    assert sum(voc._YEARS.values()) == voc._LENGTHS["train_aug"] == 10582


def test_missing_files_are_told(root):
    (root / "JPEGImages" / "2008_1.jpg").unlink()
    (root / "Annotations" / "2009_1.xml").unlink()
    assert derive_lists(root).missing == [
        f"{root / 'JPEGImages'}: 1 of the 3 ids of train have no image: 2008_1",
        f"{root / 'Annotations'}: 1 of the 2 ids of val have no annotation: 2009_1",
        f"{root / 'JPEGImages'}: 1 of the 4 ids of train_aug have no image: 2008_1",
    ]


def test_missing_masks_leave_train_and_val(root):
    (root / "SegmentationClassAug").rename(root / "elsewhere")
    derived = derive_lists(root)
    assert set(derived.lists) == {"train", "val"}
    assert derived.missing == [
        f"{root / 'SegmentationClassAug'}: no folder of augmented masks (SBD), so train_aug cannot be derived"
    ]


@pytest.mark.parametrize("part", ["JPEGImages", "Annotations", "ImageSets"])
def test_missing_part_is_refused(root, part):
    (root / part).rename(root / "elsewhere")
    with pytest.raises(InputError, match=f"{part}|VOC 2012 with its folder"):
        derive_lists(root)


def test_missing_root_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: expected a folder"):
        derive_lists(tmp_path / "nowhere")


def test_folders_are_linked_where_runs_look(root, tmp_path):
    output = tmp_path / "data"
    names = ["JPEGImages", "Annotations", "SegmentationClassAug"]
    assert [link.name for link in voc.link_folders(root, output)] == names
    for name in names:
        assert (output / name).resolve() == (root / name).resolve()
    assert voc.link_folders(root, output) == []
    (output / "JPEGImages").unlink()
    (output / "JPEGImages").symlink_to(tmp_path / "gone")
    assert [link.name for link in voc.link_folders(root, output)] == ["JPEGImages"]
