"""Frames that are in memory already: polars and pandas."""

from __future__ import annotations

from typing import Any

import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers.source import Table
from sequela.text import quoted

NAME = "the frame"


def read_frame(source: Any) -> Table:
    """Return a polars or pandas frame as a table.

    Raises:
        LogFormatError: It is no frame, has a column name twice, or holds what no column can hold.

    Example:
        >>> read_frame(pl.DataFrame({"case": ["a", "b"]})).n_rows
        2
    """
    if isinstance(source, pl.DataFrame):
        return Table(source.lazy(), NAME, source.height)
    if isinstance(source, pl.LazyFrame):
        try:
            source.collect_schema()
        except pl.exceptions.PolarsError as error:
            raise LogFormatError(f"{NAME} cannot be read: {quoted(error)}") from error
        return Table(source, NAME)
    if not hasattr(source, "columns") or not hasattr(source, "iloc"):
        raise LogFormatError(
            f"the log must be a path, a list of paths, a polars frame or a pandas frame; got {type(source).__name__}"
        )
    names = [str(column) for column in source.columns]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise LogFormatError(f"{NAME}: the column name '{quoted(twice[0])}' occurs twice; rename one of them")
    return Table(pl.DataFrame([_column(source, i, name) for i, name in enumerate(names)]).lazy(), NAME, len(source))


def _column(frame: Any, index: int, name: str) -> pl.Series:
    """Return one column; what pandas holds as mixed objects, and polars cannot, is refused by name."""
    try:
        column: pl.Series = pl.from_pandas(frame.iloc[:, index])
    except Exception as error:  # pyarrow, pandas and polars each have errors of their own for it
        raise LogFormatError(f"{NAME}: column '{quoted(name)}' cannot be read: {quoted(error)}") from error
    return column.alias(name)
