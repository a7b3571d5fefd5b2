"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
