"""One reader of lists: ids are names, the originals' lists are told apart, hostile ones are refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError, printable
from icd.files import check_id, read_classes, read_list


def _read(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(path)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a\nb\n", ["a", "b"]),
        ("\ufeffa\r\nb", ["a", "b"]),
        ("photo 1\nphoto 2\n", ["photo 1", "photo 2"]),
        ("my dog\n", ["my dog"]),
        ("cat 1\ndog 2\n", ["cat 1", "dog 2"]),
        ("v1.2\nb..c\n", ["v1.2", "b..c"]),
        ("hünd\n", ["hünd"]),
        ("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n", ["2007_000032"]),
        ("/JPEGImages/2007_000032.jpg\n/JPEGImages/my dog.JPG\n", ["2007_000032", "my dog"]),
        ("JPEGImages\\a.jpg\nb.jpeg\n", ["a", "b"]),
        ("2007_000032 0 14\n2007_000033 3\n", ["2007_000032", "2007_000033"]),
        ("COCO_train2014_000000000009 0\n000000000009 79\n", ["COCO_train2014_000000000009", "000000000009"]),
    ],
)
def test_the_forms_of_lists(tmp_path, text, ids):
    assert _read(tmp_path, text) == ids


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\n../x\n", r"list\.txt, line 2: .*found the path '\.\./x'"),
        ("/tmp/elsewhere/x\n", "the path '/tmp/elsewhere/x'"),
        ("C:\\photos\\x\n", "the path"),
        ("/data/../x.jpg\n", "a path inside the data set"),
        ("/J/x.jpg /S/y.png\n", "the path"),
        ("a\n/J/x.jpg\n", "the path"),
        (".\n", "an id, which is a name"),
        ("..\n", "an id, which is a name"),
        ("a\0b\n", "control characters"),
        ("a\x1b[31mb\n", r"control characters in 'a\\x1b\[31mb'"),
        ("a\u202eb\n", "control characters"),
        ("x" * 201 + "\n", "201 characters"),
        ("2007_000032 0\n2007_000032 3\n", "'2007_000032' twice"),
        ("a\n\nb\n", "a blank line 2"),
        ("\n\n", "an empty list"),
        (b"\xff\xfea\0", "no UTF-8"),
    ],
)
def test_what_is_no_name_is_refused(tmp_path, text, found):
    with pytest.raises(InputError, match=found) as caught:
        _read(tmp_path, text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for name, found in (("nowhere", "nothing there"), ("circle", "leads back"), (".", "a folder")):
        with pytest.raises(InputError, match=found):
            read_list(tmp_path / name)


@pytest.mark.parametrize("name", ["background", "_background_", "Background", "__ignore__", "a\x1bb"])
@pytest.mark.parametrize("place", [0, 1])
def test_only_the_foreground_has_names(tmp_path, name, place):
    names = ["dog", "cat"]
    names.insert(place, name)
    (tmp_path / "classes.txt").write_text("\n".join(names))
    with pytest.raises(InputError, match=r"classes\.txt: expected .*Remove"):
        read_classes(tmp_path / "classes.txt")


@settings(max_examples=300)
@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
)
def test_any_bytes_give_names_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "list.txt"
    path.write_bytes(content)
    try:
        ids = read_list(path)
    except InputError as error:
        assert str(error).isprintable()
        return
    assert ids and len(set(ids)) == len(ids)
    for image_id in ids:
        assert check_id(image_id, path) == image_id
        (path.parent / f"{image_id}.png").touch()  # a name that a file system takes, inside the folder
    assert len(list(path.parent.iterdir())) == len(ids) + 1


@given(st.text())
def test_messages_are_one_line_that_any_terminal_shows(text):
    error = InputError(text, text * 100, text, text)
    assert str(error).isprintable() and len(str(error)) < 2000
    assert printable("plain text, äöü") == "plain text, äöü"
