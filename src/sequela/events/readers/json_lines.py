"""JSON lines: one object a line."""

from __future__ import annotations

import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers.json_elements import first_name
from sequela.events.readers.otlp import read_otlp
from sequela.events.readers.source import Source, Table


def read_json_lines(source: Source) -> Table:
    """Scan JSON lines: each line that is not blank is one row, or a document of OpenTelemetry."""
    if first_name(source) == "resourceSpans":
        return read_otlp(source)
    n_rows, rest, first = 0, b"", True
    for block in source.blocks():
        if first and block.startswith(b"\xef\xbb\xbf"):
            raise LogFormatError(f"{source.name} begins with a byte order mark; save it as UTF-8 without one")
        first = False
        *lines, rest = (rest + block).split(b"\n")
        n_rows += sum(1 for line in lines if line.strip())
    n_rows += bool(rest.strip())
    # An open file, since a path would be read as a pattern. All lines decide about names and types, not the first few.
    with source.path.open("rb") as file:
        frame = pl.scan_ndjson(file, infer_schema_length=None)
        frame.collect_schema()
    return Table(frame, source.name, n_rows, source.files)
