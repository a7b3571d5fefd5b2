"""Scoring, seeds and export take tags from any source; and all of it works with COCO's 80 classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from runs import CLASSES, assert_same_weights, command, execute, make_data, weights_of

from icd.classes import COCO_CLASSES
from icd.cli.main import main
from icd.data.tags import open_tags
from icd.files import (
    ScoreMaps,
    mask_path,
    read_list,
    read_mask,
    read_score_maps,
    write_mask,
    write_score_maps,
)
from icd.foreign.numpy_files import write_npy
from icd.provenance import write_run

IDS = ("a", "b", "c")
TAGS = (3, 80)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Photographs, truths, ICD's bare arrays and the same as our score maps; tags in three files and a folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.RandomState(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "xml").mkdir()
    names = [COCO_CLASSES[number - 1] for number in TAGS]
    for image_id in IDS:
        Image.fromarray(random.randint(0, 255, (20, 24, 3), np.uint8)).save(
            tmp_path / "images" / f"{image_id}.jpg"
        )
        write_mask(mask_path(tmp_path / "truth", image_id), random.choice([0, *TAGS, 255], (20, 24)))
        maps = random.randn(2, 65, 65).astype(np.float32)
        write_npy(tmp_path / "bare" / f"{image_id}.npy", maps)
        scores = ScoreMaps(np.array(TAGS, np.int16), maps, (20, 24), (513, 513, 20, 24))
        write_score_maps(tmp_path / "run" / "results" / "scores_cam" / f"{image_id}.npz", scores)
        objects = "".join(f"<object><name>{name}</name></object>" for name in names)
        (tmp_path / "xml" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
    vector = np.zeros(80, np.float32)
    vector[np.array(TAGS) - 1] = 1
    np.save(tmp_path / "cls_labels.npy", dict.fromkeys(IDS, vector))
    (tmp_path / "tags.csv").write_text("id,tags\n" + "".join(f"{i},{';'.join(names)}\n" for i in IDS))
    (tmp_path / "tags.txt").write_text("".join(f"{i} 2 79 \n" for i in IDS))
    (tmp_path / "list.txt").write_text("\n".join(IDS) + "\n")
    return tmp_path


def _call(*words):
    return main([str(word) for word in words])


SOURCES = pytest.mark.parametrize("source", ["xml", "cls_labels.npy", "tags.csv", "tags.txt"])


@SOURCES
def test_curve(folders, source):
    common = ("--truth", folders / "truth", "--list", folders / "list.txt", "--classes", "coco", "--curve")
    more = ("--tags", folders / source, "--normalize", "--json", folders / "bare.json")
    assert _call("evaluate", folders / "bare", *common, *more) == 0
    maps = folders / "run" / "results" / "scores_cam"
    assert _call("evaluate", maps, *common, "--normalize", "--json", folders / "ours.json") == 0
    ours, bare = (json.loads((folders / name).read_text()) for name in ("ours.json", "bare.json"))
    assert ours["miou"] == bare["miou"] and len(set(ours["miou"])) > 10
    assert len(ours["best"]["iou"]) == 81 and ours["best"]["iou"][80] > 0


@SOURCES
def test_seeds(folders, source):
    common = ("--rule", "cam", "--data-list", folders / "list.txt", "--classes", "coco", "--workers", 0)
    common += ("--image-root", folders / "images")
    bare = ("--map-root", folders / "bare", "--target", folders / "1", "--annotation-root", folders / source)
    ours = ("--map-root", folders / "run" / "results" / "scores_cam", "--target", folders / "2")
    assert _call("seeds", *common, *bare) == _call("seeds", *common, *ours) == 0
    for variant in ("nocrf", "crf"):
        for image_id in IDS:
            seed, same = (read_mask(mask_path(folders / target / variant, image_id)) for target in "12")
            np.testing.assert_array_equal(seed, same)
    assert set(TAGS) < set(np.unique(read_mask(mask_path(folders / "1" / "nocrf", "a"))))


@SOURCES
def test_export(folders, source):
    target = folders / "npz"
    words = ("--list", folders / "list.txt", "--classes", "coco", "--images", folders / "images")
    assert (
        _call("export", "maps", folders / "bare", target, *words, "--tags", folders / source, "--to", "npz")
        == 0
    )
    for image_id in IDS:
        ours = read_score_maps(folders / "run" / "results" / "scores_cam" / f"{image_id}.npz")
        found = read_score_maps(target / f"{image_id}.npz")
        assert found.classes.tolist() == list(TAGS)
        np.testing.assert_array_equal(found.maps, ours.maps)


def test_masks_and_report_of_81_classes(folders, capsys):
    random = np.random.RandomState(1)
    for image_id in IDS:
        truth = read_mask(mask_path(folders / "truth", image_id))
        seed = np.where(random.rand(20, 24) < 0.7, truth, 57)
        write_mask(mask_path(folders / "run" / "results" / "seeds" / "crf", image_id), seed)
    words = ("--truth", folders / "truth", "--list", folders / "list.txt", "--classes", "coco")
    result = folders / "run" / "scores.json"
    assert _call("evaluate", folders / "run/results/seeds/crf", *words, "--json", result, "--as", "eps") == 0
    text = capsys.readouterr().out
    assert "80 toothbrush" in text and "57 chair" in text
    content = json.loads(result.read_text())
    iou = {row["name"]: row["iou"] for row in content["classes"]}
    assert len(iou) == 81 and iou["chair"] == 0 and 0.4 < iou["toothbrush"] < 1 and iou["zebra"] is None
    known = [value for value in iou.values() if value is not None]
    assert len(known) == 4 and content["miou"] == pytest.approx(np.mean(known))
    result.write_text(json.dumps([{**content, "name": "cam crf"}]))
    write_run(folders / "run", method="cam", data_list=folders / "list.txt", classes=COCO_CLASSES,
              image_root=folders / "images", eval_root=folders / "truth")  # fmt: skip
    assert _call("report", folders / "run") == 0
    page = (folders / "run" / "report.html").read_text()
    assert page.count('<figure class="shot"') == 3 and '<option value="80">toothbrush</option>' in page
    assert "toothbrush called chair" in page and 'data-classes="3 80"' in page


def test_numbers_above_the_classes_are_refused(folders, capsys):
    write_mask(mask_path(folders / "masks", "a"), np.full((20, 24), 81))
    words = ("--truth", folders / "truth", "--list", folders / "list.txt", "--classes", "coco")
    assert _call("evaluate", folders / "masks", *words) == 2
    assert "class numbers 0..80 and 255; found the value 81" in capsys.readouterr().err


def test_a_run_on_a_table_is_the_run_on_xml(tmp_path):
    data = make_data(tmp_path / "data")
    found = {key: open_tags(data / "Annotations", CLASSES).read(key) for key in read_list(data / "list.txt")}
    rows = (f"{key},{';'.join(CLASSES[number - 1] for number in own)}\n" for key, own in found.items())
    (data / "tags.csv").write_text("id,tags\n" + "".join(rows))
    weights = []
    for source in ("Annotations", "tags.csv"):
        snapshot = tmp_path / source
        more = ("--annotation-root", data / source, "--num-epoch", 1, "--no-crf", "--workers", 1)
        result = execute(command(data, snapshot, *more), tmp_path)
        assert result.returncode == 0, result.stderr
        weights.append(weights_of(snapshot, epochs=1))
    assert_same_weights(*weights)
