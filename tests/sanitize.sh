#!/bin/sh
# Builds the kernels with the address and undefined-behaviour sanitizers into a copy of the package under build/sanitize and
# runs the tests of icd.refine on it. Any finding ends the run with an error. PYTHON chooses the interpreter; further
# arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
tree=$PWD/build/sanitize
rm -rf "$tree/icd" "$tree/external"
mkdir -p "$tree"
cp -r icd external "$tree/"
rm -f "$tree"/icd/_native*.so
cmake -S . -B "$tree/cmake" -DICD_SANITIZE=ON -DPython_EXECUTABLE="$("$PYTHON" -c 'import sys; print(sys.executable)')" \
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$tree/icd" >/dev/null
cmake --build "$tree/cmake" -j2 >/dev/null

# The interpreter itself is not built with the sanitizer, so its runtime comes first; Python's own leaks are not our subject.
compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[^=]*=//p' "$tree/cmake/CMakeCache.txt")
runtime=$("$compiler" -print-file-name=libasan.so)
library=$("$compiler" -print-file-name=libstdc++.so)
tests=$PWD/tests/refine
cd "$tree"
LD_PRELOAD="$runtime $library" ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$tree" PYTHONDONTWRITEBYTECODE=1 "$PYTHON" - "$tests" "$@" <<'PYTHON'
import sys
from pathlib import Path

import pytest

import icd._native

built = Path(icd._native.__file__)
assert "build/sanitize" in built.as_posix(), built
folder, *options = sys.argv[1:]
tests = [f"{folder}/test_{name}.py" for name in ("superpixels", "crf", "random_walk", "path_affinity", "arguments", "kernels_fuzz")]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *tests, *options]))
PYTHON
