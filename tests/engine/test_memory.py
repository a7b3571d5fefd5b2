"""Freed memory is kept while a network is trained, and handed back afterwards."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# glibc says where a block comes from: bit 1 of the size field before it is set for blocks with pages of their own.
LOOK = """
import ctypes, sys
from icd.engine.memory import freed_memory_kept
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def own_pages():
    return bool(ctypes.c_size_t.from_address(library.malloc(2**26) - ctypes.sizeof(ctypes.c_size_t)).value & 2)
before = own_pages()
with freed_memory_kept():
    meanwhile = own_pages()
print(before, meanwhile, own_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_large_arrays_have_pages_of_their_own_except_in_training():
    found = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True).stdout
    assert found.split() == ["True", "False", "True"]
