"""Fixtures of the set-up tests: a driver without a GPU behind it, and an interpreter that sees made-up packages."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icd.engine import devices


class FakeDriver:
    """Answers like libcuda for a list of (name, capability)."""

    def __init__(self, gpus=(), status=0):
        self.gpus, self.status = list(gpus), status

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.gpus)

    def cuDeviceGet(self, device, index):
        device._obj.value = index

    def cuDeviceGetName(self, buffer, length, device):
        ctypes.memmove(buffer, self.gpus[device.value][0].encode(), len(self.gpus[device.value][0]))

    def cuDeviceGetAttribute(self, value, attribute, device):
        major, minor = self.gpus[device.value][1]
        value._obj.value = {devices.CAPABILITY_MAJOR: major, devices.CAPABILITY_MINOR: minor}[attribute]


@pytest.fixture
def fake_driver():
    """The class; call it with a list of (name, capability)."""
    return FakeDriver


@pytest.fixture
def run_python(tmp_path):
    """Run code in a new interpreter in which made-up modules come before the installed ones."""

    def run(code: str, modules=None) -> str:
        for name, text in (modules or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
        command = [sys.executable, "-W", "error::DeprecationWarning", "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        return done.stdout + done.stderr

    return run
