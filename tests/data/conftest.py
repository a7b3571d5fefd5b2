"""Fixtures of the data room's tests."""

from __future__ import annotations

import pytest
from small_folder import SmallFolder


@pytest.fixture
def small(tmp_path) -> SmallFolder:
    """Six images and what belongs to them, in a folder of the test's own."""
    return SmallFolder(tmp_path)
