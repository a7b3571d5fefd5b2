"""Any numpy input: the right answer or an `InputError`, never a crash and never another exception.

`tests/sanitize.sh` runs this folder on a build with the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icd.errors import InputError
from icd.refine.crf import CRF_PRESETS, CrfParameters, dense_crf
from icd.refine.path_affinity import path_affinities, path_affinity_planes, path_offsets
from icd.refine.random_walk import disc_offsets, place_pairs, random_walk
from icd.refine.superpixels import merge, pool, segment

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

DTYPES = st.sampled_from(["u1", "i1", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "?", "O", "U3"])
NUMBERS = st.one_of(
    st.integers(-3, 90),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([None, "5", True, 3 + 1j, np.float32(2.5), np.int64(4), np.array(3), [1]]),
)


def disguised(array, how: int) -> np.ndarray:
    """The same values in another dress: read-only, not contiguous, byte-swapped, in Fortran order."""
    if how == 1:
        array = array.copy()
        array.flags.writeable = False
    elif how == 2 and array.ndim:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif how == 3 and array.ndim:
        array = np.ascontiguousarray(array[::-1])[::-1]
    elif how == 4 and array.dtype.kind in "iuf":
        array = array.astype(array.dtype.newbyteorder())
    elif how == 5:
        array = np.asfortranarray(array)
    return array


KINDS = {
    "u1": lambda random, sides: random.randint(0, 256, sides).astype(np.uint8),
    "id": lambda random, sides: random.randint(0, 4, sides),
    "f4": lambda random, sides: random.rand(*sides).astype(np.float32),
    "f8": lambda random, sides: random.rand(*sides),
    "huge": lambda random, sides: random.randn(*sides) * 10.0 ** random.randint(-40, 40),
    "ids": lambda random, sides: random.randint(-(2**62), 2**62, sides),
    "nan": lambda random, sides: np.where(random.rand(*sides) < 0.1, np.nan, random.rand(*sides)),
}


def mostly(usual, other=NUMBERS):
    """What is usual, and once in ten times something else."""
    return st.integers(0, 9).flatmap(lambda choice: usual if choice else other)


@st.composite
def arrays(draw, kind, *shape):
    """An array of a kind and shape, in any dress; sometimes of another kind; sometimes anything."""
    if draw(st.integers(0, 19)) == 7:
        return draw(
            hnp.arrays(draw(DTYPES.filter(lambda d: d != "O")), hnp.array_shapes(min_dims=0, max_side=4))
        )
    sides = tuple(side if isinstance(side, int) else draw(side) for side in shape)
    values = KINDS[draw(mostly(st.just(kind), st.sampled_from(sorted(KINDS))))]
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    return disguised(np.asarray(values(random, sides)), draw(st.integers(0, 5)))


SIDE = mostly(st.integers(1, 24), st.just(0))


def attempt(function, *arguments, **keywords):
    """The result, or None where the input was refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = function(*arguments, **keywords)
        except InputError as error:
            assert error.expected and error.found
            return None
    assert result.dtype in (np.float32, np.int32)
    assert np.isfinite(result).all()
    return result


@fuzz
@given(
    arrays("u1", SIDE, SIDE, 3),
    mostly(st.floats(0, 500)),
    mostly(st.floats(0, 20)),
    mostly(st.one_of(st.none(), st.integers(0, 2**31 - 1))),
)
def test_segment(image, k, sigma, min_size):
    labels = attempt(segment, image, k=k, sigma=sigma, min_size=min_size)
    if labels is not None:
        assert labels.shape == image.shape[:2] and set(np.unique(labels)) == set(range(labels.max() + 1))


@fuzz
@given(st.data(), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))
def test_pool_and_merge(data, channels, height, width):
    count = data.draw(st.integers(1, height * width))
    regions = np.arange(height * width).reshape(height, width) % count
    regions = data.draw(mostly(st.just(regions), arrays("ids", SIDE, SIDE)))
    frame = data.draw(mostly(st.integers(12, 20)))
    pooled = attempt(pool, data.draw(arrays("f4", channels, SIDE, SIDE)), regions, frame)
    if pooled is not None:
        assert pooled.shape[0] == regions.max() + 1
    features = data.draw(mostly(arrays("f4", count, channels), arrays("huge", count, channels)))
    limit = data.draw(mostly(st.integers(1, 30)))
    merged = attempt(merge, regions, features, limit)
    if merged is not None:
        assert merged.shape == regions.shape and merged.max() + 1 == min(limit, regions.max() + 1)


@fuzz
@given(st.data(), SIDE, SIDE)
def test_dense_crf(data, height, width):
    image = data.draw(arrays("u1", height, width, 3))
    unary = data.draw(mostly(arrays("f4", SIDE, height, width), arrays("huge", SIDE, height, width)))
    own = st.builds(
        CrfParameters, *5 * [st.integers(0, 59).flatmap(lambda n: st.floats(0.05, 300) if n else NUMBERS)]
    )
    preset = data.draw(mostly(st.one_of(st.sampled_from(sorted(CRF_PRESETS)), own)))
    iterations = data.draw(mostly(st.one_of(st.none(), st.integers(0, 4)), st.sampled_from([-1, 1.5, "2"])))
    threads = data.draw(mostly(st.integers(0, 4)))
    marginals = attempt(dense_crf, image, unary, preset, iterations, threads)
    if marginals is not None:
        np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-4)


@fuzz
@given(st.data(), SIDE, SIDE)
def test_random_walk(data, height, width):
    offsets = data.draw(mostly(st.builds(disc_offsets, st.integers(2, 9)), arrays("id", SIDE, 2)))
    scores = data.draw(mostly(arrays("f4", SIDE, height, width), arrays("huge", SIDE, height, width)))
    affinities = data.draw(arrays("f4", np.shape(offsets)[0] if np.ndim(offsets) else 1, height, width))
    beta = data.draw(mostly(st.floats(0.1, 20)))
    steps = data.draw(mostly(st.integers(0, 40), st.sampled_from([None, -1, 2.5, "4"])))
    walked = attempt(random_walk, scores, affinities, offsets, beta, steps)
    if walked is not None:
        low, high = float(np.min(scores)), float(np.max(scores))
        slack = 1e-4 * max(abs(low), abs(high)) + 1e-37
        assert walked.min() >= low - slack and walked.max() <= high + slack


@fuzz
@given(st.data(), SIDE, SIDE, mostly(st.integers(2, 12)))
def test_path_affinities_and_pairs(data, height, width, radius):
    boundary = data.draw(arrays("f4", height, width))
    pairs = attempt(path_affinities, boundary, radius)
    planes = attempt(path_affinity_planes, boundary, radius)
    if pairs is not None:
        placed = attempt(place_pairs, pairs, path_offsets(radius), *boundary.shape)
        shown = placed > 0
        np.testing.assert_array_equal(placed[shown], planes[shown])
    sizes = data.draw(st.tuples(NUMBERS, NUMBERS))
    attempt(place_pairs, data.draw(arrays("f4", SIDE, SIDE)), data.draw(arrays("id", SIDE, 2)), *sizes)
