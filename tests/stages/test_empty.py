"""Masks without any class are counted, and where they are many, it is said what to try."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from icd.data.catalogue import DataSet
from icd.files import ScoreMaps, mask_path, read_mask, score_maps_path, write_score_maps
from icd.refine.seeds import CAM_RULE
from icd.stages.base import GivenMaps, Job
from icd.stages.empty import is_empty, remarks
from icd.stages.seeds import Seeds


def test_a_mask_of_background_and_255_is_empty():
    assert is_empty(np.array([[0, 255]], np.uint8)) and not is_empty(np.array([[0, 254]], np.uint8))


def test_few_empty_masks_are_counted_and_many_give_advice():
    assert remarks("seeds", {"nocrf": 0, "crf": 0}, 9) == []
    assert remarks("seeds", {"nocrf": 1, "crf": 0}, 9) == [
        "seeds nocrf: 1 of 9 masks are empty (no class anywhere)."
    ]
    (line,) = remarks("walk", {"": 9}, 9)
    assert line.startswith("WARNING walk: 9 of 9 masks are empty") and "--num-epoch" in line
    first, second = remarks("seeds", {"nocrf": 2, "crf": 9}, 9)
    assert not first.startswith("WARNING") and second.startswith("WARNING") and "--crf-preset" in second


@pytest.mark.parametrize("workers", [0, 1])
def test_seeds_say_how_many_are_empty(tmp_path, capsys, workers):
    ids = ["a", "b", "c"]
    (tmp_path / "images").mkdir()
    for number, image_id in enumerate(ids):
        Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(tmp_path / "images" / f"{image_id}.jpg")
        maps = np.full((1, 3, 4), -1, np.float32)
        maps[0, 1, 2] = number == 0
        scores = ScoreMaps(np.array([1], np.int16), maps, (12, 16), (12, 16, 12, 16))
        write_score_maps(score_maps_path(tmp_path / "maps", image_id), scores)
    (tmp_path / "list.txt").write_text("\n".join(ids) + "\n")
    data = DataSet("folder", ("x",), tmp_path / "images", None, tmp_path / "list.txt")
    job = Job(data, tmp_path, workers=workers)
    given = GivenMaps("maps", job, tmp_path / "maps", {"cam": tmp_path / "maps"}, {"cam": CAM_RULE})
    stage = Seeds("seeds", job, tmp_path / "out", given, ("nocrf",))
    stage.run()
    counted = [
        is_empty(read_mask(mask_path(tmp_path / "out" / "seeds" / "nocrf", image_id))) for image_id in ids
    ]
    assert counted == [False, True, True]
    assert "WARNING seeds cam nocrf: 2 of 3 masks are empty" in capsys.readouterr().out
