"""Writing files so that nothing half-written is ever left behind, and reading what strangers, or a bad disk, wrote.

Every write goes to a temporary name beside the final one, is flushed to the disk, and takes the final name only when
all of it is there. While an output is written it is locked (`sequela.locks`), so whoever holds the lock may remove the
temporary files of a writer that was killed. `disk` is the only place that changes or reads a disk here.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sequela.errors import ConfigError
from sequela.locks import locked

_SYNCS_FOLDERS = os.name == "posix"  # Windows opens no folders
_CANNOT = (errno.EINVAL, errno.ENOTSUP)
"""What disks say that do not flush folders, such as some network file systems."""
_BLOCK = 2**22
_ZEROS = "0" * 32


class Disk:
    """The operations on the disk; a test replaces `disk` to let each of them fail once."""

    def written(self, path: Path) -> None:
        """Called when a file or folder has been written under its temporary name."""

    def sync(self, path: Path) -> None:
        """Flush a file, or the names in a folder, to the disk; folders only where the system, or the disk, can."""
        if not path.is_dir():
            self._sync(path, os.O_RDWR)
        elif _SYNCS_FOLDERS:
            try:
                self._sync(path, os.O_RDONLY)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise

    def _sync(self, path: Path, flags: int) -> None:
        number = os.open(path, flags)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over whatever file is there."""
        os.replace(source, target)

    def make_folder(self, path: Path, *, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        path.mkdir(parents=True, exist_ok=exist_ok)

    def remove(self, path: Path) -> None:
        """Remove a file or a whole folder, if it is there."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def read(self, path: Path) -> bytes:
        """Return the content of a file."""
        return path.read_bytes()

    def blocks(self, path: Path) -> Iterator[bytes]:
        """Yield the content of a file, a few megabytes at a time."""
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


disk = Disk()


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the name ``path`` only when the block succeeds.

    Raises:
        ConfigError: ``path`` is a directory, or another process writes it.
    """
    final = Path(path)
    if final.is_dir():
        raise ConfigError(f"'{final}' is a directory; give the name of a file to write")
    with locked(final):
        _sweep(final)
        temporary = _beside(final, "partial")
        try:
            with _plain_errors(final):
                yield temporary
            disk.written(temporary)
            disk.sync(temporary)
            disk.replace(temporary, final)
            disk.sync(final.parent)
        finally:
            _forget(temporary)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes the name ``path`` only when the block succeeds.

    Args:
        path: Folder to make.
        marker: Name of a file that says a folder is one of ours: only such a folder is ever replaced.
        overwrite: Replace an earlier result.

    Raises:
        ConfigError: ``path`` exists and may not be replaced, or another process writes it.
    """
    final = Path(path)
    check_writable_folder(final, marker=marker, overwrite=overwrite)
    with locked(final):
        _sweep(final)
        check_writable_folder(final, marker=marker, overwrite=overwrite)
        temporary, old = _beside(final, "partial"), _beside(final, "old")
        try:
            disk.make_folder(temporary)
            with _plain_errors(final):
                yield temporary
            disk.written(temporary)
            for item in [*temporary.rglob("*"), temporary]:
                disk.sync(item)
            _exchange(temporary, final, old)
        finally:
            _forget(temporary)
        _forget(old)


@contextlib.contextmanager
def _plain_errors(final: Path) -> Iterator[None]:
    """Turn what libraries written in Rust raise when the disk refuses into the `OSError` that it is."""
    try:
        yield
    except OSError:
        raise
    except BaseException as error:  # a panic is no Exception
        found = re.search(r"\(os error (\d+)\)|Os \{ code: (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1] or found[2])
        raise OSError(number, os.strerror(number), str(final)) from error


def _exchange(temporary: Path, final: Path, old: Path) -> None:
    """Let a finished folder take its name; when that fails the old one has it again."""
    try:
        if final.exists():
            disk.replace(final, old)
        disk.replace(temporary, final)
        disk.sync(final.parent)
    except BaseException:
        if not temporary.exists():
            os.replace(final, temporary)
        if old.exists():
            os.replace(old, final)
        raise


def _beside(final: Path, kind: str) -> Path:
    """Return a hidden name beside ``final`` that no other writer chooses."""
    return final.with_name(f".{final.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def _forget(path: Path) -> None:
    """Remove what is no longer needed; what cannot be removed now goes when the output is written next."""
    with contextlib.suppress(OSError):
        disk.remove(path)


def _sweep(final: Path) -> None:
    """Tidy up after writers of ``final`` that were killed: put back what they moved, remove the rest.

    Only the holder of the lock comes here, so whatever is found belongs to no living writer.
    """
    for path in final.parent.glob(f".{glob.escape(final.name)}.*-*.*"):
        if path.suffix == ".old" and not final.exists():
            disk.replace(path, final)
        elif path.suffix in (".partial", ".old"):
            _forget(path)


def check_writable_folder(path: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> None:
    """Raise `ConfigError` when `whole_folder` would refuse ``path``; call it before long work starts."""
    final = Path(path)
    if final.is_file():
        raise ConfigError(f"'{final}' is a file; give the name of a folder to write")
    # What a process left that was killed while it wrote its first marker is nobody's file.
    left = (each.match(f".{marker}.*") and each.suffix in (".partial", ".lock") for each in final.glob("*"))
    if not all(left):
        if not (final / marker).is_file():
            raise ConfigError(f"'{final}' holds other files (no {marker} in it); give a new folder")
        if not overwrite:
            raise ConfigError(f"'{final}' already holds a result; add --overwrite (overwrite=True) to replace it")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(_json(value), encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; raise `ValueError` with the path when it is not JSON and `OSError` when it cannot be read."""
    return _parsed(path, disk.read(Path(path)))


def _parsed(path: str | os.PathLike[str], content: bytes) -> Any:
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"'{path}' is not valid JSON: {error}") from error


def checksum(path: str | os.PathLike[str]) -> str:
    """Return a hash of a file's content (BLAKE2b, 128 bits, hexadecimal), read a block at a time."""
    digest = hashlib.blake2b(digest_size=16)
    for block in disk.blocks(Path(path)):
        digest.update(block)
    return digest.hexdigest()


def write_record(folder: Path, name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record of a folder as JSON, with a checksum of each file beside it and of the record itself.

    Hidden files (locks, or what a file manager leaves) are no part of it.

    Args:
        folder: Holds all other files already.
        name: Of the record's file.
        record: Plain values.

    Returns:
        The record as `read_record` gives it: with ``files`` (size and checksum of each) and ``checksum``.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "blake2b": checksum(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path != folder / name
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    record = {name: value for name, value in record.items() if name not in ("files", "checksum")} | {"files": files}
    text = _json(record | {"checksum": _ZEROS})
    mine = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    with whole_file(folder / name) as temporary:
        # The checksum is the last entry.
        temporary.write_bytes(mine.join(text.rsplit(_ZEROS, 1)).encode())  # not as text: Windows changes line ends
    return record | {"checksum": mine}


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """Read what `write_record` wrote; raise `ValueError` when it has changed since. Files are not checked."""
    content = disk.read(folder / name)
    record = _parsed(folder / name, content)
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise ValueError(f"{name} has no checksums")
    mine = str(record.get("checksum"))
    before, _, after = content.rpartition(mine.encode())
    if hashlib.blake2b(before + _ZEROS.encode() + after, digest_size=16).hexdigest() != mine:
        raise ValueError(f"{name} has changed since it was written")
    return record


@contextlib.contextmanager
def sound_folder(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the record of a folder whose files are all as they were written, from before the block to its end.

    Args:
        folder: Written with `write_record`.
        name: Of the record's file.

    Raises:
        ValueError: A file, or the record, has changed; says which.
    """
    record = read_record(folder, name)
    for file, what in damaged_files(folder, record).items():
        raise ValueError(f"{file} {what}")
    yield record
    check_same(folder, name, record["checksum"])


def check_same(folder: Path, name: str, checksum: str) -> None:
    """Raise `ValueError` unless the record of a folder is the one that was read: another process may replace it."""
    record = None
    with contextlib.suppress(OSError, ValueError):
        record = read_json(folder / name)
    if not isinstance(record, dict) or record.get("checksum") != checksum:
        raise ValueError(f"'{folder}' was replaced while it was in use: open it again")


def damaged_files(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with each damaged file of a folder, by name; empty when all is as it was written.

    Args:
        folder: Written with `write_record`.
        record: From `read_record`.
    """
    found = {}
    for name, expected in record["files"].items():
        try:
            size = (folder / name).stat().st_size
            if size != expected["bytes"]:
                found[name] = f"has {size:,} bytes, {expected['bytes']:,} were written"
            elif checksum(folder / name) != expected["blake2b"]:
                found[name] = "has changed since it was written"
        except FileNotFoundError:
            found[name] = "is missing"
        except OSError as error:
            found[name] = f"cannot be read ({error.strerror or error})"
    return found
