"""Spans and log lines as events: one row for each call that a service handled: what it did, how long it took."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.arguments import PATH, Either, Kind, checks, public
from sequela.errors import ConfigError, LogFormatError, nearest
from sequela.events.readers.parquet import read_table
from sequela.text import quoted

_VALUES = r"[:=：].*$"
_CLOCK = r"^[\s\d\-:T.,/Z+]+"
_IDENTIFIER = r"\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b[0-9a-f]{12,}\b"
_LONGEST_TEMPLATE = 160
BETWEEN = " ; "
"""Stands between the items of ``called`` and ``behaviour``."""
_MILLISECOND = 1e6


Rows = pl.DataFrame | str | Path | None
"""A table, a Parquet file, or none."""


@dataclass(frozen=True)
class TraceColumns:
    """Names of the columns of spans and log lines; the defaults are those of the TrainTicket tables.

    Attributes:
        trace: Which request a row belongs to, in spans and in log lines.
        span: Identifier of the span, in spans and in log lines.
        parent: Identifier of the span that called this one.
        instance: Which running copy of a service (a pod, a host) wrote the row.
        operation: Name of the span.
        start: Start of the span in nanoseconds.
        end: End of the span in nanoseconds.
        message: Text of the log line.
        log_time: Time of the log line; only to tell a line that was stored twice from one that was written twice. None
            where there is none.
        service: Column of the service; by default the instance without ``instance_suffix``.
        instance_suffix: Regular expression that is cut from an instance to get its service.
    """

    trace: str = "TraceID"
    span: str = "SpanID"
    parent: str = "ParentID"
    instance: str = "PodName"
    operation: str = "OperationName"
    start: str = "StartTimeUnixNano"
    end: str = "EndTimeUnixNano"
    message: str = "message"
    log_time: str | None = "TimeUnixNano"
    service: str | None = None
    instance_suffix: str = r"-[^-]+-[^-]+$"

    def __post_init__(self) -> None:
        """Refuse an expression that is none."""
        try:
            re.compile(self.instance_suffix)
        except re.error as error:
            raise ConfigError(
                f"instance_suffix must be a regular expression; got {self.instance_suffix!r}: {error}"
            ) from None


@dataclass(frozen=True)
class Traces:
    """What services did.

    Attributes:
        calls: One row for each call handled: ``call`` and ``parent_call`` (row numbers, null without), ``trace``,
            ``service``, ``instance``, ``operation``, ``request`` (the client's span), ``caller``, ``caller_instance``,
            ``start`` (nanoseconds), ``duration`` and ``transport`` (milliseconds; ``transport`` is what the client
            waited beyond it), ``called`` (calls it made in turn) and ``behaviour`` (its spans and log templates).
        work: One row for each span that waits for no other service: ``service``, ``instance``, ``operation``,
            ``trace``, ``own`` (milliseconds without its children).
        has_spans: Whether there were spans; without any, the log lines of one span count as one call.
        has_logs: Whether there were log lines.
        notes: What was left out, in sentences.
    """

    calls: pl.DataFrame
    work: pl.DataFrame
    has_spans: bool = True
    has_logs: bool = True
    notes: list[str] = field(default_factory=list)

    def to_log(self) -> pl.DataFrame:
        """Return the calls as an event log for `read_log`: case, service, operation, time, parent, one row a call."""
        return self.calls.select(
            "service", "operation", "behaviour", case="trace", time=pl.from_epoch("start", time_unit="ns"),
            event_id="call", parent="parent_call",
        ).sort("case", "time")  # fmt: skip


def template(text: pl.Expr) -> pl.Expr:
    """Return the constant beginning of messages: no clock or identifier, digits as ``#``, nothing after ``:`` or ``=``.

    Example:
        >>> lines = pl.DataFrame({"message": ["16:42:22.382 INFO c.Order#7 [pay][id: 12]"]})
        >>> lines.select(template(pl.col("message"))).item()
        'INFO c.Order# [pay][id'
    """
    bare = text.str.replace(_CLOCK, "").str.replace_all(_IDENTIFIER, "#").str.replace(_VALUES, "")
    return (
        bare.str.replace_all(r"\d+", "#").str.replace_all(r"#(?:[,\s]*#)+", "#").str.replace_all(r"\s+", " ")
        .str.strip_chars().str.slice(0, _LONGEST_TEMPLATE)
    )  # fmt: skip


_FRAME = Kind("a polars DataFrame", "polars:DataFrame")


@public(
    checks(
        spans=Either((PATH, _FRAME)),
        logs=Either((PATH, _FRAME)),
        columns=Kind("TraceColumns", "sequela.events.traces:TraceColumns"),
    )
)
def read_traces(
    spans: Rows = None,
    logs: Rows = None,
    *,
    columns: TraceColumns | None = None,
) -> Traces:
    """Turn spans and log lines into calls.

    Rows that repeat a span, or a log line, are read once. Log lines belong to the call whose span they name.

    Args:
        spans: Table or Parquet file of spans; None where there are only log lines.
        logs: Table or Parquet file of log lines.
        columns: Names of the columns.

    Raises:
        LogFormatError: A column is missing, or there is neither a span nor a log line.

    Example:
        >>> spans = pl.DataFrame({
        ...     "TraceID": ["t"] * 3, "SpanID": ["a", "b", "c"], "ParentID": ["", "a", "b"],
        ...     "PodName": ["web-1-x", "web-1-x", "db-1-y"], "OperationName": ["/buy", "GET", "/stock"],
        ...     "StartTimeUnixNano": [0, 1_000_000, 2_000_000], "EndTimeUnixNano": [9_000_000, 8_000_000, 4_000_000]})
        >>> read_traces(spans).calls.select("service", "caller", "transport").rows()
        [('web', None, None), ('db', 'web', 5.0)]
    """
    columns = columns or TraceColumns()
    notes: list[str] = []
    span_rows = _table(spans, columns, "spans", ("span", "trace", "parent", "instance", "operation", "start", "end"))
    log_rows = _table(logs, columns, "logs", ("span", "trace", "instance", "message", *_log_time(columns)))
    if span_rows.is_empty() and log_rows.is_empty():
        raise LogFormatError("there is neither a span nor a log line: give spans, logs or both")
    has_spans, has_logs = not span_rows.is_empty(), not log_rows.is_empty()
    if has_spans:
        n = span_rows.height
        span_rows = span_rows.unique(["trace", "span"], keep="first", maintain_order=True)
        _note(notes, n - span_rows.height, "spans repeated an identifier and were left out")
    else:
        span_rows = _spans_of_logs(log_rows)
    if columns.log_time is not None:
        n = log_rows.height
        log_rows = log_rows.unique(maintain_order=True)
        _note(notes, n - log_rows.height, "log lines were stored twice and are counted once")
    return _calls(span_rows, log_rows, has_spans, has_logs, notes)


def _log_time(columns: TraceColumns) -> tuple[str, ...]:
    return () if columns.log_time is None else ("log_time",)


def loaded(rows: Rows, name: str) -> pl.DataFrame | None:
    """Return a table that is given, or in a Parquet file; None where there is none."""
    if rows is None or isinstance(rows, pl.DataFrame):
        return rows
    path = Path(rows)
    if not path.is_file():
        raise LogFormatError(f"{name}: there is no file '{path}'")
    try:
        return read_table(path)
    except (OSError, ValueError) as error:
        raise LogFormatError(f"{name}: '{path}' cannot be read: {quoted(error)}") from None


def _note(notes: list[str], count: int, what: str) -> None:
    if count:
        notes.append(f"{count:,} {what}")


def _table(source: Rows, columns: TraceColumns, name: str, needed: tuple[str, ...]) -> pl.DataFrame:
    """Return the needed columns by our names, and ``service``."""
    source = loaded(source, name)
    if source is None:
        return pl.DataFrame(schema={**dict.fromkeys(needed, pl.String), "service": pl.String})
    given = {each.name: getattr(columns, each.name) for each in fields(columns)}
    wanted = {each: str(given[each]) for each in needed} | ({"service": columns.service} if columns.service else {})
    missing = [column for column in wanted.values() if column not in source.columns]
    if missing:
        raise LogFormatError(
            f"{name} has no column {missing[0]!r}; it has {', '.join(source.columns)}"
            + nearest(missing[0], source.columns)
        )
    service = (
        pl.col(columns.service)
        if columns.service
        else pl.col(columns.instance).str.replace(columns.instance_suffix, "")
    )
    rows = source.select(service=service, **{each: pl.col(given[each]) for each in needed})
    for column in ("start", "end"):
        if column in rows.columns and not rows.schema[column].is_integer():
            raise LogFormatError(
                f"{name}: column {given[column]!r} must be whole nanoseconds; it is {rows.schema[column]}"
            )
    return rows.with_columns(pl.col(pl.String).fill_null("")) if name == "logs" else _complete(rows, name)


def _complete(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    for column in ("trace", "span", "instance", "operation", "start", "end"):
        if rows[column].null_count():
            raise LogFormatError(f"{name}: {rows[column].null_count():,} rows have no {column}")
    return rows


def _spans_of_logs(logs: pl.DataFrame) -> pl.DataFrame:
    """Without spans: the log lines of one span are one call of unknown duration."""
    return logs.unique(["trace", "span"], keep="first", maintain_order=True).select(
        "service", "trace", "span", "instance", parent=pl.lit(""), operation=pl.lit(""),
        start=pl.lit(0, pl.Int64), end=pl.lit(0, pl.Int64),
    )  # fmt: skip


def _calls(spans: pl.DataFrame, logs: pl.DataFrame, has_spans: bool, has_logs: bool, notes: list[str]) -> Traces:
    spans = spans.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    above = spans.select("trace", parent="span", above="row")
    spans = spans.join(above, on=["trace", "parent"], how="left", maintain_order="left")
    parent = spans["above"].fill_null(-1).to_numpy()
    codes = spans["service"].rank("dense").to_numpy()
    lasted = (spans["end"] - spans["start"]).to_numpy().astype(np.float64) / _MILLISECOND
    _note(notes, int((lasted < 0).sum()), "spans end before they start and count as 0 ms")
    duration = np.maximum(lasted, 0.0)
    inside = (parent >= 0) & (codes[parent] == codes)
    entry = _entries(np.where(inside, parent, np.arange(spans.height)))
    remote = ~inside & (parent >= 0)
    waited = np.zeros(spans.height)
    np.add.at(waited, parent[parent >= 0], duration[parent >= 0])
    is_client = np.zeros(spans.height, dtype=bool)
    is_client[parent[remote]] = True
    spans = spans.with_columns(
        entry=entry, duration=duration, own=np.maximum(duration - waited, 0.0), client=is_client, remote=remote
    )
    by_row = spans.select(above="row", request="operation", caller="service", caller_instance="instance",
                          client_duration="duration", parent_call="entry")  # fmt: skip
    calls = (
        spans.filter(pl.col("row") == pl.col("entry"))
        .join(by_row, on="above", how="left", maintain_order="left")
        .with_columns(transport=pl.col("client_duration") - pl.col("duration"))
        .join(_texts(_called(spans), "called"), left_on="row", right_on="entry", how="left", maintain_order="left")
        .join(_texts(_behaviour(spans, logs, notes), "behaviour"), left_on="row", right_on="entry", how="left",
              maintain_order="left")
        .select("trace", "service", "instance", "operation", "request", "caller", "caller_instance", "start",
                "duration", "transport", pl.col("called", "behaviour").fill_null(""), "parent_call", call="row")
    )  # fmt: skip
    work = spans.filter(~pl.col("client")).select("service", "instance", "operation", "trace", "own")
    return Traces(calls, work, has_spans, has_logs, notes)


def _entries(up: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each span the entry span of its call: the end of the chain of spans of one service."""
    for _ in range(64):
        further = up[up]
        if np.array_equal(further, up):
            return up
        up = further
    raise LogFormatError("spans: parents form a circle")


def _called(spans: pl.DataFrame) -> pl.DataFrame:
    above = spans.select(above="row", entry="entry")
    children = spans.filter("remote").select("above", item=pl.col("service") + " " + pl.col("operation"))
    return children.join(above, on="above").select("entry", "item")


def _behaviour(spans: pl.DataFrame, logs: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    inner = spans.filter(pl.col("row") != pl.col("entry")).select("entry", item=pl.lit("span ") + pl.col("operation"))
    if logs.is_empty():
        return inner
    lines = logs.join(spans.select("trace", "span", "entry"), on=["trace", "span"], how="left")
    _note(notes, lines["entry"].null_count(), "log lines name no span that is there and were left out")
    lines = lines.drop_nulls("entry").select("entry", item=pl.lit("log ") + template(pl.col("message")))
    return pl.concat([inner, lines])


def _texts(items: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return what is in each call as one text: sorted, with counts."""
    counts = items.group_by("entry", "item").len().with_columns(
        item=pl.col("len").cast(pl.String) + " × " + pl.col("item")
    )  # fmt: skip
    return counts.group_by("entry").agg(pl.col("item").sort().str.join(BETWEEN).alias(name))
