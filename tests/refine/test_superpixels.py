"""Superpixels against the original tool's maps, a plain re-statement of the algorithm, and their own promises."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import PEAK

from icd.errors import InputError
from icd.files import read_superpixels
from icd.refine.superpixels import merge, pool, segment
from icd.stages.superpixels import SegmentImage

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ("chelsea", "rocket", "ihc", "retina")
MERGED = ("chelsea", "rocket")


def read(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def quantised(seed: int, height: int, width: int, levels: int) -> np.ndarray:
    """A picture of flat patches and ramps, with very many edges of equal weight."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, levels, (height // 6 + 1, width // 9 + 1, 3))
    patches = np.kron(coarse, np.ones((6, 9, 1), int))[:height, :width]
    ramp = (np.arange(width) // 4 % levels)[None, :, None]
    return ((patches + ramp * (seed % 2)) % levels * (255 // levels)).astype(np.uint8)


@pytest.mark.parametrize("picture", PICTURES)
def test_golden_maps_of_the_original_tool(golden, picture, parity):
    folder = golden / "icd" / "superpixel_raw"
    labels = segment(read(folder / f"{picture}.jpg"))
    assert labels.dtype == np.int32
    parity("superpixels", f"raw, {picture}", labels, read_superpixels(folder / f"{picture}.png"), 0)


def test_worked_examples_with_many_ties():  # spec icd, A5
    y, x = np.mgrid[:120, :160]
    step = 60 * ((x // 20 + y // 15) % 4)
    mixed = (37 * (x // 7) + 91 * (y // 5) + 17 * (((x // 7) * (y // 5)) % 13)) % 256
    pictures = [
        (
            np.stack([(5 * x + 3 * y) % 256, (x * x + y) % 256, (40 * (x // 16) + 25 * (y // 12)) % 256], -1),
            110,
        ),
        (np.stack([step, step, step], -1), 48),
        (np.stack([mixed, 3 * mixed % 256, 255 - mixed], -1), 84),
    ]
    hashes = ("35ef1c17b7b75f30", "52189e45ba8e7fe7", "ceb1ea3564c57f98")
    for (picture, count), expected in zip(pictures, hashes):
        labels = segment(picture.astype(np.uint8))
        assert labels.max() + 1 == count
        assert hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:16] == expected


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The plain program; skipped where there is no compiler with GNU libstdc++."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    program = tmp_path_factory.mktemp("plain") / "plain_segmentation"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", f"-I{ROOT / 'external' / 'superpixel'}"]
    source = Path(__file__).parent / "plain_segmentation.cpp"
    built = subprocess.run(
        [compiler, *flags, str(source), "-o", str(program)], capture_output=True, text=True
    )
    if "needs GNU libstdc++" in built.stderr:
        pytest.skip("needs GNU libstdc++")
    assert built.returncode == 0, built.stderr
    return program


def test_introsort_is_std_sort(plain):
    assert subprocess.run([plain, "sort"]).returncode == 0


def test_like_the_plain_program(plain):
    cases = [(seed, 20 + seed % 40, 15 + 3 * seed % 70, (2, 4, 8, 32, 250)[seed % 5]) for seed in range(60)]
    pictures = [quantised(*case) for case in cases]
    pictures += [
        np.random.RandomState(0).randint(0, 256, (50, 40, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
    ]
    parameters = [((75.0, 75), (300.0, 20), (0.0, 0), (10.0, 1000))[i % 4] for i in range(len(pictures))]
    sent = b"".join(
        struct.pack("3if", *picture.shape[:2], min_size, k) + picture.tobytes()
        for picture, (k, min_size) in zip(pictures, parameters)
    )
    answer = np.frombuffer(
        subprocess.run([plain], input=sent, capture_output=True, check=True).stdout, np.int32
    )
    ends = np.cumsum([picture.shape[0] * picture.shape[1] for picture in pictures])
    for picture, (k, min_size), expected in zip(pictures, parameters, np.split(answer, ends[:-1])):
        labels = segment(picture, k=k, min_size=min_size)
        np.testing.assert_array_equal(labels, expected.reshape(labels.shape))


def test_segments_are_connected_large_and_numbered_in_raster_order():
    labels = segment(quantised(3, 90, 120, 8), k=40.0, min_size=30)
    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first) > 0).all() and labels.max() + 1 == len(first)
    for label in range(labels.max() + 1):
        parts, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        assert parts == 2 and (labels == label).sum() >= 30


def test_extreme_parameters():
    picture = quantised(1, 30, 40, 8)
    assert (segment(picture, k=1e30) == 0).all()
    assert (segment(picture, min_size=2**31 - 1) == 0).all()
    flat = np.full((7, 9, 3), 17, np.uint8)
    assert (segment(flat, k=0) == 0).all()
    sharp = np.zeros((6, 8, 3), np.uint8)
    sharp[:, 4:] = 255
    np.testing.assert_array_equal(segment(sharp, k=0, sigma=0), np.repeat([[0, 1]], 6, 0).repeat(4, 1))
    assert segment(sharp, sigma=100).shape == (6, 8)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": np.zeros((4, 4, 3), np.float32)},
        {"image": np.zeros((4, 4), np.uint8)},
        {"image": np.zeros((4, 4, 4), np.uint8)},
        {"image": np.zeros((0, 4, 3), np.uint8)},
        {"k": -1},
        {"k": float("nan")},
        {"k": "75"},
        {"sigma": -0.1},
        {"sigma": 1e9},
        {"min_size": -1},
        {"min_size": 1.5},
    ],
)
def test_segment_refuses(arguments):
    with pytest.raises(InputError):
        segment(**{"image": np.zeros((4, 4, 3), np.uint8), **arguments})


@pytest.mark.parametrize("picture", MERGED)
@pytest.mark.parametrize("limit", [64, 20])
def test_golden_merging(golden, picture, limit, parity):
    data = np.load(golden / "icd" / "superpixel_merge" / f"{picture}.npz")
    merged = merge(data["raw_map"], data["features"], limit)
    parity("superpixels", f"merged to {limit}, {picture}", merged, data[f"merged_{limit}"], 0)


@pytest.mark.parametrize("picture", MERGED)
def test_golden_pooling(golden, picture, parity):
    data = np.load(golden / "icd" / "superpixel_merge" / f"{picture}_pool.npz")
    pooled = pool(data["dense_feature"], data["raw_map"], 513)
    parity("superpixels", f"features of regions, {picture}", pooled, data["region_feature"], 1e-5)


def test_merging_worked_example():  # spec icd, A6
    regions = np.array([[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 5]] * 2)
    features = np.array([[1, 0, 0], [0, 1, 0], [1, 0.1, 0], [0, 0.9, 0.2], [0, 0, 1], [0.9, 0.2, 0]])
    rows = {
        6: ([0, 0, 1, 1, 2, 2], [3, 3, 3, 4, 4, 5]),
        5: ([0, 0, 1, 1, 2, 2], [3, 3, 3, 4, 4, 2]),
        4: ([0, 0, 1, 1, 0, 0], [2, 2, 2, 3, 3, 0]),
        3: ([0, 0, 1, 1, 0, 0], [1, 1, 1, 2, 2, 0]),
        2: ([0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]),
        1: ([0] * 6, [0] * 6),
    }
    for limit, (upper, lower) in rows.items():
        np.testing.assert_array_equal(merge(regions, features, limit), [upper, upper, lower, lower])


def merge_step_by_step(regions, features, limit):
    """The definition (spec icd 5.3) without bookkeeping: all similarities anew at each merge."""
    features, sizes = features.astype(np.float32).copy(), np.bincount(regions.ravel())
    alive, labels = list(range(len(sizes))), regions.copy()
    while len(alive) > limit:
        f, a = features[alive].astype(np.float64), sizes[alive]
        norms = np.linalg.norm(f, axis=1)
        lengths = norms * norms[:, None]
        cosines = np.divide(f @ f.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        similarity = (cosines + 1.0 - (a + a[:, None]) / regions.size).astype(np.float32)
        np.fill_diagonal(similarity, -np.inf)
        i, j = (alive[n] for n in sorted(divmod(int(similarity.argmax()), len(alive))))
        total = np.float32(sizes[i] + sizes[j])
        features[i] = features[i] * np.float32(sizes[i] / total) + features[j] * np.float32(sizes[j] / total)
        sizes[i] += sizes[j]
        labels[labels == j] = i
        alive.remove(j)
    return np.searchsorted(alive, labels)


def test_merging_like_the_definition():
    for seed in range(8):
        random = np.random.RandomState(seed)
        regions = np.concatenate([np.arange(60), random.randint(0, 60, 540)]).reshape(20, 30)
        features = random.rand(60, 5 + 4 * seed).astype(np.float32)
        for threads in (1, 3):
            merged = merge(regions, features, 7, threads)
            np.testing.assert_array_equal(merged, merge_step_by_step(regions, features, 7))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(1, 70), st.sampled_from([1, 2, 4]))
def test_merging_like_the_definition_with_ties(data, count, channels, kinds):
    """Few different whole numbers and sizes: many pairs are exactly alike, some features are zero, some opposite."""
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1)))
    features = random.randint(-1, kinds + 1, (count, channels)).astype(np.float32)
    if data.draw(st.booleans()):
        features = features[random.randint(0, count, count)]
    if not data.draw(st.booleans()):
        features = np.abs(features)
    repeats = random.randint(1, data.draw(st.integers(2, 4)), count)
    regions = np.repeat(np.arange(count), repeats)[None]
    limit = data.draw(st.integers(1, count))
    expected = merge_step_by_step(regions, features, limit)
    np.testing.assert_array_equal(merge(regions, features, limit, 1), expected)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 0.0])
@pytest.mark.parametrize("channels", [3, 40])
def test_merging_of_many_regions_like_the_definition(spread, channels):
    """Above 1024 regions runners-up are kept; nearly equal features need all three levels of comparison."""
    random = np.random.RandomState(3)
    count = 1210
    features = random.rand(20, channels)[random.randint(0, 20, count)] + spread * random.rand(count, channels)
    regions = np.repeat(np.arange(count), random.randint(1, 5, count))[None]
    features = features.astype(np.float32)
    expected = merge_step_by_step(regions, features, count - 45)
    for threads in (1, 2):
        np.testing.assert_array_equal(merge(regions, features, count - 45, threads), expected)


MERGE_MANY = (
    PEAK
    + """
import numpy as np
from icd.refine.superpixels import merge

features = np.random.RandomState(0).rand(7000, 8).astype(np.float32)
regions = np.arange(7000).reshape(70, 100)
merge(np.arange(140)[None], features[:140], 64, 1)
before = peak()
assert merge(regions, features, 6500, 1).max() == 6499
print((peak() - before) / 1e6)
"""
)


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer keeps freed memory")
def test_merging_takes_no_table_of_pairs():
    """A table of floats for 7,000 regions would be 196 MB."""
    ran = subprocess.run([sys.executable, "-c", MERGE_MANY], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 40


def test_merging_of_zero_and_equal_features():
    regions = np.arange(12).reshape(3, 4)
    assert merge(regions, np.zeros((12, 3)), 5).max() == 4
    np.testing.assert_array_equal(merge(regions, np.ones((12, 3)), 11).ravel(), [0, 0, *range(1, 11)])


def test_pooling_is_the_mean_of_the_upsampled_map():
    random = np.random.RandomState(0)
    feature = random.rand(3, 5, 7).astype(np.float32)
    regions = np.concatenate([np.arange(20), random.randint(0, 20, 23 * 17 - 20)]).reshape(23, 17)
    frame = 29
    rows, columns = np.arange(23) * (4 / 28), np.arange(17) * (6 / 28)
    up = np.empty((3, 23, 17))
    for channel in range(3):
        by_row = np.stack([np.interp(rows, np.arange(5), feature[channel, :, x]) for x in range(7)], 1)
        up[channel] = np.stack([np.interp(columns, np.arange(7), line) for line in by_row])
    expected = np.stack([up[:, regions == region].mean(1) for region in range(20)])
    np.testing.assert_allclose(pool(feature, regions, frame), expected, atol=1e-6)
    np.testing.assert_array_equal(pool(feature, regions, frame, 1), pool(feature, regions, frame, 4))


def test_pooling_of_one_cell_and_one_pixel():
    np.testing.assert_array_equal(pool(np.full((2, 1, 1), 3.0), np.zeros((1, 1), int), 1), [[3, 3]])
    np.testing.assert_allclose(pool(np.full((1, 1, 1), 3.0), np.zeros((4, 4), int), 9), [[3]])


@pytest.mark.parametrize(
    "regions",
    [
        np.array([[0, 2]]),
        np.array([[-1, 0]]),
        np.array([[0, 2**31 - 1]]),
        np.array([[0, 2**40]]),
        np.array([[0.0, 1.0]]),
        np.zeros((0, 3), int),
        np.zeros(4, int),
    ],
)
def test_bad_regions_are_refused(regions):
    with pytest.raises(InputError):
        pool(np.ones((2, 3, 3)), regions, 9)
    with pytest.raises(InputError):
        merge(regions, np.ones((2, 3)))


def test_pool_and_merge_refuse():
    regions = np.array([[0, 1]])
    with pytest.raises(InputError, match="frame"):
        pool(np.ones((2, 3, 3)), regions, 1)
    with pytest.raises(InputError, match="NaN"):
        pool(np.full((2, 3, 3), np.nan), regions, 9)
    with pytest.raises(InputError, match="features"):
        merge(regions, np.ones((3, 3)))
    with pytest.raises(InputError, match="limit"):
        merge(regions, np.ones((2, 3)), 0)


def test_files(golden, tmp_path):
    folder = golden / "icd" / "superpixel_raw"
    for picture in ("ihc", "rocket"):
        SegmentImage(folder, tmp_path / "new" / "folder", 75.0)(picture)
        written = read_superpixels(tmp_path / "new" / "folder" / f"{picture}.png")
        np.testing.assert_array_equal(written, read_superpixels(folder / f"{picture}.png"))
    with pytest.raises(InputError, match="absent"):
        SegmentImage(folder, tmp_path, 75.0)("absent")


def make_superpixel(*arguments):
    tool = ROOT / "external" / "superpixel" / "makeSuperpixel"
    return subprocess.run([sys.executable, tool, *map(str, arguments)], capture_output=True, text=True)


def test_the_four_argument_tool(golden, tmp_path):
    folder = golden / "icd" / "superpixel_raw"
    (tmp_path / "list.txt").write_text("retina\nchelsea")
    ran = make_superpixel(tmp_path / "list.txt", folder, tmp_path / "target", 75)
    assert ran.returncode == 0 and not ran.stderr
    for picture in ("retina", "chelsea"):
        assert read_superpixels(tmp_path / "target" / f"{picture}.png").tobytes() == (
            read_superpixels(folder / f"{picture}.png").tobytes()
        )


def test_the_four_argument_tool_refuses(tmp_path):
    ran = make_superpixel("one", "two")
    assert ran.returncode == 255 and "usage" in ran.stderr
    ran = make_superpixel(tmp_path / "absent.txt", tmp_path, tmp_path / "target", 75)
    assert ran.returncode == 1 and "absent.txt" in ran.stderr and ran.stderr.count("\n") == 1
    assert make_superpixel(tmp_path / "absent.txt", tmp_path, tmp_path / "target", "k").returncode == 1
