"""`icd data prepare|check|embedded` as a user meets them."""

from __future__ import annotations

import argparse

import pytest

from icd.cli import data
from icd.data import embedded
from icd.errors import InputError
from icd.files import read_list


def _run(*words):
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    return data.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(embedded, "_TRAINING", 6)
    monkeypatch.setattr(embedded, "_VALIDATION", 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_check_of_a_good_folder(small, capsys, workers):
    assert _run("check", *small.arguments(), "--workers", workers) == 0
    assert capsys.readouterr().out == "6 images checked: all is well\n"


def test_check_names_problems_and_counts_them(small, capsys):
    small.path("images", "image_4").unlink()
    small.path("tags", "image_4").unlink()
    small.path("truth", "image_1").unlink()
    assert _run("check", *small.arguments(), "--workers", 0) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        str(small.path("truth", "image_1")),
        str(small.path("images", "image_4")),
        str(small.path("tags", "image_4")),
    ]
    assert lines[-1] == "6 images checked: 3 problems in 2 of them"


@pytest.mark.parametrize(
    "content, found",
    [
        ("", "an empty list"),
        ("image_1\n\nimage_2\n", "a blank line 2"),
        ("image_1\r\nimage_1\r\n", "lines 1 and 2"),
    ],
)
def test_check_refuses_a_bad_list(small, content, found):
    (small.root / "list.txt").write_text(content)
    with pytest.raises(InputError, match=f"list.txt: .*{found}"):
        _run("check", *small.arguments())


def test_check_takes_a_list_with_windows_line_ends(small, capsys):
    (small.root / "list.txt").write_bytes(b"image_1\r\nimage_2\r\n")
    assert _run("check", *small.arguments(), "--workers", 0) == 0
    assert capsys.readouterr().out == "2 images checked: all is well\n"


def test_embedded_and_prepare(few, tmp_path, capsys):
    assert _run("embedded", tmp_path / "set") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'}: 6 training and 2 validation images\n"
    assert _run("prepare", "--voc-root", tmp_path / "set", "--output", tmp_path / "lists") == 0
    assert "different: train: 6 ids, where VOC 2012 has 1464" in capsys.readouterr().out
    assert read_list(tmp_path / "lists" / "train_aug.txt") == [
        f"scene_{number:04d}" for number in range(1, 7)
    ]


def test_prepare_says_what_is_missing(few, tmp_path, capsys):
    _run("embedded", tmp_path / "set")
    (tmp_path / "set" / "JPEGImages" / "scene_0003.jpg").unlink()
    assert _run("prepare", "--voc-root", tmp_path / "set", "--output", tmp_path / "lists") == 2
    assert "1 of the 6 ids of train_aug have no image: scene_0003" in capsys.readouterr().out
