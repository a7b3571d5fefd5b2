"""Which MXNet wheel is wanted or installed, and what has to lie beside it.

In: the user's choice (ICD_MXNET) or a folder of installed packages. Out: requirement lines for pip, the name of the
wheel that is there, the shared libraries that a GPU wheel needs. Standard library only: setup.py runs this file
before anything is installed.
"""

from __future__ import annotations

from pathlib import Path

MXNET_VERSION = "1.9.1"
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
        Lines for ``install_requires``.

    Raises
    ------
    ValueError
        The choice is none of these.
    """
    choice = choice.strip().lower() or "mxnet"
    if choice == "none":
        return []
    if choice == "mxnet":
        return [f"mxnet=={MXNET_VERSION}"]
    if choice in CUDA_WHEELS:
        return [f"{choice}=={MXNET_VERSION}", *CUDA_LIBRARIES]
    raise ValueError(
        f"ICD_MXNET: expected one of {', '.join(('mxnet', *CUDA_WHEELS, 'none'))}; found {choice!r}"
    )


def installed_gpu_wheel(site_packages: Path) -> str:
    """Name of the MXNet GPU wheel installed in a folder of packages, or an empty string."""
    for folder in sorted(Path(site_packages).glob("mxnet_cu*.dist-info")):
        return folder.name.split("-")[0].replace("_", "-")
    return ""
