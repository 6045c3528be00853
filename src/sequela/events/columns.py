"""Columns of a log: which are case, event, time and state, and what becomes of lists and messages in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from sequela.errors import ConfigError, LogFormatError, nearest
from sequela.text import quoted

DEFAULT_COLUMNS = {
    "case": ("case:concept:name", "case", "case_id"),
    "event": ("concept:name", "event", "activity"),
    "time": ("time:timestamp", "time", "timestamp"),
}
"""Column names recognised when none is given, in order: the process-mining standard's first."""
USUAL_STATES = ("outcome", "state", "status", "result", "status_code")
"""Names of a last event column that is taken for the state where none is named."""
_LEAST_WITH_STATES = 0.5
"""Share of events whose other columns must be seen in two states at least."""
_TAKEN = ("case", "event", "time", "position", "neighbour")
"""What attributes may not be called."""


def find_event_columns(
    event: str | Sequence[str] | None, state: str | None, columns: list[str], source: str
) -> tuple[str, ...]:
    """Return the columns of the event type, that of the state last."""
    given = [event] if event is None or isinstance(event, str) else list(event)
    if not given:
        raise ConfigError("event must name at least one column; got an empty list")
    found = [pick_column("event", column, columns, source) for column in given]
    if state is not None:
        last = pick_column("state", state, columns, source)
        found = [column for column in found if column != last] + [last]
        if len(found) == 1:
            raise ConfigError(f"state '{quoted(state)}' is the only event column: name another that says what acted")
    return tuple(found)


def usual_state(columns: Sequence[str], events: pl.Series, parent: Callable[[str], str]) -> str | None:
    """Return the last of several event columns where its name and its values are those of a state; None otherwise.

    Args:
        columns: Of the event type.
        events: Event type of each event.
        parent: From an event type to that without its last component: what acted.

    Example:
        >>> events = pl.Series(["get|ok", "get|failed", "put|ok"])
        >>> usual_state(["operation", "Outcome"], events, lambda name: name.split("|")[0])
        'Outcome'
    """
    if len(columns) < 2 or columns[-1].lower() not in USUAL_STATES:
        return None
    counts = events.value_counts(name="n")
    what = pl.Series([parent(name) for name in counts[events.name]], dtype=pl.String)
    in_two = pl.Series(what.is_duplicated())
    return columns[-1] if counts.filter(in_two)["n"].sum() >= _LEAST_WITH_STATES * len(events) else None


def no_bool(time: str | bool | None) -> str | None:
    """Return the time column as named, None where there is to be none."""
    if time is True:
        raise ConfigError("time must be a column name, False or None; got True")
    return time or None


def pick_column(role: str, given: str | None, columns: list[str], source: str, *, optional: bool = False) -> Any:
    """Return the column of a role: the named one, or the first of its usual names.

    Raises:
        LogFormatError: There is no such column, or none is named and none has a usual name (unless ``optional``).
    """
    if given is not None:
        if given not in columns:
            raise LogFormatError(
                f"{source} has no column '{quoted(given)}' for the {role}{nearest(given, columns)}; "
                f"its columns are {', '.join(map(quoted, columns[:20]))}"
            )
        return given
    lower = {column.lower(): column for column in reversed(columns)}
    for default in DEFAULT_COLUMNS[role]:
        if default in lower:
            return lower[default]
    if optional:
        return None
    raise LogFormatError(
        f"{source}: name the {role} column ({role}=… or --{role} …); "
        f"its columns are {', '.join(map(quoted, columns[:20]))}"
    )


def spread_cases(frame: pl.DataFrame, case: str) -> tuple[pl.DataFrame, list[str]]:
    """Put an event that belongs to several cases into each of them, and say how many there are, and of none."""
    n_cases = frame["case"].list.len().fill_null(0)
    none, several = int((n_cases == 0).sum()), int((n_cases > 1).sum())
    rows = frame.filter(n_cases > 0).explode("case")
    where = f"'{quoted(case)}'"
    said = {f"of {frame.height:,} events belong to no {where} and were left out": none}
    said[f"of {frame.height:,} events belong to several {where} and are in each: {rows.height:,} in all"] = several
    return rows, [f"{count:,} {what}" for what, count in said.items() if count]


def with_templates(
    frame: pl.DataFrame, columns: tuple[str, ...], template: str, learned: Mapping[str, Any] | None
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Put the templates of messages in their place; they are learned unless an earlier log has taught them.

    Returns:
        The frame, the templates, and sentences.
    """
    from sequela.events.templates import NONE, Templates

    if template not in columns:
        named = ", ".join(map(quoted, columns))
        raise ConfigError(f"template '{quoted(template)}' is no event column; the event is {named}")
    place = f"event_{columns.index(template)}"
    known = None if learned is None else learned.get("templates")
    found = Templates.learn(frame[place]) if known is None else Templates(known)
    types = found.types(frame[place])
    n_none = int((types == NONE).sum())
    notes = [f"{len(found.names):,} templates of messages"]
    notes += [f"{n_none:,} messages meet no template that the model knows: {NONE}"] if n_none else []
    return frame.with_columns(types.alias(place)), found.names, notes


def attribute_columns(given: str | Sequence[str] | None, columns: list[str], source: str) -> list[str]:
    """Return the columns that are carried along."""
    names = [] if given is None else [given] if isinstance(given, str) else list(dict.fromkeys(given))
    for name in names:
        pick_column("attribute", name, columns, source)
        if name in _TAKEN:
            raise ConfigError(f"an attribute cannot be called '{name}', which names something else here: rename it")
    return names
