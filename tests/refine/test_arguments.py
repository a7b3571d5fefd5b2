"""What all kernels ask of their arguments, alignment and memory, and that their bits do not depend on the processor.

See also test_kernels_fuzz.py.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from icd import _native
from icd.errors import InputError
from icd.refine import arguments
from icd.refine.arguments import available_memory, check_memory, checked_array
from icd.refine.crf import dense_crf
from icd.refine.path_affinity import path_affinities, path_affinity_planes
from icd.refine.random_walk import disc_offsets, place_pairs, random_walk
from icd.refine.superpixels import merge, pool, segment

RANDOM = np.random.RandomState(0)
OFFSETS = disc_offsets(3)
IMAGE = RANDOM.randint(0, 256, (12, 16, 3)).astype(np.uint8)
IDS = np.arange(12 * 16, dtype=np.int32).reshape(12, 16) % 9


def floats(*shape) -> np.ndarray:
    return RANDOM.rand(*shape).astype(np.float32)


KERNELS = {
    "segment": (lambda image: segment(image, 30), IMAGE),
    "pool": (lambda features, ids: pool(features, ids, 17, 1), floats(5, 3, 3), IDS),
    "merge": (lambda features, ids: merge(ids, features, 4, 1), floats(9, 37), IDS),
    "dense_crf": (lambda image, unary: dense_crf(image, unary, "psa", 2, 1), IMAGE, floats(3, 12, 16)),
    "random_walk": (
        lambda scores, planes, offsets: random_walk(scores, planes, offsets, 8, 3, 1),
        floats(2, 12, 16),
        floats(len(OFFSETS), 12, 16),
        OFFSETS,
    ),
    "place_pairs": (
        lambda pairs, offsets: place_pairs(pairs, offsets, 12, 16),
        floats(len(OFFSETS), 10 * 12),
        OFFSETS,
    ),
    "path_affinities": (lambda boundary: path_affinities(boundary, 3, 1), floats(12, 16)),
    "path_affinity_planes": (lambda boundary: path_affinity_planes(boundary, 3, 1), floats(12, 16)),
}


def misaligned(array) -> np.ndarray:
    """The same values in a buffer, from its second byte on."""
    moved = np.frombuffer(b"\0" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)
    assert array.itemsize == 1 or not moved.flags.aligned
    return moved


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_arrays_need_not_be_aligned(kernel):
    function, *arrays = KERNELS[kernel]
    expected = function(*arrays)
    np.testing.assert_array_equal(function(*map(misaligned, arrays)), expected)


def test_the_native_module_itself_takes_arrays_that_are_not_aligned():
    features, sizes = misaligned(floats(9, 37)), misaligned(np.bincount(IDS.ravel()))
    expected = _native.merge_regions(features.copy(), sizes.copy(), IDS, 4, 1)
    np.testing.assert_array_equal(_native.merge_regions(features, sizes, misaligned(IDS), 4, 1), expected)
    np.testing.assert_array_equal(_native.region_sizes(misaligned(IDS), 9), sizes)
    starts, points = (
        misaligned(np.array([0, 1, 3])),
        misaligned(np.array([[0, 1], [1, -1], [1, 0]], np.int32)),
    )
    boundary = misaligned(floats(6, 7))
    expected = _native.path_affinities(boundary.copy(), points.copy(), starts.copy(), 1, 1)
    np.testing.assert_array_equal(_native.path_affinities(boundary, points, starts, 1, 1), expected)


@pytest.mark.parametrize("ids", [[[-1, 0]], [[0, 2]], [[0, 2**31 - 1]], [[-(2**31), 1]]])
def test_the_native_module_itself_refuses_ids_out_of_range(ids):
    ids, features = np.array(ids, np.int32), floats(2, 3)
    with pytest.raises(ValueError, match="regions"):
        _native.region_sizes(ids, 2)
    with pytest.raises(ValueError, match="regions"):
        _native.merge_regions(features, np.ones(2, np.int64), ids, 1, 1)
    with pytest.raises(ValueError, match="regions"):
        _native.pool_regions(floats(2, 3, 3), ids, 2, 9, 1)


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(arguments, "available_memory", lambda: 2**26)


SIDE = 1200  # pixels; every kernel below needs more than 64 MB for it
GRID = np.zeros((SIDE, SIDE), np.float32)
TOO_LARGE = {
    "segment": lambda: segment(np.zeros((SIDE, SIDE, 3), np.uint8)),
    "pool": lambda: pool(np.zeros((64, 600, 600), np.float32), np.zeros((9, 9), np.int32), 600),
    "merge": lambda: merge(np.arange(60000).reshape(200, 300), np.zeros((60000, 200), np.float32)),
    "dense_crf": lambda: dense_crf(np.zeros((SIDE, SIDE, 3), np.uint8), GRID[None], "psa"),
    "random_walk": lambda: random_walk(
        GRID[None], np.zeros((12, SIDE, SIDE), np.float32), disc_offsets(4)[:12], 8, 1
    ),
    "place_pairs": lambda: place_pairs(
        np.zeros((22, (SIDE - 3) * (SIDE - 6)), np.float32), disc_offsets(4), SIDE, SIDE
    ),
    "path_affinities": lambda: path_affinities(GRID, 5),
    "path_affinity_planes": lambda: path_affinity_planes(GRID, 5),
    "conversion": lambda: checked_array(
        "scores", np.broadcast_to(np.float32(0), (10**6, 10**6)), np.float32, "hw"
    ),
}


@pytest.mark.parametrize("kernel", sorted(TOO_LARGE))
def test_what_does_not_fit_into_memory_is_refused_with_the_need(kernel, little_memory):
    with pytest.raises(InputError, match=r"67 MB suffice.*found \d+ MB for") as refused:
        TOO_LARGE[kernel]()
    assert "\n" not in str(refused.value)


def test_small_needs_are_not_checked(monkeypatch):
    monkeypatch.setattr(arguments, "available_memory", lambda: 0)
    check_memory("x", 2**26 - 1, "nothing")
    with pytest.raises(InputError, match="x: "):
        check_memory("x", 2**26, "something")


def test_an_unknown_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(arguments, "available_memory", lambda: None)
    check_memory("x", 2**60, "anything")


@pytest.mark.parametrize("version", [1, 2])
def test_available_memory(tmp_path, version):
    assert available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert available_memory(tmp_path) == 5000 * 1024
    group = tmp_path / "sys" / "fs" / "cgroup" / ("memory" if version == 1 else "")
    group.mkdir(parents=True)
    limit, usage = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes")
        if version == 1
        else ("memory.max", "memory.current")
    )
    (group / limit).write_text("max\n")
    (group / usage).write_text("1000000\n")
    assert available_memory(tmp_path) == 5000 * 1024
    (group / limit).write_text("3000000\n")
    assert available_memory(tmp_path) == 2000000
    (group / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    assert available_memory(tmp_path) == 2500000
    (group / usage).write_text("9000000\n")
    assert available_memory(tmp_path) == 0


DIGESTS = """
import hashlib
import numpy as np
from icd.refine.crf import dense_crf
from icd.refine.superpixels import merge

random = np.random.RandomState(0)
image = np.cumsum(random.randint(0, 9, (70, 91, 3)), 1).astype(np.uint8)
results = [dense_crf(image, random.rand(k, 70, 91) * 3, p, 3, 1) for k in (2, 3, 7, 12, 21, 27) for p in ("psa", "vwe")]
results += [merge(np.arange(k)[None], random.rand(k, 45), k - 40, 1) for k in (90, 1200)]
for result in results:
    print(hashlib.sha256(result.tobytes()).hexdigest())
"""


def test_the_instruction_set_does_not_change_the_result():
    digests = []
    for avx2, vnni in (("0", "0"), ("1", "0"), ("1", "1")):
        environment = {**os.environ, "ICD_AVX2": avx2, "ICD_VNNI": vnni}
        command = [sys.executable, "-c", DIGESTS]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert ran.returncode == 0, ran.stderr
        digests.append(ran.stdout.split())
    assert len(digests[0]) == 14 and digests[0] == digests[1] == digests[2]


def test_this_machine_has_memory():
    assert available_memory() is None or available_memory() > 2**20
