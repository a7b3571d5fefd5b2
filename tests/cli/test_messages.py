"""What goes wrong outside of the readers is one line too: the file, what happened, what to do; never a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from icd.cli.main import guarded
from icd.errors import os_error_text
from icd.files import write_atomic


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.png"),
            ("out/a.png: ", "No space left", "Free some space"),
        ),
        (OSError(errno.EEXIST, "File exists", "out"), ("out: ", "File exists", "Remove it")),
        (
            OSError(errno.EIO, "Input/output error", b"a\xff\x1b[2J.png"),
            ("a\\udcff\\x1b[2J.png: ", "Input/output"),
        ),
        (OSError("odd"), ("odd. ",)),
        (OSError(errno.EXDEV, "Cross", "a", None, "b"), ("b: ", "Cross")),
    ],
)
def test_errors_of_the_system_name_file_and_remedy(capsys, error, parts):
    def run(_):
        raise error

    assert guarded(run, None) == 1
    line = capsys.readouterr().err
    assert line == f"error: {os_error_text(error)}\n" and line[:-1].isprintable() and "Errno" not in line
    assert all(part in line for part in parts)


def test_nobody_hears_of_temporary_names(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomic(tmp_path / "a.png", b"content")
    assert caught.value.filename == str(tmp_path / "a.png") and not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError) as caught:
        write_atomic(tmp_path / "a.png", b"content")
    assert os_error_text(caught.value).startswith(f"{tmp_path / 'a.png'}: ")


def test_too_little_memory_is_said(capsys):
    def run(_):
        raise MemoryError

    assert guarded(run, None) == 1
    assert "the memory is used up" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "seeds", "superpixels", "export-onnx", "evaluate", "report"])
def test_help_without_mxnet_is_no_traceback(command):
    """The commands that need no MXNet have their help; the others say what is missing."""
    program = (
        "import sys; sys.modules['mxnet'] = None; from icd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or (result.returncode == 1 and len(result.stderr.splitlines()) == 1)
    assert result.returncode == 0 or command not in ("evaluate", "report")


def test_text_of_files_cannot_drive_the_terminal(tmp_path):
    (tmp_path / "list.txt").write_text("a\x1b]0;owned\x07\n")
    program = [
        sys.executable,
        "-m",
        "icd.cli.main",
        "evaluate",
        tmp_path,
        "--truth",
        tmp_path,
        "--list",
        tmp_path / "list.txt",
    ]
    result = subprocess.run(program, capture_output=True, timeout=60, check=False)
    assert result.returncode == 2 and b"\x1b" not in result.stdout + result.stderr
    assert b"list.txt, line 1: expected an id" in result.stderr
