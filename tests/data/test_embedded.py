"""The embedded set: the same every time, whole or not there, and as hard as it says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from icd.data import embedded, scenes
from icd.data.check import RunFolders, check_run
from icd.data.dataset import ImageDataset
from icd.data.embedded import prepare_embedded
from icd.data.scenes import draw_scene
from icd.data.tags import annotation_path, read_tags
from icd.data.voc import derive_lists
from icd.errors import InputError
from icd.files import mask_path, read_classes, read_list, read_mask, read_saliency


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return prepare_embedded(tmp_path_factory.mktemp("embedded") / "set")


@pytest.fixture
def few(monkeypatch):
    """Make the set small, for tests that draw it more than once."""
    monkeypatch.setattr(embedded, "_TRAINING", 6)
    monkeypatch.setattr(embedded, "_VALIDATION", 2)


def _hash(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


def test_everything_a_run_reads_is_good(paths):
    classes = read_classes(paths.classes_file)
    folders = RunFolders(
        paths.image_root,
        paths.annotation_root,
        saliency_root=paths.saliency_root,
        truth_root=paths.truth_root,
        classes=classes,
    )
    ids = read_list(paths.data_list) + read_list(paths.val_list)
    assert (len(classes), len(ids)) == (4, 296)
    assert not any(check_run(folders, ids, 0))


def test_tags_are_what_can_be_seen(paths):
    classes, ids = read_classes(paths.classes_file), read_list(paths.data_list)
    counts, singles = np.zeros(5, int), 0
    for image_id in ids:
        tags = read_tags(annotation_path(paths.annotation_root, image_id), classes)
        truth = read_mask(mask_path(paths.truth_root, image_id))
        pixels = np.bincount(truth.ravel(), minlength=5)
        assert tuple(np.flatnonzero(pixels[1:]) + 1) == tags
        assert pixels[list(tags)].min() > 300
        counts[list(tags)] += 1
        singles += len(tags) == 1
    assert counts[1:].min() >= 64
    assert singles == 0.75 * len(ids)


def test_saliency_is_like_the_truth_but_not_the_same(paths):
    shared = either = different = 0
    for image_id in read_list(paths.data_list):
        truth = read_mask(mask_path(paths.truth_root, image_id)) > 0
        salient = read_saliency(mask_path(paths.saliency_root, image_id)) > 127
        shared, either = shared + (truth & salient).sum(), either + (truth | salient).sum()
        different += (truth != salient).any()
    assert 0.6 < shared / either < 0.95
    assert different == 256


def test_the_telling_part_is_small(monkeypatch):
    """Pixels that change with the pattern's colours are the telling part."""
    black = {
        number: scenes._KINDS[number].__class__(**{**vars(kind), "colours": ((0, 0, 0), (0, 0, 0))})
        for number, kind in scenes._KINDS.items()
    }
    for number in black:
        shares = []
        for seed in range(20):
            scene = draw_scene([number], np.random.RandomState(seed))
            with monkeypatch.context() as changed:
                changed.setattr(scenes, "_KINDS", black)
                other = draw_scene([number], np.random.RandomState(seed))
            np.testing.assert_array_equal(scene.truth, other.truth)
            telling = (scene.image != other.image).any(-1) & (scene.truth > 0)
            shares.append(telling.sum() / (scene.truth > 0).sum())
        assert 0.08 < np.mean(shares) < 0.35


def test_water_comes_with_boats():
    def has_water(number, seed):
        scene = draw_scene([number], np.random.RandomState(seed))
        red, _, blue = np.moveaxis(scene.image[-10:].astype(int), -1, 0)
        return np.mean((blue - red > 50) & (scene.truth[-10:] == 0)) > 0.4

    with_boat = np.mean([has_water(2, seed) for seed in range(60)])
    without = np.mean([has_water(number, seed) for number in (1, 3, 4) for seed in range(40)])
    assert with_boat > 0.6 and without < 0.15


def test_it_is_the_same_every_time(few, tmp_path):
    prepare_embedded(tmp_path / "one")
    prepare_embedded(tmp_path / "two")
    assert _hash(tmp_path / "one") == _hash(tmp_path / "two")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one", "two"]


def test_it_is_drawn_once_and_anew_when_its_code_changes(few, tmp_path, monkeypatch):
    paths = prepare_embedded(tmp_path / "set")
    image = paths.image_root / "scene_0001.jpg"
    image.write_bytes(b"mark")
    prepare_embedded(tmp_path / "set")
    assert image.read_bytes() == b"mark"
    monkeypatch.setattr(embedded, "_version", lambda: "another")
    prepare_embedded(tmp_path / "set")
    assert image.read_bytes() != b"mark"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_stopped_halfway_leaves_nothing(few, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "write_mask", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare_embedded(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_end_with_one(few, tmp_path, monkeypatch):
    write_set = embedded._write_set

    def be_overtaken(paths):
        monkeypatch.setattr(embedded, "_write_set", write_set)
        prepare_embedded(tmp_path / "set")
        write_set(paths)

    monkeypatch.setattr(embedded, "_write_set", be_overtaken)
    paths = prepare_embedded(tmp_path / "set")
    dataset = ImageDataset(
        paths.image_root, paths.annotation_root, read_list(paths.data_list), scenes.CLASSES
    )
    assert all(dataset.load(index) for index in range(len(dataset)))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_other_peoples_files_are_left_alone(few, tmp_path):
    (tmp_path / "thesis.tex").write_text("my work")
    with pytest.raises(InputError, match="expected a new or empty folder.*other files"):
        prepare_embedded(tmp_path)
    with pytest.raises(InputError, match="thesis.tex: expected a folder; found a file"):
        prepare_embedded(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "my work"


def test_empty_folder_is_used(few, tmp_path):
    (tmp_path / "set").mkdir()
    assert len(read_list(prepare_embedded(tmp_path / "set").data_list)) == 6


def test_it_has_the_layout_of_voc(paths):
    derived = derive_lists(paths.image_root.parent)
    assert derived.missing == []
    assert derived.lists["train_aug"] == read_list(paths.data_list)
