"""Installs the package: builds `icd._native` with CMake and pybind11 and chooses the wheels that suit the machine.

ICD_MXNET names the MXNet wheel (``mxnet``, ``mxnet-cu117``, …, ``none``); `icd/wheels.py` knows what each needs.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeExtension(Extension):
    """An extension whose sources CMakeLists.txt lists."""

    def __init__(self, name):
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    """Run CMake; the module lands where setuptools expects it (in the source tree with `--inplace`)."""

    def build_extension(self, extension):
        target = Path(self.get_ext_fullpath(extension.name)).resolve().parent
        scratch = Path(self.build_temp).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        # An older cache names the build tools of pip's temporary environment, which is gone.
        (scratch / "CMakeCache.txt").unlink(missing_ok=True)
        configure = [
            "cmake",
            "-S",
            str(ROOT),
            "-B",
            str(scratch),
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
        ]
        if shutil.which("ninja"):  # comes with pip's build environment; without it CMake wants make
            configure += ["-G", "Ninja"]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(scratch), "--config", "Release", "-j2"], check=True)


def check_build_tools():
    """Stop with one line where the compiler or Python's headers are missing.

    At once, since pip would first fetch and build the dependencies, one of which (pydensecrf2) fails with many lines.
    """
    compilers = [(os.environ.get("CXX") or "c++").split()[0], "g++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers):
        sys.exit(
            "icd: no C++ compiler found; a C++17 one is needed. On Debian or Ubuntu: apt-get install g++"
        )
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.is_file():
        sys.exit(
            f"icd: Python's headers are missing ({header}). On Debian or Ubuntu: apt-get install python3-dev"
        )


check_build_tools()
WHEELS = runpy.run_path(str(ROOT / "icd" / "wheels.py"))
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "icd" / "__init__.py").read_text()).group(1)

setup(
    name="icd",
    version=VERSION,
    description="Weakly-supervised semantic segmentation on MXNet: from image-level tags to pseudo masks",
    license="Apache-2.0",
    python_requires=">=3.8,<3.13",
    packages=find_packages(include=["icd", "icd.*"]),
    package_data={"icd": ["**/*.yaml", "**/*.html"]},
    install_requires=WHEELS["requirements"](
        os.environ.get("ICD_MXNET", ""), WHEELS["has_screen_libraries"]()
    ),
    extras_require={
        "docs": WHEELS["DOCS"],
        "onnx": WHEELS["ONNX"],
        "cluster": ["distributed"],
        "horovod": [WHEELS["HOROVOD"]],  # built first: examples/cluster/build_horovod.sh
        "test": [
            "pytest>=7",
            "pytest-xdist",
            "hypothesis",
            "scipy",
            "scikit-image",
            "ruff==0.17.5",
            "distributed",
            *WHEELS["ONNX"],
        ],
    },
    entry_points={"console_scripts": ["icd = icd.cli.main:main"]},
    ext_modules=[CMakeExtension("icd._native")],
    cmdclass={"build_ext": CMakeBuild},
)
