"""Writing files so that nothing half-written is ever left behind, and reading JSON that strangers wrote."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from sequela.errors import ConfigError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name ``path`` only when the block succeeds."""
    final = Path(path)
    if final.is_dir():
        raise ConfigError(f"'{final}' is a directory; give the name of a file to write")
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    temporary = _beside(final, "partial")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes the name ``path`` only when the block succeeds.

    Args:
        path: Folder to make.
        marker: Name of a file that says a folder is one of ours: only such a folder is ever replaced.
        overwrite: Replace an earlier result.

    Raises:
        ConfigError: ``path`` exists and may not be replaced.
    """
    final = Path(path)
    _sweep(final)
    check_writable_folder(final, marker=marker, overwrite=overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(final, "partial")
    temporary.mkdir()
    try:
        yield temporary
        if final.exists():
            old = _beside(final, "old")
            os.replace(final, old)
            os.replace(temporary, final)
            shutil.rmtree(old)
        else:
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(final: Path, kind: str) -> Path:
    """Return a hidden name beside ``final`` that says which process it belongs to."""
    return final.with_name(f".{final.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def _sweep(final: Path) -> None:
    """Tidy up after processes that were killed while they wrote ``final``: put back what they moved, drop the rest."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.*-*.*"):
        owner, _, _ = path.name[len(final.name) + 2 :].partition("-")
        if path.suffix not in (".partial", ".old") or not owner.isdecimal() or psutil.pid_exists(int(owner)):
            continue
        if path.suffix == ".old" and not final.exists():
            os.replace(path, final)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_writable_folder(path: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> None:
    """Raise `ConfigError` when `whole_folder` would refuse ``path``; call it before long work starts."""
    final = Path(path)
    if final.is_file():
        raise ConfigError(f"'{final}' is a file; give the name of a folder to write")
    if final.exists() and any(final.iterdir()):
        if not (final / marker).is_file():
            raise ConfigError(f"'{final}' holds other files (no {marker} in it); give a new folder")
        if not overwrite:
            raise ConfigError(f"'{final}' already holds a result; add --overwrite (overwrite=True) to replace it")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; raise `ValueError` with the path when it is not JSON and `OSError` when it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' is not valid JSON: {error}") from error
