"""Builds `icd._native` with CMake and pybind11; everything else stands in pyproject.toml."""

import subprocess
import sys
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
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(scratch), "--config", "Release", "-j2"], check=True)


setup(
    name="icd",
    version="0.1.0",
    packages=find_packages(include=["icd", "icd.*"]),
    ext_modules=[CMakeExtension("icd._native")],
    cmdclass={"build_ext": CMakeBuild},
)
