"""Tags by VOC's rule, and annotations that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_folder import write_tags

from icd.classes import VOC_CLASSES
from icd.data.tags import multi_hot, read_tags
from icd.errors import InputError


@pytest.mark.parametrize("name, tags", [("chelsea", (8,)), ("rocket", (1, 15)), ("retina", (18,))])
def test_golden_annotations(golden, name, tags):
    assert read_tags(golden / "icd" / "loader" / f"{name}.xml") == tags


@pytest.mark.parametrize(
    "objects, tags",
    [
        ([("person", 0), ("dog", 0), ("person", 0)], (12, 15)),
        ([("person", 1), ("dog", 0)], (12,)),
        ([("person", 1), ("person", 0)], (15,)),
        ([("tvmonitor", 1), ("aeroplane", 1)], (1, 20)),
        ([("sheep", None), (" cow ", 1)], (17,)),
    ],
)
def test_difficult_objects_count_only_where_there_is_nothing_else(tmp_path, objects, tags):
    write_tags(tmp_path / "a.xml", objects)
    assert read_tags(tmp_path / "a.xml") == tags


@given(objects=st.lists(st.tuples(st.sampled_from(VOC_CLASSES), st.integers(0, 1)), min_size=1))
def test_tags_are_ascending_unique_and_named(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("tags") / "a.xml"
    write_tags(path, objects)
    names = {name for name, difficult in objects if not difficult} or {name for name, _ in objects}
    assert read_tags(path) == tuple(number for number, name in enumerate(VOC_CLASSES, 1) if name in names)


def test_own_classes(tmp_path):
    write_tags(tmp_path / "a.xml", [("wheel", 0), ("axle", 0)])
    assert read_tags(tmp_path / "a.xml", ["axle", "hub", "wheel"]) == (1, 3)


_BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
_OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    "content, found",
    [
        ("<annotation></annotation>", "no object"),
        ("<annotation><object><name>unicorn</name></object></annotation>", "'unicorn'"),
        ("<annotation><object><name>person</name><difficult>2</difficult></object></annotation>", "'2'"),
        ("<annotation><object></object></annotation>", "''"),
        ("<annotation><object>", "damaged XML"),
        ("", "damaged XML"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "damaged XML"),
        (_BOMB, "a document type or entities"),
        (_OUTSIDE, "a document type or entities"),
        (None, "nothing there"),
    ],
)
def test_other_content_is_refused(tmp_path, content, found):
    path = tmp_path / "a.xml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"a.xml: expected .*found {found}"):
        read_tags(path)


def test_unknown_class_names_the_nearest(tmp_path):
    write_tags(tmp_path / "a.xml", [("motorcycle", 0), ("airplane", 0)])
    with pytest.raises(InputError, match="Did you mean"):
        read_tags(tmp_path / "a.xml")


def test_multi_hot():
    np.testing.assert_array_equal(multi_hot((1, 3), 4), np.array([1, 0, 1, 0], np.float32))
    assert multi_hot((2,), 2).dtype == np.float32


@pytest.mark.parametrize(
    "text", ["<difficult/>", "<difficult>Unspecified</difficult>", "<difficult>False</difficult>", ""]
)
@pytest.mark.parametrize("other", ["1", "True", "yes"])
def test_difficult_as_other_tools_write_it(tmp_path, text, other):
    dog = f"<object><name>dog</name>{text}</object>"
    cat = f"<object><name>cat</name><difficult>{other}</difficult></object>"
    (tmp_path / "a.xml").write_text(f"<annotation>{dog}{cat}</annotation>")
    assert read_tags(tmp_path / "a.xml") == (VOC_CLASSES.index("dog") + 1,)


def test_a_near_annotation_is_named(tmp_path):
    (tmp_path / "A.XML").touch()
    with pytest.raises(InputError, match="found nothing there, but A.XML beside it"):
        read_tags(tmp_path / "a.xml")


def test_elements_in_each_other_end(tmp_path):
    (tmp_path / "a.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    with pytest.raises(InputError, match=r"a\.xml"):
        read_tags(tmp_path / "a.xml")
