"""Spans and log lines of folders, and of two periods that are to be compared."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import polars as pl

from sequela.errors import LogFormatError, nearest
from sequela.events.traces import Rows, TraceColumns, Traces, loaded, read_traces

_SUFFIXES = (".parquet", ".csv")


def read_folder(
    path: str | Path, columns: TraceColumns | None = None, column: str | None = None, pattern: str = "*"
) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """Return spans and log lines of a folder (``spans.parquet`` or ``.csv``, ``logs`` likewise), or of one file.

    Args:
        path: A folder, or one file of spans.
        columns: Names of the columns; in CSV, all but times are read as text.
        column: Column that chooses rows.
        pattern: What its value must match, with the wildcards ``*``, ``?`` and ``[…]``.

    Raises:
        LogFormatError: Nothing is there, a column is missing, or no row matches.
    """
    columns = columns or TraceColumns()
    path = Path(path)
    if path.is_dir():
        tables = [_table(path, name, columns) for name in ("spans", "logs")]
        if all(table is None for table in tables):
            raise LogFormatError(
                f"'{path}' holds neither spans nor logs: name the files spans.parquet, logs.parquet or .csv"
            )
    elif path.is_file():
        tables = [_read(path, columns), None]
    else:
        raise LogFormatError(f"there is no file or folder '{path}'")
    if column is not None:
        tables = [None if table is None else _chosen(table, column, pattern, path) for table in tables]
        if not any(table is not None and table.height for table in tables):
            raise LogFormatError(f"'{path}': no row has {column} like '{pattern}'")
    return tables[0], tables[1]


def _table(folder: Path, name: str, columns: TraceColumns) -> pl.DataFrame | None:
    found = [folder / f"{name}{suffix}" for suffix in _SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise LogFormatError(f"'{folder}' holds {' and '.join(each.name for each in found)}: keep one of them")
    return _read(found[0], columns) if found else None


def _read(path: Path, columns: TraceColumns) -> pl.DataFrame:
    if path.suffix not in _SUFFIXES:
        raise LogFormatError(f"'{path}' must be a Parquet or CSV file, ending in {' or '.join(_SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        table = pl.read_csv(path, infer_schema=False)
        times = [name for name in (columns.start, columns.end) if name in table.columns]
        return table.with_columns(pl.col(times).cast(pl.Int64))
    except pl.exceptions.PolarsError as error:
        raise LogFormatError(f"'{path}' cannot be read: {str(error).splitlines()[0]}") from None


def _chosen(table: pl.DataFrame, column: str, pattern: str, path: Path) -> pl.DataFrame:
    if column not in table.columns:
        raise LogFormatError(
            f"'{path}' has no column '{column}'; it has {', '.join(table.columns)}{nearest(column, table.columns)}"
        )
    values = table[column].cast(pl.String)
    wanted = [value for value in values.unique().drop_nulls() if fnmatch.fnmatchcase(value, pattern)]
    return table.filter(values.is_in(wanted))


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
