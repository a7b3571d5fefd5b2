"""Looks at the machine and the installation. In: nothing. Out: findings, each with what to do about it.

Every part is imported inside its own check, so that the rest is still examined where one is broken; for the same reason
nothing but the standard library, `icd.wheels` and `icd.engine.devices` is imported at the top.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata

from icd import wheels
from icd.engine import devices

OK, NOTE, FAILS = "ok", "note", "fails"
LEAST_FREE_GIB = 2
INSTALL = "pip install -e ."
# Packages whose compiled part can be broken although they are installed, and the module that shows it.
COMPILED = {"pydensecrf2": "pydensecrf.densecrf", "Pillow": "PIL.Image", "matplotlib": "matplotlib"}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: `state` is `OK`, `NOTE` (the CPU path works without it) or `FAILS`."""

    title: str
    state: str
    text: str
    remedy: str = ""


def examine() -> list:
    """Every finding about this machine, in the order in which one would mend them."""
    installed = installed_packages()
    return [
        check_python(sys.version_info[:3]),
        check_numpy(installed.get("numpy", "")),
        check_mxnet(installed),
        *check_gpus(devices.load_driver(), installed),
        check_opencv(installed),
        check_native(),
        *check_packages(installed),
        check_cores(),
        check_disk(shutil.disk_usage(".").free),
    ]


def installed_packages() -> dict:
    """Installed distributions in pip's spelling (lower case, hyphens), with their versions."""
    pairs = ((dist.metadata["Name"], dist.version) for dist in metadata.distributions())
    return {normal(name): version for name, version in pairs if name}


def normal(name: str) -> str:
    """A distribution's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_python(version: tuple) -> Finding:
    """Python 3.8 to 3.12: MXNet needs NumPy 1, which has no wheels for 3.13."""
    text = f"{'.'.join(map(str, version))}, {sys.executable}"
    if (3, 8) <= version[:2] <= (3, 12):
        return Finding("Python", OK, text)
    return Finding("Python", FAILS, text, "Use Python 3.8 to 3.12: make demo PYTHON=/path/to/python3.11")


def check_numpy(version: str) -> Finding:
    """NumPy below 2, which MXNet needs."""
    if not version:
        return Finding("NumPy", FAILS, "not installed", f"Run: {INSTALL}")
    if int(version.split(".")[0]) >= 2:
        return Finding("NumPy", FAILS, f"{version} is too new for MXNet 1.9.1", "Run: pip install 'numpy<2'")
    return Finding("NumPy", OK, version)


def mxnet_wheels(installed: dict) -> list:
    """Names of the MXNet wheels that are installed; more than one spoil each other."""
    return sorted(name for name in installed if name == "mxnet" or name in wheels.CUDA_WHEELS)


def check_mxnet(installed: dict) -> Finding:
    """MXNet can be imported and computes on the CPU."""
    names = mxnet_wheels(installed)
    if len(names) > 1:
        remedy = f"Run: pip uninstall -y {' '.join(names)}, then: ICD_MXNET={names[-1]} {INSTALL}"
        return Finding("MXNet", FAILS, f"{' and '.join(names)} lie in the same folder", remedy)
    try:
        from icd.compat import mx

        kernel = mx.nd.ones((1, 1, 3, 3))
        total = mx.nd.Convolution(kernel, kernel, kernel=(3, 3), num_filter=1, no_bias=True).asscalar()
    except Exception as error:  # whatever is wrong with it belongs in the line
        return Finding("MXNet", FAILS, *_split_remedy(error, f"Run: ICD_MXNET=mxnet {INSTALL}"))
    if total != 9:
        return Finding(
            "MXNet", FAILS, f"a convolution gives {total}, not 9", f"Run: ICD_MXNET=mxnet {INSTALL}"
        )
    return Finding(
        "MXNet", OK, f"{mx.__version__} ({names[0] if names else 'own build'}) computes on the CPU"
    )


def _split_remedy(error: BaseException, default: str) -> tuple:
    """What was found and what to do, of an `InputError` or any other exception."""
    if hasattr(error, "remedy"):
        return f"{error.where}: needs {error.expected}; found {error.found}", error.remedy
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", default


def check_gpus(driver, installed: dict) -> list:
    """Each GPU, and whether the installed wheel can use it.

    Parameters
    ----------
    driver : ctypes.CDLL or None
        From `icd.engine.devices.load_driver`.
    installed : dict
        From `installed_packages`.
    """
    gpus, problem = devices.list_gpus(driver)
    if problem:
        return [Finding("GPU", NOTE, problem, "None needed for the CPU. For a GPU: install NVIDIA's driver")]
    names = mxnet_wheels(installed)
    return [_check_gpu(gpu, names[-1] if names else "") for gpu in gpus]


def _check_gpu(gpu, wheel: str) -> Finding:
    title = f"GPU {gpu.index}"
    # No wheel has kernels for it, whichever is installed: say that rather than advise another wheel.
    why = devices.why_unusable(gpu, wheel if wheel in wheels.CUDA_WHEELS else "any mxnet-cu11x wheel")
    if why and wheel:
        remedy = (
            "Use --gpus '' (CPU), or an MXNet built from source for this GPU with CUDA 11.8 or newer. "
            "To localize on it without MXNet: `icd export-onnx`"
        )
        return Finding(title, NOTE, why, remedy)
    named = f"{gpu.name} (sm_{gpu.capability[0]}{gpu.capability[1]})"
    if wheel == "mxnet":
        remedy = f"Run: pip uninstall -y mxnet, then: ICD_MXNET=mxnet-cu117 {INSTALL}"
        return Finding(title, NOTE, f"{named}, but MXNet is the CPU wheel", remedy)
    return Finding(title, OK, named)


def check_opencv(installed: dict) -> Finding:
    """OpenCV can be imported; its usual wheel wants libraries of a desktop."""
    names = sorted(name for name in installed if name.startswith("opencv-"))
    try:
        import cv2
    except Exception as error:  # an ImportError, or NumPy's complaint about its version
        return _opencv_failure(str(error), names)
    return Finding("OpenCV", OK, f"{cv2.__version__} ({', '.join(names) or 'own build'})")


def _opencv_failure(message: str, names: list) -> Finding:
    match = re.search(r"lib[\w+-]+\.so[.\d]*", message)
    if not names:
        return Finding("OpenCV", FAILS, "not installed", f"Run: {INSTALL}")
    if match and "cannot open shared object" in message:
        package = wheels.SCREEN_LIBRARIES.get(match.group())
        system = f"apt-get install {package} (Debian, Ubuntu), or: " if package else ""
        headless = f"pip uninstall -y {' '.join(names)} && pip install '{wheels.OPENCV_HEADLESS}'"
        return Finding("OpenCV", FAILS, f"the system has no {match.group()}", f"Run: {system}{headless}")
    remedy = f"Run: pip install --force-reinstall --no-deps '{wheels.OPENCV_HEADLESS}'"
    return Finding(
        "OpenCV", FAILS, message.strip().splitlines()[-1] if message.strip() else "import fails", remedy
    )


def check_native() -> Finding:
    """The compiled kernels are built for this Python."""
    try:
        native = importlib.import_module("icd._native")
    except ImportError as error:
        return Finding(
            "Kernels", FAILS, f"icd._native: {error}", f"Build them (needs a C++ compiler): {INSTALL}"
        )
    return Finding("Kernels", OK, f"icd._native, {os.path.basename(native.__file__)}")


def check_packages(installed: dict) -> list:
    """The other packages that setup.py asks for: present, and the compiled ones importable."""
    names = [re.split(r"[<>=; ]", line)[0] for line in wheels.ALWAYS if not line.startswith("numpy")]
    present = [f"{name} {installed[normal(name)]}" for name in names if normal(name) in installed]
    missing = [name for name in names if normal(name) not in installed]
    findings = [Finding("Packages", OK, ", ".join(present))] if present else []
    if missing:
        findings.append(Finding("Packages", FAILS, f"not installed: {', '.join(missing)}", f"Run: {INSTALL}"))
    for name, module in COMPILED.items():
        try:
            if name not in missing:
                importlib.import_module(module)
        except Exception as error:  # a compiled module can fail in any way
            text = f"{name}: {type(error).__name__}: {error}"
            findings.append(
                Finding("Packages", FAILS, text, f"Run: pip install --force-reinstall --no-deps {name}")
            )
    return findings


def check_cores() -> Finding:
    """Cores that this process may use, and the number of threads that MXNet will use."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    threads = os.environ.get("OMP_NUM_THREADS", "")
    text = f"{usable} of {total} usable, OMP_NUM_THREADS {threads or 'not set'}"
    if threads.isdigit() and int(threads) > usable:
        return Finding(
            "Cores",
            NOTE,
            text,
            f"More threads than cores slow MXNet down. Run: export OMP_NUM_THREADS={usable}",
        )
    return Finding("Cores", OK, text)


def check_disk(free_bytes: int) -> Finding:
    """Room for a run's checkpoints and score maps in the current folder."""
    free = free_bytes / 2**30
    text = f"{free:.1f} GiB free in {os.getcwd()}"
    if free < LEAST_FREE_GIB:
        return Finding("Disk", NOTE, text, "Free some, or work in a folder on another disk")
    return Finding("Disk", OK, text)
