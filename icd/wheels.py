"""Which wheels this package stands on, and which of them suit this machine.

In: the user's choice (ICD_MXNET), the machine, or a folder of installed packages. Out: requirement lines for pip, the
name of the MXNet wheel that is there, the shared libraries that a GPU wheel needs. Standard library only: setup.py runs
this file before anything is installed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

NUMPY = "numpy>=1.20,<2"
# OpenCV 4.12 wants NumPy 2, which MXNet cannot work with.
OPENCV = "opencv-python>=4.5,<4.12"
OPENCV_HEADLESS = OPENCV.replace("python", "python-headless")
OTHERS = [
    "pydensecrf2",
    "Pillow>=8.2",
    "tqdm",
    "PyYAML",
    "defusedxml",
    "Jinja2",
    "matplotlib",
    "tensorboardX>=2.5",
]

MXNET_VERSION = "1.9.1"
# MXNet imports distutils, which Python 3.12 dropped and setuptools carries on.
MXNET_COMPANIONS = ("gluoncv>=0.10.5", "setuptools; python_version >= '3.12'")
# The CUDA versions for which MXNet 1.9.1 was published as a wheel.
CUDA_WHEELS = ("mxnet-cu112", "mxnet-cu113", "mxnet-cu114", "mxnet-cu115", "mxnet-cu116", "mxnet-cu117")
# Machine code in those wheels; there is none of the kind that a driver could translate for a newer GPU (PTX). Code for
# 8.6 runs on 8.9, since it is the same major version; 9.0 (H100, H200) and newer find nothing.
CUDA_ARCHITECTURES = "sm_50, sm_60, sm_70, sm_80, sm_86"
CUDA_MAJORS = (5, 6, 7, 8)

# What libmxnet.so of a GPU wheel asks the loader for, and the NVIDIA wheel that brings it:
# requirement -> library below site-packages/nvidia. In loading order: cusolver wants cublas to be there.
CUDA_LIBRARIES = {
    "nvidia-cuda-runtime-cu11": "cuda_runtime/lib/libcudart.so.11.0",
    "nvidia-cuda-nvrtc-cu11": "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "nvidia-cublas-cu11": "cublas/lib/libcublas.so.11",
    "nvidia-cufft-cu11": "cufft/lib/libcufft.so.10",
    "nvidia-curand-cu11": "curand/lib/libcurand.so.10",
    "nvidia-cusparse-cu11": "cusparse/lib/libcusparse.so.11",
    "nvidia-cusolver-cu11": "cusolver/lib/libcusolver.so.11",
    "nvidia-cudnn-cu11<9": "cudnn/lib/libcudnn.so.8",
    "nvidia-nccl-cu11": "nccl/lib/libnccl.so.2",
    "nvidia-nvtx-cu11": "nvtx/lib/libnvToolsExt.so.1",
}


def mxnet_requirements(choice: str) -> list:
    """Requirement lines for the MXNet wheel of the user's choice.

    Parameters
    ----------
    choice : str
        ``mxnet`` (or empty) for the CPU wheel, ``mxnet-cu112`` … ``mxnet-cu117`` for a GPU wheel, ``none`` to leave
        MXNet out.

    Returns
    -------
    list of str
        Lines for ``install_requires``; GluonCV, which is of no use without MXNet, comes with it.

    Raises
    ------
    ValueError
        The choice is none of these.
    """
    choice = choice.strip().lower() or "mxnet"
    if choice == "none":
        return []
    if choice == "mxnet":
        return [f"mxnet=={MXNET_VERSION}", *MXNET_COMPANIONS]
    if choice in CUDA_WHEELS:
        return [f"{choice}=={MXNET_VERSION}", *MXNET_COMPANIONS, *CUDA_LIBRARIES]
    raise ValueError(
        f"ICD_MXNET: expected one of {', '.join(('mxnet', *CUDA_WHEELS, 'none'))}; found {choice!r}"
    )


def opencv_requirements() -> list:
    """Requirement lines for OpenCV on this machine.

    ``opencv-python`` cannot be imported where the system has no libGL.so.1 (servers, containers). There the headless
    build is added: GluonCV asks for ``opencv-python`` in any case, and pip installs what GluonCV needs first, so that
    the headless files replace the others.
    """
    return (
        [OPENCV]
        if has_library("libGL.so.1") and has_library("libgthread-2.0.so.0")
        else [OPENCV, OPENCV_HEADLESS]
    )


def has_library(name: str) -> bool:
    """Whether the dynamic loader finds a shared library on this machine."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def installed_gpu_wheel(site_packages: Path) -> str:
    """Name of the MXNet GPU wheel installed in a folder of packages, or an empty string."""
    for folder in sorted(Path(site_packages).glob("mxnet_cu*.dist-info")):
        return folder.name.split("-")[0].replace("_", "-")
    return ""
