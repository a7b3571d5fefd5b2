"""Photographs of camera size: what is worked on is bounded, what comes back has the photograph's size, what is small is untouched."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from runs import PEAK, environment

from icd.bounded import (
    MAX_SIDE,
    bounded_maps,
    enlarge_mask,
    read_at,
    shrink_labels,
    shrink_stack,
    working_size,
)
from icd.data.dataset import ImageDataset
from icd.data.images import read_bounded, read_image
from icd.errors import InputError
from icd.files import LabelStack, ScoreMaps, write_superpixels


def photograph(height, width) -> np.ndarray:
    """A smooth picture with a bright disc in the middle."""
    rows, columns = np.indices((height, width), sparse=True)
    image = np.stack(np.broadcast_arrays(rows * 200 / height, columns * 200 / width, 60), -1).astype(np.uint8)
    cv2.circle(image, (width // 2, height // 2), height // 4, (250, 220, 30), -1)
    return image


def test_the_working_size_keeps_the_aspect():
    assert working_size((500, 375), MAX_SIDE) == (500, 375)
    assert working_size((640, 1024), MAX_SIDE) == (640, 1024)
    assert working_size((3000, 4000), MAX_SIDE) == (768, 1024)
    assert working_size((3000, 4000), None) == (3000, 4000)
    assert working_size((1, 9000), MAX_SIDE) == (1, 1024)


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_is_read_small_and_a_small_one_as_it_is(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(photograph(300, 420)).save(path, exif=exif)
    whole = read_image(path)
    same, size = read_bounded(path, 420)
    assert size == whole.shape[:2] == ((300, 420) if orientation == 1 else (420, 300))
    np.testing.assert_array_equal(same, whole)
    small, size = read_bounded(path, 100)
    assert size == whole.shape[:2] and small.shape[:2] == working_size(size, 100)
    expected = cv2.resize(whole, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 1.5


def test_planes_may_lie_on_the_photograph_or_on_its_working_size(tmp_path):
    for name in ("images", "tags", "full", "small", "other"):
        (tmp_path / name).mkdir()
    Image.fromarray(photograph(300, 400)).save(tmp_path / "images" / "a.png")
    ids = np.arange(300 * 400).reshape(300, 400) // 5000
    write_superpixels(tmp_path / "full" / "a.png", ids)
    write_superpixels(tmp_path / "small" / "a.png", shrink_labels(ids, (75, 100)))
    write_superpixels(tmp_path / "other" / "a.png", ids[:, :100])
    read = {}
    for name in ("full", "small"):
        dataset = ImageDataset(tmp_path / "images", None, ["a"], ["x"], {"superpixel": tmp_path / name}, 100)
        image, planes, _ = dataset.load(0)
        assert image.shape == (75, 100, 3)
        read[name] = planes["superpixel"]
    np.testing.assert_array_equal(read["full"], read["small"])
    with pytest.raises(InputError, match="expected 300 x 400 .*found 300 x 100"):
        ImageDataset(tmp_path / "images", None, ["a"], ["x"], {"superpixel": tmp_path / "other"}, 100).load(0)


def test_a_photograph_that_fits_reads_its_files_once():
    calls = []
    assert read_at(calls.append, (5, 5), (5, 5), None) is None and calls == [(5, 5)]


def test_score_maps_and_stacks_at_the_working_size():
    scores = ScoreMaps(np.array([3], np.int16), np.ones((1, 4, 4), np.float32), (300, 400), (8, 8, 6, 8))
    assert bounded_maps(scores, 400) is scores
    assert bounded_maps(scores, 100).size == (75, 100) and bounded_maps(scores, 100).frame == scores.frame
    planes = np.zeros((2, 40, 60), np.float16)
    planes[1, :20] = 1
    small = shrink_stack(LabelStack(np.array([0, 5], np.int16), planes), (4, 6))
    assert small.planes.shape == (2, 4, 6) and small.planes[1].tolist() == [[1] * 6] * 2 + [[0] * 6] * 2


def test_an_enlarged_mask_is_that_of_the_interpolated_indicators():
    random = np.random.RandomState(0)
    mask = cv2.resize(
        random.choice([0, 1, 7, 255], (6, 8)).astype(np.uint8), (40, 30), interpolation=cv2.INTER_NEAREST
    )
    assert enlarge_mask(mask, mask.shape) is mask
    size = (611, 823)  # more rows than one band
    values = np.unique(mask)
    planes = [cv2.resize((mask == value).astype(np.float32), size[::-1]) for value in values]
    expected = values[np.argmax(planes, axis=0)]
    ordered = np.sort(planes, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    enlarged = enlarge_mask(mask, size)
    assert enlarged.dtype == np.uint8 and clear.mean() > 0.95
    np.testing.assert_array_equal(enlarged[clear], expected[clear])
    assert set(np.unique(enlarged)) <= set(values)


def test_a_mask_comes_back_from_its_working_size():
    mask = np.zeros((900, 1200), np.uint8)
    cv2.circle(mask, (600, 450), 250, 1, -1)
    back = enlarge_mask(shrink_labels(mask, (225, 300)), mask.shape)
    assert (back != mask).mean() < 0.002


PROGRAM = (
    PEAK
    + """
import sys
from pathlib import Path
import numpy as np
from icd.data.catalogue import DataSet
from icd.engine.build import build_trainable, fuse_for_inference
from icd.engine.localize import localize
from icd.data.batches import InferenceBatches
from icd.stages.base import GivenMaps, Job
from icd.stages.seeds import Seeds
root = Path(sys.argv[1])
data = DataSet("folder", ("disc", "box"), root / "images", root / "tags.csv", root / "list.txt")
job = Job(data, root / "out", gpus="", workers=0)
name, backbone = sys.argv[2:]
method = build_trainable(name, backbone, 2, job.devices[0], seed=0)
fuse_for_inference(method, job.devices[0])
maps = {name: root / "out" / name for name in method.score_maps}
presentation = method.presentation(method.recipe, 513)
localize(method, InferenceBatches(job.dataset(data.ids), 4, presentation), job.devices[0], maps, "float32")
given = GivenMaps("maps", job, root / "out", maps, {name: method.score_maps[name]})
Seeds("seeds", job, root / "out", given).run()
(root / "peak").write_text(str(peak()))
"""
)


@pytest.mark.parametrize(("name", "backbone"), [("icd", "small"), ("eps", "mobilenet_v2")])
def test_12_megapixels_are_localized_and_refined_in_bounded_memory(tmp_path, name, backbone):
    (tmp_path / "images").mkdir()
    Image.fromarray(photograph(3000, 4000)).save(tmp_path / "images" / "a.JPG", quality=90)
    (tmp_path / "tags.csv").write_text("id,tags\na,disc;box\n")
    (tmp_path / "list.txt").write_text("a\n")
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), name, backbone], env=environment()
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    assert status == 0
    peak = int((tmp_path / "peak").read_text())
    assert peak < 1.5 * 2**30, f"{peak / 2**30:.2f} GiB"
    assert usage.ru_utime + usage.ru_stime < 120
    for variant in ("nocrf", "crf"):
        with Image.open(tmp_path / "out" / "seeds" / variant / "a.png") as mask:
            assert mask.size == (4000, 3000)
    print(f"{peak / 2**30:.2f} GiB, {usage.ru_utime:.0f} s")
