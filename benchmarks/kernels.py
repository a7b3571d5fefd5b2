"""The native kernels against their peers, in turns in one process, on one thread; then with two threads, and how they grow.

    python benchmarks/kernels.py             writes the tables into docs/performance.md; needs Linux

In: two photographs of the tests. Out: time, ratio, peak memory and growth. Candidates take turns; a time is the median of
their turns and a ratio the median of the turns' ratios, because neighbours on the machine come and go. Times of one thread are
processor time, those of several are elapsed time; the head of the page says how busy the machine was.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.document import table, write_measured  # noqa: E402
from benchmarks.kernel_peers import (  # noqa: E402
    merge_in_numpy,
    path_affinities_in_numpy,
    pool_in_numpy,
    walk_dense,
    walk_in_scipy,
)
from benchmarks.machine import processor, status  # noqa: E402
from icd.refine.crf import dense_crf, unary_from_probabilities  # noqa: E402
from icd.refine.path_affinity import path_affinities, path_affinity_planes, path_offsets  # noqa: E402
from icd.refine.random_walk import disc_offsets, random_walk  # noqa: E402
from icd.refine.superpixels import merge, pool, segment  # noqa: E402

RANDOM = np.random.RandomState(0)


def photograph(name: str, rows: int = 375) -> np.ndarray:
    """A test picture, cut to 375 x 500 or what there is."""
    path = ROOT / "tests" / "golden" / "icd" / "superpixel_raw" / f"{name}.jpg"
    return np.ascontiguousarray(cv2.imread(str(path))[:rows, :500, ::-1])


def turns(*functions, runs=5, clock=time.process_time) -> np.ndarray:
    """Times of functions called in turns, after one call each that does not count; one row a function."""
    times = np.empty((len(functions), runs + 1))
    for run in range(runs + 1):
        for number, function in enumerate(functions):
            start = clock()
            function()
            times[number, run] = clock() - start
    return times[:, 1:]


def seconds(*functions, runs=5, clock=time.process_time) -> list:
    """Median time of each function."""
    return np.median(turns(*functions, runs=runs, clock=clock), 1).tolist()


def peak_megabytes(number: int, which: int) -> float:
    """Memory that the kernel (0) or the peer (1) of a case needs at most, in a process of its own."""
    command = [sys.executable, __file__, str(number), str(which)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(number: int, which: int) -> None:
    function = next(itertools.islice(cases(), number, None))[2 + which]
    ctypes.CDLL(None).malloc_trim(0)  # else the call could use memory that the process still holds
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    function()
    print((status("VmHWM") - before) / 1024)


def soft_unary(labels, size):
    coarse = np.random.RandomState(labels).rand(labels, 6, 8).astype(np.float32)
    maps = np.exp(6 * np.stack([cv2.resize(m, size[::-1], interpolation=cv2.INTER_CUBIC) for m in coarse]))
    return unary_from_probabilities(maps / maps.sum(0))


def seed_unary(labels, present, size):
    seeds = soft_unary(present, size).argmin(0)
    hard = np.where(np.arange(labels)[:, None, None] == seeds, 0.5, 0.5 / 21).astype(np.float32)
    return unary_from_probabilities(hard / hard.sum(0))


def walk_case(height, width, planes, radius):
    boundary = RANDOM.rand(height, width).astype(np.float32) * 0.3
    scores = RANDOM.rand(planes, height, width).astype(np.float32)
    return scores, path_affinity_planes(boundary, radius), path_offsets(radius)


def cases(threads=1):
    """(what, peer's name, kernel, peer) of every comparison."""
    for name in ("chelsea", "ihc"):
        image = photograph(name)
        size = "x".join(map(str, image.shape[:2]))
        yield (
            f"superpixels, {name} {size}",
            "scikit-image",
            lambda image=image: segment(image),
            lambda image=image: felzenszwalb(image, scale=75, sigma=0.8, min_size=75),
        )
    regions, features = merge_case(309)
    dense = RANDOM.rand(512, 65, 65).astype(np.float32)
    yield (
        "pooling, 309 regions, 512 channels",
        "NumPy + OpenCV",
        lambda: pool(dense, regions, 513, threads),
        lambda: pool_in_numpy(dense, regions, 513),
    )
    yield (
        "merging, 309 regions to 64, 512 channels",
        "NumPy",
        lambda: merge(regions, features, 64, threads),
        lambda: merge_in_numpy(regions, features, 64),
    )
    scores, planes, offsets = walk_case(94, 125, 3, 5)
    yield (
        "random walk, 94x125, radius 5, 256 steps, 3 classes",
        "SciPy CSR",
        lambda: random_walk(scores, planes, offsets, 10, 256, threads),
        lambda: walk_in_scipy(scores, planes, offsets, 10, 256),
    )
    small = walk_case(24, 32, 3, 5)
    yield (
        "random walk, 24x32, radius 5, 256 steps, 3 classes",
        "NumPy dense",
        lambda: random_walk(*small, 10, 256, threads),
        lambda: walk_dense(*small, 10, 8),
    )
    for name, what, make in (
        ("chelsea 332x500", "3 labels", lambda size: soft_unary(3, size)),
        ("chelsea 332x500", "21 labels, 3 present", lambda size: seed_unary(21, 3, size)),
        ("chelsea 332x500", "81 labels, 3 present", lambda size: seed_unary(81, 3, size)),
        ("ihc 375x500", "21 labels, 3 present", lambda size: seed_unary(21, 3, size)),
        ("ihc 375x500", "21 labels, all present", lambda size: soft_unary(21, size)),
    ):
        image = photograph(name.split()[0])
        unary = make(image.shape[:2])
        yield (
            f"dense CRF, {name}, {what}",
            "pydensecrf2",
            lambda image=image, unary=unary: dense_crf(image, unary, "psa", threads=threads),
            lambda image=image, unary=unary: dense_crf(image, unary, "psa", backend="pydensecrf"),
        )
    boundary = RANDOM.rand(128, 128).astype(np.float32)
    paths = [_flat_path(dy, dx, 128) for dy, dx in disc_offsets(10)]
    yield (
        "path affinities, 128x128, radius 10",
        "NumPy",
        lambda: path_affinities(boundary, 10, threads),
        lambda: path_affinities_in_numpy(boundary, 10, paths),
    )


def _flat_path(dy, dx, width):
    box = [(y, x) for y in range(dy + 1) for x in range(min(dx, 0), max(dx, 0) + 1)]
    return np.array([y * width + x for y, x in box if (dy * x - dx * y) ** 2 < dy * dy + dx * dx])


def comparisons() -> str:
    rows = []
    for number, (what, peer, kernel, other) in enumerate(cases()):
        times = turns(kernel, other, runs=7)
        ours, theirs = np.median(times, 1)
        ratio = np.median(times[1] / times[0])
        memory, peer_memory = peak_megabytes(number, 0), peak_megabytes(number, 1)
        row = [what, f"{ours * 1e3:.1f}", peer, f"{theirs * 1e3:.0f}", f"{ratio:.1f}"]
        rows.append([*row, f"{memory:.0f}", f"{peer_memory:.0f}"])
        print(rows[-1], flush=True)
    header = ["kernel (one thread)", "ms", "peer", "peer ms", "ratio", "peak MB", "peer's peak MB"]
    return table(header, rows)


def two_threads() -> str:
    """What a second thread brings, in elapsed time. One picture's superpixels are one thread's work: here two pictures.

    Plain hashing shows first whether the second processor is free; where it is not, there is nothing to measure.
    """
    text = bytes(2**24)
    alone, together = turns(
        _twice(lambda: hashlib.sha256(text), 1),
        _twice(lambda: hashlib.sha256(text), 2),
        runs=20,
        clock=time.perf_counter,
    )
    control = np.median(alone / together)
    if control < 1.6:
        return f"Nothing was measured: two threads hashed {control:.2f} times as fast as one, so no second processor was free."
    rows = [["the machine: hashing 2 x 16 MB", "", "", f"{control:.2f}"]]
    for (what, _, one, _), (_, _, two, _) in zip(cases(1), cases(2)):
        if what.startswith("superpixels"):
            what, one, two = f"two pictures: {what}", _twice(one, 1), _twice(two, 2)
        times = turns(one, two, runs=20, clock=time.perf_counter)
        row = [f"{time * 1e3:.1f}" for time in np.median(times, 1)]
        rows.append([what, *row, f"{np.median(times[0] / times[1]):.2f}"])
        print(rows[-1], flush=True)
    return table(["elapsed time", "one thread, ms", "two threads, ms", "ratio"], rows)


def _twice(function, threads):
    def run():
        with ThreadPoolExecutor(threads) as workers:
            list(workers.map(lambda _: function(), range(2)))

    return run


def growth() -> str:
    """How time grows with what it should grow with, in ms."""
    whole = photograph("ihc", 500)
    tiles = {t.size // 3: np.ascontiguousarray(t) for t in (whole[:250, :250], whole[:250], whole)}
    image = tiles[250 * 500]
    unaries = {pixels: soft_unary(3, tile.shape[:2]) for pixels, tile in tiles.items()}
    many = {labels: soft_unary(labels, image.shape[:2]) for labels in (3, 7, 14, 21, 42, 81)}
    maps = {count: merge_case(count) for count in (150, 300, 600, 1200, 2400, 7000)}
    walks = {nodes: walk_case(nodes // 100, 100, 3, 5) for nodes in (5000, 10000, 20000)}
    radii = {radius: walk_case(94, 125, 3, radius) for radius in (3, 5, 8)}
    rows = [
        ["superpixels", "pixels", _milliseconds(lambda n: segment(tiles[n]), tiles)],
        [
            "dense CRF, 3 labels",
            "pixels",
            _milliseconds(lambda n: dense_crf(tiles[n], unaries[n], "psa", threads=1), tiles),
        ],
        [
            "dense CRF, 125 000 pixels",
            "different labels",
            _milliseconds(lambda n: dense_crf(image, many[n], "psa", threads=1), many),
        ],
        ["merging to 64, 512 channels", "regions", _milliseconds(lambda n: merge(*maps[n], 64, 1), maps)],
        [
            "random walk, radius 5",
            "nodes",
            _milliseconds(lambda n: random_walk(*walks[n], 10, 256, 1), walks),
        ],
        [
            "random walk, 94x125",
            "radius (offsets: " + ", ".join(str(len(case[2])) for case in radii.values()) + ")",
            _milliseconds(lambda n: random_walk(*radii[n], 10, 256, 1), radii),
        ],
    ]
    return table(["kernel", "grows with", "ms"], rows)


def _milliseconds(function, sizes) -> str:
    times = {size: seconds(lambda k=size: function(k), runs=3)[0] * 1e3 for size in sizes}
    return ", ".join(f"{size}: {time:.1f}" for size, time in times.items())


def merge_case(count: int) -> tuple:
    """Bands of pixels with random features: no two regions are nearly alike, so that no bound is easy."""
    regions = np.arange(187500).reshape(375, 500) * count // 187500
    return regions, np.random.RandomState(count).rand(count, 512).astype(np.float32)


def limits() -> str:
    """What the machine's memory and arithmetic would allow."""
    big = np.ones(2**26, np.float32)
    target = np.empty_like(big)
    bandwidth = 2 * big.nbytes / seconds(lambda: np.copyto(target, big))[0]
    few = np.ones(2**12, np.float32)
    out = np.empty_like(few)
    rounds = 4096
    flops = rounds * few.size / seconds(lambda: [np.multiply(few, few, out=out) for _ in range(rounds)])[0]

    scores, planes, offsets = walk_case(94, 125, 3, 5)
    walk = seconds(lambda: random_walk(scores, planes, offsets, 10, 256, 1))[0]
    operations = 256 * 94 * 125 * 3 * len(offsets) * 6
    weights = 256 * 94 * 125 * len(offsets) * 4

    image = photograph("ihc")
    unary = seed_unary(21, 3, image.shape[:2])
    ten, one = seconds(
        lambda: dense_crf(image, unary, "psa", 11, 1), lambda: dense_crf(image, unary, "psa", 1, 1)
    )
    pixels = image.size // 3
    traffic = pixels * (2 * 9 * 8 + 3 * 16)  # shares read by both halves, energies, probabilities in and out
    gathers = pixels * 9 * 2 * 16
    mirrored = np.hstack([image, image[:, ::-1]])
    segment_time, mirror_time = seconds(lambda: segment(image), lambda: segment(mirrored))
    case = merge_case(2400)
    merge_time = seconds(lambda: merge(*case, 64, 1))[0]
    products = 512 * (2400 * 2400 / 2 + sum(range(64, 2400)))
    rows = [
        [
            "a large copy, a small product in the first cache",
            f"{bandwidth / 1e9:.1f} GB/s, {flops / 1e9:.1f} G/s",
        ],
        [
            "random walk",
            f"{operations / walk / 1e9:.1f} G operations/s; weights streamed at {weights / walk / 1e9:.1f} GB/s",
        ],
        [
            "dense CRF, one iteration, 4 lanes",
            f"{(ten - one) * 100:.1f} ms: {traffic / ((ten - one) / 10) / 1e9:.1f} GB/s in order "
            f"and {gathers / ((ten - one) / 10) / 1e9:.1f} GB/s at scattered vertices",
        ],
        ["dense CRF, both lattices", f"{(one - (ten - one) / 10) * 1e3:.1f} ms"],
        ["superpixels", f"{segment_time / (4 * pixels) * 1e9:.1f} ns an edge"],
        [
            "superpixels, the picture beside its mirror image",
            f"{mirror_time / (8 * pixels) * 1e9:.1f} ns an edge",
        ],
        [
            "merging 2,400 regions",
            f"{products / merge_time / 1e9:.1f} G products/s that the definition asks for once each",
        ],
    ]
    return table(["", "reached"], rows)


LEFT_TO_GAIN = """What is left to gain:

- Superpixels: two thirds of the time go into sorting and into looking up roots, scattered reads and branches that cannot be
  predicted; the rest into choosing and weighing edges, in order. A picture with very many equal weights and small segments
  between them (drawings, mirrored pictures) needs the slow unstable sort of the original as well, see the row above.
- Merging: any two regions may be merged, so each new region is compared with all others and time grows with the square of
  the regions; memory does not. Below some 500 regions the sketches' upkeep costs as much as the comparing, above 4,000 they
  leave the second cache.
- Random walk: three arithmetic operations a weight and direction; differences cost a third of them and keep the result exact
  over many steps. The weights come from the outer caches each step.
- Dense CRF: with few labels a quarter of the time builds the lattices, and half goes into reading and adding up scattered
  vertices, nine a pixel and direction."""


def main() -> None:
    load = os.getloadavg()[0]
    vector = "AVX2 where it pays" if os.environ.get("ICD_AVX2") != "0" else "baseline instructions"
    parts = [
        "## Native kernels",
        f"`python benchmarks/kernels.py` on {processor()}, {os.cpu_count()} processors, {vector}. The "
        f"tables show medians of turns, with one thread unless they say otherwise; the load average was {load:.1f} at the start.",
        comparisons(),
        "What a second thread brings (results do not depend on the number of threads):",
        two_threads(),
        "How time grows, in ms:",
        growth(),
        "How far from the machine's limits:",
        limits(),
        LEFT_TO_GAIN,
    ]
    write_measured("kernels", "\n\n".join(parts))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print_peak(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
