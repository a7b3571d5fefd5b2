"""What is stated more than once about a release agrees."""

from __future__ import annotations

from pathlib import Path

import yaml

import icd

ROOT = Path(__file__).resolve().parents[2]


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == icd.__version__
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
