#!/usr/bin/env bash
# Builds Horovod for the MXNet of this Python, on the CPU, over gloo; then `horovodrun` starts trainings in several processes.
#
#     bash examples/cluster/build_horovod.sh          (PYTHON=python3 for another Python; MAKEFLAGS=-j8 for more cores)
#
# Needs g++, cmake and Python's headers. pip's usual isolated build does not see MXNet, and MXNet alone cannot be imported
# beside NumPy 1.24: so the build happens here, with what icd.compat does put before everything that starts.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python}
shim=$(mktemp -d)
trap 'rm -rf "$shim"' EXIT
cat > "$shim/sitecustomize.py" << 'END'
try:
    from icd.compat import supply_distutils, supply_numpy_aliases
except ImportError:
    pass
else:
    supply_numpy_aliases()
    supply_distutils()
END
export HOROVOD_WITH_MXNET=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1
export HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 MAKEFLAGS="${MAKEFLAGS:--j2}"
"$python" -m pip install setuptools wheel packaging
horovod=$("$python" -c 'from icd.wheels import HOROVOD; print(HOROVOD)')
PYTHONPATH="$shim:$PWD" "$python" -m pip install --no-build-isolation "$@" "$horovod"
"$python" -c 'from icd.compat import mx; import horovod.mxnet; print("Horovod works with MXNet", mx.__version__)'
