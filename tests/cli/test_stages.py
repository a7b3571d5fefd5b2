"""Stages on their own: superpixels, seeds from our score maps and from an original's."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from runs import CLASSES, execute, make_data

from icd.files import ScoreMaps, read_mask, read_superpixels, score_maps_path, write_score_maps
from icd.foreign.numpy_files import write_npy
from icd.methods.icd import icd_seed
from icd.provenance import read_run
from icd.refine.seeds import cam_seed

ICD = [sys.executable, "-m", "icd.cli.main"]


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data", count=3)


def test_raw_superpixels_have_the_size_of_their_photograph(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 1300, 3)).astype(np.uint8)).save(
        tmp_path / "images/a.jpg"
    )
    (tmp_path / "list.txt").write_text("a\n")
    call = [*ICD, "superpixels", "raw", "--images", "images", "--list", "list.txt", "--workers", "0", "--out"]
    assert execute([*call, "whole"], tmp_path).returncode == 0
    assert read_superpixels(tmp_path / "whole/a.png").shape == (40, 1300)
    assert execute([*call, "bounded", "--max-side", "130"], tmp_path).returncode == 0
    assert read_superpixels(tmp_path / "bounded/a.png").shape == (4, 130)


def test_raw_superpixels_are_kept(data):
    command = [
        *ICD,
        "superpixels",
        "raw",
        "--image-root",
        "JPEGImages",
        "--data-list",
        "list.txt",
        "--target",
        "sp",
    ]
    result = execute(command, data)
    assert result.returncode == 0, result.stderr
    path = data / "sp/picture0.png"
    ids = read_superpixels(path, (72, 80))
    assert ids.max() >= 1
    first = path.stat().st_mtime_ns
    (data / "sp/picture1.png").unlink()
    assert execute(command, data).returncode == 0
    assert path.stat().st_mtime_ns == first and (data / "sp/picture1.png").is_file()


def write_maps(data, random):
    """Score maps of both kinds for picture 0 (a disc alone) in our layout and in ICD's."""
    maps = {kind: random.randn(1, 65, 65).astype(np.float32) for kind in ("cam", "icd")}
    for kind, values in maps.items():
        scores = ScoreMaps(np.array([1], np.int16), values, (72, 80), (513, 513, 72, 80))
        write_score_maps(score_maps_path(data / f"{kind}_npz", "picture0"), scores)
        write_npy(data / f"{kind}_npy" / "picture0.npy", values)
        maps[kind] = scores
    (data / "one.txt").write_text("picture0\n")
    return maps


@pytest.mark.parametrize("layout", ["npz", "npy"])
def test_seeds_of_both_layouts_are_equal(data, layout):
    maps = write_maps(data, np.random.RandomState(0))
    common = ["--data-list", "one.txt", "--classes", "classes.txt", "--cam-root", f"cam_{layout}", "--workers", "0",
              "--image-root", "JPEGImages", "--annotation-root", "Annotations", "--variants", "nocrf,crf"]  # fmt: skip
    rules = {"icd": icd_seed(maps["icd"], maps["cam"]), "cam": cam_seed(maps["cam"])}
    for rule, expected in rules.items():
        target = data / f"seeds_{rule}_{layout}"
        more = ["--rule", rule, "--target", str(target), "--map-root", f"{rule}_{layout}"]
        result = execute([*ICD, "seeds", *common, *more], data)
        assert result.returncode == 0, result.stderr
        np.testing.assert_array_equal(read_mask(target / "nocrf/picture0.png"), expected)
        facts = read_run(target)
        policy = {"icd": "none", "cam": "fixed 0.2 of the maximum"}[rule]
        assert (facts["threshold_policy"], facts["crf"], facts["made_from"]) == (
            policy,
            "icd",
            str(data / more[-1]),
        )
        again = execute([*ICD, "seeds", *common, *more, "--crf-preset", "psa"], data)
        assert again.returncode == 2 and "made with crf" in again.stderr
        assert set(np.unique(read_mask(target / "crf/picture0.png"))) <= {0, *range(1, len(CLASSES) + 1), 255}


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--variants", "sal"], "--saliency"),
        (["--variants", "carf"], "carf"),
        (["--rule", "icd"], "--cam"),
    ],
)
def test_missing_flags_of_seeds_are_named(data, flags, word):
    common = [
        "--rule",
        "cam",
        "--map-root",
        "cam",
        "--data-list",
        "list.txt",
        "--target",
        "t",
        "--image-root",
        "JPEGImages",
    ]
    result = execute([*ICD, "seeds", *common, *flags], data)
    assert result.returncode == 2 and word in result.stderr and "Traceback" not in result.stderr


def test_commands_say_what_they_do():
    result = execute([*ICD, "--help"], ".")
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("    ")}
    assert listed >= {
        "run",
        "data",
        "superpixels",
        "seeds",
        "evaluate",
        "compare",
        "report",
        "export",
        "doctor",
    }


def test_walk_takes_maps_and_boundaries_of_any_program(tmp_path):
    """Score maps in PSA's layout and arrays of boundaries; neither photographs nor MXNet."""
    for folder in ("cams", "edges"):
        (tmp_path / folder).mkdir()
    for image_id in ("a", "b"):
        plane = np.zeros((72, 80), np.float32)
        plane[20:40, 20:40] = 1
        np.save(tmp_path / f"cams/{image_id}.npy", np.array({4: plane}, dtype=object), allow_pickle=True)
        wall = np.zeros((18, 20), np.float32)
        wall[:, 12] = 1
        np.save(tmp_path / f"edges/{image_id}.npy", wall)
    (tmp_path / "list.txt").write_text("a\nb\n")
    words = [
        "walk",
        "--maps",
        "cams",
        "--boundaries",
        "edges",
        "--list",
        "list.txt",
        "--out",
        "out",
        "--steps",
        "16",
    ]
    blocked = (
        "import sys; sys.modules['mxnet'] = None; from icd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    result = execute([sys.executable, "-c", blocked, *words], tmp_path)
    assert result.returncode == 0, result.stderr
    mask = read_mask(tmp_path / "out/masks/a.png", (72, 80))
    assert set(np.unique(mask)) == {0, 5} and mask[30, 30] == 5 and mask[30, 60] == 0
    again = execute([sys.executable, "-c", blocked, *words[:-1], "32"], tmp_path)
    assert again.returncode == 2 and "steps = 32" in again.stderr
