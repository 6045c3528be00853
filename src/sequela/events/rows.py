"""Rows of a log of any size in little memory: read a piece at a time, kept as numbers, sorted some cases at a time.

A text column takes 16 bytes a row and more, and reading or sorting holds several copies. Here a large log is held as
categories (4 bytes a row) and seconds until it is sorted. The result is that of reading it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers import FAULTS, Table
from sequela.text import quoted

Convert = Callable[[pl.DataFrame], tuple[pl.DataFrame, str | None]]
"""From columns as they are in the file to ``case``, ``event`` and, where there are times, ``time``; and what the times
were taken for (`sequela.events.times.time_and_kind`)."""

_PIECE = 1 << 20
"""Rows that are read, or sorted, at a time; a log of no more is read and sorted as a whole."""
_LABELS = ("case", "event")


def read_rows(table: Table, columns: list[pl.Expr], convert: Convert, *, whole: bool = False) -> pl.DataFrame:
    """Read the columns of a log and convert them, in the order of the file; labels are text or categories.

    Args:
        table: From a reader.
        columns: What to read.
        convert: Turns a piece, or the whole, into labels and seconds.
        whole: Never in pieces.

    Raises:
        LogFormatError: The file cannot be read to its end, has another number of rows than the reader counted, or
            `convert` refuses it.
    """
    rows = table.frame.select(columns)
    small = whole or (table.n_rows is not None and table.n_rows <= _PIECE)
    found = None if small else _in_pieces(table, rows, convert)
    if found is None:  # also where only the whole column can tell what its times are, or which row is wrong
        try:
            frame = rows.collect(engine="streaming")
        except FAULTS as error:
            raise LogFormatError(f"{table.name} cannot be read: {quoted(error)}") from error
        _check_height(table, frame.height)
        try:
            found = convert(frame)[0]
        except pl.exceptions.PanicException as error:  # no `Exception`: it would pass every handler
            raise LogFormatError(f"{table.name} cannot be read: {quoted(error)}") from error
    return found


def _in_pieces(table: Table, rows: pl.LazyFrame, convert: Convert) -> pl.DataFrame | None:
    """Return converted rows, labels as categories sorted by name; None where pieces do not agree, or one is refused."""
    categories = {name: pl.Categorical(pl.Categories.random()) for name in _LABELS}
    pieces: list[pl.DataFrame] = []
    kinds: set[str | None] = set()
    try:
        for piece in rows.collect_batches(chunk_size=_PIECE, engine="streaming"):
            converted, kind = convert(piece)
            pieces.append(converted.with_columns(pl.col(name).cast(label) for name, label in categories.items()))
            kinds.add(kind)
    except LogFormatError:
        return None
    except FAULTS as error:
        raise LogFormatError(f"{table.name} cannot be read: {quoted(error)}") from error
    _check_height(table, sum(piece.height for piece in pieces))
    if not pieces or len(kinds) != 1 or None in kinds:
        return None
    found = pl.concat(pieces, rechunk=False)
    del pieces
    for name in _LABELS:
        sorted_names = pl.Enum(found[name].unique().cast(pl.String).sort())
        parts = [part.to_series().cast(sorted_names) for part in found.select(name).iter_slices(_PIECE)]
        found = found.with_columns(pl.concat(parts))
    return found


def _check_height(table: Table, height: int) -> None:
    """Compare the number of rows with what the reader counted by other means."""
    if table.n_rows is not None and height != table.n_rows:
        raise LogFormatError(f"{table.name} has {table.n_rows:,} rows, of which {height:,} could be read")


def sort_rows(rows: pl.DataFrame, *within: str) -> tuple[pl.DataFrame, int]:
    """Return rows with text labels sorted by case and further columns, and how many share their time with the last.

    Rows that are the same by all of these stay in their order.

    Args:
        rows: From `read_rows`.
        within: Columns that decide within a case, ``time`` first.

    Example:
        >>> rows = pl.DataFrame({"case": ["b", "a", "a"], "event": ["x", "z", "y"], "time": [1.0, 5.0, 5.0]})
        >>> sort_rows(rows, "time", "event")[0].rows(), sort_rows(rows, "time")[1]
        ([('a', 'y', 5.0), ('a', 'z', 5.0), ('b', 'x', 1.0)], 1)
    """
    sorted_groups, n_ties = [], 0
    for group in _groups(rows):
        ordered = group.sort("case", *within, maintain_order=True)
        if "time" in ordered.columns:
            same = (pl.col("case") == pl.col("case").shift()) & (pl.col("time") == pl.col("time").shift())
            n_ties += int(ordered.select(same.sum()).item())
        sorted_groups.append(ordered.cast(dict.fromkeys(_LABELS, pl.String)))
    return pl.concat(sorted_groups, rechunk=False), n_ties


def _groups(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of some cases at a time, in the order of the cases' names."""
    if rows["case"].dtype == pl.String:
        yield rows
        return
    number = rows["case"].to_physical()
    n_before = np.cumsum(np.append(0, np.bincount(number.to_numpy())))
    bounds = np.unique(np.searchsorted(n_before, np.arange(0, rows.height, _PIECE), side="right") - 1)
    for low, high in pairwise([*bounds.tolist(), len(n_before) - 1]):
        yield rows.filter(number.is_between(low, high, closed="left"))
