"""One writer per output: a lock beside every file or folder that is written.

The operating system holds the lock and releases it when the process ends, however it ends. A lock file that is left
behind by a dead process is therefore no obstacle, and process ids, which mean nothing on another host or in another
container, decide nothing: they are only shown to the person who is refused.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import gmtime, sleep, strftime
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from sequela.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Held:
    lock: FileLock
    thread: int
    depth: int = 0


_held: dict[str, _Held] = {}
"""Locks of this process, by the place they protect."""
_guard = threading.Lock()
_TRIES = 5
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)  # a child holds nothing of its parent's


def lock_path(path: str | os.PathLike[str]) -> Path:
    """Return the lock file of an output: a hidden file beside it.

    Example:
        >>> lock_path("results/july").name
        '.july.lock'
    """
    final = Path(os.path.abspath(path))
    return final.with_name(f".{final.name}.lock")


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the right to write ``path`` for the block; the same thread may take it again inside.

    Args:
        path: A file or folder, which need not exist.

    Raises:
        ConfigError: Another process, or another thread of this one, is writing ``path``; says which.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with locked(f"{folder}/out"):
        ...     os.listdir(folder)
        ['.out.lock']
        >>> os.listdir(folder)
        []
    """
    file = lock_path(path)
    key = str(Path(os.path.realpath(file.parent)) / file.name)
    with _guard:
        mine = _held.get(key)
        if mine is not None and mine.thread != threading.get_ident():
            raise _refused(path, "another thread of this process")
        if mine is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            _held[key] = mine = _Held(_acquire(file, path), threading.get_ident())
        mine.depth += 1
    try:
        yield
    finally:
        with _guard:
            mine.depth -= 1
            if not mine.depth:
                _held.pop(key, None)
                with contextlib.suppress(OSError):  # Windows does not remove an open file; it is reused then
                    file.unlink()
                mine.lock.release()


def locks_out(when: Callable[[], bool] = lambda: True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator: the function holds the lock of its keyword ``out``, where that is given, while it runs.

    Args:
        when: Whether this process is the one that writes.

    Example:
        >>> @locks_out()
        ... def work(*, out=None):
        ...     return lock_path(out).exists()
        >>> import tempfile
        >>> work(out=f"{tempfile.mkdtemp()}/out")
        True
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            out: Any = kwargs.get("out")
            with contextlib.nullcontext() if out is None or not when() else locked(out):
                return function(*args, **kwargs)

        return run

    return decorate


def _acquire(file: Path, path: str | os.PathLike[str]) -> FileLock:
    lock = FileLock(file, timeout=0, thread_local=False, fallback_to_soft=False)
    for attempt in range(_TRIES):
        try:
            lock.acquire()
            break
        except Timeout:
            # A holder that has just come has not written its name yet; one that is just leaving has removed its file.
            holder = _holder(file)
            if holder is not None or attempt == _TRIES - 1:
                raise _refused(path, holder or "another process") from None
            sleep(0.02)
        except OSError as error:
            raise ConfigError(
                f"'{path}' cannot be locked against other writers ({error.strerror or error}): write to a folder "
                "where you may create files, on a file system that has locks"
            ) from error
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "since": strftime("%Y-%m-%d %H:%M:%S UTC", gmtime())}
    with contextlib.suppress(OSError):
        file.write_text(json.dumps(mine), encoding="utf-8")
    return lock


def _holder(file: Path) -> str | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} on host {str(found['host'])[:60]!r}, since {str(found['since'])[:30]}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refused(path: str | os.PathLike[str], holder: str) -> ConfigError:
    return ConfigError(f"'{path}' is being written by {holder}: wait until that has ended, or give another output")
