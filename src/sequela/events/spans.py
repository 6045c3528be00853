"""Spans of distributed traces as a table, and which services call which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sequela.arguments import FLAG, PATH, TEXT, Either, checks, list_of, public
from sequela.errors import LogFormatError
from sequela.events.readers import read_table
from sequela.events.readers.spans import finish


@dataclass(frozen=True)
class Spans:
    """Spans of traces.

    Attributes:
        frame: One row a span: ``trace``, ``span``, ``parent`` (empty for a root), ``service``, ``instance``,
            ``operation``, ``kind``, ``start``, ``end``, ``status``, ``n_links``, ``duration_ms`` and ``outcome``
            (``ok``, ``slow``, a status code, ``error`` with or without one).
        notes: What is odd about the traces, in sentences with counts.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()

    def services(self) -> pl.DataFrame:
        """Return which service calls which: ``service`` and ``neighbour``, each pair once, sorted.

        The table is a topology: services that never call each other are no direct causes of one another.

        Example:
            >>> rows = {"trace": ["t", "t"], "span": ["a", "b"], "parent": ["", "a"], "service": ["web", "db"]}
            >>> Spans(pl.DataFrame(rows)).services().rows()
            [('web', 'db')]
        """
        callers = self.frame.select("trace", parent="span", caller="service")
        calls = self.frame.select("trace", "parent", neighbour="service").join(callers, on=["trace", "parent"])
        pairs = calls.filter(pl.col("caller") != pl.col("neighbour")).select("neighbour", service="caller")
        return pairs.unique().select("service", "neighbour").sort("service", "neighbour")


@public(checks(source=Either((PATH, list_of("a list of paths"))), file_format=TEXT, glob=FLAG))
def read_spans(
    source: str | Path | Sequence[str | Path], *, file_format: str | None = None, glob: bool = False
) -> Spans:
    """Read the spans of OpenTelemetry (OTLP as JSON or protobuf) or Jaeger as a table.

    Args:
        source: A file, or a list of files; compressed or not.
        file_format: ``"otlp"`` or ``"jaeger"`` where the name does not end so.
        glob: Whether names of files are patterns.

    Raises:
        LogFormatError: A file cannot be read, or holds something else.
    """
    table = read_table(source, file_format, glob=glob)
    if table.finish is not finish:
        raise LogFormatError(f"{table.name} holds no spans of OpenTelemetry or Jaeger")
    return Spans(table.frame.collect(engine="streaming"), table.notes)
