"""Pickles that exhaust time or memory are refused quickly, in one short line; those of Python 2 are read."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError
from icd.foreign.numpy_files import read_npy


def _plain(value) -> bytes:
    """The opcodes of a plain value."""
    return pickle.dumps(value, 3)[2:-1]


def _old(value) -> bytes:
    """A text or bytes as Python 2 pickled a `str`."""
    content = value if isinstance(value, bytes) else value.encode()
    return b"U" + bytes([len(content)]) + content


def _array(shape, code, content, text=_plain) -> bytes:
    """The opcodes of an array whose content the opcodes `content` leave."""
    order, flags = ("|", 63) if code == "O8" else ("<", 0)
    state = text(order) + b"NNN" + 2 * _plain(-1) + _plain(flags)
    dtype = b"cnumpy\ndtype\n(" + text(code) + b"K\0K\1tR(K\3" + state + b"tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + text(b"b") + b"tR"
    return empty + b"(K\1" + _plain(shape) + dtype + b"\x89" + content + b"tb"


def _write(path, opcodes: bytes):
    """A `.npy` of one object."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(header.getvalue() + b"\x80\x04" + _array((), "O8", b"]" + opcodes + b"a") + b".")
    return path


def _doubled(times=45) -> bytes:
    """Opcodes of 2^times empty tuples, which stay in the memo under the number 100 + times."""
    return b")q\x640" + b"".join(b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(100, 100 + times))


def _rebuilt(times=20_000) -> bytes:
    content = b"B" + struct.pack("<I", 10**6) + bytes(10**6) + b"q\x640"
    entries = (_plain(number) + _array((250_000,), "f4", b"h\x64") for number in range(times))
    return content + b"}(" + b"".join(entries) + b"u"


DOUBLED, LAST = _doubled(), b"h" + bytes([145])
HOSTILE = {
    "a key of 2^45 tuples": DOUBLED + b"}" + LAST + b"K\1s",
    "such keys at once": DOUBLED + b"}(" + LAST + b"K\1u",
    "such keys in protocol 0": DOUBLED + b"(" + LAST + b"K\1d",
    "such an element of a set": DOUBLED + b"\x8f(" + LAST + b"\x90",
    "such an element of a frozen set": DOUBLED + b"(" + LAST + b"\x91",
    "2^45 tuples": DOUBLED + LAST,
    "a type named by them": DOUBLED + b"cnumpy\ndtype\n(" + LAST + b"K\0K\1tR",
    "a shape of them": DOUBLED + _array((3,), "f4", _plain(bytes(12))).replace(_plain((3,)), LAST),
    "a BYTEARRAY8 of 7 GB": b"\x96" + struct.pack("<Q", 7 * 10**9) + bytes(100),
    "a BINBYTES8 of 7 GB": b"\x8e" + struct.pack("<Q", 7 * 10**9) + bytes(100),
    "a list that holds itself": b"]q\x64h\x64a",
    "100,000 lists in each other": b"]" * 100_000 + b"a" * 99_999,
    "a number of a million digits": b"L" + b"9" * 10**6 + b"L\n",
    "one content 20,000 times": _rebuilt(),
    "a class that is given attributes": b"cnumpy\ndtype\nN}X\x04\0\0\0nameX\1\0\0\0xs\x86b",
}
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from icd.errors import InputError
from icd.foreign.numpy_files import read_npy
for path in sys.argv[1:]:
    try:
        print("accepted", path, type(read_npy(path)))
    except InputError as error:
        print("refused:", error)
"""


def test_what_exhausts_is_refused_in_little_time_and_memory(tmp_path):
    paths = [_write(tmp_path / f"{number}.npy", opcodes) for number, opcodes in enumerate(HOSTILE.values())]
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, timeout=100, check=False
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(HOSTILE), result.stderr
    for name, line in zip(HOSTILE, lines):
        assert line.startswith("refused:") and len(line) < 1000, (name, line)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("text", [_plain, _old])
def test_both_pythons_are_read(tmp_path, text):
    """Python 2 pickled the bytes of arrays as texts; 0, 128 and 63 are those of 1.0."""
    vector = np.array([0, 0, 1, 0.1], np.float32)
    entry = _array((4,), "f4", text(vector.tobytes()), text)
    found = read_npy(_write(tmp_path / "a.npy", b"}" + text("a") + entry + b"s"))
    np.testing.assert_array_equal(found["a"], vector)
    assert found["a"].dtype == np.float32


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_opcodes_give_an_error_or_values(tmp_path_factory, data):
    content = {1: np.ones((2, 3), np.float32), "b": [np.arange(3), (1, "x", None)], 3: np.array("text")}
    opcodes = bytearray(pickle.dumps(content, data.draw(st.integers(0, 5)))[:-1])
    for _ in range(data.draw(st.integers(0, 5))):
        opcodes[data.draw(st.integers(0, len(opcodes) - 1))] = data.draw(st.integers(0, 255))
    path = _write(tmp_path_factory.mktemp("any") / "a.npy", bytes(opcodes))
    try:
        read_npy(path)
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
