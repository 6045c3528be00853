"""JSON documents, told apart by the first name in them."""

from __future__ import annotations

from collections.abc import Callable

from sequela.errors import LogFormatError
from sequela.events.readers.jaeger import read_jaeger
from sequela.events.readers.json_elements import first_name
from sequela.events.readers.ocel import OLD_NAMES, read_ocel_json
from sequela.events.readers.otlp import read_otlp
from sequela.events.readers.source import Source, Table
from sequela.text import quoted

BY_FIRST_NAME: dict[str, Callable[[Source], Table]] = {
    "resourceSpans": read_otlp,
    "data": read_jaeger,
    "eventTypes": read_ocel_json,
    "objectTypes": read_ocel_json,
    "events": read_ocel_json,
    "objects": read_ocel_json,
}


def read_json(source: Source) -> Table:
    """Read a document of OpenTelemetry, Jaeger or OCEL.

    Raises:
        LogFormatError: It is none of them.
    """
    name = first_name(source)
    if name.startswith(OLD_NAMES):
        return read_ocel_json(source)  # says what to do
    if name not in BY_FIRST_NAME:
        raise LogFormatError(
            f"{source.name} is no JSON of OpenTelemetry, Jaeger or OCEL: it begins with '{quoted(name)}'; save a table "
            "of rows as JSON lines (.jsonl), or name the format"
        )
    return BY_FIRST_NAME[name](source)
