"""Whole files where the system can do less: Windows opens no folders, and some disks do not flush them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sequela import files
from sequela.density.runtime.threads import right_threads
from sequela.files import whole_file, whole_folder


def write(folder):
    with whole_file(folder / "a.txt") as temporary:
        temporary.write_text("x")
    with whole_folder(folder / "f", marker="m") as temporary:
        (temporary / "m").write_text("x")
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "f"]


def test_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    opened = []
    real = files.Disk._sync
    monkeypatch.setattr(files, "_SYNCS_FOLDERS", False)
    monkeypatch.setattr(files.Disk, "_sync", lambda self, path, flags: (opened.append(path), real(self, path, flags)))
    write(tmp_path)
    assert opened
    assert not any(path.is_dir() for path in opened)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_where_a_disk_does_not_flush_folders(tmp_path, monkeypatch, number):
    real = files.Disk._sync

    def sync(self, path, flags):
        if path.is_dir():
            raise OSError(number, os.strerror(number), str(path))
        real(self, path, flags)

    monkeypatch.setattr(files.Disk, "_sync", sync)
    if number == errno.EIO:  # a bad disk is another matter
        with pytest.raises(OSError, match="Input/output error"):
            write(tmp_path)
    else:
        write(tmp_path)


def test_without_what_only_posix_has(monkeypatch):
    """No fork handlers and no affinity, as on Windows and macOS; a fresh process, since modules look once."""
    code = (
        "import os\n"
        "for name in ('register_at_fork', 'fork', 'sched_getaffinity', 'sched_setaffinity'):\n"
        "    if hasattr(os, name): delattr(os, name)\n"
        "from sequela.locks import locked\n"
        "import tempfile\n"
        "with locked(tempfile.mkdtemp() + '/out'): print('locked')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "locked\n", run.stderr
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with right_threads():
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs to see which files are open")
def test_every_verb_writes_and_reads_on_a_system_like_windows(tmp_path):
    """No POSIX modules or calls, changed line ends, and nothing open can be renamed or removed: `windows`."""
    script = Path(__file__).with_name("windows.py")
    run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {"model", "found", "population", "folds", "sequences", "run", "page.html"} <= set(run.stdout.split())
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_names_that_a_code_page_lacks_are_shown_escaped():
    run = subprocess.run(
        [sys.executable, "-m", "sequela", "fit", "no such file 漢.csv", "--out", "model"],
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert run.returncode == 1
    assert b"\\u6f22" in run.stderr
    assert b"Traceback" not in run.stderr


def test_what_a_killed_first_write_left_is_no_other_file(tmp_path):
    from sequela.errors import ConfigError
    from sequela.files import check_writable_folder

    for name in (".crossfit.json.1-ab.partial", ".crossfit.json.lock"):
        (tmp_path / name).touch()
    check_writable_folder(tmp_path, marker="crossfit.json")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="holds other files"):
        check_writable_folder(tmp_path, marker="crossfit.json")
