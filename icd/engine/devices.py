"""Choice of the devices that a run computes on.

In: what the user wrote after ``--gpus``. Out: MXNet contexts and one line that says why these. The driver is asked
directly (libcuda, through ctypes), because MXNet knows the number of GPUs but not whether its wheel has code for them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

from icd import wheels
from icd.errors import InputError

# The original's default; as many of them are taken as there are.
DEFAULT_GPUS = (0, 1)
# cudaDeviceAttribute numbers, from the CUDA driver API's CUdevice_attribute.
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76


class Gpu(NamedTuple):
    """One GPU as the driver describes it, in the numbering of CUDA_VISIBLE_DEVICES, which is MXNet's too."""

    index: int
    name: str
    capability: tuple[int, int]


def load_driver():
    """The driver's library, or None where there is no NVIDIA driver."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def list_gpus(driver) -> tuple[list[Gpu], str]:
    """Ask the driver for its GPUs.

    Parameters
    ----------
    driver : ctypes.CDLL or None
        From `load_driver`.

    Returns
    -------
    list of Gpu, str
        The GPUs, and why there are none (empty where there are).
    """
    if driver is None:
        return [], "no NVIDIA driver (libcuda.so.1 is not found)"
    status = driver.cuInit(0)
    if status != 0:
        return [], f"the NVIDIA driver shows no GPU (cuInit returns {status})"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = [_describe(driver, index) for index in range(count.value)]
    return gpus, "" if gpus else "the NVIDIA driver shows no GPU"


def _describe(driver, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
    return Gpu(index, name.value.decode(errors="replace"), (major.value, minor.value))


def why_unusable(gpu: Gpu, gpu_wheel: str) -> str:
    """Why a GPU cannot run the installed wheel's kernels; empty where it can.

    Parameters
    ----------
    gpu : Gpu
    gpu_wheel : str
        Name of MXNet's wheel; empty for a build of the user's own, about which nothing is known.
    """
    if not gpu_wheel or gpu.capability[0] in wheels.CUDA_MAJORS:
        return ""
    return (
        f"{gpu.name} is sm_{gpu.capability[0]}{gpu.capability[1]}, for which {gpu_wheel} has no kernels "
        f"(it has them for {wheels.CUDA_ARCHITECTURES})"
    )


def parse_gpus(text: str) -> list[int]:
    """Device numbers from the text after ``--gpus``: ``0,1`` gives ``[0, 1]``, an empty text an empty list.

    Raises
    ------
    InputError
        Not a comma-separated list of different non-negative numbers.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts) or len(set(map(int, parts))) != len(parts):
        raise InputError("--gpus", "different GPU numbers such as 0,1, or '' for the CPU", repr(text))
    return [int(part) for part in parts]


def choose_devices(gpus: str | None = None) -> tuple[list, str]:
    """The devices to compute on.

    Parameters
    ----------
    gpus : str or None
        Comma-separated GPU numbers, as CUDA numbers the visible ones; an empty text for the CPU; None where the user
        said nothing: GPUs 0 and 1 as far as they are there and work, else the CPU.

    Returns
    -------
    list of mxnet.Context, str
        The devices, and a line for the user that says why these.

    Raises
    ------
    InputError
        A GPU that the user asked for is not there or cannot be used.
    """
    from icd.compat import mx

    cpu = f"{os.cpu_count()} cores"
    if gpus is not None and not parse_gpus(gpus):
        return [mx.cpu()], f"CPU ({cpu}), as asked"
    present, problem = _mxnet_gpus(mx)
    if gpus is None:
        wanted = [index for index in DEFAULT_GPUS if index in present and not present[index]]
        if wanted:
            return [mx.gpu(index) for index in wanted], f"GPU {', '.join(map(str, wanted))}"
        why = problem or "; ".join(present.values())
        return [mx.cpu()], f"CPU ({cpu}), since {why}"
    wanted = parse_gpus(gpus)
    for index in wanted:
        why = problem or present.get(index, f"{len(present)} GPU(s), numbered from 0")
        if why:
            raise InputError(
                "--gpus", f"a GPU number {index} that MXNet can use", why, "Use --gpus '' for the CPU"
            )
    return [mx.gpu(index) for index in wanted], f"GPU {', '.join(map(str, wanted))}, as asked"


def _mxnet_gpus(mx) -> tuple[dict, str]:
    """GPU number -> why it cannot be used (empty if it can), and why there are none at all."""
    if not mx.runtime.Features().is_enabled("CUDA"):
        return {}, "the installed MXNet is the CPU wheel"
    found, problem = list_gpus(load_driver())
    gpu_wheel = wheels.installed_gpu_wheel(Path(importlib.util.find_spec("mxnet").origin).parent.parent)
    return {gpu.index: why_unusable(gpu, gpu_wheel) or _try_kernel(mx, gpu.index) for gpu in found}, problem


def _try_kernel(mx, index: int) -> str:
    """Run the smallest kernel on a GPU; what MXNet says if that fails, in one line."""
    try:
        mx.nd.ones(1, mx.gpu(index)).asnumpy()
    except mx.MXNetError as error:
        return f"GPU {index} fails: {str(error).strip().splitlines()[-1]}"
    return ""
