"""The published numbers that come with the package, and how differing conditions are named."""

from __future__ import annotations

import numpy as np
import pytest

from icd.classes import VOC_CLASSES
from icd.errors import InputError
from icd.evaluate.policies import CONVENTIONS
from icd.evaluate.published import Published, differences, published_names, read_published
from icd.evaluate.show import against_text

HEADLINES = {  # one number of every file, as its spec states it
    "icd-voc12": 62.2, "eps-voc12": 69.22, "eps-coco14": 37.15, "vwe-voc12": 67.2, "vwe-coco14": 36.2, "psa-voc12": 61.0,
    "seam-voc12": 55.41, "ppc-voc12": 61.5, "irn-voc12": 66.5, "drs-voc12": 70.4, "deeplab-voc12": 77.93,
    "deeplab-cocostuff": 39.7,
}  # fmt: skip


def test_every_file_is_listed_here():
    assert published_names() == sorted(HEADLINES)


@pytest.mark.parametrize("name", sorted(HEADLINES))
def test_files_are_complete(name):
    title, entries = read_published(name)
    assert title and HEADLINES[name] in [entry.value for entry in entries]
    for entry in entries:
        assert entry.policy is None or entry.policy in {c.undefined for c in CONVENTIONS.values()}
        assert entry.stage in {"seeds", "walk", "segmentation", "instances", None}
        assert entry.split in {"train", "train_aug", "val", "test", None}
        assert entry.crf in {True, False, None}
        assert entry.verified or "recollection" in entry.source
        if entry.per_class:
            assert np.mean(entry.per_class) == pytest.approx(entry.value, abs=0.05)


def _entry(**fields):
    return Published(**{"what": "x", "value": 50.0, "by": "readme", "source": "y", **fields})


def test_differences_are_named():
    entry = _entry(stage="seeds", split="train", crf=True, policy="drop", extra=["saliency"], images=1464,
                   dataset="voc12", network="VGG-16", initial_weights="ImageNet (vgg16_20M)")  # fmt: skip
    same = {"stage": "seeds", "split": "train", "crf": True, "policy": "any", "extra": ["saliency"], "images": 1464,
            "network": "vgg16", "initial_weights": "vgg16_20M"}  # fmt: skip
    assert differences(entry, same) == []
    assert differences(entry, {**same, "split": "val"}) == ["split: train there, val here"]
    assert differences(entry, {**same, "crf": False}) == ["crf: yes there, no here"]
    assert differences(entry, {**same, "policy": "error"}) == ["policy: drop there, error here"]
    assert differences(entry, {**same, "extra": []}) == ["extra: saliency there, none here"]
    assert differences(entry, {**same, "split": "train_aug"}) == ["split: train there, train_aug here"]
    assert differences(entry, {**same, "initial_weights": "COCO"})[0].startswith("initial weights: ImageNet")
    assert "the truth of 15 was left out" in differences(entry, {**same, "classes_left_out": 15})[0]
    unknown = ["not stated there: dataset, stage, split, crf, extra, initial weights"]
    assert differences(_entry(), {}) == unknown
    assert (
        differences(_entry(dataset="coco14"), {"dataset": "voc12"})[0] == "dataset: coco14 there, voc12 here"
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("fixed 0.20", "fixed 0.2", True),
        ("fixed 0.22, as in its script", "fixed 0.2", False),
        ("fixed 0.25", "fixed 0.2", False),
        ("fixed 0.13, evidently chosen on train", "fixed 0.13", True),
        ("0.22, best on the evaluated truth", "fixed 0.22", False),
        ("none", "none (ICD); fixed 0.2 of the maximum (CAM)", True),
    ],
)
def test_thresholds_are_compared_as_numbers(theirs, ours, same):
    everything = dict.fromkeys(("dataset", "stage", "split", "crf", "initial_weights"), "x")
    found = differences(_entry(threshold=theirs, extra=[], **everything), {"threshold": ours})
    assert found == ([] if same else [f"threshold: {theirs} there, {ours} here"])


def test_sizes_of_vocs_splits_need_not_be_written():
    _, entries = read_published("eps-voc12")
    assert {entry.images for entry in entries if entry.split == "train"} == {1464}
    _, entries = read_published("eps-coco14")
    assert [entry.images for entry in entries] == [82081, 82081, None]


def test_ours_beside_theirs_per_class():
    title, entries = read_published("vwe-voc12")
    iou = np.linspace(0.5, 0.9, 21)
    names = ("background", *VOC_CLASSES)
    ours = {"stage": "segmentation", "split": "val", "classes_left_out": 15}
    text = against_text(title, entries, 0.7, iou, names, ours)
    first, rows = text.splitlines()[4], text.splitlines()
    assert "val" in first and "VWE, DeepLab-v2" in first and first.split()[-3:] == ["67.20", "70.00", "2.80"]
    assert [row.split() for row in rows if row.startswith("tvmonitor")][0] == [
        "tvmonitor",
        "59.60",
        "90.00",
        "30.40",
    ]
    warnings = [row.strip() for row in rows if "left out" in row]
    assert warnings == ["WARNING for all of them: classes: all there; the truth of 15 was left out here"]
    assert "WARNING not stated of our own predictions: dataset, crf, extra, initial weights" in text


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match="eps-voc12"):
        read_published("nothing")
    path = tmp_path / "mine.yaml"
    for content, message in {
        "title: x\nresults: [{what: a, value: 1, by: me, source: s}]": "by one of",
        "title: x\nresults: [{what: a, value: 1, by: user, source: s, colour: red}]": "colour",
        "title: x\nresults: [{what: a, by: user, source: s}]": "missing",
        "title: x\nresults: [{what: a, value: 690, by: user, source: s}]": "690",
        "title: x\nresults: [{what: a, value: high, by: user, source: s}]": "numbers, texts",
        "title: x\nresults: [{what: a, value: 1, by: user, source: s, extra: [1]}]": "numbers, texts",
        "title: x\nresults: [{what: a, value: 1, by: user, source: s, 5: 6}]": "a key that is no text",
        "title: x\nresults: " + "[" * 5000: "YAML",
        "title: [": "YAML",
        "- 1": "YAML",
        "title: !!python/object/apply:os.system [id]": "YAML",
    }.items():
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_published(path)
