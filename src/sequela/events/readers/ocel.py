"""Object-centric logs (OCEL 2.0) as JSON, SQLite or XML: an event belongs to every object that it is related to.

The table has a row for each event and a column for each object type, with the objects of that type; an object type is
chosen as the case. What a file says of changes of objects is no event and is left out; objects that it relates to each
other can be neighbours.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, NoReturn
from urllib.parse import quote
from xml.parsers import expat

import msgspec
import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers.json_elements import elements, first_name
from sequela.events.readers.source import Source, Table
from sequela.events.readers.spool import BATCH, Spool
from sequela.text import quoted

OLD_NAMES = "ocel:"
"""What the names in a document of OCEL 1.0 begin with."""
_OLD = "it is OCEL 1.0: convert it to OCEL 2.0"
EVENT, TYPE, TIME = "ocel:eid", "concept:name", "time:timestamp"
_COLUMNS = {"objects": ("object", "type"), "relations": ("event", "object"), "pairs": ("entity", "neighbour")}
_DECLARED = ("eventTypes", "objectTypes")


class _Attribute(msgspec.Struct):
    name: str
    value: Any = None


class _Relation(msgspec.Struct):
    object: str = msgspec.field(name="objectId")


class _Object(msgspec.Struct):
    id: str
    type: str
    relationships: list[_Relation] | None = None


class _Event(msgspec.Struct):
    id: str
    type: str
    time: str
    attributes: list[_Attribute] | None = None
    relationships: list[_Relation] | None = None


class _Rows:
    """Collects events, objects, relations of events to objects and pairs of objects, and writes them in batches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spools = {kind: Spool(name) for kind in ("events", *_COLUMNS)}
        self.waiting: dict[str, list[Any]] = {kind: [] for kind in self.spools}

    def add(self, kind: str, row: Any) -> None:
        self.waiting[kind].append(row)
        if len(self.waiting[kind]) == BATCH:
            self.flush(kind)

    def event(self, name: str, kind: str, time: str, attributes: Iterable[tuple[str, Any]]) -> None:
        """Add an event; its attributes are text."""
        values = {f"attribute:{key}": _text(value) for key, value in attributes if value is not None}
        self.add("events", {EVENT: name, TYPE: kind, TIME: time} | values)

    def flush(self, kind: str) -> None:
        rows, self.waiting[kind] = self.waiting[kind], []
        if kind == "events":
            names = {name: pl.String for row in rows for name in row} or {EVENT: pl.String}
            self.spools[kind].write(pl.DataFrame(rows, schema=names))
        else:
            schema = dict.fromkeys(_COLUMNS[kind], pl.String)
            self.spools[kind].write(pl.DataFrame(rows, schema=schema, orient="row"))

    def table(self) -> Table:
        """Return a row for each event, with its objects of each type."""
        for kind in self.spools:
            self.flush(kind)
        events, objects, relations, pairs = self.spools.values()
        if not events.n_rows:
            raise LogFormatError(f"{self.name} holds no event")
        for spool, column in ((events, EVENT), (objects, "object")):
            twice = spool.frame("diagonal").group_by(column).len().filter(pl.col("len") > 1)
            if (found := twice.collect(engine="streaming")).height:
                what = "event" if column == EVENT else "object"
                raise LogFormatError(f"{self.name} holds the {what} '{quoted(found[column].min())}' twice")
        joined = relations.frame().unique().join(objects.frame(), on="object", how="left")
        lost = int(joined.select(pl.col("type").is_null().sum()).collect(engine="streaming").item())
        strays = relations.frame().join(events.frame("diagonal"), left_on="event", right_on=EVENT, how="anti")
        if int(strays.select(pl.len()).collect(engine="streaming").item()):
            raise LogFormatError(f"{self.name} relates objects to an event that is not there")
        types = objects.frame().select(pl.col("type").unique().sort()).collect(engine="streaming")["type"].to_list()
        plain = {name: name.removeprefix("attribute:") for name in events.frame("diagonal").collect_schema().names()}
        taken = {*types, EVENT, TYPE, TIME}
        names = {name: bare for name, bare in plain.items() if name != bare and bare not in taken}
        if clash := sorted({EVENT, TYPE, TIME} & set(types)):
            raise LogFormatError(f"{self.name} has an object type '{quoted(clash[0])}', which is another column here")
        each = [pl.col("object").filter(pl.col("type") == name).sort().alias(name) for name in types]
        lists = joined.group_by("event").agg(each)
        frame = events.frame("diagonal").rename(names).join(lists, left_on=EVENT, right_on="event", how="left",
                                                            maintain_order="left")  # fmt: skip
        roles: Mapping[str, Any] = {"event": TYPE, "time": TIME} | ({"case": types[0]} if len(types) == 1 else {})
        notes = (f"{lost:,} relations name an object that is not there and were left out",) if lost else ()
        return Table(
            frame.select(*types, pl.exclude(types)), self.name, events.n_rows,
            tuple(file for spool in self.spools.values() for file in spool.files), notes, roles, lists=tuple(types),
            pairs=pairs.frame(),
        )  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def read_ocel_json(source: Source) -> Table:
    """Read OCEL 2.0 as JSON.

    Raises:
        LogFormatError: It is damaged, cut, or no OCEL 2.0; an event or object occurs twice.
    """
    rows = _Rows(source.name)
    if first_name(source).startswith(OLD_NAMES):
        raise LogFormatError(f"{source.name} cannot be read as OCEL 2.0: {_OLD}")
    kinds: dict[str, msgspec.json.Decoder[Any]] = {
        "events": msgspec.json.Decoder(_Event, strict=False),
        "objects": msgspec.json.Decoder(_Object, strict=False),
    }
    for key, raw in elements(source):
        if key in _DECLARED:
            continue
        if key not in kinds:
            raise LogFormatError(f"{source.name} cannot be read as OCEL 2.0: it holds '{quoted(key)}'")
        try:
            found = kinds[key].decode(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise LogFormatError(f"{source.name} cannot be read as OCEL 2.0: {quoted(error)}") from error
        if isinstance(found, _Object):
            rows.add("objects", (found.id, found.type))
            for each in found.relationships or ():
                rows.add("pairs", (found.id, each.object))
            continue
        rows.event(found.id, found.type, found.time, ((each.name, each.value) for each in found.attributes or ()))
        for each in found.relationships or ():
            rows.add("relations", (found.id, each.object))
    return rows.table()


def read_ocel_sqlite(source: Source) -> Table:
    """Read OCEL 2.0 as SQLite, opened for reading only.

    Raises:
        LogFormatError: It is damaged, or its tables are not those of OCEL 2.0; an event or object occurs twice.
    """
    rows = _Rows(source.name)
    if source.compression:
        raise LogFormatError(f"{source.name} is a compressed database; unpack it")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(source.path))}?mode=ro", uri=True)) as connection:
            for row in connection.execute("SELECT ocel_id, ocel_type FROM object"):
                rows.add("objects", tuple(map(_text, row)))
            for row in connection.execute("SELECT ocel_event_id, ocel_object_id FROM event_object"):
                rows.add("relations", tuple(map(_text, row)))
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'object_object'").fetchone():
                for row in connection.execute("SELECT ocel_source_id, ocel_target_id FROM object_object"):
                    rows.add("pairs", tuple(map(_text, row)))
            for name, kind, time, attributes in _sqlite_events(connection):
                rows.event(name, kind, time, attributes)
            n_events = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    except sqlite3.Error as error:
        raise LogFormatError(
            f"{source.name} cannot be read as OCEL 2.0 in SQLite: {quoted(error)}; for other databases use a query"
        ) from error
    table = rows.table()
    if table.n_rows != n_events:
        raise LogFormatError(
            f"{source.name} has {n_events:,} events, of which the tables of their types hold {table.n_rows:,}"
        )
    return table


def _sqlite_events(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, list[tuple[str, Any]]]]:
    """Yield the events of each type, from the table that the map names."""
    for kind, table in connection.execute("SELECT ocel_type, ocel_type_map FROM event_map_type").fetchall():
        mark = '"' + f"event_{table}".replace('"', '""') + '"'
        cursor = connection.execute(f"SELECT * FROM {mark}")
        names = [column[0] for column in cursor.description]
        for row in cursor:
            values = dict(zip(names, row, strict=True))
            try:
                name, time = values.pop("ocel_id"), values.pop("ocel_time")
            except KeyError as error:
                raise sqlite3.DatabaseError(f"the table {mark} has no column {error}") from None
            yield _text(name), _text(kind), _text(time), list(values.items())


def read_ocel_xml(source: Source) -> Table:
    """Read OCEL 2.0 as XML, as a stream; entities are refused.

    Raises:
        LogFormatError: It is not well-formed, or no OCEL 2.0; an event or object occurs twice.
    """
    rows = _Rows(source.name)
    handler = _Elements(rows)
    try:
        with source.open() as file:
            handler.parser.ParseFile(file)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise LogFormatError(f"{source.name} cannot be read as OCEL 2.0: {quoted(error)}") from error
    finally:
        del handler.parser  # it refers back to its handler
    return rows.table()


class _Elements:
    """Takes the parser's calls and keeps the event that is open."""

    def __init__(self, rows: _Rows) -> None:
        self.rows = rows
        self.path: list[str] = []
        self.object = ""
        self.event: dict[str, str] | None = None
        self.values: list[tuple[str, Any]] = []
        self.attribute = ""
        self.text: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.EntityDeclHandler = self.refuse_entity

    def start(self, name: str, given: dict[str, str]) -> None:
        """Open an element."""
        self.path.append(name)
        place = "/".join(self.path)
        if len(self.path) == 1 and name != "log":
            self.refuse(f"its first element is <{quoted(name)}>, not <log>")
        if place == "log/global":
            self.refuse(_OLD)
        if place == "log/objects/object":
            self.object = self.need(given, "id")
            self.rows.add("objects", (self.object, self.need(given, "type")))
        elif place in ("log/objects/object/objects/relationship", "log/objects/object/objects/object"):
            self.rows.add("pairs", (self.object, self.need(given, "object-id")))
        elif place == "log/events/event":
            self.event = {key: self.need(given, key) for key in ("id", "type", "time")}
            self.values = []
        elif place == "log/events/event/attributes/attribute":
            self.attribute, self.text = self.need(given, "name"), []
        elif place in ("log/events/event/objects/relationship", "log/events/event/objects/object"):
            assert self.event is not None
            self.rows.add("relations", (self.event["id"], self.need(given, "object-id")))

    def end(self, _name: str) -> None:
        """Close an element."""
        place = "/".join(self.path)
        self.path.pop()
        if place == "log/events/event/attributes/attribute":
            self.values.append((self.attribute, "".join(self.text)))
        elif place == "log/events/event" and self.event is not None:
            self.rows.event(self.event["id"], self.event["type"], self.event["time"], self.values)
            self.event = None

    def characters(self, text: str) -> None:
        """Keep the text of an attribute."""
        if self.path and self.path[-1] == "attribute":
            self.text.append(text)

    def need(self, given: dict[str, str], key: str) -> str:
        """Return an attribute of an element that must be there."""
        if key not in given:
            self.refuse(f"<{quoted(self.path[-1])}> has no {key}")
        return given[key]

    def refuse(self, why: str) -> NoReturn:
        """Refuse the document at the line where the parser is."""
        line = self.parser.CurrentLineNumber
        raise LogFormatError(f"{self.rows.name} cannot be read as OCEL 2.0: line {line}: {why}")

    def refuse_entity(self, *_: object) -> None:
        """Refuse entities: they can grow without bound, or read other files."""
        self.refuse("it declares an entity, which a log needs not")
