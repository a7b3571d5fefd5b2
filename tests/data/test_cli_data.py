"""`icd data prepare|coco|check|embedded` as a user meets them."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from coco_file import write_coco
from PIL import Image

from icd.cli import data
from icd.data import embedded
from icd.errors import InputError
from icd.evaluate import score_masks
from icd.files import mask_path, read_classes, read_list, read_mask


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


@pytest.fixture
def coco(tmp_path):
    """Three images, one of them without annotation: a folder of photographs and their instances."""
    images = [(k, f"COCO_train2014_{k:012d}.jpg", 10, 12) for k in (9, 25, 30)]
    (tmp_path / "train2014").mkdir()
    for _, name, height, width in images:
        Image.new("RGB", (width, height)).save(tmp_path / "train2014" / name)
    annotations = [{"image_id": 9, "category_id": 90}, {"image_id": 25, "category_id": 1}]
    write_coco(tmp_path / "instances_train2014.json", images, annotations)
    return tmp_path


def _coco(folder, *more):
    paths = folder / "instances_train2014.json", folder / "train2014"
    return _run(
        "coco",
        "--instances",
        paths[0],
        "--image-root",
        paths[1],
        "--out",
        folder / "out",
        "--workers",
        0,
        *more,
    )


def test_coco_list_and_masks(coco, capsys):
    ids = ["COCO_train2014_000000000009", "COCO_train2014_000000000025"]
    assert _coco(coco) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{coco / 'out' / 'train2014.txt'}: 2 ids with tags",
        f"{coco / 'out' / 'SegmentationClass'}: 2 masks drawn, 0 were there",
    ]
    assert read_list(coco / "out" / "train2014.txt") == ids
    masks = coco / "out" / "SegmentationClass"
    assert sorted(path.stem for path in masks.iterdir()) == ids
    assert set(np.unique(read_mask(mask_path(masks, ids[0]), (10, 12)))) == {0, 80}
    scores = score_masks(masks, masks, ids, read_classes("coco"))
    assert scores.miou == 1 and scores.counts.shape == (81, 82) and scores.counts[80, 80] == 16
    assert _coco(coco) == 0
    assert "0 masks drawn, 2 were there" in capsys.readouterr().out


def test_coco_without_masks(coco):
    assert _coco(coco, "--no-masks") == 0
    assert [path.name for path in (coco / "out").iterdir()] == ["train2014.txt"]


def test_coco_says_what_is_missing(coco, capsys):
    (coco / "train2014" / "COCO_train2014_000000000025.jpg").unlink()
    assert _coco(coco, "--no-masks") == 2
    assert "1 of the 2 ids have no image: COCO_train2014_000000000025" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda folder: (folder / "instances_train2014.json").unlink(),
            "instances_train2014.json: .*nothing there",
        ),
        (lambda folder: (folder / "train2014").rename(folder / "x"), "train2014: expected a folder"),
        (
            lambda folder: write_coco(folder / "instances_train2014.json", [(1, "a.jpg")], []),
            "images with annotations; found none",
        ),
    ],
)
def test_coco_refuses_what_it_cannot_use(coco, change, found):
    change(coco)
    with pytest.raises(InputError, match=found):
        _coco(coco)
    assert not (coco / "out").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_check_takes_a_file_of_tags(coco, capsys, workers):
    _coco(coco)
    words = [
        "--image-root",
        coco / "train2014",
        "--data-list",
        coco / "out" / "train2014.txt",
        "--classes",
        "coco",
    ]
    words += ["--eval-root", coco / "out" / "SegmentationClass", "--workers", workers]
    capsys.readouterr()
    assert _run("check", *words, "--annotation-root", coco / "instances_train2014.json") == 0
    (coco / "tags.csv").write_text("id,tags\nCOCO_train2014_000000000009,hair drier\n")
    assert _run("check", *words, "--annotation-root", coco / "tags.csv") == 2
    out = capsys.readouterr().out
    assert "2 images checked: all is well" in out and "1 problems in 1 of them" in out
    assert "tags.csv: expected at least one tag of COCO_train2014_000000000025; found 1 other ids" in out
