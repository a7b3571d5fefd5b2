"""Pickled .npy files of other programs are read, and nothing that they name is run."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from icd.errors import InputError
from icd.foreign.numpy_files import read_npy, write_npy


def _npy(pickled: bytes) -> bytes:
    """A .npy file of a 0-dimensional object array around any pickle."""
    buffer = io.BytesIO()
    np.save(buffer, np.array({}, dtype=object))
    content = buffer.getvalue()
    return content[: content.index(b"\n") + 1] + pickled


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "i8", ">f4", "?", "U5", "S3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dictionaries_of_arrays_come_back(tmp_path, dtype, order):
    content = {
        0: np.arange(12).reshape(3, 4).astype(dtype, order=order),
        "id": np.float32(2),
        7: [1, "x", None, (2.5,)],
    }
    path = tmp_path / "a.npy"
    np.save(path, content)
    found = read_npy(path)
    assert list(found) == [0, "id", 7] and found[7] == [1, "x", None, (2.5,)] and found["id"] == 2
    np.testing.assert_array_equal(found[0], content[0])
    assert found[0].dtype == content[0].dtype.newbyteorder("=")


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_plain_arrays_come_back_or_are_refused(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("plain") / "a.npy"
    write_npy(path, array)
    np.testing.assert_array_equal(read_npy(path), array)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_pickle_protocol(tmp_path, protocol):
    path = tmp_path / "a.npy"
    content = {
        3: np.arange(6, dtype=np.float32).reshape(2, 3),
        4: np.array([{"deep": np.ones(2)}, None], object),
    }
    path.write_bytes(_npy(pickle.dumps(content, protocol)))
    found = read_npy(path)
    np.testing.assert_array_equal(found[3], content[3])
    np.testing.assert_array_equal(found[4][0]["deep"], [1, 1])


def test_torch_tensors_are_read_without_torch(golden):
    """The file was written by torch 2.13 and numpy 2.4 with np.save, the way IRN writes it; `cam` is a strided view."""
    found = read_npy(golden / "evaluation" / "irn_torch.npy")
    expected = np.load(golden / "evaluation" / "irn_torch_expected.npz")
    for name in ("keys", "cam", "high_res"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert found[name].dtype == expected[name].dtype


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_nothing_is_run(tmp_path):
    path, trace = tmp_path / "a.npy", tmp_path / "trace"
    for attack in (
        _Runs(os.system, f"touch {trace}"),
        _Runs(eval, f"open({str(trace)!r}, 'w')"),
        _Runs(np.load, "x"),
    ):
        path.write_bytes(_npy(pickle.dumps({"a": attack})))
        with pytest.raises(InputError, match=r"a\.npy.*the pickle asks for"):
            read_npy(path)
    assert not trace.exists()


def test_crafted_dtypes_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    fields = np.zeros(2, [("a", object), ("b", "i4")])
    path.write_bytes(_npy(pickle.dumps(fields)))
    with pytest.raises(InputError, match="an array of"):
        read_npy(path)
    # A plain type whose state smuggles in fields, which numpy itself would take over.
    reduced = np.dtype("f8").__reduce__()
    state = (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 0)
    hostile = pickle.dumps(_Runs(*reduced[:1], *reduced[1]), 2)[:-1] + pickle.dumps(state, 2)[2:][:-1] + b"b."
    path.write_bytes(_npy(hostile))
    with pytest.raises(InputError, match="composed type"):
        read_npy(path)


def test_damaged_files_are_named(tmp_path, golden):
    path = tmp_path / "a.npy"
    with pytest.raises(InputError, match="nothing there"):
        read_npy(path)
    content = (golden / "evaluation" / "irn_torch.npy").read_bytes()
    for end in (0, 5, 40, 200, 900, len(content) - 20):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"a\.npy"):
            read_npy(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_anywhere_gives_an_error_or_values(tmp_path_factory, golden, data):
    content = bytearray((golden / "evaluation" / "irn_torch.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(128, 1600))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.npy"
    path.write_bytes(bytes(content))
    try:
        found = read_npy(path)
    except InputError:
        return
    assert found is None or isinstance(
        found, (dict, list, tuple, str, bytes, int, float, np.ndarray, np.generic)
    )
