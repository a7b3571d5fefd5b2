"""Which wheels this package stands on, and which of them suit this machine.

In: the user's choice (ICD_MXNET), the machine, or a folder of installed packages. Out: requirement lines for pip, the
name of the MXNet wheel that is there, the shared libraries that a GPU wheel needs. Standard library only: setup.py runs
this file before anything is installed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

# What every choice needs.
ALWAYS = [
    "numpy>=1.20,<2",
    "pydensecrf2",
    "Pillow>=8.2",
    "tqdm",
    "PyYAML",
    "defusedxml",
    "tensorboardX>=2.5",
    "msgspec>=0.18",
    "pycocotools>=2.0.5",
    "safetensors>=0.3",
]
# OpenCV 4.12 wants NumPy 2, which MXNet cannot work with.
OPENCV, OPENCV_HEADLESS = "opencv-python>=4.5,<4.12", "opencv-python-headless>=4.5,<4.12"
# What opencv-python asks of the system, and Debian's packages that have it.
SCREEN_LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}
GLUONCV = "gluoncv>=0.10.5"
# MXNet's exporter needs onnx.mapping, which is deprecated since 1.16 and gone later. The lower bound keeps pip from trying
# ever older sources.
ONNX = ["onnx>=1.16,<1.17", "onnxruntime"]
# Built by examples/cluster/build_horovod.sh; the last version, and the one that was tried.
HOROVOD = "horovod==0.28.1"
# The documentation site. The lower bounds are the last versions for Python 3.8.
DOCS = ["sphinx>=7.1", "myst-parser>=3", "furo>=2024.8"]

MXNET_VERSION = "1.9.1"
# MXNet imports distutils, which Python 3.12 dropped and setuptools carries on.
SETUPTOOLS = "setuptools; python_version >= '3.12'"
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


def requirements(choice: str, has_screen: bool) -> list:
    """Requirement lines for this machine and the user's choice of MXNet wheel.

    Parameters
    ----------
    choice : str
        ``mxnet`` (or empty) for the CPU wheel, ``mxnet-cu112`` … ``mxnet-cu117`` for a GPU wheel, ``none`` to leave
        MXNet out (native kernels, file tools and evaluator only).
    has_screen : bool
        The system has `SCREEN_LIBRARIES`, without which ``opencv-python`` cannot be imported. Without them (servers,
        containers) the headless build is taken, and GluonCV, which insists on ``opencv-python``, is left out: two
        OpenCV wheels write to the same folder, and the wrong one may win. Only `icd.segment.zoo` imports GluonCV, and says so.

    Returns
    -------
    list of str
        Lines for ``install_requires``.

    Raises
    ------
    ValueError
        The choice is none of these.
    """
    choice = choice.strip().lower() or "mxnet"
    if choice not in ("mxnet", "none", *CUDA_WHEELS):
        known = ", ".join(("mxnet", *CUDA_WHEELS, "none"))
        raise ValueError(f"ICD_MXNET: expected one of {known}; found {choice!r}")
    lines = [*ALWAYS, OPENCV if has_screen else OPENCV_HEADLESS]
    if choice != "none":
        lines += [f"{choice}=={MXNET_VERSION}", SETUPTOOLS]
        lines += [GLUONCV] if has_screen else []
        lines += CUDA_LIBRARIES if choice in CUDA_WHEELS else []
    return lines


def has_screen_libraries() -> bool:
    """Whether this machine has what ``opencv-python`` needs."""
    return all(map(has_library, SCREEN_LIBRARIES))


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
