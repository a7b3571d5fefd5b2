"""The report as a file, and in a browser."""

from __future__ import annotations

import json
import re
import shutil

import browser as chromium
import numpy as np
import pytest
from PIL import Image

from icd.errors import InputError
from icd.evaluate import score_masks, threshold_curve
from icd.evaluate.gallery import choose
from icd.evaluate.report import write_report
from icd.files import ScoreMaps, mask_path, read_mask, write_json, write_mask, write_score_maps
from icd.provenance import write_run

NAMES = ("cat", "dog", "a <b>bold</b> class")
needs_browser = pytest.mark.skipif(
    not (chromium.CHROMIUM and chromium.DRIVER), reason="needs chromium and chromedriver"
)


def _make_run(root, ids):
    """A run of rectangles: photographs, truth, score maps, two variants of seeds, scores, losses."""
    random, run = np.random.RandomState(0), root / "run"
    (root / "images").mkdir(parents=True)
    for k, image_id in enumerate(ids):
        number = k % 3 + 1
        truth = np.zeros((60, 80), np.uint8)
        truth[10:40, 20:60], truth[8:10, 20:60] = number, 255
        image = np.where((truth == number)[..., None], (200, 60 * number, 30), (90, 120, 150)).astype(
            np.uint8
        )
        Image.fromarray(image).save(root / "images" / f"{image_id}.jpg")
        write_mask(mask_path(root / "truth", image_id), truth)
        shifted = np.roll(np.where(truth == 255, 0, truth), k, 1)
        for variant in ("nocrf", "crf"):
            seed = shifted.copy()
            seed[:3] = 255 if variant == "nocrf" else 0
            write_mask(mask_path(run / "results" / "seeds" / variant, image_id), seed)
        maps = (shifted == number)[None, ::4, ::4] + 0.1 * random.randn(1, 15, 20)
        for kind in ("cam", "icd"):
            scores = ScoreMaps(
                np.array([number], np.int16), maps.astype(np.float32), (60, 80), (60, 80, 60, 80)
            )
            write_score_maps(run / "results" / f"scores_{kind}" / f"{image_id}.npz", scores)
    (root / "ids.txt").write_text("\n".join(ids) + "\n")
    write_run(
        run, method="icd", backbone="small", seed=1, data_list=root / "ids.txt", classes=NAMES, recipe={"scales": [1, 2]},
        image_root=root / "images", eval_root=root / "truth", threshold_policy="cam: fixed 0.25 of the maximum; icd: none",
    )  # fmt: skip
    entries = []
    for variant in ("nocrf", "crf"):
        scores = score_masks(run / "results" / "seeds" / variant, root / "truth", ids, NAMES)
        entries.append({"name": f"icd {variant}", **scores.as_dict()})
    write_json(run / "scores.json", entries)
    lines = [json.dumps({"epoch": 0, "step": k, "learning_rate": 0.1, "cam": 1 / k}) for k in range(1, 900)]
    (run / "losses.jsonl").write_text("\n".join(lines) + "\n")
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return _make_run(tmp_path_factory.mktemp("report"), [f"image_{k:02d}" for k in range(18)])


@pytest.fixture(scope="module")
def page(run):
    return write_report(run, gallery=12)


def test_everything_is_in_one_file(page, run):
    text = page.read_text()
    assert page == run / "report.html"
    for name in ("scores", "classes", "threshold", "confusion", "gallery", "losses", "origin"):
        assert f'<section id="{name}">' in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "http" not in text.replace("http-equiv", "")
    assert "chosen with the truth" in text and "icd nocrf" in text
    assert text.count('<figure class="shot"') == 12
    assert text.count('data-rank="worst"') == 4
    assert "<b>bold</b>" not in text and "&lt;b&gt;bold&lt;/b&gt;" in text
    assert not list(run.parent.rglob("*.part"))


def test_numbers_are_those_of_the_evaluator(page, run):
    text = page.read_text()
    for entry in json.loads((run / "scores.json").read_text()):
        assert f'<th scope="row">{entry["name"]}</th><td>{100 * entry["miou"]:.2f}</td>' in text


def test_the_fixed_threshold_is_that_of_the_runs_seeds(page, run):
    section = page.read_text().split('<section id="threshold">')[1].split("</section>")[0]
    rows = re.findall(r'<th scope="row">(\w+)</th><td>([\d.]+)</td><td>([\d.]+)</td>', section)
    assert [row[:2] for row in rows] == [("cam", "0.25"), ("icd", "0")]
    ids = (run.parent / "ids.txt").read_text().split()
    for kind, level, miou in rows:
        maps = run / "results" / f"scores_{kind}"
        curve = threshold_curve(
            maps, run.parent / "truth", ids, [float(level)], classes=NAMES, normalize=True
        )
        assert float(miou) == pytest.approx(100 * curve.miou[0], abs=0.005)


def test_what_is_not_there_is_left_out(tmp_path):
    with pytest.raises(InputError, match="a run folder with run.json"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="nothing there"):
        write_report(tmp_path / "absent")
    with pytest.raises(InputError, match="a folder or list"):
        write_report(tmp_path, image_root=tmp_path / "absent")
    (tmp_path / "losses.jsonl").write_text('{"epoch": 0, "step": 1, "cam": 2.5}')
    text = write_report(tmp_path).read_text()
    assert text.count("<section") == 1 and '<section id="losses">' in text and "no run.json" in text
    (tmp_path / "losses.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"losses\.jsonl"):
        write_report(tmp_path)


def test_without_truth_the_pictures_are_not_ranked(run, tmp_path):
    moved = tmp_path / "moved"
    (moved / "results").mkdir(parents=True)
    (moved / "results" / "scores_cam").symlink_to(run / "results" / "scores_cam")
    text = write_report(
        moved, image_root=run.parent / "images", id_list=run.parent / "ids.txt", gallery=5
    ).read_text()
    assert "Not ranked: no truth." in text and text.count('<figure class="shot"') == 5


def _pictures(text) -> list:
    """Names of the pictures of the first image, by row."""
    figure = text[text.index('<figure class="shot"') :].split("</figure>")[0]
    return [re.findall(r'<img alt="([^"]*)"', row) for row in figure.split('<div class="panels">')[1:]]


def test_seeds_of_cam_stand_beside_the_methods_own(page, run, tmp_path):
    assert _pictures(page.read_text()) == [
        ["image", "cam map"],
        ["truth", "icd map", "icd seed", "icd after CRF"],
    ]
    both = tmp_path / "run"
    shutil.copytree(run, both)
    shutil.copytree(run / "results" / "seeds", both / "results" / "seeds_cam")
    assert _pictures(write_report(both, gallery=1).read_text()) == [
        ["image", "cam map", "cam seed", "cam after CRF"],
        ["truth", "icd map", "icd seed", "icd after CRF"],
    ]
    shutil.rmtree(both / "results" / "scores_cam")
    shutil.rmtree(both / "results" / "scores_icd")
    assert _pictures(write_report(both, gallery=1).read_text()) == [["image", "truth", "seed", "after CRF"]]


def test_images_are_ranked_by_what_was_scored(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    entries = json.loads((copy / "scores.json").read_text())
    entries[-1]["per_image"] = {"image_07": 0.9, "image_03": None, "image_05": 0.4}
    write_json(copy / "scores.json", entries)
    text = write_report(copy, gallery=3).read_text()
    assert re.findall(r"<b>(image_\d+)</b>", text) == ["image_07", "image_05"]
    again = write_report(copy, gallery=3, truth_root=run.parent / "truth").read_text()
    assert len(re.findall(r"<b>(image_\d+)</b>", again)) == 3


def test_many_classes_stay_small(run, tmp_path):
    copy, counts = tmp_path / "run", np.zeros((81, 82), np.int64)
    copy.mkdir()
    np.fill_diagonal(counts, 1000)
    classes = [{"name": f"class {k}", "number": k, "iou": 0.5} for k in range(81)]
    entry = {"miou": 0.5, "classes": classes, "counts": counts.tolist()}
    write_json(copy / "scores.json", [{**entry, "name": f"score {k}"} for k in range(6)])
    assert write_report(copy).stat().st_size < 1e6


def test_choice_of_pictures():
    scores = {f"{k:03d}": k / 100 for k in range(100)}
    scores["nan"] = float("nan")
    chosen = choose(scores, list(scores), 9)
    assert [entry[1] for entry in chosen] == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    assert [entry[0] for entry in chosen] == ["099", "098", "097", "050", "049", "048", "002", "001", "000"]
    few = choose(scores, list(scores), 200)
    assert len(few) == 100 and {entry[1] for entry in few} == {"best", "median", "worst"}


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def _shown(window) -> int:
    return window.run("[...document.querySelectorAll('.shot')].filter(s => s.offsetParent !== null).length")


@needs_browser
def test_nothing_fails_to_load(page, window):
    window.open(page)
    assert window.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert window.run("document.images.length") == 12 * 6
    assert (
        window.run("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length")
        == 0
    )
    assert window.complaints() == []


@needs_browser
def test_filters(page, window):
    window.open(page)
    assert _shown(window) == 12
    window.click("[data-show=worst]")
    assert _shown(window) == 4
    assert window.run("document.querySelector('[data-show=worst]').getAttribute('aria-pressed')") == "true"
    assert window.run("document.getElementById('shown').textContent") == "4 of 12 pictures"
    window.click("[data-show='']")
    counts = []
    for number in (1, 2, 3):
        window.click(f"#class option[value='{number}']")
        counts.append(_shown(window))
        assert (
            window.run(f"document.querySelectorAll('.shot:not([hidden])[data-classes=\"{number}\"]').length")
            == counts[-1]
        )
    assert sum(counts) == 12 and min(counts) > 0
    window.click("[data-show=best]")
    assert _shown(window) < counts[-1] or counts[-1] <= 4
    assert window.complaints() == []


@needs_browser
def test_keyboard(page, window):
    window.open(page)
    name = "document.querySelector('#large b').textContent"
    window.run("document.querySelector('.shot').focus()")
    window.press(chromium.ENTER)
    assert window.run("document.querySelector('dialog').open")
    first = window.run(name)
    window.press(chromium.RIGHT)
    assert window.run(name) != first
    window.press(chromium.ESCAPE)
    assert not window.run("document.querySelector('dialog').open")
    assert window.run("document.activeElement.classList.contains('shot')")
    assert window.complaints() == []


@needs_browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_sideways_scrolling(page, window, width):
    window.open(page, width=width, height=740)
    assert window.run("window.innerWidth") == width
    assert window.run("document.documentElement.scrollWidth") <= width


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_numbers_stand_beside_their_bars(run, window, tmp_path, width):
    classes = [{"name": f"class {k}", "number": k, "iou": k / 20} for k in range(21)]
    write_json(tmp_path / "scores.json", [{"name": "ours", "miou": 0.5, "classes": classes}])
    window.open(write_report(tmp_path), width=width)
    outside = """[...document.querySelectorAll('.bar')].filter(bar => {
        const [a, b] = [bar, bar.querySelector('span')].map(element => element.getBoundingClientRect());
        return b.top < a.top - 2 || b.bottom > a.bottom + 2 || b.right > document.documentElement.clientWidth;
    }).map(bar => bar.textContent)"""
    assert window.run(outside) == []


@needs_browser
def test_dark_mode(page, window):
    brightness = []
    for dark in (False, True):
        window.open(page, dark=dark)
        colours = window.run(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        brightness.append([sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours])
    (light_page, light_ink), (dark_page, dark_ink) = brightness
    assert light_page - light_ink > 500 and dark_ink - dark_page > 500


@pytest.mark.slow
def test_500_photographs_stay_under_10_megabytes(shared, tmp_path):
    data = shared / "data" / "voc-animals"
    ids = (data / "ImageSets" / "train_aug.txt").read_text().split()[:500]
    for image_id in ids:
        truth = data / "SegmentationClassAug" / f"{image_id}.png"
        for folder in ("seeds", "seeds_cam"):
            for variant in ("nocrf", "crf", "sal"):
                path = mask_path(tmp_path / "results" / folder / variant, image_id)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(truth)
        size, grid = read_mask(truth).shape, np.random.RandomState(0).rand(2, 41, 41).astype(np.float32)
        for kind in ("cam", "icd"):
            scores = ScoreMaps(np.array([1, 2], np.int16), grid, size, (*size, *size))
            path = tmp_path / "results" / f"scores_{kind}" / f"{image_id}.npz"
            path.parent.mkdir(exist_ok=True)
            write_score_maps(path, scores)
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    folders = {"image_root": data / "JPEGImages", "truth_root": data / "SegmentationClassAug"}
    page = write_report(tmp_path, **folders, id_list=tmp_path / "ids.txt", gallery=500)
    assert page.read_text().count('<figure class="shot"') == 500
    assert page.stat().st_size < 10e6


def test_masks_of_another_program(run, tmp_path):
    """A folder of masks is shown, scored with the classes that are given, and nothing is said that nobody knows."""
    folder = tmp_path / "theirs"
    shutil.copytree(run / "results" / "seeds" / "crf", folder)
    root = run.parent
    sources = {"image_root": root / "images", "truth_root": root / "truth", "id_list": root / "ids.txt"}
    page = write_report(folder, **sources, classes=NAMES, gallery=3, workers=1).read_text()
    assert (
        "how these results came about is not stated" in page
        and "random start" not in page
        and "None" not in page
    )
    assert page.count('<figure class="shot"') == 3 and page.count("<small>prediction</small>") == 3
    assert "a &lt;b&gt;bold&lt;/b&gt; class" in page and "aeroplane" not in page
    scores = score_masks(folder, root / "truth", (root / "ids.txt").read_text().split(), NAMES)
    assert f"{100 * scores.miou:.2f}" in page


def test_what_a_run_has_not_written_down_is_not_stated(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(run / "scores.json", folder)
    write_json(folder / "run.json", {"method": "cam"})
    page = write_report(folder).read_text()
    assert page.count("not stated") == 3 and "random start" not in page and "seed None" not in page


def test_what_is_undefined_is_said_beside_the_score(run):
    page = write_report(run, gallery=0).read_text()
    entry = json.loads((run / "scores.json").read_text())[0]
    assert entry["coverage"] < 1
    assert f"with them as errors the mIoU is {100 * entry['miou_per_policy']['error']:.2f} %" in page
