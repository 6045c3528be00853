"""Lines of text, as programs log them: a pattern says what stands in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import polars as pl

from sequela.errors import ConfigError, LogFormatError
from sequela.events.readers.source import Source, Table
from sequela.events.readers.spool import BATCH, Spool
from sequela.text import quoted

_LINE = "line"
_LONGEST = 1 << 20


def read_log_lines(source: Source) -> Table:
    """Read lines of text, UTF-8: one row a line that is not blank; bytes that are no UTF-8 are replaced, and said.

    Raises:
        LogFormatError: The file is cut or damaged, or a line is longer than a mebibyte.
    """
    spool = Spool(source.name)
    rows: list[str] = []
    rest, n_replaced = b"", 0

    def keep(line: bytes) -> None:
        nonlocal n_replaced
        if len(line) > _LONGEST:
            raise LogFormatError(f"{source.name} has a line of more than {_LONGEST >> 20} MiB")
        text = line.decode("utf-8", "replace").rstrip("\r")
        n_replaced += "\ufffd" in text
        if text.strip():
            rows.append(text)

    def write() -> None:
        spool.write(pl.DataFrame({_LINE: rows}, schema={_LINE: pl.String}))
        rows.clear()

    for block in source.blocks():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            keep(line)
            if len(rows) >= BATCH:
                write()
        if len(rest) > _LONGEST:
            keep(rest)
    keep(rest)
    write()
    notes = (f"{n_replaced:,} lines hold bytes that are no UTF-8; they were replaced",) if n_replaced else ()
    return spool.table()._replace(notes=notes, finish=whole_lines)


def whole_lines(_frame: pl.LazyFrame, _learned: Mapping[str, Any] | None) -> NoReturn:
    """Refuse lines of which nobody has said what stands in them."""
    raise ConfigError("say what stands in a line of text: lines=… (--lines), a regular expression with named groups")


def split_lines(table: Table, pattern: str) -> Table:
    """Return a column for each named group of a pattern; lines that do not match are left out, and said.

    Args:
        table: As `read_log_lines` gives it.
        pattern: Regular expression with named groups, ``(?P<time>…)``; it is looked for from the start of a line.

    Raises:
        ConfigError: It is no regular expression, or names no group.
        LogFormatError: No line matches.
    """
    try:
        parts = pl.col(_LINE).str.extract_groups(f"^(?:{pattern})")
        kind = table.frame.select(found=parts).collect_schema()["found"]
        names = [each.name for each in kind.fields if not each.name.isdecimal()] if isinstance(kind, pl.Struct) else []
        matches = pl.col(_LINE).str.contains(f"^(?:{pattern})")
        odd = pl.col(_LINE).filter(~matches).first()
        counts = table.frame.select(n=pl.len(), good=matches.sum(), first=odd).collect().row(0, named=True)
    except pl.exceptions.PolarsError as error:
        why = str(error).strip().rpartition("error: ")[2]
        raise ConfigError(f"lines must be a regular expression; got '{quoted(pattern, 200)}': {quoted(why)}") from None
    if not names:
        raise ConfigError(f"lines must name what stands in a line, as (?P<time>…); got '{quoted(pattern, 200)}'")
    bad, first = counts["n"] - counts["good"], f"'{quoted(counts['first'], 120)}'"
    if not counts["good"]:
        raise LogFormatError(
            f"{table.name}: no line is as the pattern says; the first is '{quoted(counts['first'], 120)}'"
        )
    fields = [parts.struct.field(name).alias(name) for name in names]
    frame = table.frame.filter(matches).select(fields)
    if "time" in names:  # 12:00:00,123, as many programs write it
        frame = frame.with_columns(pl.col("time").str.replace(r"(:\d\d),(\d)", "$1.$2"))
    said = f"{bad:,} of {counts['n']:,} lines are not as the pattern says and were left out; the first is {first}"
    notes = (*table.notes, said) if bad else table.notes
    return table._replace(frame=frame, n_rows=counts["good"], notes=notes, finish=None)
