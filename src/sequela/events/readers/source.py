"""A file that is read: what it is called in messages, how it is compressed, and the proof that it is whole."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import polars as pl
import pyarrow as pa

from sequela.errors import LogFormatError
from sequela.text import quoted

STANDARD_INPUT = "-"
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_SUFFIXES = {".gz": "gzip", ".zst": "zstd"}
_FIRST_BYTES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BLOCK = 1 << 20


class TemporaryFolder:
    """A folder that goes when nothing refers to it any more, at the latest when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sequela-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Finished(NamedTuple):
    """Rows of all files together, after what needs all of them.

    Attributes:
        frame: The rows.
        n_rows: Their number.
        learned: What another log must know to be read the same way: plain values, kept with a model.
        notes: What was left out or changed, in sentences.
    """

    frame: pl.LazyFrame
    n_rows: int
    learned: Mapping[str, Any]
    notes: tuple[str, ...]


class Table(NamedTuple):
    """What a reader gives.

    Attributes:
        frame: The rows, not yet read where the format allows it.
        name: What messages call it.
        n_rows: How many rows the reader counted by other means than the frame; None where nothing can be counted.
        files: Folders that the frame reads from; they go when the table goes.
        notes: What was left out or changed, in sentences.
        roles: Columns that are case, event, state and time unless others are named; by their usual names where empty.
        finish: What must be done to the rows of all files together, given what an earlier log taught or None.
        learned: What another log must know to be read the same way.
        lists: Columns that hold lists: as the case, an event belongs to each case of its list.
        pairs: Columns ``entity`` and ``neighbour``: what the file relates to each other; None where it cannot say.
    """

    frame: pl.LazyFrame
    name: str
    n_rows: int | None = None
    files: tuple[TemporaryFolder, ...] = ()
    notes: tuple[str, ...] = ()
    roles: Mapping[str, Any] = {}
    finish: Callable[[pl.LazyFrame, Mapping[str, Any] | None], Finished] | None = None
    learned: Mapping[str, Any] = {}
    lists: tuple[str, ...] = ()
    pairs: pl.LazyFrame | None = None


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        path: Where it lies; standard input and pipes are copied to a temporary file first.
        suffix: Its format as a suffix in lower case, compression left out: ``.csv``.
        compression: ``gzip``, ``zstd`` or None.
        name: What messages call it, quoted and harmless.
        files: Temporary folders that must stay until it has been read.
    """

    path: Path
    suffix: str
    compression: str | None
    name: str
    files: tuple[TemporaryFolder, ...] = field(default=(), repr=False)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the bytes, decompressed; reading them to the end proves that no byte is missing or damaged.

        Raises:
            LogFormatError: The compressed file is cut or damaged.
        """
        try:
            with self.path.open("rb") as raw:
                if self.compression == "gzip":
                    with gzip.GzipFile(fileobj=raw) as unpacked:
                        yield cast("IO[bytes]", unpacked)
                elif self.compression == "zstd":
                    with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as stream:
                        yield stream
                else:
                    yield raw
        except (EOFError, OSError, zlib.error) as error:
            what = f"is cut or damaged ({self.compression})" if self.compression else "cannot be read"
            raise LogFormatError(f"{self.name} {what}: {quoted(error)}") from error

    def blocks(self) -> Iterator[bytes]:
        """Return the decompressed bytes, a mebibyte at a time."""
        with self.open() as file:
            while block := file.read(_BLOCK):
                yield block


def open_source(path: str | Path, file_format: str | None, suffixes: list[str]) -> Source:
    """Look at a path, without reading more than its first bytes.

    Args:
        path: An existing file, taken literally; ``-`` for standard input; or an address that fsspec knows (``s3://…``).
        file_format: What the file holds, as a suffix with or without its dot; the suffix of the name if None.
        suffixes: Formats that there are.

    Raises:
        LogFormatError: There is no such file, it is empty, or its format is unknown.
    """
    files: tuple[TemporaryFolder, ...] = ()
    name = f"'{quoted(path, 200)}'"
    named = Path(path)
    address, path = str(path), named
    if address == STANDARD_INPUT:
        name, files = "standard input", (TemporaryFolder(),)
        path = _kept(sys.stdin.buffer, files[0])
    elif "://" in address and not path.exists():
        name, files = f"'{quoted(named.name, 200)}'", (TemporaryFolder(),)
        path = _fetched(address, name, files[0])
    elif path.is_dir():
        raise LogFormatError(f"{name} is a directory; give a file, or a list of files")
    elif not path.exists():
        hint = "; patterns are not expanded here, give a list of files" if set("*?[") & set(str(path)) else ""
        raise LogFormatError(f"there is no file {name}{hint}")
    elif not path.is_file():  # a pipe, such as <(zcat log.gz): it can be read once only
        files = (TemporaryFolder(),)
        with path.open("rb") as pipe:
            path = _kept(pipe, files[0])
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise LogFormatError(f"{name} cannot be read: {quoted(error)}") from error
    if not start:
        raise LogFormatError(f"{name} is empty (0 bytes)")
    found = next((kind for first, kind in _FIRST_BYTES.items() if start.startswith(first)), None)
    named = path if address == STANDARD_INPUT else named
    wanted = _SUFFIXES.get(named.suffix.lower())
    if wanted is not None and wanted != found:
        raise LogFormatError(f"{name} is not compressed with {wanted}, as its name says; rename or compress it")
    if file_format is not None:
        suffix = "." + file_format.lower().removeprefix(".")
    elif files and "://" not in address:
        suffix = ".csv"
    else:
        suffix = (named.with_suffix("") if wanted else named).suffix.lower()
    if suffix not in suffixes:
        instead = "; save the sheet as CSV (UTF-8)" if suffix in _SHEETS else ""
        raise LogFormatError(f"{name}: unknown format '{quoted(suffix)}'{instead}; allowed are {', '.join(suffixes)}")
    return Source(path, suffix, found, name, files)


def _kept(stream: IO[bytes], folder: TemporaryFolder) -> Path:
    path = folder.path / "input"
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file, _BLOCK)
    return path


def _fetched(address: str, name: str, folder: TemporaryFolder) -> Path:
    """Copy a file from an object store, or whatever fsspec has a package for, to a temporary file."""
    import fsspec

    try:
        with fsspec.open(address, "rb") as stream:
            return _kept(stream, folder)
    except ImportError as error:
        raise LogFormatError(f"{name} is in a store that needs another package: {quoted(error)}") from None
    except Exception as error:  # each store has errors of its own; an address may hold a key
        raise LogFormatError(f"{name} cannot be fetched: {type(error).__name__}") from None
