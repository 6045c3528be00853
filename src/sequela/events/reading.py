"""How a log is read: every option with its constraint, default and meaning, as one record.

The record is the table: the keywords of `sequela.read_log`, their docstrings and the options of the command line are
held to it. What it says of columns and times is kept with the log and with models, so that another log can be read the
same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequela.arguments import (
    FLAG,
    PATH,
    TEXT,
    Argument,
    Choice,
    Either,
    Kind,
    Number,
    Parsed,
    list_of,
    setting,
    table_of,
)
from sequela.errors import check_choice

if TYPE_CHECKING:
    import polars as pl

TIES = ("unordered", "order")
_FRAME = Kind("a polars or pandas frame", "polars:DataFrame polars:LazyFrame", has=("iloc", "to_dict"))
_TABLE = Either((PATH, _FRAME))
_PANEL = "Log and files"


@dataclass(frozen=True)
class Reading:
    """How a log is read; see `sequela.read_log` for what each option does."""

    case: str | None = setting(None, TEXT, "Column that says which sequence an event belongs to.", panel=_PANEL)
    event: str | Sequence[str] | None = setting(
        None, Either((TEXT, list_of("a list"))), "Column of the event type, or several that are combined.",
        more='Of several columns one type is made (``"ecu|code"``).', panel=_PANEL,
    )  # fmt: skip
    time: str | bool | None = setting(
        None, Either((TEXT, FLAG)), "Column of the time; without any, the row order is the order.",
        more="ISO text, dates (also ``20260131``), or numbers since 1970 (seconds, milli-, micro- or nanoseconds, told "
        "apart by the size of most). ``False`` keeps the row order even if a time column is there.", panel=_PANEL,
    )  # fmt: skip
    state: str | None = setting(
        None, TEXT, "Column that says how an event went, while the event says what acted.",
        more="It becomes the last component of the event type, and discovery asks of each event whether it mattered "
        "how it went. By default the last of several event columns where it is called ``outcome``, ``state``, "
        "``status``, ``result`` or ``status_code`` and most events are of kinds that were seen in several states.",
        panel=_PANEL,
    )  # fmt: skip
    time_format: str | None = setting(
        None, TEXT, "How to read times that are not ISO, as in '%d/%m/%Y %H:%M'.",
        more='Codes of `strptime`, or the unit of numbers: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.', panel=_PANEL,
    )  # fmt: skip
    lines: str | None = setting(
        None, TEXT, "What stands in a line of text: a regular expression whose named groups are columns.",
        more="For text files (``.log``), as ``(?P<time>.{19}) (?P<message>.*)``.", panel=_PANEL,
    )  # fmt: skip
    template: str | None = setting(
        None, TEXT, "Column of messages: their constant part is the event type (extra lines).",
        more="It is found by Drain.", panel=_PANEL,
    )  # fmt: skip
    ties: str = setting(
        "unordered", Choice(TIES), "Events of a case at one time: unordered (a set), or order (as the rows stand).",
        more="In a set nothing depends on the order of the rows, and an effect within it has no direction.",
        panel=_PANEL,
    )  # fmt: skip
    tick: str | float | None = setting(
        None, Parsed("seconds above 0, or text like '1s', '10ms'", "sequela.events.times:parse_duration", True),
        "Resolution of the times, as 1s: what happened within a tick has no order.",
        more="Seconds, or text; times are rounded down to whole ticks.", panel=_PANEL,
    )  # fmt: skip
    file_format: str | None = setting(
        None, TEXT, "Format as a suffix (jsonl), where the file's name does not say it.",
        more="Standard input is CSV by default.", panel=_PANEL,
    )  # fmt: skip
    glob: bool = setting(
        False, FLAG, "Names of files are patterns, as 'logs/*.csv'.",
        more="By default ``*`` is a character like any other.", panel=_PANEL, flags="--glob",
    )  # fmt: skip
    connection: Any = setting(
        None, Either((TEXT, Kind("an open connection", has=("cursor",)))),
        "Database that is asked the query: postgresql://…, sqlite:FILE, duckdb:FILE, or duckdb: to query files.",
        more="Or an open connection of any driver. What it says of user and password is neither shown nor stored.",
        panel=_PANEL, flags=None,
    )  # fmt: skip
    attributes: str | Sequence[str] | None = setting(
        None, Either((TEXT, list_of("a list of columns"))),
        "Column to carry along with the events: shown, and kept by exports.", panel=_PANEL, flags="--attribute",
    )  # fmt: skip
    neighbours: str | Path | pl.DataFrame | None = setting(
        None, Either((PATH, list_of("a list of paths"), _FRAME)),
        "Table of two columns: pairs of cases whose events may cause each other's.",
        more="Or an object-centric log, with the objects that it relates to each other. The events of its neighbours "
        'join a case, with types of their own (``"down (at a neighbour)"``): they can be causes, and never effects. '
        "``only`` and the like choose among the cases; their neighbours stay.",
        panel=_PANEL,
    )  # fmt: skip
    only: str | Sequence[str] | None = setting(
        None, Either((TEXT, list_of("a list of patterns"))), "Only this case, or those of a pattern as 'dev*'.",
        more="Or of several patterns.", panel=_PANEL,
    )  # fmt: skip
    since: str | float | None = setting(
        None, Either((TEXT, Number())), "Only events at this time or later.",
        more="As times are written in the log.", panel=_PANEL,
    )  # fmt: skip
    until: str | float | None = setting(None, Either((TEXT, Number())), "Only events before this time.", panel=_PANEL)
    where: str | None = setting(
        None, TEXT, "Only rows for which this holds, as \"status == 'failed'\" (SQL).",
        more="Columns of a text file are text: ``CAST(duration AS DOUBLE) > 3``.", panel=_PANEL,
    )  # fmt: skip
    outcome: str | None = setting(
        None, TEXT, "Column of an outcome of the whole case; empty cells are none.",
        more="A failure, a claim: for `fit_outcomes`. Each different value in a case is one label.", panel=_PANEL,
    )  # fmt: skip
    outcomes: str | Path | pl.DataFrame | None = setting(
        None, _TABLE, "Instead of outcome, a table of case, label and, if known, time: only events before it count.",
        panel=_PANEL,
    )  # fmt: skip

    def like(self, known: Mapping[str, Any]) -> Reading:
        """Return these options, with what an earlier log was read with where nothing else is said.

        Columns are taken all together, and only where none is named.

        Args:
            known: `EventLog.columns` of the earlier log; empty where there is none.
        """
        if not known:
            return self
        names = ("lines", "template", "time_format", "tick", "ties")
        defaults = {name: READ_LOG[name].default for name in names}
        kept: dict[str, Any] = {name: known[name] for name in names if name in known}
        found = replace(self, **{name: kept[name] for name in kept if getattr(self, name) == defaults[name]})
        if (self.case, self.event, self.time, self.state) == (None, None, None, None):
            state = known.get("state")  # it is the last of the event columns
            event = [name for name in known["event"] if name != state]
            found = replace(found, case=known["case"], event=event, time=known["time"] or False, state=state)
        return found

    def of_columns(self, columns: list[str], usual: Mapping[str, Any], name: str) -> Reading:
        """Return these options with the columns of a table: as named, else as its reader has them, else as usual.

        Args:
            columns: Those that the table has.
            usual: Those that its reader knows the role of (`Table.roles`).
            name: What messages call it.

        Raises:
            LogFormatError: There is no such column, or none for a role.
            ConfigError: Something is named that is no column.
        """
        from sequela.events.columns import find_event_columns, no_bool, pick_column  # polars: not for --help

        check_choice("ties", self.ties, TIES)
        event, state = self.event, self.state
        if event is None and state is None:
            event, state = usual.get("event"), usual.get("state")
        event = self.template if event is None and self.template is not None else event
        time = usual.get("time") if self.time is None else self.time
        return replace(
            self,
            case=pick_column("case", self.case or usual.get("case"), columns, name),
            event=find_event_columns(event, state, columns, name),
            time=None if time is False else pick_column("time", no_bool(time), columns, name, optional=True),
            state=state,
            outcome=self.outcome and pick_column("outcome", self.outcome, columns, name),
        )

    def kept(self) -> dict[str, Any]:
        """Return what another log must know to be read the same way, as plain values."""
        always = {"case": self.case, "event": list(self.event or ()), "time": self.time, "state": self.state}
        always |= {name: getattr(self, name) for name in ("time_format", "ties", "tick")}
        return always | {name: value for name in ("lines", "template") if (value := getattr(self, name)) is not None}


READ_LOG = table_of(Reading) | {
    "source": Argument("Where the log is.", Either((PATH, list_of("a list of paths"), _FRAME))),
    "like": Argument(
        "Another log, or a model: the columns are those that it was read with, unless any is named, and what its "
        "reader learned holds here too.",
        Either((Kind("a log", "sequela.events.log:EventLog"), Kind("a model", has=("info",)))),
        None,
    ),
}
"""The arguments of `sequela.read_log`."""
