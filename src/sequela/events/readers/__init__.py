"""Readers: one file a format.

To add a format, write a function that takes a `Source` (a file with its name, compression and a way to open it) and
returns a `Table` (a lazy frame, what messages call it, and how many rows there must be), in a file of its own here, and
name it in `READERS` under the suffixes it is for. A reader raises `LogFormatError` unless it has seen the end of the
file, and counts the rows by other means than it reads them where it can: `sequela.read_log` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from glob import glob as glob_files
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from sequela.errors import ConfigError, LogFormatError
from sequela.events.readers.csv import read_csv
from sequela.events.readers.frames import read_frame
from sequela.events.readers.jaeger import read_jaeger
from sequela.events.readers.json import read_json
from sequela.events.readers.json_lines import read_json_lines
from sequela.events.readers.log_lines import read_log_lines, split_lines, whole_lines
from sequela.events.readers.ocel import read_ocel_json, read_ocel_sqlite, read_ocel_xml
from sequela.events.readers.otlp import read_otlp
from sequela.events.readers.parquet import read_parquet
from sequela.events.readers.source import Source, Table, open_source
from sequela.events.readers.sql import read_query
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
    ".json": read_json,
    ".otlp": read_otlp,
    ".jaeger": read_jaeger,
    ".jsonocel": read_ocel_json,
    ".xmlocel": read_ocel_xml,
    ".sqlite": read_ocel_sqlite,
    ".log": read_log_lines,
}
"""The function that reads a suffix."""

FAULTS = (
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)
"""What the libraries raise on damaged files, found by feeding them random ones."""


def read_table(
    source: Any,
    file_format: str | None = None,
    *,
    connection: Any = None,
    glob: bool = False,
    lines: str | None = None,
    learned: Mapping[str, Any] | None = None,
) -> Table:
    """Return the rows of a file, of several files one after the other, of a frame, or of a query.

    Args:
        source: Path or address (``s3://…``), ``-`` for standard input, list of paths, frame, or the text of a query.
        file_format: Suffix of the format (``"jsonl"``) where the name does not say it.
        connection: What the query is asked of, see `read_query`.
        glob: Whether paths are patterns; by default ``*`` is a character like any other.
        lines: What stands in a line of text, as a regular expression with named groups (`split_lines`).
        learned: What an earlier log taught its reader (`Table.learned`); None for a new log.

    Raises:
        LogFormatError: A file is missing, empty, a directory, of an unknown format, damaged, or cannot be read.
        ConfigError: The list of files is empty or names a file twice.

    Example:
        >>> read_table(pl.DataFrame({"case": ["a", "b"]})).frame.collect().height
        2
    """
    table = _read(source, "log" if lines is not None and file_format is None else file_format, connection, glob)
    if lines is not None:
        if table.finish is not whole_lines:
            raise ConfigError("lines is for files of text; leave it out, or the format")
        return split_lines(table, lines)
    if table.finish is None:
        return table
    try:
        frame, n_rows, found, notes = table.finish(table.frame, learned)
    except FAULTS as error:
        raise LogFormatError(f"{table.name} cannot be read: {quoted(error)}") from error
    return table._replace(frame=frame, n_rows=n_rows, learned=found, notes=(*table.notes, *notes))


def _read(source: Any, file_format: str | None, connection: Any, glob: bool) -> Table:
    if connection is not None:
        if not isinstance(source, str) or file_format is not None or glob:
            raise ConfigError("with a connection the source is the text of a query, without a format or pattern")
        return read_query(source, connection)
    if isinstance(source, str | Path):
        return _read_files(_matching([source]), file_format) if glob else _read_file(source, file_format)
    if isinstance(source, list | tuple) and all(isinstance(path, str | Path) for path in source):
        return _read_files(_matching(source) if glob else source, file_format)
    if file_format is not None:
        raise ConfigError(f"the format is for files; got {file_format!r} with a {type(source).__name__}")
    return read_frame(source)


def _matching(patterns: Sequence[str | Path]) -> list[str]:
    """Return the files that match patterns, each once, sorted within a pattern."""
    found: dict[str, None] = {}
    for pattern in patterns:
        paths = sorted(glob_files(str(pattern), recursive=True))
        if not paths:
            raise LogFormatError(f"no file matches '{quoted(pattern, 200)}'")
        found |= dict.fromkeys(path for path in paths if not Path(path).is_dir())
    return list(found)


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
    if odd := next((table for table in tables if table.finish is not first.finish), None):
        raise LogFormatError(f"{first.name} and {odd.name} are of different kinds: read them apart")
    columns = first.frame.collect_schema().names()
    for table in tables[1:]:
        if names := sorted(set(columns) ^ set(table.frame.collect_schema().names())):
            raise LogFormatError(
                f"{first.name} and {table.name} have different columns: '{quoted(names[0])}' is in one of them alone"
            )
    frame = pl.concat([table.frame.select(columns) for table in tables], how="vertical_relaxed")
    name = f"{first.name} and {len(tables) - 1} more"
    try:
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise LogFormatError(f"{name} hold values of different kinds in a column: {quoted(error)}") from error
    return first._replace(
        frame=frame,
        name=name,
        n_rows=None if any(table.n_rows is None for table in tables) else sum(table.n_rows or 0 for table in tables),
        files=tuple(file for table in tables for file in table.files),
        notes=tuple(f"{table.name}: {note}" for table in tables for note in table.notes),
        pairs=None if first.pairs is None else pl.concat([each.pairs for each in tables if each.pairs is not None]),
    )


__all__ = ["FAULTS", "READERS", "Source", "Table", "read_query", "read_table"]
