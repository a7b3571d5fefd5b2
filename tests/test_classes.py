"""Class names by their lists' names, from a file, and the nearest of a wrong one."""

from __future__ import annotations

import pytest

from icd.classes import COCO_CLASSES, VOC_CLASSES, class_number, evaluated_numbers
from icd.errors import InputError
from icd.files import read_classes


def test_lists_by_name(tmp_path):
    assert read_classes(None) == read_classes("voc") == VOC_CLASSES and len(VOC_CLASSES) == 20
    assert read_classes("coco") == COCO_CLASSES and len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[79]) == ("person", "toothbrush")
    (tmp_path / "coco").write_text("axle\nhub\n")
    assert read_classes(tmp_path / "coco") == ("axle", "hub")


def test_what_is_no_list_is_named(tmp_path):
    with pytest.raises(
        InputError, match="cocoa: expected voc, coco, or a text file with one class name a line"
    ):
        read_classes("cocoa")
    (tmp_path / "many.txt").write_text("\n".join(map(str, range(255))))
    with pytest.raises(InputError, match="at most 254 class names"):
        read_classes(tmp_path / "many.txt")


def test_number_of_a_class():
    assert class_number("tvmonitor", VOC_CLASSES, "a.xml") == 20
    assert class_number("toothbrush", list(COCO_CLASSES), "a.xml") == 80


@pytest.mark.parametrize(
    ("name", "classes", "remedy"),
    [
        ("zebra", VOC_CLASSES, "--classes coco or FILE, or leave"),
        ("tvmonitor", COCO_CLASSES, "--classes voc or FILE, or leave"),
        ("person", ("hub",), "--classes voc or coco or FILE, or leave"),
        (
            "personn",
            VOC_CLASSES,
            "Did you mean 'person'? Name your own classes with --classes FILE, or leave these tags out",
        ),
    ],
)
def test_unknown_class_says_what_to_do(name, classes, remedy):
    with pytest.raises(InputError) as caught:
        class_number(name, classes, "a.xml")
    given = "hub" if classes == ("hub",) else f"the {len(classes)} given"
    assert str(caught.value).startswith(f"a.xml: expected class names among {given}; found {name!r}")
    assert remedy in caught.value.remedy


def test_classes_to_evaluate_go_by_name_or_number():
    assert evaluated_numbers("sheep, background,8", VOC_CLASSES, "--only") == (0, 8, 17)
    with pytest.raises(InputError, match="--only: expected class numbers from 0 to 20; found 21"):
        evaluated_numbers("1,21", VOC_CLASSES, "--only")
    with pytest.raises(InputError, match="--only: .* found 'shep'"):
        evaluated_numbers("shep", VOC_CLASSES, "--only")
