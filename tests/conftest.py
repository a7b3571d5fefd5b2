"""Fixtures that every room's tests share, and the record of deviations behind docs/parity.md."""

from __future__ import annotations

import ctypes
import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# No test fails because the machine is busy.
settings.register_profile("icd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("icd")

_parity_rows = []
MEMORY_TO_COLLECT = 2 << 30  # bytes
_kept = 0  # bytes that the last collection left: collecting takes a while, so it waits until there is something to collect


@pytest.fixture(autouse=True)
def networks_released():
    """Gluon's blocks refer to themselves in circles: without a collection now and then, networks of 400 MB pile up."""
    yield
    global _kept
    if _resident() > max(MEMORY_TO_COLLECT, 1.25 * _kept):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else the C library keeps what was freed
        _kept = _resident()


def _resident() -> int:
    """Bytes of memory that this process takes; 0 where the system does not say."""
    statistics = Path("/proc/self/statm")
    return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statistics.is_file() else 0


@pytest.fixture
def thin():
    """Large networks are built with an eighth of their channels; for tests of how they are wired, not of values."""
    from thin import thin_layers

    with thin_layers():
        yield


@pytest.fixture(scope="session")
def golden() -> Path:
    """Outputs of the originals that travel with the project."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photographs and pretrained weights beside the checkout; the test is skipped where they are absent."""
    folder = Path(os.environ.get("ICD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the folder {folder} (or ICD_SHARED)")
    return folder


@pytest.fixture
def parity(request):
    """`parity(part, what, ours, original, tolerance)` asserts agreement and records the largest deviation.

    The deviation is the largest absolute difference; for integer arrays, the share of entries that differ.
    `scale` divides it (for relative deviations). `tolerance` 0 asks for identity.
    """

    def compare(part, what, ours, original, tolerance, scale=1.0):
        ours, original = np.asarray(ours), np.asarray(original)
        assert ours.shape == original.shape, f"{what}: shape {ours.shape}, not {original.shape}"
        if original.dtype.kind in "iub":
            kind, deviation = "share of entries that differ", float(np.mean(ours != original))
        else:
            kind = "largest difference" + (" (relative)" if np.any(np.asarray(scale) != 1) else "")
            difference = np.abs(ours.astype(np.float64) - original.astype(np.float64))
            deviation = float((difference / scale).max()) if difference.size else 0.0
        _parity_rows.append(
            {"part": part, "what": what, "kind": kind, "deviation": deviation, "tolerance": tolerance,
             "test": request.node.nodeid}
        )  # fmt: skip
        assert deviation <= tolerance, f"{part}, {what}: {kind} {deviation:.3g}, allowed {tolerance:.3g}"

    return compare


def pytest_sessionfinish(session):
    """Write the record of this process into the folder that ICD_PARITY names."""
    folder = os.environ.get("ICD_PARITY")
    if folder and _parity_rows:
        process = os.environ.get("PYTEST_XDIST_WORKER", "main")
        (Path(folder) / f"{process}.json").write_text(json.dumps(_parity_rows, indent=1))
