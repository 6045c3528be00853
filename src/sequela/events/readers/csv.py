"""Text tables: values separated by commas, semicolons or tabs."""

from __future__ import annotations

import contextlib
import csv
import io
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.errors import LogFormatError
from sequela.events.readers.source import Source, Table
from sequela.text import quoted

TAB_SUFFIXES = (".tsv", ".tab")
_LONGEST_RECORD = 1 << 26
"""Bytes; in a longer one a quote was never closed."""
_QUOTE, _LINE_END, _RETURN = b'"'[0], b"\n"[0], b"\r"[0]


class Shape(NamedTuple):
    """What a pass over a text table finds: its records, header included, and the last one if no line end follows."""

    n_records: int
    open_record: bytes


def read_csv(source: Source) -> Table:
    """Scan a text table; everything stays text, so that 007 keeps its zeros and times are read by our own rules.

    Raises:
        LogFormatError: It is not UTF-8, has no header or a column name twice, has quotes that can be read in two
            ways, or ends within a row.
    """
    header, separator = _header(source)
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise LogFormatError(f"{source.name}, line 1: the column name '{quoted(twice[0])}' occurs twice; rename one")
    shape = count_records(source, separator)
    if shape.open_record and shape.n_records > 1:
        _refuse_cut_row(source, shape.open_record, len(header), separator)
    with source.path.open("rb") as file:  # an open file, since a path would be read as a pattern
        frame = pl.scan_csv(file, separator=separator, infer_schema=False, truncate_ragged_lines=False)
    return Table(frame, source.name, shape.n_records - 1, source.files)


def count_records(source: Source, separator: str) -> Shape:
    """Count the records of a text table in one pass: line ends outside of quotes.

    Raises:
        LogFormatError: The file ends within quotes, its compression says that something is missing, or a quote could
            be read in two ways.
    """
    n_records, n_lines, rest = 0, 0, b""
    for block in source.blocks():
        data = rest + block
        end = data.rfind(b"\n") + 1
        if b'"' in data:
            ends = _line_ends(data)
            end = int(ends[-1]) + 1 if len(ends) else 0
            _refuse_odd_quotes(source, data[:end], separator, n_lines)
            n_records += len(ends)
        else:
            n_records += data.count(b"\n", 0, end)
        _refuse_lone_returns(source, data[:end], n_lines)
        n_lines += data.count(b"\n", 0, end)
        rest = data[end:]
        if len(rest) > _LONGEST_RECORD:
            raise LogFormatError(f"{source.name}, line {n_lines + 1}: a row of more than {_LONGEST_RECORD >> 20} MiB")
    if rest.count(b'"') % 2:
        raise LogFormatError(
            f"{source.name} ends within quotes: it is cut, or a quote in line {n_lines + 1} or later is never closed"
        )
    _refuse_odd_quotes(source, rest, separator, n_lines)
    _refuse_lone_returns(source, rest, n_lines)
    return Shape(n_records + bool(rest), rest)


def _line_ends(data: bytes) -> NDArray[np.int64]:
    """Return where the line ends outside of quotes are."""
    values = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(values == _LINE_END)
    n_quotes = np.searchsorted(np.flatnonzero(values == _QUOTE), ends)
    outside: NDArray[np.int64] = ends[n_quotes % 2 == 0]
    return outside


def _refuse_odd_quotes(source: Source, data: bytes, separator: str, n_lines: int) -> None:
    """Refuse quotes around a part of a value, as in ``5" x,6" y`` or ``"x"y``, unless every program reads them alike.

    Args:
        source: For the message.
        data: Whole records.
        separator: Between values.
        n_lines: Lines before ``data``.
    """
    values = np.frombuffer(data, dtype=np.uint8)
    quotes = np.flatnonzero(values == _QUOTE)
    if not len(quotes):
        return
    starts, ends = quotes[0::2], quotes[1::2]
    doubled = starts[1:] == ends[:-1] + 1  # a quote within a value in quotes
    starts, ends = starts[np.r_[True, ~doubled]], ends[np.r_[~doubled, True]]
    before = np.where(starts == 0, _LINE_END, values[starts - 1])
    after = np.where(ends == len(values) - 1, _LINE_END, values[np.minimum(ends + 1, len(values) - 1)])
    sign = separator.encode()[0]
    opens, closes = np.isin(before, [sign, _LINE_END]), np.isin(after, [sign, _LINE_END, _RETURN])
    odd = ~(opens & closes)
    for start, end, at_start in zip(starts[odd], ends[odd], opens[odd], strict=True):
        inside = data[start:end]
        if at_start or b"\n" in inside or b"\r" in inside or separator.encode() in inside:
            line = n_lines + 1 + data.count(b"\n", 0, start)
            raise LogFormatError(
                f"{source.name}, line {line}: a quote within a value; "
                "put the whole value in quotes and double the quotes in it"
            )


def _refuse_lone_returns(source: Source, data: bytes, n_lines: int) -> None:
    """Refuse carriage returns that end no line, outside of quotes: some programs read them as line ends."""
    if data.count(b"\r") == data.count(b"\r\n"):
        return
    values = np.frombuffer(data, dtype=np.uint8)
    returns = np.flatnonzero(values == _RETURN)
    returns = returns[np.append(values, 0)[returns + 1] != _LINE_END]
    returns = returns[np.searchsorted(np.flatnonzero(values == _QUOTE), returns) % 2 == 0]
    if len(returns):
        line = n_lines + 1 + data.count(b"\n", 0, int(returns[0]))
        raise LogFormatError(f"{source.name}, line {line}: a carriage return within a row; put the value in quotes")


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


def _refuse_cut_row(source: Source, record: bytes, n_columns: int, separator: str) -> None:
    """Refuse a last row that no line end follows and that has fewer values than the header: the file was cut there."""
    text = record.decode("utf-8", "replace").replace("\r", " ")
    with contextlib.suppress(csv.Error):  # a value too long for this reader
        n_values = len(next(csv.reader([text], delimiter=separator), []))
        if n_values < n_columns:
            raise LogFormatError(
                f"{source.name} ends within a row: its last row has {n_values} of {n_columns} values and no line end"
            )
