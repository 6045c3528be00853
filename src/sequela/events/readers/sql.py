"""Queries: DuckDB, SQLite, PostgreSQL, and any open connection of Python's database interface (DB-API 2).

The rows arrive in batches and wait in a temporary folder. A database that is named by its URI is opened for reading
only. Nothing of a URI but the name of the database is kept, and what a driver says about a failure is shown without the
password: some quote the part of a URI that they cannot read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import polars as pl

from sequela.errors import ConfigError, LogFormatError, MissingExtraError
from sequela.events.readers.source import Table
from sequela.events.readers.spool import BATCH, Spool
from sequela.text import quoted

_PLAIN = {"bool", "int", "float", "str", "bytes", "datetime", "date", "Decimal"}
"""Kinds of Python values that a column can hold; others are taken as their text."""
_SERVER = r"\w+://(?:[^/?#@]*@)?(?:[^/?#@:\[\]]*|\[[^/?#@]*\])(?::\d*)?/([^/?#@]+)(?:\?.*)?"
"""URI of a server that can be read in one way; the group is the name of the database."""
_FEWEST = 4
"""Characters of a piece of a password that can be replaced in a message without making it unreadable."""


def read_query(query: str, connection: Any) -> Table:
    """Read what a query gives.

    Args:
        query: One ``SELECT``.
        connection: URI of a database (``postgresql://…``, ``sqlite:FILE``, ``duckdb:FILE``, or ``duckdb:`` to query
            files), or an open connection of DuckDB, ADBC, or any driver of Python's database interface.

    Raises:
        ConfigError: The URI is of no known kind, or there is no query.
        MissingExtraError: The driver is not installed.
        LogFormatError: The database cannot be opened, or refuses the query; or two columns have the same name.

    Example:
        >>> with sqlite3.connect(":memory:") as db:
        ...     _ = db.execute("CREATE TABLE t (a, b)"), db.execute("INSERT INTO t VALUES (1, 'x')")
        ...     table = read_query("SELECT * FROM t", db)
        >>> table.frame.collect().rows()
        [(1, 'x')]
    """
    if not query.strip():
        raise ConfigError("the query is empty; give a SELECT")
    if not isinstance(connection, str):
        return _read(query, connection, "the query", "")
    scheme, name = _named(connection)
    try:
        opened = DATABASES[scheme](connection)
    except (ConfigError, MissingExtraError, LogFormatError):
        raise
    except Exception as error:  # each driver has errors of its own
        why = _message(error, connection, opening=True)
        raise LogFormatError(f"the database {name} cannot be opened: {why}") from None
    with opened as live:
        return _read(query, live, f"query of {name}", connection)


def _named(uri: str) -> tuple[str, str]:
    """Return the kind of a database, and its name without host, user or password."""
    scheme = uri.partition(":")[0].lower()
    if ":" not in uri or scheme not in DATABASES:
        raise ConfigError(
            f"the database must be a URI that begins with {', '.join(f'{each}:' for each in DATABASES)}; got "
            f"'{quoted(scheme)}{':…' if ':' in uri else ''}' (from Python, give an open connection of any other driver)"
        )
    if scheme in ("duckdb", "sqlite"):
        place = uri.partition(":")[2].rstrip("/").rpartition("/")[2]
    else:  # only where no part of a password can be taken for it
        found = re.fullmatch(_SERVER, uri)
        place = "" if found is None else found[1]
    return scheme, quoted(place or scheme)


def _duckdb(uri: str) -> AbstractContextManager[Any]:
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("a query of duckdb", "sql") from error
    path = _file(uri)
    # No code is fetched while a log is read: extensions that are not installed are refused by name.
    config: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
    if path is None:
        return closing(duckdb.connect(":memory:", config=config))
    return closing(duckdb.connect(str(path), read_only=True, config=config))


def _sqlite(uri: str) -> AbstractContextManager[Any]:
    path = _file(uri)
    if path is None:
        raise ConfigError("name the file of the database: sqlite:FILE")
    return closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True))


def _postgresql(uri: str) -> AbstractContextManager[Any]:
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise MissingExtraError("a query of postgresql", "sql") from error
    connection = dbapi.connect(uri)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
    except BaseException:
        connection.close()
        raise
    return closing(connection)


DATABASES: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "duckdb": _duckdb,
    "postgres": _postgresql,
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}
"""The function that opens a database, by how its URI begins."""


def _file(uri: str) -> Path | None:
    """Return the file that a URI names, None where it names none: ``x:FILE``, or ``x:///FILE`` as SQLAlchemy has it."""
    scheme, _, rest = uri.partition(":")
    if rest.startswith("//"):
        if not rest.startswith("///") and len(rest) > 2:
            raise ConfigError(f"a file has no host: write {scheme}:FILE, or {scheme}:///FILE")
        rest = rest[3:]
    if not rest:
        return None
    path = Path(re.sub(r"^/+", "/", rest))
    if not path.is_file():
        hint = f"; an absolute path has four slashes ({scheme}:////…)" if Path("/" + rest).is_file() else ""
        raise LogFormatError(f"there is no database file '{quoted(path, 200)}'{hint}")
    return path


def _read(query: str, connection: Any, name: str, uri: str) -> Table:
    spool = Spool(name)
    notes: list[str] = []
    try:
        for batch in _batches(connection, query, name, notes):
            spool.write(batch)
    except (ConfigError, LogFormatError):
        raise
    except Exception as error:  # each driver has errors of its own
        raise LogFormatError(f"{name} cannot be read: {_message(error, uri)}") from None
    return spool.table()._replace(notes=tuple(notes))


def _batches(connection: Any, query: str, name: str, notes: list[str]) -> Iterator[pl.DataFrame]:
    """Return the rows of a query in batches, the first one also where there is no row."""
    if type(connection).__module__.partition(".")[0] in ("duckdb", "_duckdb"):
        relation = connection.sql(query)
        if relation is None:
            raise LogFormatError(f"{name} gives no rows: it must be a SELECT")
        yield from _arrow(relation.to_arrow_reader(BATCH), name, notes)
        return
    with closing(connection.cursor()) as cursor:
        cursor.execute(query)
        if hasattr(cursor, "fetch_record_batch"):
            yield from _arrow(cursor.fetch_record_batch(), name, notes)
            return
        if cursor.description is None:
            raise LogFormatError(f"{name} gives no rows: it must be a SELECT")
        columns = _columns([str(column[0]) for column in cursor.description], name)
        while rows := cursor.fetchmany(BATCH):
            values = zip(*rows, strict=True)
            yield pl.DataFrame([_series(column, list(each)) for column, each in zip(columns, values, strict=True)])
        yield pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))


def _columns(names: list[str], name: str) -> list[str]:
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise LogFormatError(f"{name} gives the column '{quoted(twice[0])}' twice; name one of them with AS")
    if not names:
        raise LogFormatError(f"{name} gives no rows: it must be a SELECT")
    return names


def _series(name: str, values: list[Any]) -> pl.Series:
    """Return one column; where a database mixes kinds in it, as SQLite may, it is text."""
    kinds = {type(value).__name__ for value in values} - {"NoneType"}
    if kinds == {"int", "float"}:
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len(kinds) > 1 or not kinds <= _PLAIN:
        return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)
    return pl.Series(name, values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _arrow(reader: Any, name: str, notes: list[str]) -> Iterator[pl.DataFrame]:
    """Return Arrow batches as frames; identifiers (UUID) become text, what has no text is left out and said."""
    import pyarrow as pa

    _columns(reader.schema.names, name)
    kept, identifiers = {}, []
    for index, field in enumerate(reader.schema):
        stored = getattr(field.type, "storage_type", field.type)
        if getattr(field.type, "extension_name", "") == "arrow.uuid":
            identifiers.append(field.name)
        elif pa.types.is_interval(stored) or (stored != field.type and pa.types.is_binary(stored)):
            kind = getattr(field.type, "type_name", "interval")
            notes.append(f"the column '{quoted(field.name)}' ({kind}) was left out; cast it to text to use it")
            continue
        kept[index] = pa.array([], type=stored)
    names = reader.schema.names
    yield _frame({names[index]: empty for index, empty in kept.items()}, identifiers)
    for batch in reader:
        columns = {names[index]: batch.column(index) for index in kept}
        yield _frame({each: getattr(column, "storage", column) for each, column in columns.items()}, identifiers)


def _frame(columns: dict[str, Any], identifiers: list[str]) -> pl.DataFrame:
    import pyarrow as pa

    frame = pl.DataFrame(pl.from_arrow(pa.table(columns)))
    digits = (pl.col(name).bin.encode("hex") for name in identifiers)
    return frame.with_columns(each.str.replace(r"^(.{8})(.{4})(.{4})(.{4})", "$1-$2-$3-$4-") for each in digits)


def _message(error: Exception, uri: str, *, opening: bool = False) -> str:
    """Return the first line of an error without any part of the password of a URI.

    Args:
        error: Of a driver.
        uri: What was opened; empty for an open connection.
        opening: Whether it was being opened: its driver may then quote any piece of it.
    """
    text = str(error).strip() or type(error).__name__
    pieces = _secrets(uri)
    if opening and any(len(piece) < _FEWEST and piece in text for piece in pieces):
        return "what the driver says may hold a part of the password; check user, password, host and port"
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "***") if len(piece) >= _FEWEST else text
    return quoted(text.splitlines()[0], 200)


def _secrets(uri: str) -> set[str]:
    """Return the password in a URI, and the pieces that a driver may take for another part of it."""
    beyond = uri.partition("://")[2]
    login, sign, host = beyond.rpartition("@")
    secret = [login.partition(":")[2]] if sign else re.findall(r"^[^/?:]*:(?!\d+(?:[/?]|$))(.*)", host)
    secret += re.findall(r"[?&][^=&]*(?:pass|secret|token|key)[^=&]*=([^&]*)", beyond, re.IGNORECASE)
    pieces = {piece for each in secret for piece in (each, *re.split(r"[:/?#@&=\[\]\s]", each))}
    pieces |= {part for piece in pieces for part in piece.split("%")} | {unquote(piece) for piece in pieces}
    return pieces - {""}
