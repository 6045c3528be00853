"""One reader per file format: each gives a lazy polars frame, scanned where the format allows it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.errors import LogFormatError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xes": "xes",
}


def read_table(
    source: str | Path | pl.DataFrame | pl.LazyFrame | pd.DataFrame | Any,
) -> tuple[pl.LazyFrame, str]:
    """Return a lazy table and its name for messages.

    Raises:
        LogFormatError: The file is missing, empty, a directory, of an unknown format, or cannot be read.
    """
    if isinstance(source, pl.LazyFrame):
        return source, "the frame"
    if isinstance(source, pl.DataFrame):
        return source.lazy(), "the frame"
    if not isinstance(source, str | Path):
        return _from_pandas(source), "the frame"
    path = Path(source)
    name = f"'{path}'"
    if path.is_dir():
        raise LogFormatError(f"{name} is a directory; give one file (csv, tsv, jsonl, parquet or xes)")
    if not path.exists():
        raise LogFormatError(f"there is no file {name}")
    if path.stat().st_size == 0:
        raise LogFormatError(f"{name} is empty (0 bytes)")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in {".gz", ".zst"}
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    kind = _FORMATS.get(suffix)
    if kind is None:
        raise LogFormatError(f"{name}: unknown format '{suffix}'; allowed are {', '.join(_FORMATS)}")
    try:
        return _read(path, kind, name, tab=suffix in {".tsv", ".tab"}), name
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogFormatError(f"{name} cannot be read as {kind}: {_first_line(error)}") from error


def _read(path: Path, kind: str, name: str, *, tab: bool) -> pl.LazyFrame:
    if kind == "csv":
        return _scan_csv(path, name, tab=tab)
    if kind == "json lines":
        table = pl.scan_ndjson(path, infer_schema_length=10_000)
    elif kind == "parquet":
        table = pl.scan_parquet(path)
    else:
        table = _read_xes(path, name)
    table.collect_schema()
    return table


def _scan_csv(path: Path, name: str, *, tab: bool) -> pl.LazyFrame:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise LogFormatError(f"{name} is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
    separator = "\t" if tab else ","
    header = _csv_header(path, name, separator)
    if len(header) == 1 and not tab:
        for other in (";", "\t"):
            if other in header[0]:
                separator = other
                header = _csv_header(path, name, separator)
                break
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise LogFormatError(f"{name}, line 1: the column name '{twice[0]}' occurs twice; rename one of them")
    # Everything stays text: codes such as 007 keep their zeros, and times are read by our own rules.
    return pl.scan_csv(path, separator=separator, infer_schema=False, truncate_ragged_lines=False)


def _csv_header(path: Path, name: str, separator: str) -> list[str]:
    try:
        row = pl.read_csv(
            path, has_header=False, n_rows=1, separator=separator, infer_schema=False, truncate_ragged_lines=True
        )
    except pl.exceptions.NoDataError:
        raise LogFormatError(f"{name} is empty: it has no header") from None
    except pl.exceptions.ComputeError as error:
        if "utf" in str(error).lower():
            raise LogFormatError(f"{name} is not UTF-8; save it as UTF-8 (iconv -f LATIN1 -t UTF-8)") from error
        raise
    return ["" if cell is None else str(cell) for cell in row.row(0)]


def _read_xes(path: Path, name: str) -> pl.LazyFrame:
    if importlib.util.find_spec("r4pm") is None:
        raise MissingExtraError("reading XES", "xes")
    import r4pm

    try:
        frame, _ = r4pm.df.import_xes(str(path))
    except BaseException as error:  # the Rust reader panics, outside Exception, on some broken files
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise LogFormatError(f"{name} cannot be read as xes: {_first_line(error)}") from error
    if frame.is_empty() or not _is_whole_xml(path):
        raise LogFormatError(f"{name} cannot be read as xes: it ends before its </log> or holds no event")
    table: pl.LazyFrame = frame.lazy()
    return table


def _is_whole_xml(path: Path) -> bool:
    """The Rust reader stops quietly at the end of a truncated file; a compressed one fails on its own."""
    if path.suffix.lower() != ".xes":
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        return b"</log>" in file.read()


def _from_pandas(source: Any) -> pl.LazyFrame:
    if not hasattr(source, "columns") or not hasattr(source, "iloc"):
        raise LogFormatError(f"the log must be a path, a polars frame or a pandas frame; got {type(source).__name__}")
    names = [str(column) for column in source.columns]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise LogFormatError(f"the frame: the column name '{twice[0]}' occurs twice; rename one of them")
    frame: pl.DataFrame = pl.from_pandas(source)
    return frame.lazy()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
