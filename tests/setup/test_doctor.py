"""`icd doctor`: each failure is one line with a remedy, and the exit status tells whether the CPU path works."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from icd import doctor, wheels
from icd.cli import doctor as command

CPU = {"mxnet": "1.9.1"}


@pytest.mark.parametrize(
    "version, state", [((3, 8, 18), "ok"), ((3, 12, 1), "ok"), ((3, 13, 0), "fails"), ((3, 7, 9), "fails")]
)
def test_python(version, state):
    assert doctor.check_python(version).state == state


def test_numpy():
    assert doctor.check_numpy("1.26.4").state == doctor.OK
    assert "numpy<2" in doctor.check_numpy("2.1.0").remedy
    assert doctor.check_numpy("").state == doctor.FAILS


@pytest.mark.skipif(importlib.util.find_spec("mxnet") is None, reason="needs MXNet")
def test_mxnet_computes():
    finding = doctor.check_mxnet(CPU)
    assert finding.state == doctor.OK
    assert "1.9.1 (mxnet)" in finding.text


def test_two_mxnet_wheels_spoil_each_other():
    finding = doctor.check_mxnet({**CPU, "mxnet-cu117": "1.9.1"})
    assert finding.state == doctor.FAILS
    assert "uninstall -y mxnet mxnet-cu117" in finding.remedy


def test_no_driver_is_a_note_since_the_cpu_works(fake_driver):
    (finding,) = doctor.check_gpus(None, CPU)
    assert finding.state == doctor.NOTE
    assert "no NVIDIA driver" in finding.text


def test_a_gpu_beside_the_cpu_wheel_names_the_gpu_wheel(fake_driver):
    (finding,) = doctor.check_gpus(fake_driver([("A100", (8, 0))]), CPU)
    assert finding.state == doctor.NOTE
    assert "ICD_MXNET=mxnet-cu117" in finding.remedy


@pytest.mark.parametrize("wheel", ["mxnet", "mxnet-cu117"])
def test_a_hopper_gpu_is_told_that_no_wheel_has_kernels(fake_driver, wheel):
    first, second = doctor.check_gpus(fake_driver([("H200", (9, 0)), ("A100", (8, 0))]), {wheel: "1.9.1"})
    assert "sm_90" in first.text and "no kernels" in first.text
    assert "built from source" in first.remedy
    assert "no kernels" not in second.text


def test_a_usable_gpu_is_ok(fake_driver):
    (finding,) = doctor.check_gpus(fake_driver([("L40", (8, 9))]), {"mxnet-cu117": "1.9.1"})
    assert (finding.title, finding.state, finding.text) == ("GPU 0", doctor.OK, "L40 (sm_89)")


def test_opencv_without_its_system_library_offers_two_ways(monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    finding = doctor.check_opencv({"opencv-python": "4.11.0.86"})
    assert (finding.state, finding.text) == (doctor.FAILS, "the system has no libGL.so.1")
    assert "apt-get install libgl1" in finding.remedy
    assert wheels.OPENCV_HEADLESS in finding.remedy


def test_kernels_that_are_not_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "icd._native", None)
    finding = doctor.check_native()
    assert finding.state == doctor.FAILS
    assert "C++ compiler" in finding.remedy


def test_missing_packages_are_listed():
    finding = doctor.check_packages({"tqdm": "4", "pillow": "9"})[1]
    assert finding.state == doctor.FAILS
    assert "PyYAML" in finding.text and "tqdm" not in finding.text and "Pillow" not in finding.text


def test_more_threads_than_cores_is_a_note(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert "export OMP_NUM_THREADS=" in doctor.check_cores().remedy
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.check_cores().state == doctor.OK


def test_a_full_disk_is_a_note():
    assert doctor.check_disk(10 * 2**30).state == doctor.OK
    assert doctor.check_disk(2**20).state == doctor.NOTE


@pytest.mark.parametrize("state, status", [(doctor.OK, 0), (doctor.NOTE, 0), (doctor.FAILS, 1)])
def test_exit_status_and_lines(monkeypatch, capsys, state, status):
    monkeypatch.setattr(command, "examine", lambda: [doctor.Finding("Thing", state, "text", "mend it")])
    assert command.run(None) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [state, "Thing", "text"]
    assert lines[1].strip() == "-> mend it"
    assert len(lines) == 3


def test_it_speaks_even_where_numpy_opencv_and_mxnet_are_broken(run_python):
    broken = {f"{name}/__init__.py": "raise ImportError('broken')" for name in ("numpy", "cv2", "mxnet")}
    out = run_python("import sys; from icd.cli.main import main; sys.exit(main(['doctor']))", broken)
    assert "Traceback" not in out
    assert "fails MXNet" in out and "fails OpenCV" in out
    assert "Disk" in out
    assert out.splitlines()[-1].startswith("The CPU path is broken")


@pytest.mark.parametrize(
    "start",
    [
        "from icd.cli.main import main; main(['evaluate', 'a', '--truth', 'b', '--list', 'c'])",
        "from icd.cli.main import main; main(['superpixels', 'raw'])",
        "import run_icd; run_icd.main([])",
    ],
)
def test_other_commands_point_to_it_where_a_package_is_broken(run_python, start):
    message = "libGL.so.1: cannot open shared object file"
    out = run_python(start, {"cv2/__init__.py": f"raise ImportError('{message}')"})
    assert out.strip() == f"error: {message}. Run `python -m icd.cli.main doctor`: it says what to do"
