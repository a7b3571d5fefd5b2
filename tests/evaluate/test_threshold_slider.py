"""The report's slider draws, at every position, the mask that `--threshold` makes there; at the run's own, the run's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import time

import browser as chromium
import cv2
import numpy as np
import pytest
from PIL import Image
from runs import execute

from icd.bounded import MAX_SIDE, enlarge_mask
from icd.classes import voc_palette
from icd.evaluate.report import write_report
from icd.evaluate.threshold_slider import fixed_threshold, is_seed_of, levels, strongest
from icd.files import ScoreMaps, mask_path, read_mask, score_maps_path, write_mask, write_score_maps
from icd.provenance import write_run
from icd.refine.seeds import cam_seed, share_rule

NAMES = ("cat", "dog", "owl")
OWN = 0.3333  # no multiple of the slider's step
needs_browser = pytest.mark.skipif(
    not (chromium.CHROMIUM and chromium.DRIVER), reason="needs chromium and chromedriver"
)


def scores_of(random, size, normalization="maximum"):
    """Smooth maps of two classes."""
    grid = cv2.GaussianBlur(random.randn(9, 9, 2), (3, 3), 1).transpose(2, 0, 1).astype(np.float32)
    classes = np.sort(random.choice(3, 2, replace=False) + 1).astype(np.int16)
    return ScoreMaps(classes, grid, size, (*size, *size), normalization=normalization)


@pytest.fixture(scope="module", params=["maximum", "range"])
def run(request, tmp_path_factory):
    """A run with a threshold of its own, one of whose photographs is larger than the bound."""
    root, random = tmp_path_factory.mktemp(request.param), np.random.RandomState(0)
    folder, ids = root / "run", ["a", "b", "c"]
    (root / "images").mkdir()
    for image_id, size in zip(ids, [(60, 80), (300, 210), (80, 60)]):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "images" / f"{image_id}.jpg")
        scores = scores_of(random, size, request.param)
        write_score_maps(score_maps_path(folder / "results" / "scores_cam", image_id), scores)
    (root / "list.txt").write_text("\n".join(ids) + "\n")
    write_run(
        folder, method="cam", data_list=root / "list.txt", classes=NAMES, image_root=root / "images", max_side=120,
        threshold_policy=f"cam: fixed {OWN} of the {request.param}",
    )  # fmt: skip
    make_seeds(root, folder / "results" / "seeds")
    return root


def make_seeds(root, target, threshold=OWN):
    """Seeds as a user makes them: by the command."""
    flags = ["--rule", "cam", "--maps", "run/results/scores_cam", "--list", "list.txt", "--images", "images", "--out", target,
             "--variants", "nocrf", "--threshold", threshold, "--max-side", 120, "--workers", 0, "--classes", "classes.txt"]  # fmt: skip
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    result = execute([sys.executable, "-m", "icd.cli.main", "seeds", *map(str, flags)], root)
    assert result.returncode == 0, result.stderr


def test_the_threshold_is_that_of_the_policy():
    policy = "cam: fixed 0.25 of the maximum; icd: none; drs: fixed 0.2, and the saliency where it is used"
    assert [fixed_threshold(policy, kind) for kind in ("cam", "icd", "drs", "eps")] == [
        0.25,
        None,
        None,
        None,
    ]
    assert fixed_threshold("fixed 0.26 of the range", "seam") == 0.26 and fixed_threshold("", "cam") is None
    rule = share_rule("seam", 0.26)._replace(policy="fixed 0.26 of the range")
    assert rule.policy_at() == "fixed 0.26 of the range" and rule.policy_at(0.4) == "fixed 0.4 of the range"


@pytest.mark.parametrize("normalization", ["maximum", "range"])
def test_every_position_draws_the_seed_of_its_threshold(normalization):
    scores = scores_of(np.random.RandomState(1), (50, 70), normalization)
    thresholds = levels(OWN)
    assert thresholds == sorted(thresholds) and OWN in thresholds and len(thresholds) < 256
    strong = strongest(scores, MAX_SIDE, thresholds)
    assert not strong[..., 2].any()
    for position, threshold in enumerate(thresholds):
        drawn = np.where(strong[..., 1] > position, strong[..., 0], 0)
        seed = cam_seed(scores, threshold)
        np.testing.assert_array_equal(drawn, seed)
        assert is_seed_of(seed, strong, position)
    assert not is_seed_of(np.full((50, 70), 255, np.uint8), strong, 0)


def test_the_page_runs_our_script_alone(run):
    text = write_report(run / "run", workers=1).read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "script-src 'unsafe-inline'" not in text
    body = text.partition("<body>")[2].replace(f"<script>{script}</script>", "")
    assert "<script" not in body and not re.search(r"\son\w+=|javascript:", body)


def test_a_map_in_the_page_is_of_8_bits_and_gives_the_runs_own_mask(run):
    text = write_report(run / "run", workers=1).read_text()
    found = re.findall(r'src="([^"]*)" data-kind="cam" data-map="([^"]*)"', text)
    assert len(found) == 3
    position = levels(OWN).index(OWN)
    for source, url in found:
        seed, strong = (
            np.array(Image.open(io.BytesIO(base64.b64decode(u.partition(",")[2])))) for u in (source, url)
        )
        drawn = np.where(strong[..., 1] > position, strong[..., 0], 0)
        np.testing.assert_array_equal(voc_palette()[drawn], seed)


def test_seeds_that_the_threshold_did_not_make_are_not_redrawn(run, tmp_path):
    """Such as those of another program, or with saliency: the slider would show something else."""
    for image_id in "abc":
        source = score_maps_path(run / "run" / "results" / "scores_cam", image_id)
        target = score_maps_path(tmp_path / "results" / "scores_cam", image_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        seed = read_mask(mask_path(run / "run" / "results" / "seeds" / "nocrf", image_id))
        seed[: len(seed) // 2] = 255 if image_id == "a" else seed[: len(seed) // 2]
        write_mask(mask_path(tmp_path / "results" / "seeds" / "nocrf", image_id), seed)
    facts = json.loads((run / "run" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert write_report(tmp_path, workers=1).read_text().count('data-kind="cam" data-map=') == 2
    (tmp_path / "run.json").write_text(json.dumps({**facts, "threshold_policy": None}))
    text = write_report(tmp_path, workers=1).read_text()
    assert "data-map=" not in text.partition("<script>")[0] and 'type="range"' not in text


def test_the_legend_names_the_colours_of_the_masks(run):
    text = write_report(run / "run", workers=1).read_text()
    (legend,) = re.findall(r'<ul class="legend colours".*?</ul>', text)
    assert re.findall(r'background:(#\w+)"></i>([^<]*)', legend) == [
        ("#000000", "background"), ("#800000", "cat"), ("#008000", "dog"), ("#808000", "owl"),
        ("#e0e0c0", "undefined (255)"),
    ]  # fmt: skip


PIXELS = """(async () => {
  const pictures = [...document.querySelectorAll('#shots img[data-map]')], found = {};
  for (const picture of pictures) {
    const image = new Image(); image.src = picture.src; await image.decode();
    const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
    const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
    const name = picture.closest('figure').querySelector('b').textContent;
    found[name] = [image.height, image.width, [...pen.getImageData(0, 0, image.width, image.height).data]];
  }
  return found;
})()"""


def shown(window) -> dict:
    """The redrawn pictures by id, (H, W, 3)."""
    for _ in range(100):
        if window.run("document.getElementById('shots').getAttribute('aria-busy')") != "true":
            break
        time.sleep(0.05)
    return {
        name: np.array(values, np.uint8).reshape(height, width, 4)[..., :3]
        for name, (height, width, values) in window.run(PIXELS).items()
    }


def move(window, position):
    window.run(
        f"(() => {{ const slider = document.querySelector('.slider input'); slider.value = {position}; "
        "slider.dispatchEvent(new Event('input')); })()"
    )


@needs_browser
def test_in_a_browser(run, tmp_path_factory):
    page = write_report(run / "run", workers=1)
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as window:
        window.open(page)
        output = "document.querySelector('.slider output').textContent"
        assert window.run(output) == f"{OWN} (the run's own): --redo masks --threshold {OWN}"
        before = shown(window)
        assert set(before) == {"a", "b", "c"}
        position = levels(OWN).index(OWN)
        move(window, position + 30)
        assert any((before[name] != picture).any() for name, picture in shown(window).items())
        move(window, position)
        for name, picture in shown(window).items():
            np.testing.assert_array_equal(picture, before[name])

        window.run("document.querySelector('.slider input').focus()")
        window.press(chromium.RIGHT)
        level = levels(OWN)[position + 1]
        assert window.run(output) == f"{level}: --redo masks --threshold {level}"
        make_seeds(run, run / "again", level)
        for name, picture in shown(window).items():
            seed = read_mask(mask_path(run / "again" / "nocrf", name))
            if name == "b":  # it was enlarged from the size that is shown
                small = cam_seed_at(run, name, level)
                np.testing.assert_array_equal(seed, enlarge_mask(small, seed.shape))
                seed = small
            np.testing.assert_array_equal(picture, voc_palette()[seed])
        window.open(page, width=360, height=740)
        assert window.run("document.documentElement.scrollWidth") <= 360
        assert window.complaints() == []


def cam_seed_at(run, image_id, level):
    from icd.bounded import bounded_maps
    from icd.files import read_score_maps

    return cam_seed(
        bounded_maps(read_score_maps(score_maps_path(run / "run/results/scores_cam", image_id)), 120), level
    )
