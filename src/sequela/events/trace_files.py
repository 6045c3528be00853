"""Spans and log lines of folders, and of two periods that are to be compared."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import polars as pl
import pyarrow as pa

from sequela.errors import LogFormatError, nearest
from sequela.events.readers.parquet import scan_parquet
from sequela.events.spans import read_spans
from sequela.events.traces import Rows, TraceColumns, Traces, loaded, read_traces
from sequela.text import quoted

_SUFFIXES = (".parquet", ".csv")
_SPANS = (".json", ".jsonl", ".otlp", ".jaeger", ".gz", ".zst")
"""Files of OpenTelemetry or Jaeger."""
SPAN_COLUMNS = {name: name for name in ("trace", "span", "parent", "instance", "operation", "start", "end", "service")}
"""What `TraceColumns` calls the columns of such a file."""


def read_folder(
    path: str | Path, columns: TraceColumns | None = None, column: str | None = None, pattern: str = "*"
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Return spans and log lines of a folder (``spans.parquet`` or ``.csv``, ``logs`` likewise), or of one file.

    Args:
        path: A folder, or one file of spans: also of OpenTelemetry or Jaeger.
        columns: Names of the columns; in CSV, all but times are read as text.
        column: Column that chooses rows.
        pattern: What its value must match, with the wildcards ``*``, ``?`` and ``[…]``.

    Raises:
        LogFormatError: Nothing is there, a column is missing, or no row matches.
    """
    columns = columns or TraceColumns()
    path = Path(path)
    if path.is_dir():
        files = [_file(path, name) for name in ("spans", "logs")]
        if files == [None, None]:
            raise LogFormatError(
                f"'{path}' holds neither spans nor logs: name the files spans.parquet, logs.parquet or .csv"
            )
    elif path.is_file():
        files = [path, None]
    else:
        raise LogFormatError(f"there is no file or folder '{path}'")
    spans, logs = (None if file is None else _read(file, columns, column, pattern) for file in files)
    if column is not None and not any(table is not None and table.height for table in (spans, logs)):
        raise LogFormatError(f"'{path}': no row has {column} like '{pattern}'")
    return spans, logs


def has_span_columns(path: Path) -> bool:
    """Return whether a path is a file of OpenTelemetry or Jaeger, whose columns are `SPAN_COLUMNS`."""
    return path.suffix in _SPANS and path.is_file()


def _file(folder: Path, name: str) -> Path | None:
    found = [folder / f"{name}{suffix}" for suffix in _SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise LogFormatError(f"'{folder}' holds {' and '.join(each.name for each in found)}: keep one of them")
    return found[0] if found else None


def _read(path: Path, columns: TraceColumns, column: str | None, pattern: str) -> pl.DataFrame:
    """Read a file, as far as its rows are wanted."""
    if has_span_columns(path):
        spans = read_spans(path).frame.with_columns(pl.col("start", "end").dt.epoch("ns"))
        return _chosen(spans.lazy(), column, pattern, path)
    if path.suffix not in _SUFFIXES:
        raise LogFormatError(f"'{path}' must be a Parquet or CSV file, ending in {' or '.join(_SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return _chosen(scan_parquet(path)[0], column, pattern, path)
        table = _chosen(pl.scan_csv(path, infer_schema=False), column, pattern, path)
        times = [name for name in (columns.start, columns.end) if name in table.columns]
        return table.with_columns(pl.col(times).cast(pl.Int64))
    except (pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise LogFormatError(f"'{path}' cannot be read: {quoted(error)}") from None


def _chosen(rows: pl.LazyFrame, column: str | None, pattern: str, path: Path) -> pl.DataFrame:
    if column is None:
        return rows.collect()
    names = rows.collect_schema().names()
    if column not in names:
        raise LogFormatError(f"'{path}' has no column '{column}'; it has {', '.join(names)}{nearest(column, names)}")
    value = pl.col(column).cast(pl.String)
    values = rows.select(value.unique()).collect().to_series().drop_nulls()
    wanted = [each for each in values if fnmatch.fnmatchcase(each, pattern)]
    return rows.filter(value.is_in(wanted)).collect()


def read_normal_and_window(
    normal: tuple[Rows, Rows], window: tuple[Rows, Rows], *, columns: TraceColumns | None = None
) -> tuple[Traces, Traces]:
    """Read spans and log lines of normal operation and of a window, leaving out what one of them has not.

    Args:
        normal: Spans and log lines, as for `read_traces`; None or empty where there are none.
        window: The same of the window.
        columns: Names of the columns.

    Raises:
        LogFormatError: They have neither spans nor log lines in common.
    """
    pairs = [
        [loaded(rows, name) for rows, name in zip(pair, ("spans", "logs"), strict=True)] for pair in (normal, window)
    ]
    both = [all(rows is not None and rows.height for rows in which) for which in zip(*pairs, strict=True)]
    if not any(both):
        raise LogFormatError("normal and window have neither spans nor log lines in common: give both of one kind")
    read = [
        read_traces(*(rows if use else None for rows, use in zip(pair, both, strict=True)), columns=columns)
        for pair in pairs
    ]
    for name, use in zip(("spans", "log lines"), both, strict=True):
        if not use:
            read[1].notes.append(f"normal operation and the window do not both have {name}: judged without")
    return read[0], read[1]
