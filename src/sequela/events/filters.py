"""What to keep of a table of events: by time, by case, and by an expression over its columns.

An expression is SQL as polars reads it (``status == 'failed' AND CAST(duration AS DOUBLE) > 3``). Every word of it
must be a column, a word of the short list here, or a function of one row: there is no query within it, and nothing
opens a file.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from sequela.errors import ConfigError, LogFormatError, nearest, nearest_spelling
from sequela.events.labels import bytes_to_text
from sequela.events.times import time_to_seconds
from sequela.text import quoted

_WORDS = {
    "and", "or", "not", "in", "is", "null", "like", "ilike", "between", "true", "false", "case", "when", "then", "else",
    "end", "as", "double", "float", "integer", "int", "bigint", "varchar", "text", "boolean", "date", "timestamp",
}  # fmt: skip
_FUNCTIONS = {
    "cast", "try_cast", "lower", "upper", "length", "abs", "round", "floor", "ceil", "coalesce", "nullif",
    "starts_with", "ends_with", "substr", "left", "right", "replace", "concat", "trim", "in", "and", "or", "not",
    "between", "when", "then", "else",
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s+|'(?:[^']|'')*'|"(?P<column>[^"]+)"|(?P<word>[^\W\d]\w*)|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"""
    r"""|==|<=|>=|<>|!=|\|\||[-+*/%=<>(),]""",
)
_LONGEST = 2_000
_ATTRIBUTE = "attribute:"
WHERE = "where:"
"""Column that says of each row that is read whether the condition holds."""


def where_expression(text: str, schema: pl.Schema, source: str) -> pl.Expr:
    """Return a condition on the rows of a table.

    Args:
        text: SQL over its columns; names with other signs than letters, digits and ``_`` in double quotes.
        schema: Of the table.
        source: Name of the table, for messages.

    Raises:
        ConfigError: It names no column of the table, holds what is not allowed, or is no condition.

    Example:
        >>> table = pl.DataFrame({"state": ["ok", "failed"], "ms": [3, 40]})
        >>> table.filter(where_expression("state == 'failed' and ms > 10", table.schema, "log")).height
        1
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"where must have at most {_LONGEST:,} characters; got {len(text):,}")
    at, columns = 0, list(schema)
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ConfigError(f"where: '{quoted(text[at:], 20)}' cannot stand in a condition")
        name = token["column"] or token["word"]
        called = token["word"] is not None and text[token.end() :].lstrip().startswith("(")
        allowed = name is None or (name in columns and not called)
        if not allowed and token["word"] is not None:
            allowed = name.lower() in (_FUNCTIONS if called else _WORDS)
        if not allowed:
            what, known = ("function", sorted(_FUNCTIONS - _WORDS)) if called else ("column", columns)
            raise ConfigError(
                f"where: {source} has no {what} '{quoted(name)}'{nearest(str(name), known)}; "
                + (f"allowed are {', '.join(known)}" if called else
                   f"its columns are {', '.join(map(quoted, columns[:20]))}; text stands in single quotes")
            )  # fmt: skip
        at = token.end()
    try:
        condition = pl.sql_expr(text)
        kind = pl.DataFrame(schema=schema).lazy().select(condition.alias("it")).collect_schema()["it"]
        pl.DataFrame(schema=schema).select(condition)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        hint = ""
        if "cannot compare" in str(error) or "string" in str(error):
            hint = " (columns of a text file are text: compare with '…', or CAST(column AS DOUBLE))"
        raise ConfigError(f"where: '{quoted(text)}' cannot be read: {quoted(error)}{hint}") from None
    if kind != pl.Boolean:
        raise ConfigError(f"where must be a condition, as column == 'value'; '{quoted(text)}' gives {kind}")
    return condition


def seconds_of(argument: str, given: str | float, time_format: str | None = None) -> float:
    """Return a time that a user wrote in seconds since 1970, as a log's times are read.

    Raises:
        ConfigError: It is not a time.

    Example:
        >>> seconds_of("since", "1970-01-02")
        86400.0
    """
    if isinstance(given, int | float):
        return float(given)
    try:
        values = pl.Series([given], dtype=pl.String)
        return float(time_to_seconds(values, column=argument, source=argument, time_format=time_format)[0])
    except Exception as error:
        raise ConfigError(f"{argument}: {error}") from None


def within_time(since: str | float | None, until: str | float | None, time_format: str | None = None) -> pl.Expr | None:
    """Return the condition that ``time`` is at least ``since`` and below ``until``; None where neither is given."""
    found = []
    if since is not None:
        found.append(pl.col("time") >= seconds_of("since", since, time_format))
    if until is not None:
        found.append(pl.col("time") < seconds_of("until", until, time_format))
    return pl.all_horizontal(found) if found else None


def chosen_cases(names: pl.Series, patterns: str | Sequence[str], source: str) -> list[str]:
    """Return the cases whose names match a pattern with ``*`` and ``?``.

    Raises:
        ConfigError: A pattern matches none.

    Example:
        >>> chosen_cases(pl.Series(["dev1", "dev2", "car1"]), ["dev*"], "log")
        ['dev1', 'dev2']
    """
    known = names.unique(maintain_order=True).to_list()
    found: dict[str, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        fits = re.compile(fnmatch.translate(str(pattern).replace("[", "[[]")), re.DOTALL).match
        some = [name for name in known if fits(name)]
        if not some:
            raise ConfigError(f"{source} has no case '{quoted(pattern)}'{nearest_spelling(pattern, known)}")
        found |= dict.fromkeys(some)
    return [name for name in known if name in found]


def carried(attributes: Sequence[str], where: str | None, schema: pl.Schema, source: str) -> list[pl.Expr]:
    """Return what is read beside case, event and time: attributes, and whether a condition holds."""
    found = [pl.col(column).alias(_ATTRIBUTE + column) for column in attributes]
    if where is not None:
        found.append(where_expression(where, schema, source).fill_null(False).alias(WHERE))
    return found


def of_carried(rows: pl.DataFrame) -> list[pl.Series]:
    """Return the columns that `carried` asked for: numbers and truth values as they are, anything else as text."""
    found = []
    for values in rows.select(pl.col(f"^({re.escape(_ATTRIBUTE)}.*|{re.escape(WHERE)})$")).iter_columns():
        if values.dtype.is_nested() or values.dtype == pl.Object:
            name = quoted(values.name.removeprefix(_ATTRIBUTE))
            raise LogFormatError(f"attributes must hold text or numbers; '{name}' holds {values.dtype}")
        plain = values.dtype.is_numeric() or values.dtype == pl.Boolean
        text = values if plain else bytes_to_text(values) if values.dtype == pl.Binary else values.cast(pl.String)
        found.append(text.alias(values.name.removeprefix(_ATTRIBUTE)))
    return found


def filtered(
    read: pl.DataFrame,
    *,
    only: str | Sequence[str] | None,
    since: str | float | None,
    until: str | float | None,
    time_format: str | None,
    name: str,
) -> pl.DataFrame:
    """Return the events that are asked for, without what the condition said of each."""
    events = read.drop(WHERE, strict=False)
    kept = read[WHERE] if WHERE in read.columns else pl.Series(np.ones(read.height, bool))
    span = within_time(since, until, time_format)
    if span is not None:
        if "time" not in events.columns:
            raise ConfigError("since and until need times: name the time column (time=..., --time), or leave them out")
        kept &= events.select(span).to_series()
    if only is not None:
        kept &= events["case"].is_in(chosen_cases(events["case"], only, name))
    if kept.all():
        return events
    found = events.filter(kept)
    if found.is_empty():
        raise LogFormatError(f"{name}: none of its {events.height:,} events is left by what was asked for")
    return found
