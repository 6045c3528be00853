"""Readers: one file a format.

To add a format, write a function that takes a `Source` (a file with its name, compression and a way to open it) and
returns a `Table` (a lazy frame, what messages call it, and how many rows there must be), in a file of its own here, and
name it in `READERS` under the suffixes it is for. A reader raises `LogFormatError` unless it has seen the end of the
file, and counts the rows by other means than it reads them where it can: `sequela.read_log` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from sequela.errors import ConfigError, LogFormatError
from sequela.events.readers.csv import read_csv
from sequela.events.readers.frames import read_frame
from sequela.events.readers.json_lines import read_json_lines
from sequela.events.readers.parquet import read_parquet
from sequela.events.readers.source import Source, Table, open_source
from sequela.events.readers.xes import read_xes
from sequela.text import quoted

READERS: dict[str, Callable[[Source], Table]] = {
    ".csv": read_csv,
    ".txt": read_csv,
    ".tsv": read_csv,
    ".tab": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".xes": read_xes,
}
"""The function that reads a suffix."""

FAULTS = (
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)
"""What the libraries raise on damaged files, found by feeding them random ones."""


def read_table(source: Any, file_format: str | None = None) -> Table:
    """Return the rows of a file, of several files one after the other, or of a frame.

    Args:
        source: Path, taken literally (``*`` is no pattern), ``-`` for standard input, list of paths, or frame.
        file_format: Suffix of the format (``"jsonl"``) where the name does not say it.

    Raises:
        LogFormatError: A file is missing, empty, a directory, of an unknown format, damaged, or cannot be read.
        ConfigError: The list of files is empty or names a file twice.

    Example:
        >>> read_table(pl.DataFrame({"case": ["a", "b"]})).frame.collect().height
        2
    """
    if isinstance(source, str | Path):
        return _read_file(source, file_format)
    if isinstance(source, list | tuple) and all(isinstance(path, str | Path) for path in source):
        return _read_files(source, file_format)
    if file_format is not None:
        raise ConfigError(f"the format is for files; got {file_format!r} with a {type(source).__name__}")
    return read_frame(source)


def _read_file(path: str | Path, file_format: str | None) -> Table:
    source = open_source(path, file_format, list(READERS))
    try:
        table = READERS[source.suffix](source)
        table.frame.collect_schema()
    except FAULTS as error:
        kind = READERS[source.suffix].__name__.removeprefix("read_").replace("_", " ")
        raise LogFormatError(f"{source.name} cannot be read as {kind}: {quoted(error)}") from error
    return table


def _read_files(paths: Sequence[str | Path], file_format: str | None) -> Table:
    """Read files with the same columns as one table."""
    if not paths:
        raise ConfigError("the list of files is empty; name at least one")
    known: set[Path] = set()
    for path in paths:
        if (found := Path(path).resolve()) in known:
            raise ConfigError(f"the list of files names '{quoted(path)}' twice")
        known.add(found)
    tables = [_read_file(path, file_format) for path in paths]
    first = tables[0]
    if len(tables) == 1:
        return first
    columns = first.frame.collect_schema().names()
    for table in tables[1:]:
        if odd := sorted(set(columns) ^ set(table.frame.collect_schema().names())):
            raise LogFormatError(
                f"{first.name} and {table.name} have different columns: '{quoted(odd[0])}' is in one of them alone"
            )
    frame = pl.concat([table.frame.select(columns) for table in tables], how="vertical_relaxed")
    name = f"{first.name} and {len(tables) - 1} more"
    try:
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise LogFormatError(f"{name} hold values of different kinds in a column: {quoted(error)}") from error
    return Table(
        frame,
        name,
        None if any(table.n_rows is None for table in tables) else sum(table.n_rows or 0 for table in tables),
        tuple(file for table in tables for file in table.files),
    )


__all__ = ["FAULTS", "READERS", "Source", "Table", "read_table"]
