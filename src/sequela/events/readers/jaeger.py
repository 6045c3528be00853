"""Jaeger: traces as its interface and its API give them in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from sequela.errors import LogFormatError
from sequela.events.readers.json_elements import elements
from sequela.events.readers.source import Source, Table
from sequela.events.readers.spans import INSTANCE_KEYS, KINDS, UNKNOWN, SpanRows, code_of
from sequela.text import quoted

_MICROSECOND = 1000
_LATEST = (1 << 63) // _MICROSECOND


class _Tag(msgspec.Struct):
    key: str = ""
    value: Any = None


class _Reference(msgspec.Struct):
    span: str = msgspec.field(name="spanID")
    trace: str = msgspec.field(name="traceID", default="")
    kind: str = msgspec.field(name="refType", default="CHILD_OF")


class _Span(msgspec.Struct):
    span: str = msgspec.field(name="spanID")
    start: int = msgspec.field(name="startTime")
    duration: int
    trace: str = msgspec.field(name="traceID", default="")
    operation: str = msgspec.field(name="operationName", default="")
    process: str = msgspec.field(name="processID", default="")
    parent: str = msgspec.field(name="parentSpanID", default="")
    references: list[_Reference] | None = None
    tags: list[_Tag] | None = None


class _Process(msgspec.Struct):
    service: str = msgspec.field(name="serviceName", default="")
    tags: list[_Tag] | None = None


class _Trace(msgspec.Struct):
    trace: str = msgspec.field(name="traceID", default="")
    spans: list[_Span] | None = None
    processes: dict[str, _Process] | None = None


def read_jaeger(source: Source) -> Table:
    """Read traces of Jaeger: ``{"data": [trace, …]}``.

    The parent of a span is the first span of its own trace that it refers to as ``CHILD_OF``, else as ``FOLLOWS_FROM``.
    Other references are links.

    Raises:
        LogFormatError: The file is damaged or cut, or holds no span.
    """
    rows = SpanRows(source.name)
    decoder = msgspec.json.Decoder(_Trace)
    for key, raw in elements(source):
        if key != "data":
            raise LogFormatError(f"{source.name} cannot be read as jaeger: it holds '{quoted(key)}' beside its data")
        try:
            trace = decoder.decode(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise LogFormatError(f"{source.name} cannot be read as jaeger: {quoted(error)}") from error
        for span in trace.spans or ():
            _add(rows, source.name, trace, span)
    table = rows.table()
    if not table.n_rows:
        raise LogFormatError(f"{source.name} holds no span of Jaeger: it has no 'data' with 'spans'")
    return table


def _add(rows: SpanRows, source: str, trace: _Trace, span: _Span) -> None:
    name = span.trace or trace.trace
    if not (name and span.span):
        raise LogFormatError(f"{source}: a span ('{quoted(span.operation)}') has no identifier, or is in no trace")
    if not (0 < span.start < _LATEST and 0 <= span.duration < _LATEST - span.start):
        raise LogFormatError(f"{source}: span '{quoted(span.span)}' has no start, or a duration below 0")
    references = span.references or []
    inside = [each for each in references if each.trace in ("", name) and each.span != span.span]
    above = [each.span for kind in ("CHILD_OF", "FOLLOWS_FROM") for each in inside if each.kind == kind]
    process = (trace.processes or {}).get(span.process) or _Process()
    tags = {each.key: each.value for each in span.tags or ()}
    about = {each.key: each.value for each in process.tags or ()}
    service = process.service or UNKNOWN
    failed = str(tags.get("error")).lower() == "true" or tags.get("otel.status_code") == "ERROR"
    kind = str(tags.get("span.kind"))
    start = span.start * _MICROSECOND
    rows.add(
        name, span.span, above[0] if above else span.parent, service,
        next((str(about[key]) for key in (*INSTANCE_KEYS, "hostname") if about.get(key)), service),
        span.operation or "(no name)", kind if kind in KINDS else KINDS[0], start, start + span.duration * _MICROSECOND,
        "error" if failed else "unset", code_of(tags), max(len(references) - bool(above), 0),
    )  # fmt: skip
