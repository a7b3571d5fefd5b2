"""The choice of devices: what the user asked for, what the driver shows, what the wheel can run."""

from __future__ import annotations

import importlib.util

import pytest

from icd.engine import devices
from icd.errors import InputError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mxnet") is None, reason="needs MXNet")
A100, H200 = ("A100", (8, 0)), ("H200", (9, 0))


def test_parse_gpus():
    assert devices.parse_gpus("") == []
    assert devices.parse_gpus(" 0, 3 ") == [0, 3]
    for text in ("x", "-1", "0,0", "1.5"):
        with pytest.raises(InputError, match="--gpus"):
            devices.parse_gpus(text)


def test_list_gpus_reads_the_driver(fake_driver):
    gpus, problem = devices.list_gpus(fake_driver([A100, ("L40", (8, 9))]))
    assert gpus == [devices.Gpu(0, "A100", (8, 0)), devices.Gpu(1, "L40", (8, 9))]
    assert problem == ""


def test_no_driver_or_no_gpu_is_said(fake_driver):
    assert devices.list_gpus(None) == ([], "no NVIDIA driver (libcuda.so.1 is not found)")
    assert "cuInit returns 100" in devices.list_gpus(fake_driver(status=100))[1]
    assert "shows no GPU" in devices.list_gpus(fake_driver([]))[1]


@pytest.mark.parametrize("capability", [(5, 2), (6, 1), (7, 5), (8, 0), (8, 9)])
def test_majors_5_to_8_can_run_the_wheels(capability):
    assert devices.why_unusable(devices.Gpu(0, "X", capability), "mxnet-cu117") == ""


@pytest.mark.parametrize("capability, name", [((9, 0), "sm_90"), ((12, 0), "sm_120"), ((3, 7), "sm_37")])
def test_others_are_told_that_there_are_no_kernels(capability, name):
    why = devices.why_unusable(devices.Gpu(0, "X", capability), "mxnet-cu117")
    assert name in why and "no kernels" in why
    assert devices.why_unusable(devices.Gpu(0, "X", capability), "") == ""


@pytest.fixture
def machine(monkeypatch, fake_driver):
    """Make `choose_devices` see an MXNet GPU wheel and the given GPUs, all of which run a first kernel."""

    def make(*gpus):
        from icd.compat import mx

        monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, feature: True)
        monkeypatch.setattr(devices, "load_driver", lambda: fake_driver(gpus))
        monkeypatch.setattr(devices.wheels, "installed_gpu_wheel", lambda folder: "mxnet-cu117")
        monkeypatch.setattr(devices, "_try_kernel", lambda mx, index: "")

    return make


def test_the_cpu_wheel_means_cpu_and_says_why():
    contexts, line = devices.choose_devices(None)
    assert [str(context) for context in contexts] == ["cpu(0)"]
    assert "CPU wheel" in line


def test_an_empty_text_means_cpu_even_with_gpus(machine):
    machine(A100)
    contexts, line = devices.choose_devices("")
    assert [str(context) for context in contexts] == ["cpu(0)"]
    assert "as asked" in line


@pytest.mark.parametrize("gpus, wanted", [([A100], ["gpu(0)"]), ([A100] * 4, ["gpu(0)", "gpu(1)"])])
def test_without_a_word_the_first_two_gpus_are_taken(machine, gpus, wanted):
    machine(*gpus)
    contexts, line = devices.choose_devices(None)
    assert [str(context) for context in contexts] == wanted
    assert line.startswith("GPU 0")


def test_the_gpus_asked_for_are_taken_in_that_order(machine):
    machine(A100, A100, A100)
    contexts, _ = devices.choose_devices("2,0")
    assert [str(context) for context in contexts] == ["gpu(2)", "gpu(0)"]


def test_a_gpu_without_kernels_is_left_for_the_cpu_but_refused_when_asked_for(machine):
    machine(H200)
    contexts, line = devices.choose_devices(None)
    assert [str(context) for context in contexts] == ["cpu(0)"]
    assert "sm_90" in line
    with pytest.raises(InputError, match="sm_90"):
        devices.choose_devices("0")


def test_a_gpu_that_is_not_there_is_refused(machine):
    machine(A100)
    with pytest.raises(InputError, match="number 1 .* 1 GPU"):
        devices.choose_devices("0,1")


def test_asking_the_cpu_wheel_for_a_gpu_is_refused():
    with pytest.raises(InputError, match="CPU wheel.*--gpus ''"):
        devices.choose_devices("0")
