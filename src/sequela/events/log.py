"""Event logs: tables of (case, time, event) in any usual format, brought into one sorted shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.arguments import public
from sequela.display import TOP_ROWS, Shown
from sequela.errors import ConfigError, LogFormatError, nearest
from sequela.events.columns import attribute_columns, spread_cases, usual_state, with_templates
from sequela.events.filters import WHERE, carried, filtered, of_carried
from sequela.events.labels import to_labels
from sequela.events.neighbours import Neighbours, read_neighbours
from sequela.events.outcomes import AskedOutcomes
from sequela.events.readers import Table, read_table
from sequela.events.reading import READ_LOG, Reading
from sequela.events.rows import read_rows, sort_rows
from sequela.events.times import finer_than_kept, parse_duration, seconds_to_datetime, time_and_kind
from sequela.text import quoted

if TYPE_CHECKING:
    import pandas as pd

COMPONENT_SEPARATOR = "|"
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


@public(READ_LOG)
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
    neighbours: str | Path | pl.DataFrame | None = None,
    lines: str | None = None,
    template: str | None = None,
    like: Any = None,
) -> EventLog:
    """Read an event log: a table with one row per event.

    Args:
        source: A CSV, TSV, JSON-lines (``.jsonl``, ``.ndjson``), Parquet or XES file; text formats may be compressed
            (``.gz``, ``.zst``). Or ``-`` for standard input, an address that fsspec has a package for (``s3://…``), a
            list of files with the same columns, a polars or pandas frame, or, with ``connection``, the text of a query.

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
    asked = Reading(**{name: value for name, value in locals().items() if name not in ("source", "like")})
    known = {} if like is None else dict(like.columns if isinstance(like, EventLog) else like.info["log"]["columns"])
    asked = asked.like(known)
    learned = known.get("learned")
    table = read_table(
        source, asked.file_format, connection=asked.connection, glob=asked.glob, lines=asked.lines, learned=learned
    )
    reading = asked.of_columns(table.frame.collect_schema().names(), table.roles, table.name)
    log = _read(table, reading, learned)
    return log if known else _with_usual_state(log)


def _with_usual_state(log: EventLog) -> EventLog:
    """Return the log with its last event column as the state, and say so, where it is like one; see `usual_state`."""
    columns = log.columns["event"]
    if log.columns["state"] is not None:
        return log
    state = usual_state(columns, log.frame["event"], lambda event: event_at_level(event, len(columns) - 1))
    if state is None:
        return log
    note = (
        f"'{quoted(state)}' says how an event went (its state): discovery asks whether it mattered how it went. If it "
        "is no state, do not name it last"
    )
    return replace(log, columns={**log.columns, "state": state}, notes=(*log.notes, note))


def _read(table: Table, reading: Reading, learned: Mapping[str, Any] | None) -> EventLog:
    """Return the log of a table.

    Args:
        table: From a reader.
        reading: Options whose columns are those of the table (`Reading.of_columns`).
        learned: What an earlier log taught; None for a new one.
    """
    has_times, name, time_format = reading.time is not None, table.name, reading.time_format
    convert = _Conversion(table, reading, learned)
    rows = read_rows(table, convert.columns, convert, whole=convert.needs_all_rows)
    _check_cases(rows, str(reading.case), name)
    # Types of one time are sorted by name: the order of their rows cannot matter.
    within = [] if not has_times else ["time", "event"] if reading.ties == "unordered" else ["time"]
    frame, n_ties = sort_rows(rows, *within)
    in_order = reading.ties == "order"
    beside = read_neighbours(reading.neighbours, frame.drop(WHERE, strict=False), in_order=in_order, name=name)
    events = filtered(
        frame, only=reading.only, since=reading.since, until=reading.until, time_format=time_format, name=name
    )
    labelled, said = convert.outcomes.of_cases(events["case"], has_times=has_times, time_format=time_format)
    return EventLog(
        events,
        name,
        n_ties if events.height == frame.height else _count_ties(events),
        reading.kept() | ({"learned": convert.learned} if convert.learned else {}),
        (*table.notes, *convert.notes, *said),
        beside,
        labelled,
    )


class _Conversion:
    """From the columns of a table to labels and seconds, a piece of it at a time.

    Attributes:
        columns: What to read of the table.
        needs_all_rows: Whether pieces would not do.
        outcomes: Outcomes of the rows so far.
        learned: What another log must know.
        notes: What is worth knowing.
    """

    def __init__(self, table: Table, reading: Reading, learned: Mapping[str, Any] | None) -> None:
        self._name, self._reading, self._taught = table.name, reading, learned
        self._event: tuple[str, ...] = tuple(reading.event or ())
        self._labels = {"case": str(reading.case), **{f"event_{i}": name for i, name in enumerate(self._event)}}
        self._resolution = _resolution(reading.tick, reading.time)
        self._spreads = reading.case in table.lists
        self.outcomes = AskedOutcomes(reading.outcome, reading.outcomes, table.name)
        self.needs_all_rows = self._spreads or reading.template is not None
        self.learned: dict[str, Any] = dict(table.learned)
        self.notes: list[str] = []
        named: dict[str, Any] = self._labels | {"time": reading.time, "outcome": reading.outcome}
        schema = table.frame.collect_schema()
        beside = attribute_columns(reading.attributes, schema.names(), table.name)
        self.columns = [pl.col(column).alias(name) for name, column in named.items() if column is not None]
        self.columns += carried(beside, reading.where, schema, table.name)

    def __call__(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
        reading, name = self._reading, self._name
        if self._spreads:
            rows, self.notes[:] = spread_cases(rows, str(reading.case))
        if rows.is_empty():
            raise LogFormatError(f"{name} is empty: it has a header but no event")
        rows = rows.with_columns(
            to_labels(rows[label], role=label.partition("_")[0], column=column, source=name).alias(label)
            for label, column in self._labels.items()
        )
        self.outcomes.add(rows)
        if reading.template is not None:
            rows, names, said = with_templates(rows, self._event, reading.template, self._taught)
            self.learned["templates"] = names
            self.notes += said
        rows = _combine_components(rows, len(self._event))
        if reading.time is None:
            return rows.select("case", "event", *of_carried(rows)), "none"
        seconds, kind = time_and_kind(
            _where_wanted(rows), column=str(reading.time), source=name, time_format=reading.time_format
        )
        if _FINER not in self.notes and finer_than_kept(rows["time"], kind):
            self.notes.append(_FINER)
        if self._resolution is not None:
            seconds = (seconds / self._resolution).floor() * self._resolution
        return rows.select("case", "event", seconds.alias("time"), *of_carried(rows)), kind


def _where_wanted(rows: pl.DataFrame) -> pl.Series:
    """Return the times, where a condition leaves an event out that of another: it need not be a time."""
    if WHERE not in rows.columns or rows[WHERE].all() or not rows[WHERE].any():
        return rows["time"]
    return rows.select(pl.when(WHERE).then("time").otherwise(pl.col("time").filter(WHERE).first()).alias("time"))[
        "time"
    ]


_FINER = "times are kept to the microsecond: events within one are simultaneous"


def _resolution(tick: str | float | None, time_column: str | bool | None) -> float | None:
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
