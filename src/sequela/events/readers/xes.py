"""XES, the XML format of process mining, read as a stream."""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat

import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers.source import Source, Table
from sequela.events.readers.spool import BATCH, Spool
from sequela.text import quoted

_ATTRIBUTES = {"string", "date", "int", "float", "boolean", "id"}
_CASE = "case:"


def read_xes(source: Source) -> Table:
    """Read an XES log: one row an event, one text column an attribute, a trace's attributes as ``case:…``.

    The parser is the standard one (expat). It works through the file once, a batch of events at a time goes to a
    temporary folder, and it refuses a document that is not whole. Attributes within attributes, and the defaults
    of ``global``, are left out. Entities are refused.

    Raises:
        LogFormatError: The document is not well-formed, not XES, declares entities, or holds no event.
    """
    handler = _Events(Spool(source.name))
    try:
        with source.open() as file:
            handler.parser.ParseFile(file)
        handler.flush()
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise LogFormatError(f"{source.name} cannot be read as xes: {quoted(error)}") from error
    finally:
        del handler.parser  # it refers back to its handler
    if not handler.spool.n_rows:
        raise LogFormatError(f"{source.name} holds no event")
    return handler.spool.table("diagonal")


class _Events:
    """Takes the parser's calls and keeps finished events in batches; an event is a trace's attributes and its own."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.name = spool.name
        self.prefix = ""
        self.depth = self.trace_depth = self.event_depth = 0
        self.trace: dict[str, str] = {}
        self.event: dict[str, str] = {}
        self.rows: list[tuple[dict[str, str], dict[str, str]]] = []
        self.written: dict[str, str] | None = None
        """The trace of the last event that was written: no attribute may come to it any more."""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.EntityDeclHandler = self.refuse_entity

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        self.depth += 1
        if self.depth == 1:
            if name.rpartition(":")[2] != "log":
                self.refuse(f"its first element is <{quoted(name)}>, not <log>")
            self.prefix = name[: -len("log")]
        name = name.removeprefix(self.prefix)
        if name in _ATTRIBUTES:
            inside = self.event_depth or self.trace_depth
            if inside and self.depth == inside + 1:
                self.keep(self.event if self.event_depth else self.trace, attributes)
        elif name == "event":
            if self.event_depth or self.depth != (self.trace_depth or 1) + 1:
                self.refuse("an <event> stands neither in a <trace> nor in the <log>")
            self.event_depth, self.event = self.depth, {}
        elif name == "trace":
            if self.depth != 2:
                self.refuse("a <trace> stands outside of the <log>")
            self.trace_depth, self.trace = self.depth, {}

    def end(self, _name: str) -> None:
        """Close an element."""
        if self.depth == self.event_depth:
            self.rows.append((self.trace, self.event))
            self.event_depth = 0
            if len(self.rows) == BATCH:
                self.flush()
        elif self.depth == self.trace_depth:
            self.trace_depth, self.trace = 0, {}
        self.depth -= 1

    def keep(self, where: dict[str, str], attributes: dict[str, str]) -> None:
        """Keep an attribute."""
        key, value = attributes.get("key"), attributes.get("value")
        if key is None or value is None:
            self.refuse("an attribute has no key or no value")
        elif where is self.written:
            self.refuse(f"the attribute '{quoted(key)}' of a trace comes after {BATCH:,} events; it must come before")
        elif where.setdefault(key, value) != value:
            self.refuse(f"the attribute '{quoted(key)}' has two values")

    def flush(self) -> None:
        """Write the waiting events as one batch of text columns."""
        if not self.rows:
            return
        traces, events = ([row[i] for row in self.rows] for i in (0, 1))
        columns = {_CASE + key: [row.get(key) for row in traces] for key in {key: 0 for row in traces for key in row}}
        for key in {key: 0 for row in events for key in row}:
            if key in columns:
                self.refuse(f"events have an attribute '{quoted(key)}', which is the name of a trace's attribute here")
            columns[key] = [row.get(key) for row in events]
        if not columns:
            self.refuse("its events have no attributes")
        self.spool.write(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))
        self.written = self.rows[-1][0]
        self.rows = []

    def refuse(self, why: str) -> NoReturn:
        """Refuse the document at the line where the parser is."""
        raise LogFormatError(f"{self.name} cannot be read as xes: line {self.parser.CurrentLineNumber}: {why}")

    def refuse_entity(self, *_: object) -> None:
        """Refuse entities: they can grow without bound, or read other files."""
        self.refuse("it declares an entity, which a log needs not")
