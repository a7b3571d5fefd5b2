"""What a benchmark says of the machine and of its own memory. In: nothing. Out: words and numbers."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

import numpy as np


def processor() -> str:
    """The processor's name."""
    # Here, because a Python with PyTorch instead of this package reads this file too.
    from icd.provenance import machine as about

    return about()["cpu"]


def call() -> str:
    """How this program was called, in words for a reader of its table."""
    return f"`python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`, {machine()}"


def machine() -> str:
    """The processor, its threads, the versions and the load, in words."""
    threads, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return f"{processor()}, {threads} processors, {versions}; load average {load:.1f}"


def status(field: str) -> int:
    """A field of Linux's status of this process, such as VmHWM, the most memory that it ever had, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
