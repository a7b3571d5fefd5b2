"""Wrappers and prefixes of checkpoints are taken away where that is unambiguous, and named; safetensors are read."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError
from icd.foreign.safetensors_files import read_safetensors
from icd.weights.mapping import state_dict_of

A, B = np.arange(3.0), np.arange(4.0)


@pytest.mark.parametrize(
    ("content", "beside"),
    [
        ({"a": A, "b": B}, []),
        ({"module.a": A, "module.b": B}, ["the prefix module."]),
        ({"module.module.a": A, "module.b": B}, ["the prefix module."]),
        ({"module.a": A, "b": B}, ["the prefix module."]),
        ({"_orig_mod.module.a": A, "_orig_mod.b": B}, ["the prefix _orig_mod.", "the prefix module."]),
        ({"model.a": A, "model.b": B}, ["the prefix model."]),
        ({"state_dict": {"a": A, "b": B}, "epoch": 3}, ["epoch"]),
        ({"net": {"a": A, "b": B}}, []),
        ({"state_dict_ema": {"a": A, "b": B}}, []),
        ({"state_dict": {"a": A, "b": B}, "state_dict_ema": {"a": B}}, ["state_dict_ema"]),
        ({"model": {"state_dict": {"module.a": A, "b": B}}}, ["the prefix module."]),
        ({"n_averaged": np.array(3), "module.a": A, "module.b": B}, ["the prefix module."]),
        ({"module.a": A, "a": A, "b": B}, ["the prefix module."]),
    ],
)
def test_what_is_unambiguous(content, beside):
    found, others = state_dict_of(content, "a.pth")
    assert list(found) == ["a", "b"] and others == beside
    np.testing.assert_array_equal(found["a"], A)
    np.testing.assert_array_equal(found["b"], B)


def test_two_networks_in_one_are_refused():
    with pytest.raises(
        InputError, match=r"a\.pth: .*differ in more than a prefix; found 'module\.a' and 'a'"
    ):
        state_dict_of({"module.a": A, "a": B[:3] + 1}, "a.pth")


def test_a_part_of_the_names_alone_stays():
    found, _ = state_dict_of({"model.a": A, "b": B}, "a.pth")
    assert list(found) == ["model.a", "b"]


def _safetensors(**tensors) -> bytes:
    head, data = {}, b""
    for name, (code, array) in tensors.items():
        content = array.tobytes()
        head[name] = {
            "dtype": code,
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


FILE = _safetensors(
    a=("F32", A.astype("f4")), b=("F64", B.reshape(2, 2)), c=("BF16", (B.astype("f4").view("u4") >> 16).astype("u2")),
    d=("BOOL", np.array([True])), e=("I64", np.zeros((0, 3), int)),
)  # fmt: skip


def test_safetensors_are_read(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(FILE)
    found = read_safetensors(tmp_path / "a.safetensors")
    for name, expected in (
        ("a", A),
        ("b", B.reshape(2, 2)),
        ("c", B),
        ("d", [True]),
        ("e", np.zeros((0, 3))),
    ):
        np.testing.assert_array_equal(found[name], expected)
    assert found["c"].dtype == found["a"].dtype == np.float32


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_anywhere_gives_an_error_or_arrays(tmp_path_factory, data):
    content = bytearray(FILE)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "a.safetensors"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = read_safetensors(path)
    except InputError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())
