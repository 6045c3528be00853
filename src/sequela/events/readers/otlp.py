"""OpenTelemetry: spans in files of the OpenTelemetry protocol (OTLP), as JSON or protobuf.

JSON may be one document or one a line, as the file exporter of the OpenTelemetry Collector writes it. Protobuf may be
one message (``TracesData``, or a request to export traces, which has the same fields), or messages that each follow
their length in four bytes, as that exporter writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import msgspec

from sequela.errors import LogFormatError, MissingExtraError
from sequela.events.readers.json_elements import elements, first_name
from sequela.events.readers.source import Source, Table
from sequela.events.readers.spans import INSTANCE_KEYS, KINDS, STATUS_KEYS, UNKNOWN, SpanRows, code_of
from sequela.text import quoted

_LARGEST = 1 << 28
_STATUS = ("unset", "ok", "error")
_RESOURCE_SPANS = 0x0A
"""Tag of field 1, a message: ``resource_spans`` of ``TracesData``."""


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | None = None
    bool_value: bool | None = None
    double_value: float | None = None

    def plain(self) -> Any:
        return next((each for each in (self.string_value, self.int_value, self.bool_value) if each is not None), None)


class _Attribute(msgspec.Struct):
    key: str = ""
    value: _Value | None = None


class _Attributes(msgspec.Struct):
    attributes: list[_Attribute] | None = None


class _Status(msgspec.Struct):
    code: int | str = 0


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    parent_span_id: str | None = None
    name: str = ""
    kind: int | str = 0
    attributes: list[_Attribute] | None = None
    status: _Status | None = None
    links: list[dict[str, Any]] | None = None


class _ScopeSpans(msgspec.Struct):
    spans: list[_Span] | None = None


class _ResourceSpans(msgspec.Struct, rename="camel"):
    resource: _Attributes | None = None
    scope_spans: list[_ScopeSpans] | None = None


def read_otlp(source: Source) -> Table:
    """Read spans of OTLP, as JSON or protobuf.

    Raises:
        LogFormatError: The file is damaged or cut, or holds no span.
        MissingExtraError: It is protobuf and the extra ``otlp`` is not installed.
    """
    rows = SpanRows(source.name)
    read = _from_json if first_name(source).isidentifier() else _from_protobuf  # whose first byte is a line end in JSON
    read(source, rows)
    table = rows.table()
    if not table.n_rows:
        raise LogFormatError(f"{source.name} holds no span")
    return table


def _from_json(source: Source, rows: SpanRows) -> None:
    decoder = msgspec.json.Decoder(_ResourceSpans, strict=False)
    for key, raw in elements(source):
        if key != "resourceSpans":
            raise LogFormatError(f"{source.name} cannot be read as otlp: it holds '{quoted(key)}' beside spans")
        try:
            found = decoder.decode(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise LogFormatError(f"{source.name} cannot be read as otlp: {quoted(error)}") from error
        resource = _plain(found.resource.attributes if found.resource else None)
        for scope in found.scope_spans or ():
            for span in scope.spans or ():
                values = _plain(span.attributes)
                _add(
                    rows, source.name, resource, values, trace=span.trace_id.lower(), span=span.span_id.lower(),
                    parent=(span.parent_span_id or "").lower(), name=span.name, kind=span.kind,
                    start=span.start_time_unix_nano, end=span.end_time_unix_nano,
                    status=span.status.code if span.status else 0, n_links=len(span.links or ()),
                )  # fmt: skip


def _plain(attributes: list[_Attribute] | None) -> dict[str, Any]:
    return {each.key: each.value.plain() for each in attributes or () if each.value is not None}


def _from_protobuf(source: Source, rows: SpanRows) -> None:
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
    except ImportError as error:
        raise MissingExtraError("reading OTLP as protobuf", "otlp") from error
    with source.open() as file:
        for raw in _messages(file, source.name):
            try:
                found = ResourceSpans.FromString(raw)
            except DecodeError as error:
                raise LogFormatError(f"{source.name} cannot be read as otlp: {quoted(error)}") from None
            resource = _values(found.resource.attributes, ("service.name", *INSTANCE_KEYS))
            for scope in found.scope_spans:
                for span in scope.spans:
                    values = _values(span.attributes, STATUS_KEYS)
                    _add(
                        rows, source.name, resource, values, trace=span.trace_id.hex(), span=span.span_id.hex(),
                        parent=span.parent_span_id.hex(), name=span.name, kind=span.kind,
                        start=span.start_time_unix_nano, end=span.end_time_unix_nano, status=span.status.code,
                        n_links=len(span.links),
                    )  # fmt: skip


def _values(attributes: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    found = ((each.key, each.value) for each in attributes if each.key in keys)
    return {key: getattr(value, value.WhichOneof("value")) for key, value in found if value.WhichOneof("value")}


def _messages(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield each ``ResourceSpans``, whether messages follow their length or there is one message."""
    start = file.read(1)
    if start != b"\x00":
        yield from _fields(file, name, start)
        return
    import io

    while start:
        size = int.from_bytes(start + _exactly(file, 3, name), "big")
        message = io.BytesIO(_exactly(file, size, name))
        yield from _fields(message, name, message.read(1))
        start = file.read(1)


def _fields(file: IO[bytes], name: str, tag: bytes) -> Iterator[bytes]:
    """Yield what field 1 of a message holds, one after the other; it has no other."""
    while tag:
        if tag[0] != _RESOURCE_SPANS:
            raise LogFormatError(f"{name} cannot be read as otlp: it is neither JSON nor a message of spans")
        size, shift = 0, 0
        while True:
            byte = _exactly(file, 1, name)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 or shift > 35:
                break
        yield _exactly(file, size, name)
        tag = file.read(1)


def _exactly(file: IO[bytes], size: int, name: str) -> bytes:
    if size > _LARGEST:
        raise LogFormatError(f"{name} cannot be read as otlp: a message of more than {_LARGEST >> 20} MiB")
    found = file.read(size)
    if len(found) < size:
        raise LogFormatError(f"{name} cannot be read as otlp: it ends within a message: the file is cut")
    return found


def _add(
    rows: SpanRows, source: str, resource: dict[str, Any], values: dict[str, Any], *, trace: str, span: str,
    parent: str, name: str, kind: int | str, start: int, end: int, status: int | str, n_links: int,
) -> None:  # fmt: skip
    if not (trace and span):
        raise LogFormatError(f"{source}: a span ('{quoted(name)}') has no identifier, or is in no trace")
    if not (0 < start < 1 << 63 and 0 < end < 1 << 63):
        raise LogFormatError(f"{source}: span '{quoted(span)}' ('{quoted(name)}') has no start or no end")
    instance = next((str(resource[key]) for key in INSTANCE_KEYS if resource.get(key)), "")
    service = str(resource.get("service.name") or UNKNOWN)
    rows.add(
        trace, span, parent, service, instance or service, name or "(no name)", _named(kind, KINDS, "SPAN_KIND_"),
        start, end, _named(status, _STATUS, "STATUS_CODE_"), code_of(values), n_links,
    )  # fmt: skip


def _named(value: int | str, names: tuple[str, ...], prefix: str) -> str:
    """Return the name of an enumerated value: a number, or a name as some writers have it."""
    if isinstance(value, str):
        value = value.removeprefix(prefix).lower()
        return value if value in names else names[0]
    return names[value] if 0 <= value < len(names) else names[0]
