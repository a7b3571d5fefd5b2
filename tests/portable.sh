#!/bin/sh
# Compiles the kernels with Clang for x86-64 and for arm64, warnings being errors. Needs the Python package ziglang, which holds
# a Clang for all targets (pip install ziglang). PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import ziglang' 2>/dev/null; then
    echo "skipped: no Clang for other processors here. Get one with: $PYTHON -m pip install ziglang"
    exit 0
fi
object=$(mktemp)
trap 'rm -f "$object"' EXIT
for target in x86_64-linux-gnu aarch64-linux-gnu; do
    for source in external/superpixel/*.cpp csrc/*.cpp; do
        case $source in */bindings.cpp) continue ;; esac # needs the target's Python
        "$PYTHON" -m ziglang c++ -target "$target" -std=c++17 -O1 -Wall -Wextra -Werror -Wno-psabi -ffp-contract=off \
            -fno-math-errno -fno-trapping-math -Icsrc -Iexternal/superpixel -c "$source" -o "$object"
    done
    echo "$target: compiled without warnings"
done
