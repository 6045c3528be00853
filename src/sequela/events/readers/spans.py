"""Spans of distributed traces as events: case = trace; event = service and operation; state = how it went.

What each format gives is brought to one table here: how a span went, and what is odd about the traces (`finish`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from sequela.events.readers.source import Finished, Table
from sequela.events.readers.spool import BATCH, Spool

SLOW = 0.99
"""A span is slow above this quantile of the durations of its own operation."""
FEWEST = 100
"""Spans that an operation must have before any of them is called slow."""
SCHEMA = {
    "trace": pl.String, "span": pl.String, "parent": pl.String, "service": pl.String, "instance": pl.String,
    "operation": pl.String, "kind": pl.String, "start": pl.Int64, "end": pl.Int64, "status": pl.String,
    "code": pl.String, "n_links": pl.Int64,
}  # fmt: skip
"""What a format gives of a span; times in nanoseconds since 1970, ``parent`` empty for a root."""
ROLES = {"case": "trace", "event": ["service", "operation"], "state": "outcome", "time": "end"}
"""Columns that are case, event, state and time unless others are named."""
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_KEYS = ("http.response.status_code", "http.status_code", "rpc.grpc.status_code")
INSTANCE_KEYS = ("service.instance.id", "k8s.pod.name", "container.id", "host.name")
UNKNOWN = "unknown_service"
"""Service of spans that name none, as the OpenTelemetry specification has it."""
_FIRST_ERROR = 400


class SpanRows:
    """Collects spans and writes them in batches."""

    def __init__(self, name: str) -> None:
        self._spool = Spool(name)
        self._rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> None:
        """Add a span: the values of `SCHEMA` in order."""
        self._rows.append(row)
        if len(self._rows) == BATCH:
            self._flush()

    def _flush(self) -> None:
        self._spool.write(pl.DataFrame(self._rows, schema=SCHEMA, orient="row"))
        self._rows = []

    def table(self) -> Table:
        """Return all spans."""
        self._flush()
        return self._spool.table()._replace(roles=ROLES, finish=finish)


def code_of(values: Mapping[str, Any]) -> str | None:
    """Return the status code that the attributes of a span name, where it says that something went wrong.

    Example:
        >>> code_of({"http.response.status_code": 503}), code_of({"rpc.grpc.status_code": 0}), code_of({})
        ('503', None, None)
    """
    for key in STATUS_KEYS:
        try:
            number = int(values[key])
        except (KeyError, TypeError, ValueError):
            continue
        if number >= (1 if "grpc" in key else _FIRST_ERROR):
            return str(number)
    return None


def finish(spans: pl.LazyFrame, learned: Mapping[str, Any] | None) -> Finished:
    """Drop repeated spans, say how each went, and count what is odd.

    Args:
        spans: Columns of `SCHEMA`.
        learned: What an earlier log taught: ``slow_ms``, the limit of each service and operation; None for a new log.

    Returns:
        The spans with ``duration_ms`` and ``outcome``, their number, the limits, and sentences.
    """
    n_all = int(spans.select(pl.len()).collect(engine="streaming").item())
    once = spans.group_by("trace", "span").len().select(pl.len())
    if int(once.collect(engine="streaming").item()) < n_all:  # asked first: to leave them out needs all rows in memory
        spans = spans.unique(["trace", "span"], keep="first", maintain_order=True)
    spans = spans.with_columns(duration_ms=(pl.col("end") - pl.col("start")) / 1e6)
    if learned is None:
        rows = spans.group_by("service", "operation").agg(
            pl.len(), limit=pl.col("duration_ms").quantile(SLOW, "higher")
        )
        found = rows.filter(pl.col("len") >= FEWEST).sort("service", "operation").collect(engine="streaming")
        learned = {"slow_ms": found.drop("len").rows()}
    limits = pl.LazyFrame(
        list(learned["slow_ms"]),
        {"service": pl.String, "operation": pl.String, "limit": pl.Float64},
        orient="row",
    )
    failed = pl.concat_str([pl.lit("error"), pl.col("code")], separator=" ", ignore_nulls=True)
    spans = (
        spans.join(limits, on=["service", "operation"], how="left", maintain_order="left")
        .with_columns(
            outcome=pl.when(status="error").then(failed).when(pl.col("code").is_not_null()).then("code")
            .when(pl.col("duration_ms") > pl.col("limit")).then(pl.lit("slow")).otherwise(pl.lit("ok")),
            start=pl.from_epoch("start", "ns"), end=pl.from_epoch("end", "ns"),
        )
        .drop("limit", "code")
    )  # fmt: skip
    notes, n = _notes(spans, n_all)
    limit = f"slow is a span above the {SLOW:.0%} quantile of its own operation"
    some = len(learned["slow_ms"])
    notes.append(f"{limit} ({some:,} operations have one: those of {FEWEST} spans or more)" if some else
                 f"no operation has {FEWEST} spans, so none is called slow")  # fmt: skip
    return Finished(spans, n, {"slow_ms": [list(row) for row in learned["slow_ms"]]}, tuple(notes))


def _notes(spans: pl.LazyFrame, n_all: int) -> tuple[list[str], int]:
    """Return what is odd about traces in sentences, and the number of spans."""
    above = spans.select("trace", parent="span", begun="start", ended="end", above=pl.lit(True))
    joined = spans.select("trace", "parent", "start", "end", "n_links").join(above, on=["trace", "parent"], how="left")
    has_parent, is_child = pl.col("parent") != "", pl.col("above").is_not_null()
    counts = joined.select(
        n=pl.len(),
        lost=(has_parent & ~is_child).sum(),
        early=(pl.col("start") < pl.col("begun")).sum(),
        late=(pl.col("start") > pl.col("ended")).sum(),
        backwards=(pl.col("end") < pl.col("start")).sum(),
        links=pl.col("n_links").sum(),
    ).collect(engine="streaming").row(0, named=True)  # fmt: skip
    roots = joined.group_by("trace").agg(n=(~is_child).sum()).select(
        several=(pl.col("n") > 1).sum(), none=(pl.col("n") == 0).sum()
    ).collect(engine="streaming").row(0, named=True)  # fmt: skip
    said = {
        "spans repeat an identifier and were left out": n_all - counts["n"],
        "spans name a parent that is not there; they count as roots": counts["lost"],
        "traces have several roots": roots["several"],
        "traces have no root: their parents form a circle": roots["none"],
        "spans begin before their parent does (clocks that differ)": counts["early"],
        "spans begin after their parent has ended (asynchronous)": counts["late"],
        "spans end before they begin": counts["backwards"],
        "links to other spans are no parents and were left out": counts["links"],
    }
    return [f"{count:,} {what}" for what, count in said.items() if count], counts["n"]
