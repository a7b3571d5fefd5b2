"""The choice of wheels: from ICD_MXNET and the machine to requirement lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from icd import wheels

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("choice", ["", "mxnet", " MXNet "])
def test_the_default_is_the_cpu_wheel(choice):
    lines = wheels.requirements(choice, has_screen=True)
    assert "mxnet==1.9.1" in lines
    assert not [line for line in lines if line.startswith("nvidia")]


@pytest.mark.parametrize("choice", wheels.CUDA_WHEELS)
def test_a_gpu_wheel_brings_nvidias_libraries_and_no_cpu_wheel(choice):
    lines = wheels.requirements(choice, has_screen=True)
    assert f"{choice}==1.9.1" in lines
    assert set(wheels.CUDA_LIBRARIES) <= set(lines)
    assert "mxnet==1.9.1" not in lines


def test_none_leaves_out_mxnet_and_what_only_serves_it():
    lines = wheels.requirements("none", has_screen=True)
    assert not [line for line in lines if line.startswith(("mxnet", "gluoncv", "nvidia"))]
    assert set(wheels.ALWAYS) <= set(lines)


@pytest.mark.parametrize("choice", ["cu117", "mxnet-cu118", "mxnet==1.9.1", "torch"])
def test_an_unknown_choice_is_refused_by_name(choice):
    with pytest.raises(ValueError, match="ICD_MXNET.*mxnet-cu117.*found"):
        wheels.requirements(choice, has_screen=True)


def test_without_a_screen_one_opencv_wheel_is_asked_for_and_it_is_the_headless_one():
    lines = wheels.requirements("mxnet", has_screen=False)
    assert [line for line in lines if "opencv" in line or "gluoncv" in line] == [wheels.OPENCV_HEADLESS]


def test_has_library_asks_the_loader():
    assert wheels.has_library("libc.so.6")
    assert not wheels.has_library("libnot_there.so.1")


def test_installed_gpu_wheel(tmp_path):
    assert wheels.installed_gpu_wheel(tmp_path) == ""
    (tmp_path / "mxnet-1.9.1.dist-info").mkdir()
    assert wheels.installed_gpu_wheel(tmp_path) == ""
    (tmp_path / "mxnet_cu117-1.9.1.dist-info").mkdir()
    assert wheels.installed_gpu_wheel(tmp_path) == "mxnet-cu117"


def metadata_of(tmp_path, **environment):
    """What setup.py tells pip, or its last words."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    requires = tmp_path / "icd.egg-info" / "requires.txt"
    return requires.read_text() if requires.exists() else done.stdout + done.stderr


def test_setup_reads_icd_mxnet(tmp_path):
    pytest.importorskip("setuptools")
    assert "nvidia-cudnn-cu11<9" in metadata_of(tmp_path, ICD_MXNET="mxnet-cu112")


def test_setup_without_a_compiler_says_so_in_one_line(tmp_path):
    pytest.importorskip("setuptools")
    words = metadata_of(tmp_path, PATH=str(tmp_path), CXX="")
    assert words.strip().splitlines()[-1].startswith("icd: no C++ compiler found")
