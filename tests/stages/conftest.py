"""A Dask cluster of two workers on this machine, for all tests of stages."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def scheduler():
    """The address of its scheduler; tests are skipped where Dask is not installed (pip install -e '.[cluster]')."""
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install -e '.[cluster]'")
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": "CRITICAL",
    }
    with distributed.LocalCluster(**options) as cluster:
        yield cluster.scheduler_address
