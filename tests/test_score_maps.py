"""One reader checks all score maps: numbers, classes, sizes, and what headers claim."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError
from icd.files import read_mapped_classes, read_score_maps
from icd.foreign.layouts import read_layout
from icd.foreign.numpy_files import read_npy, write_npy

PLANES = np.zeros((2, 8, 12), np.float32)
PLANES[0, :, :4] = PLANES[1, :, 8:] = 1


def _content(classes=(1, 3), maps=PLANES, size=(8, 12), frame=None, **more) -> bytes:
    buffer = io.BytesIO()
    frame = tuple(size) * 2 if frame is None else frame
    arrays = {
        "classes": np.array(classes, np.int16),
        "size": np.array(size),
        "frame": np.array(frame),
        "maps": maps,
    }
    np.savez_compressed(buffer, **{**arrays, **more})
    return buffer.getvalue()


def _write(path, **changes):
    path.write_bytes(_content(**changes))
    return path


def test_what_is_right_is_read(tmp_path):
    scores = read_score_maps(_write(tmp_path / "a.npz"), 5, (8, 12))
    assert scores.classes.tolist() == [1, 3] and scores.size == (8, 12)
    np.testing.assert_array_equal(scores.maps, PLANES)
    assert read_mapped_classes(tmp_path / "a.npz").tolist() == [1, 3]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"maps": PLANES + np.float32(np.nan)}, "NaN or infinity"),
        ({"maps": PLANES + np.float16(np.inf)}, "NaN or infinity"),
        ({"maps_1": PLANES * np.nan}, "NaN or infinity"),
        ({"classes": (1, 6)}, "class numbers from 1 to 5; found class 6"),
        ({"classes": (1, 300)}, "found class 300"),
        ({"classes": (-1, 3)}, "from 1, ascending"),
        ({"classes": (3, 1)}, "from 1, ascending"),
        ({"classes": (3, 3)}, "from 1, ascending"),
        ({"classes": np.array([200, 1], np.uint8)}, "from 1, ascending"),
        ({"classes": (1,)}, "for every class"),
        ({"size": (0, 12)}, "a size of 1 to"),
        ({"size": (-8, 12)}, "a size of 1 to"),
        ({"size": (200_000, 200_000)}, "a size of 1 to"),
        ({"size": (8, 13), "frame": (8, 12, 8, 12)}, "found score maps for 8 x 13"),
        ({"size": (8.0, 12.0)}, "2 whole numbers in size"),
        ({"frame": (0, 0, 0, 0)}, "a frame of 1 to"),
        ({"frame": (10**9,) * 4}, "a frame of 1 to"),
        ({"frame": (8, 12, 9, 12)}, "a frame that holds"),
        ({"frame": (8, 12)}, "4 whole numbers in frame"),
        ({"maps": PLANES[:, :0, :0]}, "at least one cell"),
        ({"maps": PLANES.astype(int)}, "maps of float32"),
        ({"maps": np.full((2, 8, 12), None)}, "objects"),
        ({"fusion": "mean"}, "a fusion among sum, max"),
    ],
)
def test_faults_are_named(tmp_path, change, found):
    with pytest.raises(InputError, match=rf"a\.npz: expected .*{found}"):
        read_score_maps(_write(tmp_path / "a.npz", **change), 5, (8, 12))


def test_255_is_no_class_even_where_no_list_is_known(tmp_path):
    with pytest.raises(InputError, match="from 1 to 254; found class 255"):
        read_score_maps(_write(tmp_path / "a.npz", classes=(1, 255)))


def _false_header() -> bytes:
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (2, 42000, 42000)}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue() + bytes(1000)


def test_a_header_that_claims_more_takes_no_memory(tmp_path):
    with zipfile.ZipFile(io.BytesIO(_content())) as archive, zipfile.ZipFile(
        tmp_path / "a.npz", "w"
    ) as other:
        for name in archive.namelist():
            other.writestr(name, _false_header() if name == "maps.npy" else archive.read(name))
    with pytest.raises(InputError, match=r"a\.npz: .*a header of 14112000000 bytes on 1000"):
        read_score_maps(tmp_path / "a.npz")
    (tmp_path / "a.npy").write_bytes(_false_header())
    with pytest.raises(InputError, match=r"a\.npy: .*a header of 14112000000 bytes on 1000"):
        read_npy(tmp_path / "a.npy")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_anywhere_gives_an_error_or_maps(tmp_path_factory, data):
    content = bytearray(_content())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.npz"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        scores = read_score_maps(path)
    except InputError:
        return
    assert np.isfinite(scores.maps).all() and min(scores.size) > 0


FOREIGN = {
    "NaN": ({0: PLANES[0] + np.float32(np.nan)}, "NaN or infinity"),
    "1e300": ({0: PLANES[0].astype(float) + 1e300}, "NaN or infinity"),
    "class 6 of 5": ({5: PLANES[0]}, "class 6"),
    "class 255": ({254: PLANES[0]}, "class 255"),
    "key 2**70": ({2**70: PLANES[0]}, "found a dictionary with the keys"),
    "key -1": ({-1: PLANES[0]}, "found a dictionary with the keys -1"),
    "key None": ({None: PLANES[0]}, "the keys other"),
    "key True": ({True: PLANES[0]}, "the keys"),
    "a text": ({0: "dog"}, "a str under 0"),
    "objects": ({0: np.full((8, 12), None)}, "of object under 0"),
    "texts": ({0: np.full((8, 12), "dog")}, "of <U3 under 0"),
    "no pixels": ({0: PLANES[0, :, :0]}, "at least one pixel"),
    "a number": (7, "a int"),
    "IRN keys of text": ({"keys": np.array(["a"]), "high_res": PLANES[:1]}, "one map for every key"),
    "IRN keys of half": ({"keys": np.array([0.5]), "high_res": PLANES[:1]}, "class numbers below"),
    "another size": ({0: np.zeros((9, 12), np.float32)}, "found score maps for 9 x 12"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_faults_are_named(tmp_path, name):
    content, found = FOREIGN[name]
    write_npy(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=rf"a\.npy: .*{found}"):
        read_layout(tmp_path / "a.npy", size=(8, 12), num_classes=5)


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros((0, 8, 12))])
def test_irn_without_a_tag(tmp_path, empty):
    write_npy(tmp_path / "a.npy", {"keys": [], "cam": [], "high_res": empty})
    assert read_layout(tmp_path / "a.npy", size=(8, 12)).maps.shape == (0, 8, 12)
    with pytest.raises(InputError, match="the photograph's size"):
        read_layout(tmp_path / "a.npy")
