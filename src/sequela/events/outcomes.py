"""Outcomes: labels of whole cases (a failure, a warranty claim), with or without the time at which they came."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sequela.errors import ConfigError, LogFormatError
from sequela.events.labels import to_labels
from sequela.events.readers import read_table
from sequela.events.times import time_to_seconds
from sequela.text import quoted

SCHEMA = pl.Schema({"case": pl.String, "label": pl.String, "time": pl.Float64})
"""Outcomes of an `EventLog`: ``time`` in seconds, missing where all events of the case count."""


def from_column(cases: pl.Series, labels: pl.Series, column: str, source: str) -> pl.DataFrame:
    """Return the different values of a column in each case; empty cells are no outcome."""
    found = pl.DataFrame({"case": cases, "label": labels}).drop_nulls("label")
    found = found.with_columns(to_labels(found["label"], role="outcome", column=column, source=source))
    found = found.filter(pl.col("label") != "").unique().sort("case", "label")
    return found.with_columns(time=pl.lit(None, pl.Float64)).cast(SCHEMA)


def from_table(
    source: str | Path | pl.DataFrame, cases: pl.Series, *, has_times: bool, time_format: str | None = None
) -> tuple[pl.DataFrame, int]:
    """Read a table of ``case``, ``label`` and, optionally, ``time``; of one label twice in a case the first counts.

    Args:
        source: A file or a frame with these columns.
        cases: Names of the cases of the log.
        has_times: Whether the log has times.
        time_format: As for `read_log`.

    Returns:
        The outcomes of these cases, and how many rows are of other cases.

    Raises:
        LogFormatError: It cannot be read, or no row is of a case of the log.
        ConfigError: It has times, and the log has none.
    """
    table = read_table(source)
    columns = table.frame.collect_schema().names()
    for name in ("case", "label"):
        if name not in columns:
            raise LogFormatError(
                f"{table.name}: a table of outcomes has the columns case, label and, if known, time; this one has "
                f"{', '.join(map(quoted, columns[:20]))}"
            )
    frame = table.frame.select([name for name in SCHEMA.names() if name in columns]).collect()
    frame = frame.with_columns(
        to_labels(frame[name], role=name, column=name, source=table.name).alias(name) for name in ("case", "label")
    )
    if "time" not in columns:
        frame = frame.with_columns(time=pl.lit(None, pl.Float64))
    elif not has_times:
        raise ConfigError(f"{table.name} says when outcomes came, and the log has no times: leave the column time out")
    else:
        frame = frame.with_columns(
            time_to_seconds(frame["time"], column="time", source=table.name, time_format=time_format).alias("time")
        )
    own = frame.filter(pl.col("case").is_in(cases.unique().implode()))
    if own.is_empty():
        raise LogFormatError(
            f"{table.name}: none of its cases is in the log; the first is '{quoted(frame['case'][0])}'"
        )
    found = own.group_by("case", "label").agg(pl.col("time").min()).sort("case", "label")
    return found.select(SCHEMA.names()).cast(SCHEMA), frame.height - own.height


class AskedOutcomes:
    """The outcomes that `read_log` is asked for, gathered while it reads.

    Args:
        column: Column of the log, or None.
        table: A table of outcomes, or None.
        source: Name of the log, for messages.

    Raises:
        ConfigError: Both are given.
    """

    def __init__(self, column: str | None, table: str | Path | pl.DataFrame | None, source: str) -> None:
        if column is not None and table is not None:
            raise ConfigError("give outcome (a column) or outcomes (a table), not both")
        self._column, self._table, self._source = column, table, source
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take the outcomes of some rows with the columns ``case`` and ``outcome``, where a column was asked for."""
        if self._column is not None:
            self._parts.append(from_column(rows["case"], rows["outcome"], self._column, self._source))

    def of_cases(
        self, cases: pl.Series, *, has_times: bool, time_format: str | None
    ) -> tuple[pl.DataFrame | None, list[str]]:
        """Return all outcomes, each once (None where none were asked for), and what is worth knowing."""
        if self._table is not None:
            found, n_foreign = from_table(self._table, cases, has_times=has_times, time_format=time_format)
            return found, [f"{n_foreign:,} outcomes are of cases that are not in the log"] if n_foreign else []
        if not self._parts:
            return None, []
        found = pl.concat(self._parts).unique().filter(pl.col("case").is_in(cases.unique().implode()))
        return found.sort("case", "label"), []
