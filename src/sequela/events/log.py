"""Event logs: tables of (case, time, event) in any usual format, brought into one sorted shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.arguments import FLAG, PATH, TEXT, Argument, Choice, Either, Kind, Number, Parsed, checks, list_of, public
from sequela.display import TOP_ROWS, Shown
from sequela.errors import ConfigError, LogFormatError, check_choice, nearest
from sequela.events.columns import (
    attribute_columns,
    find_event_columns,
    no_bool,
    pick_column,
    roles,
    spread_cases,
    usual_state,
    with_templates,
)
from sequela.events.filters import WHERE, carried, filtered, of_carried
from sequela.events.labels import to_labels
from sequela.events.neighbours import Neighbours, read_neighbours
from sequela.events.outcomes import AskedOutcomes
from sequela.events.readers import read_table
from sequela.events.rows import read_rows, sort_rows
from sequela.events.times import parse_duration, seconds_to_datetime, time_and_kind
from sequela.text import quoted

if TYPE_CHECKING:
    import pandas as pd

_FRAME = Kind("a polars or pandas frame", "polars:DataFrame polars:LazyFrame", has=("iloc", "to_dict"))

COMPONENT_SEPARATOR = "|"
TIES = ("unordered", "order")
_STATE_NOTE = (
    "'{0}' says how an event went (its state): discovery asks whether it mattered how it went. If it is no state, do not "
    "name it last"
)
_OWN = ("case", "event", "time")


@dataclass(frozen=True, repr=False)
class EventLog(Shown):
    """A sorted event log.

    Attributes:
        frame: Columns ``case`` (str), ``event`` (str) and, when the log has times, ``time`` (float64, seconds);
            sorted by case, then time; events of one case at the same time are sorted by their type, or stay in the
            order of the file (``ties="order"``).
        source: Where it came from, for messages.
        n_ties: Number of events that share their time with the event before them in the same case.
        columns: How it was read (``case``, ``event`` as a list, ``time``, ``state``, ``time_format``, ``ties``,
            ``tick``, and what a reader ``learned``), so that another log can be read the same way (``like``).
        notes: What its reader left out or changed, in sentences.
        outcomes: Labels of cases, columns ``case``, ``label`` and ``time`` (seconds; missing where all events of the
            case count); None where none were read.
        neighbours: Events of other entities that join a case; None where there are none. The rows of
            `frame` are the events of the cases themselves.
    """

    frame: pl.DataFrame
    source: str
    n_ties: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    neighbours: Neighbours | None = None
    outcomes: pl.DataFrame | None = None

    @property
    def has_times(self) -> bool:
        """Whether the log has a time column."""
        return "time" in self.frame.columns

    @property
    def has_unordered_ties(self) -> bool:
        """Whether events of one case at the same time have no order among themselves (a tick)."""
        return self.has_times and self.columns.get("ties") == "unordered"

    @property
    def n_events(self) -> int:
        """Number of events."""
        return self.frame.height

    @property
    def n_cases(self) -> int:
        """Number of cases."""
        return self.frame["case"].n_unique()

    @property
    def n_types(self) -> int:
        """Number of different event types."""
        return self.frame["event"].n_unique()

    @property
    def attributes(self) -> list[str]:
        """Names of the columns that are carried along beside case, event and time."""
        return [name for name in self.frame.columns if name not in _OWN]

    @property
    def case_names(self) -> list[str]:
        """Names of the cases, sorted."""
        return self.frame["case"].unique(maintain_order=True).to_list()

    def case(self, name: str) -> EventLog:
        """Return the log of one case.

        Args:
            name: Case name; numbers are taken as their text.

        Raises:
            LogFormatError: There is no such case.

        Example:
            >>> import polars as pl
            >>> frame = pl.DataFrame({"case": ["a", "a", "b", "b"], "event": ["x", "y", "x", "z"]})
            >>> read_log(frame).case("b").events
            ['x', 'z']
        """
        return self.cases([name])

    def cases(self, names: Iterable[str]) -> EventLog:
        """Return the log of some cases; raise `LogFormatError` when one is not there."""
        wanted = [str(name) for name in names]
        frame = self.frame.filter(pl.col("case").is_in(wanted))
        missing = sorted(set(wanted) - set(frame["case"].unique()))
        if missing:
            hint = nearest(missing[0], self.case_names[:10_000])
            raise LogFormatError(f"{self.source} has no case '{quoted(missing[0])}'{hint}")
        outcomes = None if self.outcomes is None else self.outcomes.filter(pl.col("case").is_in(wanted))
        return replace(self, frame=frame, n_ties=_count_ties(frame), outcomes=outcomes)

    @property
    def events(self) -> list[str]:
        """Event types of all rows, in order (use it on a single case)."""
        return self.frame["event"].to_list()

    def __len__(self) -> int:
        return self.n_events

    def _top_rows(self) -> pl.DataFrame:
        rows = self.frame.head(TOP_ROWS)
        return rows.with_columns(seconds_to_datetime(rows["time"])) if self.has_times else rows

    def __repr__(self) -> str:
        times = f"{self.n_ties:,} ties in time" if self.has_times else "no times: row order is the order"
        return (
            f"EventLog({self.source}: {self.n_events:,} events of {self.n_types:,} types "
            f"in {self.n_cases:,} cases; {times})"
        )


@public(
    checks(
        source=Either((PATH, list_of("a list of paths"), _FRAME)),
        case=TEXT,
        event=Either((TEXT, list_of("a list"))),
        time=Either((TEXT, FLAG)),
        state=TEXT,
        time_format=TEXT,
        ties=Choice(("unordered", "order")),
        tick=Parsed("seconds above 0, or text like '1s', '10ms'", "sequela.events.times:parse_duration", True),
        file_format=TEXT,
        connection=Either((TEXT, Kind("an open connection", has=("cursor",)))),
        glob=FLAG,
        outcome=TEXT,
        outcomes=Either((PATH, _FRAME)),
        attributes=Either((TEXT, list_of("a list of columns"))),
        only=Either((TEXT, list_of("a list of patterns"))),
        since=Either((TEXT, Number())),
        until=Either((TEXT, Number())),
        where=TEXT,
        lines=TEXT,
        template=TEXT,
        like=Either((Kind("a log", "sequela.events.log:EventLog"), Kind("a model", has=("info",)))),
    )
    | {"neighbours": Argument("")}
)
def read_log(
    source: str | Path | Sequence[str | Path] | pl.DataFrame | pl.LazyFrame | pd.DataFrame,
    *,
    case: str | None = None,
    event: str | Sequence[str] | None = None,
    time: str | bool | None = None,
    state: str | None = None,
    time_format: str | None = None,
    ties: str = "unordered",
    tick: str | float | None = None,
    file_format: str | None = None,
    connection: Any = None,
    glob: bool = False,
    outcome: str | None = None,
    outcomes: str | Path | pl.DataFrame | None = None,
    attributes: str | Sequence[str] | None = None,
    only: str | Sequence[str] | None = None,
    since: str | float | None = None,
    until: str | float | None = None,
    where: str | None = None,
    neighbours: Any = None,
    lines: str | None = None,
    template: str | None = None,
    like: Any = None,
) -> EventLog:
    """Read an event log: a table with one row per event.

    Args:
        source: A CSV, TSV, JSON-lines (``.jsonl``, ``.ndjson``), Parquet or XES file; text formats may be compressed
            (``.gz``, ``.zst``). Or ``-`` for standard input, an address that fsspec has a package for (``s3://…``), a
            list of files with the same columns, a polars or pandas frame, or, with ``connection``, the text of a query.
        case: Column that says which sequence an event belongs to.
        event: Column of the event type; several columns are combined into one type (``"ecu|code"``).
        time: Column of the time: ISO text, dates (also ``20260131``), or numbers since 1970 (seconds, milli-, micro- or
            nanoseconds, told apart by the size of most). ``False`` keeps the row order even if a time column is there.
        state: Column that says how an event went (an outcome), while the other event columns say what acted. It
            becomes the last component of the event type, and discovery asks of each event whether it mattered how it
            went. By default the last of several event columns where it is called ``outcome``, ``state``, ``status``,
            ``result`` or ``status_code`` and most events are of kinds that were seen in several states.
        time_format: How to read a time that is not ISO, in `strptime` codes, for instance ``"%d/%m/%Y %H:%M"``, or the
            unit of numbers: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
        ties: What events of one case at the same time are: ``"unordered"`` (a tick: nothing depends on the order of
            their rows, and an effect within it has no direction) or ``"order"`` (the order of the rows is the order
            of the events).
        tick: Resolution of the times: seconds, or text like ``"1s"``, ``"10ms"``. Times are rounded down to whole
            ticks, so that what happened within one has no order.
        file_format: Format as a suffix (``"jsonl"``) where the name of the file does not say it. Standard input is CSV
            by default.
        connection: Database to ask: ``postgresql://…``, ``sqlite:FILE``, ``duckdb:FILE`` (``duckdb:`` to query files),
            or an open connection of any driver. What it says of user and password is neither shown nor stored.
        glob: Whether names of files are patterns; by default ``*`` is a character like any other.
        outcome: Column of an outcome of the whole case (a failure, a claim), for `fit_outcomes`. Each different value
            in a case is one label; empty cells are none.
        outcomes: Instead of it, a table (file or frame) with the columns ``case``, ``label`` and, if known, ``time``:
            then only events before that time count.
        attributes: Further columns that are carried along with the events: shown, and kept by exports.
        only: Only cases whose names match a pattern with ``*`` and ``?``, or one of several.
        since: Only events at this time or later (as times are written in the log).
        until: Only events before this time.
        where: Only rows for which this holds: SQL over the columns, as ``"status == 'failed'"``. Columns of a text file
            are text: ``CAST(duration AS DOUBLE) > 3``.
        neighbours: Table of two columns of entities (a file or frame): pairs of cases that influence each other. The
            events of its neighbours join a case, with types of their own (``"down (at a neighbour)"``): they
            can be causes, and never effects. ``only`` and the like choose among the cases; their neighbours stay.
        lines: What stands in a line of a text file (``.log``), as a regular expression with named groups, which become
            columns: ``(?P<time>.{19}) (?P<message>.*)``.
        template: Column of messages: the event type is the constant part of a message, found by Drain.
        like: Another log, or a model: the columns are those that it was read with, unless any is named, and what its
            reader learned holds here too.

    Columns that are not named are recognised by the usual names (`DEFAULT_COLUMNS`). Without any time column the
    row order is the order.

    Returns:
        The log, sorted by case and time; ties are counted.

    Raises:
        LogFormatError: The file cannot be read, a column is missing, or a cell is empty or not a time.

    Example:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"case": [1, 1, 1], "event": ["b", "a", "c"], "time": [20, 10, 30]})
        >>> read_log(frame).events
        ['a', 'b', 'c']
    """
    known = {} if like is None else dict(like.columns if isinstance(like, EventLog) else like.info["log"]["columns"])
    learned = known.get("learned")
    lines, template = lines or known.get("lines"), template or known.get("template")
    table = read_table(source, file_format, connection=connection, glob=glob, lines=lines, learned=learned)
    name = table.name
    columns = table.frame.collect_schema().names()
    case, event, time, state = roles(known or table.roles, table.roles, case, event, time, state)
    event = template if event is None and template is not None else event
    time_format, tick = time_format or known.get("time_format"), known.get("tick") if tick is None else tick
    ties = known.get("ties", ties) if ties == TIES[0] else ties
    case_column = pick_column("case", case, columns, name)
    event_columns = find_event_columns(event, state, columns, name)
    time_column = None if time is False else pick_column("time", no_bool(time), columns, name, optional=True)

    components = [pl.col(column).alias(f"event_{i}") for i, column in enumerate(event_columns)]
    asked = AskedOutcomes(outcome and pick_column("outcome", outcome, columns, name), outcomes, name)
    picked = [pl.col(case_column).alias("case"), *components]
    if time_column is not None:
        picked.append(pl.col(time_column).alias("time"))
    picked += [pl.col(outcome).alias("outcome")] if outcome is not None else []
    picked += carried(attribute_columns(attributes, columns, name), where, table.frame.collect_schema(), name)
    spread: list[str] = []
    found: dict[str, Any] = dict(table.learned)
    labels = {"case": case_column, **{f"event_{i}": c for i, c in enumerate(event_columns)}}
    check_choice("ties", ties, TIES)
    resolution = _resolution(tick, time_column)

    def convert(rows: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
        if case_column in table.lists:
            rows, spread[:] = spread_cases(rows, case_column)
        if rows.is_empty():
            raise LogFormatError(f"{name} is empty: it has a header but no event")
        rows = rows.with_columns(
            to_labels(rows[label], role=label.partition("_")[0], column=column, source=name).alias(label)
            for label, column in labels.items()
        )
        asked.add(rows)
        if template is not None:
            rows, names, said = with_templates(rows, event_columns, template, learned)
            found["templates"] = names
            spread.extend(said)
        rows = _combine_components(rows, len(event_columns))
        if time_column is None:
            return rows.select("case", "event", *of_carried(rows)), "none"
        seconds, kind = time_and_kind(rows["time"], column=time_column, source=name, time_format=time_format)
        if resolution is not None:
            seconds = (seconds / resolution).floor() * resolution
        return rows.select("case", "event", seconds.alias("time"), *of_carried(rows)), kind

    rows = read_rows(table, picked, convert, whole=case_column in table.lists or template is not None)
    _check_cases(rows, case_column, name)
    # Types of one time are sorted by name: the order of their rows cannot matter.
    within = [] if time_column is None else ["time", "event"] if ties == "unordered" else ["time"]
    frame, n_ties = sort_rows(rows, *within)
    beside = read_neighbours(neighbours, frame.drop(WHERE, strict=False), in_order=ties == "order", name=name)
    events = filtered(frame, only=only, since=since, until=until, time_format=time_format, name=name)
    if state is None and like is None:
        level = len(event_columns) - 1
        state = usual_state(event_columns, events["event"], lambda event: event_at_level(event, level))
        spread += [] if state is None else [_STATE_NOTE.format(quoted(state))]
    read_as = {
        "case": case_column,
        "event": list(event_columns),
        "time": time_column,
        "state": state,
        "time_format": time_format,
        "ties": ties,
        "tick": tick,
        **({"learned": found} if found else {}),
        **{key: value for key, value in (("lines", lines), ("template", template)) if value is not None},
    }
    labelled, said_of_them = asked.of_cases(events["case"], has_times=time_column is not None, time_format=time_format)
    return EventLog(
        events,
        name,
        n_ties if events.height == frame.height else _count_ties(events),
        read_as,
        (*table.notes, *spread, *said_of_them),
        beside,
        labelled,
    )


def _resolution(tick: str | float | None, time_column: str | None) -> float | None:
    """Return the resolution of the times in seconds, or None."""
    if tick is None:
        return None
    if time_column is None:
        raise ConfigError("tick needs times: name the time column (time=..., --time), or leave it out")
    return parse_duration("tick", tick)


def _check_cases(rows: pl.DataFrame, case_column: str, source: str) -> None:
    """Raise `LogFormatError` where no case has two events."""
    if rows["case"].n_unique() == rows.height:
        raise LogFormatError(
            f"{source} has no case with two events: every value of '{quoted(case_column)}' occurs once. "
            "Name the column that groups events into sequences (a device, a patient, a request) as the case"
        )


def _combine_components(frame: pl.DataFrame, n_components: int) -> pl.DataFrame:
    if n_components == 1:
        return frame.rename({"event_0": "event"})
    escaped = [
        pl.col(f"event_{i}").str.replace_all(r"(\\*)\|", r"${1}${1}\|").str.replace(r"(\\+)\z", "${1}${1}")
        for i in range(n_components)
    ]
    return frame.with_columns(pl.concat_str(escaped, separator=COMPONENT_SEPARATOR).alias("event"))


def joined_components(components: Iterable[str]) -> str:
    r"""Return the event type that `read_log` makes of the values of several columns; `event_components` undoes it.

    Example:
        >>> print(joined_components(["engine", "up|down", r"C:\x"]), event_components(joined_components(["\\", "b"])))
        engine|up\|down|C:\x ['\\', 'b']
    """
    doubled = (re.sub(r"(\\*)\|", r"\1\1\|", part) for part in components)
    return COMPONENT_SEPARATOR.join(re.sub(r"(\\+)\Z", r"\1\1", part) for part in doubled)


def event_components(name: str) -> list[str]:
    r"""Return the components of an event type that was made of several columns.

    Example:
        >>> event_components("engine|P0A|fault"), event_components(r"up\|down|1")
        (['engine', 'P0A', 'fault'], ['up|down', '1'])
    """
    ends = [*_separators(name), len(name)]
    parts = [name[low:high] for low, high in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
    return [re.sub(r"(\\+)(\||\Z)", lambda found: "\\" * (len(found[1]) // 2) + found[2], part) for part in parts]


def event_at_level(name: str, level: int) -> str:
    """Return an event type's first components, written as it is.

    Example:
        >>> event_at_level("engine|P0A|fault", 1), event_at_level("engine|P0A|fault", 2), event_at_level("door", 2)
        ('engine', 'engine|P0A', 'door')
    """
    ends = _separators(name)
    return name if len(ends) < level else name[: ends[level - 1]]


def _separators(name: str) -> list[int]:
    """Return where the separators are: those before which the number of backslashes is even."""
    return [found.end() - 1 for found in re.finditer(r"(\\*)\|", name) if len(found[1]) % 2 == 0]


def _count_ties(frame: pl.DataFrame) -> int:
    if "time" not in frame.columns:
        return 0
    same = (pl.col("case") == pl.col("case").shift()) & (pl.col("time") == pl.col("time").shift())
    return int(frame.select(same.sum()).item())
