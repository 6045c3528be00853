"""What a program meets on Windows, as far as another system can show it: run before `sequela` is imported.

Nothing that only POSIX has; text files whose line ends are changed and whose encoding is not UTF-8 unless asked for; no
folder that can be opened; and no file, or folder with one in it, that can be renamed or removed while it is open.
"""

import builtins
import io
import os
import shutil
import signal
import sys
from pathlib import Path

# Other libraries have Windows code of their own: what looks at the system when it is imported comes first.
import accelerate
import filelock
import polars
import psutil
import pyarrow.parquet
import torch
import torch._dynamo
import transformers

assert all((accelerate, filelock, polars, psutil, pyarrow, torch, transformers))

_GONE = ("fork", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "getuid", "geteuid", "O_DIRECTORY")
_SIGNALS = ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGPIPE")
_MODULES = ("fcntl", "resource", "pwd", "grp", "termios")
for _name in _GONE:
    if hasattr(os, _name):
        delattr(os, _name)
for _name in _SIGNALS:
    if hasattr(signal, _name):
        delattr(signal, _name)

_open, _os_open, _import = io.open, os.open, builtins.__import__


def _without(name, given=None, *rest, **more):
    if name in _MODULES and str((given or {}).get("__name__")).startswith("sequela"):
        raise ModuleNotFoundError(f"No module named '{name}'")
    return _import(name, given, *rest, **more)


def _text(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
    if "b" not in mode and str(file).startswith(str(ROOT)):
        encoding = encoding or "cp1252"
        newline = "\r\n" if newline is None and "r" not in mode else newline
    return _open(file, mode, buffering, encoding, errors, newline, *rest, **more)


def _no_folder(path, *rest, **more):
    if isinstance(path, str | os.PathLike) and Path(path).is_dir() and str(path).startswith(str(ROOT)):
        raise PermissionError(13, "Permission denied", str(path))
    return _os_open(path, *rest, **more)


ROOT = Path(sys.argv[1]).resolve()
"""Where all this holds."""
io.open = builtins.open = _text
builtins.__import__ = _without
os.open = _no_folder
shutil._use_fd_functions = False

from sequela import files  # noqa: E402 - after what it will find

files._SYNCS_FOLDERS = False  # as `os.name` decides there


class WindowsDisk(files.Disk):
    """Refuses to rename or remove what this process has open."""

    def replace(self, source, target):
        check_closed(source)
        check_closed(target)
        super().replace(source, target)

    def remove(self, path):
        check_closed(path)
        super().remove(path)


def check_closed(path):
    """Raise `PermissionError` where a file, or one in a folder, is open or mapped into memory."""
    path = str(Path(path).resolve())
    opened = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _there(name)]
    with _open("/proc/self/maps", encoding="utf-8") as file:
        opened += [line.split(maxsplit=5)[5].strip() for line in file if line.count("/")]
    for name in opened:
        if name == path or name.startswith(path + os.sep):
            raise PermissionError(13, "The process cannot access the file because it is being used", name)


def _there(name):
    return os.path.islink(f"/proc/self/fd/{name}")


def install():
    """Put the disk in its place in all modules."""
    disk = WindowsDisk()
    for name, module in sys.modules.items():
        if name.startswith("sequela") and isinstance(getattr(module, "disk", None), files.Disk):
            module.disk = disk


def main():
    """Fit, discover, weigh, run, update, report and export, each again over its own result; print what is there."""
    import contextlib

    import sequela as sq
    from sequela.discovery.stream import discover_to
    from sequela.discovery.update import update
    from sequela.errors import MissingExtraError
    from sequela.events.sequences import SequenceSet
    from sequela.graphs.exports import GRAPH_WRITERS, export
    from sequela.worlds.softmax import SoftmaxWorld

    install()
    world = SoftmaxWorld.random(4, horizon=2, decay=0.2, seed=0)
    rows = world.to_log(world.sample(40, (3, 8), seed=1))
    rows.write_csv(ROOT / "log.csv")
    log = sq.read_log(ROOT / "log.csv")
    quick = {"progress": False, "overwrite": True}
    for _ in range(2):
        density = sq.fit(log, out=ROOT / "model", max_steps=4, width=4, **quick)
        density = sq.load_density(ROOT / "model", device="cpu")
        discover_to(world, log, ROOT / "found", particles=2, delta=0.001, **quick)
        found = sq.load_discovery(ROOT / "found")
        assert found.case(log.case_names[0]).edges.height <= found.edges.height > 0
        sq.discover_population(density, log, cases="all", out=ROOT / "population", particles=2, **quick)
        assert len(sq.load_population(ROOT / "population").pairs)
        folds = sq.cross_fit(log, folds=2, out=ROOT / "folds", max_steps=2, width=4, device="cpu", **quick)
        assert folds.densities
        SequenceSet.from_log(log, density.vocabulary).save(ROOT / "sequences", overwrite=True)
        assert SequenceSet.load(ROOT / "sequences").n_cases == 40
        sq.report(found, ROOT / "page.html")
        for suffix in GRAPH_WRITERS:
            with contextlib.suppress(MissingExtraError):
                export(found, ROOT / f"graph{suffix}")
    run = sq.run(log, out=ROOT / "run", folds=2, max_steps=4, particles=2, device="cpu", **quick)
    new = rows.head(9).with_columns(case="new " + rows.head(9)["case"])
    assert update(run, sq.read_log(new), progress=False).record.updates
    print(*sorted(path.name for path in ROOT.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
