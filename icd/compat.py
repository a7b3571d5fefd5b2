"""The one place that imports MXNet: ``from icd.compat import mx``.

MXNet 1.9.1 was released in 2022 and does not know what came after it. In: the installed NumPy, MXNet wheel and NVIDIA
wheels. Out: the module ``mx``, loaded on first use so that a program can look at this file's parts without MXNet, or an
`MXNetUnavailable` that says what is wrong and what to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
import sys
import warnings
from pathlib import Path

import numpy
from PIL import ImageFile

from icd import wheels
from icd.errors import InputError

# Aliases of Python's own types that MXNet and GluonCV still use; NumPy 1.24 dropped them.
NUMPY_ALIASES = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str}

INSTALL_CPU = "ICD_MXNET=mxnet pip install -e ."
# Libraries of the operating system that libmxnet.so needs, and the package that brings each on Debian and Ubuntu.
SYSTEM_LIBRARIES = {"libquadmath.so.0": "libquadmath0", "libgomp.so.1": "libgomp1", "libz.so.1": "zlib1g"}


class MXNetUnavailable(InputError, ImportError):
    """MXNet cannot be imported; the message says why and what to do."""


def check_numpy(version: str) -> None:
    """Refuse a NumPy that MXNet cannot work with, before MXNet fails on it obscurely.

    Parameters
    ----------
    version : str
        ``numpy.__version__``.

    Raises
    ------
    MXNetUnavailable
        NumPy 2 or newer.
    """
    if int(version.split(".")[0]) >= 2:
        raise MXNetUnavailable(
            "numpy", "a version below 2, which MXNet 1.9.1 needs", version, "Run: pip install 'numpy<2'"
        )


def supply_numpy_aliases() -> None:
    """Give NumPy back the aliases that MXNet uses, where they are missing.

    NumPy 1.20 to 1.23 has them behind a deprecation warning for every use; the plain attribute keeps those quiet too.
    """
    for name, builtin in NUMPY_ALIASES.items():
        vars(numpy).setdefault(name, builtin)


def supply_distutils() -> None:
    """Make ``import distutils`` work on Python 3.12, which dropped it; setuptools carries a copy."""
    if sys.version_info < (3, 12) or importlib.util.find_spec("distutils") is not None:
        return
    try:
        import setuptools  # noqa: F401  (its import puts its copy of distutils in place)
    except ModuleNotFoundError as error:
        raise MXNetUnavailable(
            "setuptools",
            "it beside MXNet on Python 3.12 and newer",
            "not installed",
            "Run: pip install setuptools",
        ) from error


def preload_cuda(site_packages: Path) -> list:
    """Load the CUDA 11 libraries of the NVIDIA wheels, so that the dynamic loader need not search for them.

    Parameters
    ----------
    site_packages : Path
        The folder that holds the packages ``mxnet`` and ``nvidia``.

    Returns
    -------
    list of str
        The libraries loaded, for `icd doctor`. One that is absent is left to the loader: a system-wide CUDA may
        have it.
    """
    loaded = []
    for library in wheels.CUDA_LIBRARIES.values():
        path = Path(site_packages) / "nvidia" / library
        if path.is_file():
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            loaded.append(path.name)
    return loaded


def explain_load_failure(error: BaseException, gpu_wheel: str) -> MXNetUnavailable:
    """Turn the loader's message about a missing shared library into what the user can do.

    Parameters
    ----------
    error : BaseException
        What ``import mxnet`` raised.
    gpu_wheel : str
        Name of the installed GPU wheel, empty for the CPU wheel.
    """
    match = re.search(r"(lib[\w+-]+\.so[.\d]*)", str(error))
    library = match.group(1) if match else ""
    if library == "libcuda.so.1":
        return MXNetUnavailable(
            gpu_wheel or "mxnet",
            "the NVIDIA driver, without which a GPU wheel cannot be imported",
            "no libcuda.so.1",
            "Install the driver (in a container: start it with GPU access), or take the CPU wheel: "
            f"pip uninstall -y {gpu_wheel or 'mxnet'} && {INSTALL_CPU}",
        )
    needed = [wheel for wheel, path in wheels.CUDA_LIBRARIES.items() if path.endswith("/" + library)]
    if library and needed:
        return MXNetUnavailable(
            gpu_wheel, f"the library {library}", "none", f"Run: pip install '{needed[0]}'"
        )
    if library in SYSTEM_LIBRARIES:
        remedy = f"On Debian or Ubuntu: apt-get install {SYSTEM_LIBRARIES[library]}"
        return MXNetUnavailable("mxnet", f"the system library {library}", "none", remedy)
    found = f"{type(error).__name__}: {error}"
    return MXNetUnavailable(
        "mxnet", "a package that can be imported", found, "`icd doctor` lists the versions"
    )


def load_mxnet():
    """Import MXNet with all of the above in place.

    Returns
    -------
    module
        ``mxnet``.

    Raises
    ------
    MXNetUnavailable
        It is not installed, or cannot be imported here.
    """
    spec = importlib.util.find_spec("mxnet")
    if spec is None or spec.origin is None:
        raise MXNetUnavailable(
            "mxnet",
            f"MXNet {wheels.MXNET_VERSION}, which training and localization need",
            "not installed",
            f"Run: {INSTALL_CPU} (or ICD_MXNET=mxnet-cu117 for NVIDIA GPUs)",
        )
    check_numpy(numpy.__version__)
    supply_numpy_aliases()
    site_packages = Path(spec.origin).parent.parent
    gpu_wheel = wheels.installed_gpu_wheel(site_packages)
    try:
        supply_distutils()
        if gpu_wheel:
            preload_cuda(site_packages)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mxnet(\.|$)")
            import mxnet
    except MXNetUnavailable:
        raise
    except Exception as error:  # the loader, a broken optional package that MXNet imports (onnx), …
        raise explain_load_failure(error, gpu_wheel) from error
    return mxnet


def load_gluoncv():
    """Import GluonCV, whose packages of the last years swallow what keeps them from being imported.

    Returns
    -------
    module
        ``gluoncv``, with its ``model_zoo``.

    Raises
    ------
    MXNetUnavailable
        It is not installed, or cannot be imported here; the message says why and what to install.
    """
    load_mxnet()
    wanted = "GluonCV, whose networks are asked for"
    if importlib.util.find_spec("gluoncv") is None:
        raise MXNetUnavailable("gluoncv", wanted, "not installed", f"Run: pip install '{wheels.GLUONCV}'")
    try:
        with warnings.catch_warnings(), _strict_pillow():
            warnings.simplefilter("ignore")
            import gluoncv
            import gluoncv.model_zoo  # raises what the package itself passes over in silence
    except Exception as error:  # a missing library, torch beside it, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise MXNetUnavailable("gluoncv", wanted, reason[:300], _gluoncv_remedy(reason)) from error
    return gluoncv


@contextlib.contextmanager
def _strict_pillow():
    """Keep Pillow's process-wide switch as it was: GluonCV makes it read cut-off files as if they were whole."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _gluoncv_remedy(reason: str) -> str:
    """What to do about an import of GluonCV that fails."""
    missing = re.search(r"No module named '(\w+)", reason)
    if missing:
        return f"Run: pip install {missing.group(1)}"
    if "torch" in reason:
        return "GluonCV refuses torch 2 and newer: use an environment without torch, or with torch<2"
    if "libGL" in reason:
        return "On Debian or Ubuntu: apt-get install libgl1, or take opencv-python-headless"
    return f"Run: pip install --force-reinstall --no-deps '{wheels.GLUONCV}'"


def __getattr__(name: str):
    if name != "mx":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["mx"] = module = load_mxnet()
    return module
