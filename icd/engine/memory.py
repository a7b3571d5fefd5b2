"""What becomes of freed memory while a network is trained. In: nothing. Out: a setting of the C library, for a while.

MXNet asks the C library anew for the memory of every array. Large requests come as pages that the system must first clear,
which took a sixth of a training step (docs/performance.md). Arrays of a training step have the same sizes again and again, so
there the memory is kept. Localization of large photographs would only grow by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

# From glibc's malloc.h: (option, while training, by default).
OPTIONS = {
    "M_MMAP_MAX": (-4, 0, 65536),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1, 128 * 1024),
    "M_TOP_PAD": (-2, 2**26, 128 * 1024),
}


@contextlib.contextmanager
def freed_memory_kept():
    """Let glibc keep freed memory meanwhile, and hand it back to the system afterwards; other C libraries do as they always do."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    for option, kept, _ in OPTIONS.values():
        library.mallopt(option, kept)
    try:
        yield
    finally:
        for option, _, default in OPTIONS.values():
            library.mallopt(option, default)
        library.malloc_trim(0)
