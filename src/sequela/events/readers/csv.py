"""Text tables: values separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np
import polars as pl

from sequela.errors import LogFormatError, quoted
from sequela.events.readers.source import Source, Table

_TAIL = 1 << 16
TAB_SUFFIXES = (".tsv", ".tab")


class Shape(NamedTuple):
    """What a pass over a text table finds: its records, header included, and its last line if nothing ends it."""

    n_records: int
    open_line: bytes


def read_csv(source: Source) -> Table:
    """Scan a text table; everything stays text, so that 007 keeps its zeros and times are read by our own rules.

    Raises:
        LogFormatError: It is not UTF-8, has no header or a column name twice, or ends within a row.
    """
    shape = count_records(source)
    header, separator = _header(source)
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise LogFormatError(f"{source.name}, line 1: the column name '{quoted(twice[0])}' occurs twice; rename one")
    if shape.open_line and shape.n_records > 1:
        _refuse_cut_row(source, shape.open_line, len(header), separator)
    with source.path.open("rb") as file:  # an open file, since a path would be read as a pattern
        frame = pl.scan_csv(file, separator=separator, infer_schema=False, truncate_ragged_lines=False)
    return Table(frame, source.name, shape.n_records - 1, source.files)


def count_records(source: Source) -> Shape:
    """Count the records of a text table in one pass: line ends outside of quotes.

    Raises:
        LogFormatError: The file ends within quotes, or its compression says that something is missing.
    """
    inside, n_records, tail = False, 0, b""
    for block in source.blocks():
        if b'"' in block:
            values = np.frombuffer(block, dtype=np.uint8)
            within = (np.cumsum(values == ord('"')) % 2).astype(bool) ^ inside
            n_records += int(np.count_nonzero((values == ord("\n")) & ~within))
            inside = bool(within[-1])
        elif not inside:
            n_records += block.count(b"\n")
        tail = (tail + block)[-_TAIL:]
    if inside:
        raise LogFormatError(f"{source.name} ends within quotes: it is cut, or a quote in it is never closed")
    open_line = tail.rpartition(b"\n")[2]
    return Shape(n_records + bool(open_line), open_line)


def _header(source: Source) -> tuple[list[str], str]:
    """Return the column names and the separator: a tab where the suffix says so, else what splits the first line."""
    with source.open() as file:
        if file.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            raise LogFormatError(f"{source.name} is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
    header: list[str] = []
    for separator in ("\t",) if source.suffix in TAB_SUFFIXES else (",", ";", "\t"):
        found = _first_record(source, separator)
        if len(found) > max(1, len(header)):
            return found, separator
        header = header or found
    return header, "\t" if source.suffix in TAB_SUFFIXES else ","


def _first_record(source: Source, separator: str) -> list[str]:
    with source.open() as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
        try:
            record = next(csv.reader(text, delimiter=separator), [])
        except UnicodeDecodeError as error:
            raise LogFormatError(f"{source.name} is not UTF-8; save it as UTF-8 (iconv -f LATIN1 -t UTF-8)") from error
        except csv.Error as error:
            hint = "; its lines end in carriage returns alone" if "new-line" in str(error) else f": {quoted(error)}"
            raise LogFormatError(f"{source.name}, line 1 is no header{hint}") from error
        finally:
            text.detach()
    if not record:
        raise LogFormatError(f"{source.name} is empty: line 1 is blank and no header")
    return record


def _refuse_cut_row(source: Source, line: bytes, n_columns: int, separator: str) -> None:
    """Refuse a last line that nothing ends and that has fewer values than the header: the file was cut there."""
    if line.count(b'"') % 2:  # the end of a value in quotes that has lines in it
        return
    n_values = len(next(csv.reader([line.decode("utf-8", "replace").replace("\r", " ")], delimiter=separator), []))
    if n_values < n_columns:
        raise LogFormatError(
            f"{source.name} ends within a row: its last line has {n_values} of {n_columns} values and no line end"
        )
