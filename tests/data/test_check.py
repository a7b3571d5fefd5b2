"""`check` names every problem of a folder, each once, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_folder import CLASSES, write_tags

from icd.data.check import RunFolders, check_run
from icd.errors import InputError
from icd.files import write_mask, write_superpixels


def _folders(small, **others):
    roots = {"superpixel_root": "superpixels", "saliency_root": "saliency", "truth_root": "truth"}
    paths = {name: small.root / part for name, part in roots.items()}
    return RunFolders(small.root / "images", small.root / "tags", **{**paths, "classes": CLASSES, **others})


def _problems(small, workers=0):
    return [
        str(problem) for problems in check_run(_folders(small), small.ids, workers) for problem in problems
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_good_folder(small, workers):
    assert list(check_run(_folders(small), small.ids, workers)) == [[]] * 6


@pytest.mark.parametrize("workers", [0, 2])
def test_every_problem_is_named(small, workers):
    small.path("images", "image_0").unlink()
    write_tags(small.path("tags", "image_0"), [])
    cut = small.path("images", "image_1")
    cut.write_bytes(cut.read_bytes()[:-50])
    write_superpixels(small.path("superpixels", "image_2"), np.zeros((4, 4), int))
    Image.new("L", (4, 4)).save(small.path("saliency", "image_2"))
    Image.new("RGB", (52, 40)).save(small.path("truth", "image_2"))
    write_mask(small.path("truth", "image_3"), np.full((45, 48), 4))
    found = _problems(small, workers)
    told = [
        "image_0.jpg: expected an 8-bit RGB or gray photograph (JPEG); found nothing there",
        "image_0.xml: expected a VOC annotation (XML) with at least one object; found no object",
        "image_1.jpg: expected an 8-bit RGB or gray photograph (JPEG); found a truncated JPEG",
        "image_2.png: expected 40 x 52 (height x width, as the image); found 4 x 4",
        "image_2.png: expected 40 x 52 (height x width, as the image); found 4 x 4",
        "image_2.png: expected a mask (palette or gray PNG of at most 8 bits); found an image of mode RGB",
        "image_3.png: expected class numbers 0 to 3, and 255 for ignored pixels; found 4",
    ]
    assert len(found) == len(told)
    for line, part in zip(found, told):
        assert part in line


def test_only_what_a_run_reads_is_read(small):
    for image_id in small.ids:
        for part in ("superpixels", "saliency", "truth"):
            small.path(part, image_id).unlink()
    folders = _folders(small, superpixel_root=None, saliency_root=None, truth_root=None)
    assert list(check_run(folders, small.ids, 0)) == [[]] * 6


def test_only_the_images_that_need_a_file_must_have_it(small):
    small.path("truth", "image_3").unlink()
    small.path("superpixels", "image_4").unlink()
    needed = {"truth_root": small.ids[:3], "superpixel_root": small.ids[:4]}
    assert list(check_run(_folders(small), small.ids, 0, needed)) == [[]] * 6
    assert len(_problems(small)) == 2


def test_missing_folder_is_refused(small):
    folders = _folders(small, saliency_root=small.root / "nowhere")
    with pytest.raises(InputError, match="nowhere: expected a folder"):
        list(check_run(folders, small.ids, 0))
