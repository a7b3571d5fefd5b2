"""`icd.compat`: what it mends in newer NumPy and Python, and what it says when MXNet cannot be had."""

from __future__ import annotations

import _ctypes
import shutil

import numpy
import pytest

from icd import compat, wheels
from icd.errors import InputError

ASK = "from icd.compat import mx; print('got', mx)"


def not_found(library: str) -> OSError:
    """What the dynamic loader says of a missing library."""
    return OSError(f"{library}: cannot open shared object file: No such file or directory")


def test_numpy_2_is_refused_with_the_command_that_mends_it():
    with pytest.raises(compat.MXNetUnavailable, match="below 2.*2.1.3.*pip install 'numpy<2'"):
        compat.check_numpy("2.1.3")
    compat.check_numpy("1.26.4")


def test_the_error_is_both_bad_input_and_an_import_error():
    assert issubclass(compat.MXNetUnavailable, InputError)
    assert issubclass(compat.MXNetUnavailable, ImportError)


def test_numpy_aliases_are_given_where_missing_and_left_where_present(monkeypatch):
    own = type("own", (), {})
    monkeypatch.setitem(vars(numpy), "bool", own)
    monkeypatch.setitem(vars(numpy), "float", own)
    del vars(numpy)["float"]
    compat.supply_numpy_aliases()
    assert vars(numpy)["bool"] is own
    assert vars(numpy)["float"] is float


def test_mxnet_that_uses_a_dropped_alias_is_imported_without_a_warning(run_python):
    module = "import numpy, warnings; kind = numpy.bool; warnings.warn('old', DeprecationWarning)"
    out = run_python(ASK + "; print(mx.kind)", {"mxnet/__init__.py": module})
    assert "<class 'bool'>" in out
    assert "Warning" not in out


def test_the_users_own_deprecation_warnings_are_not_silenced(run_python):
    code = ASK + "; import warnings; warnings.warn('mine', DeprecationWarning)"
    assert "DeprecationWarning: mine" in run_python(code, {"mxnet/__init__.py": ""})


def test_distutils_can_be_imported_after_compat_on_every_python(run_python):
    module = "from distutils.version import LooseVersion; later = LooseVersion('1.10') > LooseVersion('1.9')"
    assert "True" in run_python(ASK + "; print(mx.later)", {"mxnet/__init__.py": module})


@pytest.mark.parametrize("spec", ["None", "importlib.machinery.ModuleSpec('mxnet', None)"])
def test_missing_mxnet_names_the_command(run_python, spec):
    """Not there at all, or only a folder of that name (a namespace package)."""
    hide = (
        "import importlib.machinery, importlib.util as util; find = util.find_spec\n"
        f"util.find_spec = lambda name, *rest: {spec} if name == 'mxnet' else find(name, *rest)\n"
    )
    out = run_python(hide + ASK)
    assert "MXNetUnavailable: mxnet: expected MXNet 1.9.1" in out
    assert "ICD_MXNET=mxnet pip install -e ." in out


def test_numpy_2_is_refused_before_mxnet_is_touched(run_python):
    modules = {"mxnet/__init__.py": "print('touched')", "numpy/__init__.py": "__version__ = '2.0.0'"}
    out = run_python(ASK, modules)
    assert "pip install 'numpy<2'" in out
    assert "touched" not in out


def test_a_gpu_wheel_without_driver_says_what_to_do(run_python):
    modules = {
        "mxnet/__init__.py": "raise OSError('libcuda.so.1: cannot open shared object file')",
        "mxnet_cu117-1.9.1.dist-info/METADATA": "Name: mxnet-cu117\nVersion: 1.9.1\n",
    }
    out = run_python(ASK, modules)
    assert "mxnet-cu117: expected the NVIDIA driver" in out
    assert "pip uninstall -y mxnet-cu117 && ICD_MXNET=mxnet pip install -e ." in out


@pytest.mark.parametrize(
    "library, remedy",
    [
        ("libcudnn.so.8", "pip install 'nvidia-cudnn-cu11<9'"),
        ("libnvrtc.so.11.2", "pip install 'nvidia-cuda-nvrtc-cu11'"),
        ("libnvToolsExt.so.1", "pip install 'nvidia-nvtx-cu11'"),
        ("libquadmath.so.0", "apt-get install libquadmath0"),
    ],
)
def test_a_missing_library_is_named_with_the_package_that_brings_it(library, remedy):
    error = compat.explain_load_failure(not_found(library), "mxnet-cu117")
    assert library in error.expected
    assert remedy in error.remedy


def test_any_other_failure_is_quoted():
    error = compat.explain_load_failure(AttributeError("module 'onnx' has no attribute 'mapping'"), "")
    assert "AttributeError: module 'onnx'" in str(error)


def test_preload_loads_the_libraries_that_are_there(tmp_path):
    library = tmp_path / "nvidia" / wheels.CUDA_LIBRARIES["nvidia-nccl-cu11"]
    library.parent.mkdir(parents=True)
    shutil.copy(_ctypes.__file__, library)
    assert compat.preload_cuda(tmp_path) == ["libnccl.so.2"]
    assert compat.preload_cuda(tmp_path / "nowhere") == []


def test_libraries_are_listed_after_those_they_need():
    order = list(wheels.CUDA_LIBRARIES)
    assert order.index("nvidia-cublas-cu11") < order.index("nvidia-cusolver-cu11")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'my'"):
        compat.my  # noqa: B018
