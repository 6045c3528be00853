"""What the user knows beside the log, read from a file: which pairs of event types can be cause and effect.

A TOML file holds statements ``"CAUSE -> EFFECT"`` over patterns (`sequela.events.patterns`):

```toml
allowed = ["component = gateway -> *"]      # where anything is allowed, nothing else is
forbidden = ["door|* -> engine|*"]
required = ["power|off -> radio|down"]      # reported with its evidence, whatever that is
tiers = [["component = sensor"], ["component = actuator"]]   # a later tier never causes an earlier one

[max_delay]
"component = gateway -> *" = "10m"          # longest time from cause to effect

[topology]                                  # components that are joined: the short form of "only between these"
column = "component"
pairs = [["gateway", "radio"], ["radio", "antenna"]]   # or: file = "components.csv", beside this file
directed = false
hops = 1
```

A CSV or Parquet table has the columns ``cause``, ``effect``, ``rule`` (allowed, forbidden or required) and perhaps
``max_delay``; or it is a topology: a column named as the event column, and ``neighbour``.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import polars as pl
import pyarrow as pa

from sequela.arguments import PATH, Either, Kind, checks, public
from sequela.discovery.knowledge_check import check_knowledge
from sequela.effects.knowledge import Knowledge, Statement, asked
from sequela.errors import ConfigError, nearest
from sequela.events.log import EventLog
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.events.readers.parquet import scan_parquet
from sequela.events.times import parse_duration
from sequela.graphs.schemas import KNOWLEDGE
from sequela.text import quoted

MOST_STATEMENTS = 200_000
_MOST_BYTES = 1 << 24
_RULES = ("allowed", "forbidden", "required")
_COLUMNS = tuple(KNOWLEDGE.columns)


class _Topology(msgspec.Struct, forbid_unknown_fields=True):
    column: str
    pairs: list[list[str]] | None = None
    file: str | None = None
    directed: bool = False
    hops: int = 1


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The schema of a TOML file."""

    allowed: list[str] = []
    forbidden: list[str] = []
    required: list[str] = []
    tiers: list[list[str]] = []
    max_delay: dict[str, str | float] = {}
    topology: _Topology | None = None


@public(checks(source=Either((PATH, Kind("a dict of what a TOML file holds", "builtins:dict")))))
def read_knowledge(source: str | Path | Mapping[str, Any]) -> Knowledge:
    """Read what is known beside a log.

    Args:
        source: A file (``.toml``, ``.csv`` or ``.parquet``), or a dict of what a TOML file holds.

    Returns:
        The statements, to be given to a verb as ``knowledge``. Whether their patterns match event types, and whether
        they contradict each other, is told there.

    Raises:
        ConfigError: The file is missing or malformed; says the line.

    Example:
        >>> known = read_knowledge({"forbidden": ["door|* -> *"], "max_delay": {"a -> b": "10m"}})
        >>> [(each.kind, each.cause, each.effect, each.seconds) for each in known.statements]
        [('forbidden', 'door|*', '*', None), ('max_delay', 'a', 'b', 600.0)]
    """
    if isinstance(source, Mapping):
        return _Reader("knowledge").of_values(source, {}, Path())
    path = Path(source)
    reader = _Reader(path.name)
    if not path.is_file():
        raise ConfigError(f"there is no file '{quoted(path, 200)}' of knowledge")
    if path.suffix.lower() == ".toml":
        text = reader.text(path)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            reader.refuse(f"line {line[1] if line else len(text.splitlines()) or 1}", f"not TOML: {error}")
        return reader.of_values(values, _lines(text), path.parent)
    columns, rows = reader.table(path)
    if columns != list(_COLUMNS[: len(columns)]) and len(columns) == 2 and columns[1] == "neighbour":
        return reader.finish(reader.joined(columns[0], rows, directed=False, hops=1))
    return reader.finish(reader.of_rows(columns, rows))


class _Reader:
    """Reads one source; every error says which, and where in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refuse(self, place: str, why: str) -> NoReturn:
        raise ConfigError(f"'{quoted(self.name)}', {place}: {why}")

    def text(self, path: Path) -> str:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"'{quoted(path.name)}' is larger than {_MOST_BYTES >> 20} MiB: say it by patterns")
        try:
            content = path.read_bytes()
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.refuse(f"line {line}", "not UTF-8 text")

    def finish(self, found: Iterable[Statement]) -> Knowledge:
        statements = tuple(itertools.islice(found, MOST_STATEMENTS + 1))
        if not statements:
            self.refuse("line 1", f"it says nothing; it may hold {', '.join(_File.__struct_fields__)}")
        if len(statements) > MOST_STATEMENTS:
            self.refuse("line 1", f"more than {MOST_STATEMENTS:,} statements: say it by patterns")
        return Knowledge(statements, source=self.name)

    # TOML

    def of_values(self, values: Mapping[str, Any], lines: Mapping[str, list[int]], folder: Path) -> Knowledge:
        def place(key: str, number: int = 0) -> str:
            known = lines.get(key, [])
            if known:
                return f"line {known[min(number, len(known) - 1)]}"
            return "line 1" if lines else f"{key}[{number}]"

        try:
            said = msgspec.convert(values, _File)
        except msgspec.ValidationError as error:
            where = re.search(r"\$\.(\w+)(?:\.(\w+))?(?:\[(\d+)\])?", str(error))
            unknown = re.search(r"unknown field `(.*?)`", str(error))
            key = ".".join(part for part in (where and where[1], where and where[2], unknown and unknown[1]) if part)
            number = int(where[3]) + 1 if where is not None and where[3] else 0
            hint = nearest(unknown[1], _File.__struct_fields__) if unknown else ""
            self.refuse(place(key, number), f"{str(error).partition(' - at')[0]}{hint}")
        found = []
        for kind in _RULES:
            for number, text in enumerate(getattr(said, kind)):
                at = place(kind, number + 1)
                found.append(Statement(kind, *self.sides(text, at), place=at))
        for number, (text, delay) in enumerate(said.max_delay.items()):
            at = place(f"max_delay.{text}") if f"max_delay.{text}" in lines else place("max_delay", number + 1)
            found.append(Statement("max_delay", *self.sides(text, at), self.seconds(delay, at), at))
        found += self.tiers(said.tiers, place)
        if said.topology is not None:
            found += self.topology(said.topology, place, folder)
        return self.finish(found)

    def sides(self, text: str, at: str) -> tuple[str, str]:
        sides = [side.strip() for side in text.split("->")]
        if len(sides) != 2 or not all(sides):
            self.refuse(at, f"a statement is 'CAUSE -> EFFECT'; got '{quoted(text)}'")
        return sides[0], sides[1]

    def seconds(self, delay: str | float, at: str) -> float:
        try:
            return parse_duration("max_delay", delay)
        except ConfigError as error:
            self.refuse(at, str(error))

    def tiers(self, tiers: list[list[str]], place: Any) -> Iterator[Statement]:
        starts = [sum(map(len, tiers[:number])) for number in range(len(tiers))]
        for number, tier in enumerate(tiers):
            if not tier:
                self.refuse(place("tiers"), "a tier names no event type")
            for later, start in list(zip(tiers, starts, strict=True))[number + 1 :]:
                for within, cause in enumerate(later):
                    for effect in tier:
                        yield Statement("tier", cause.strip(), effect.strip(), place=place("tiers", start + within + 1))

    def topology(self, said: _Topology, place: Any, folder: Path) -> Iterator[Statement]:
        if (said.pairs is None) == (said.file is None):
            self.refuse(place("topology"), "a topology has pairs, or the name of a file with them; give one of the two")
        if said.hops < 1:
            self.refuse(place("topology.hops"), f"hops must be a whole number, at least 1; got {said.hops}")
        if said.file is not None:
            path = folder / said.file
            if Path(said.file).name != said.file or not path.is_file():
                self.refuse(place("topology.file", 1), f"there is no file '{quoted(said.file)}' beside this one")
            other = _Reader(path.name)
            columns, rows = other.table(path)
            if len(columns) != 2:
                other.refuse("line 1", f"a topology has two columns; got {', '.join(map(quoted, columns))}")
            yield from other.joined(said.column, rows, directed=said.directed, hops=said.hops)
            return
        number, rows = 1, []
        for pair in said.pairs or []:
            rows.append((place("topology.pairs", number), pair))
            number += len(pair)
        yield from self.joined(said.column, rows, directed=said.directed, hops=said.hops)

    def joined(
        self, column: str, rows: Sequence[tuple[str, Sequence[str]]], *, directed: bool, hops: int
    ) -> Iterator[Statement]:
        """Yield what a topology allows: within a component, and between components up to ``hops`` joints apart."""
        beside: dict[str, dict[str, str]] = {}
        for at, pair in rows:
            if len(pair) != 2 or not all(name and name.strip() for name in pair):
                self.refuse(at, f"a topology joins two components; got {len(pair)} names")
            one, other = (name.strip() for name in pair)
            if set("*?") & {*one, *other}:
                self.refuse(at, "a topology names components as they are, without * and ?")
            beside.setdefault(one, {one: at}).setdefault(other, at)
            beside.setdefault(other, {other: at})
            if not directed:
                beside[other].setdefault(one, at)
        n_pairs = 0
        for start in beside:
            reached = {start: beside[start][start]}
            edge = [start]
            for _ in range(hops):
                new = {name: at for one in edge for name, at in beside[one].items() if name not in reached}
                reached |= new
                edge = list(new)
            n_pairs += len(reached)
            if n_pairs > MOST_STATEMENTS:
                self.refuse("line 1", f"the topology joins more than {MOST_STATEMENTS:,} pairs: use fewer hops")
            for name, at in reached.items():
                yield Statement("joined", f"{column} = {start}", f"{column} = {name}", place=f"{self.name}, {at}")

    # Tables

    def table(self, path: Path) -> tuple[list[str], list[tuple[str, Sequence[str]]]]:
        """Return the columns of a table, and its rows, each with its place."""
        if path.suffix.lower() in (".parquet", ".pq"):
            if path.stat().st_size > _MOST_BYTES:
                self.refuse("row 1", f"larger than {_MOST_BYTES >> 20} MiB: say it by patterns")
            try:
                frame = scan_parquet(path)[0].head(MOST_STATEMENTS + 1).collect()
                text = frame.select(pl.all().cast(pl.String).fill_null(""))
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
                self.refuse("row 1", f"not a Parquet table of text: {quoted(error)}")
            return text.columns, [(f"row {number}", row) for number, row in enumerate(text.iter_rows(), 1)]
        if path.suffix.lower() != ".csv":
            raise ConfigError(f"'{quoted(path.name)}': knowledge is read from .toml, .csv or .parquet")
        lines = csv.reader(io.StringIO(self.text(path), newline=""), strict=True)
        rows: list[tuple[str, Sequence[str]]] = []
        try:
            columns = [name.strip() for name in next(lines, [])]
            for row in lines:
                if row:
                    at = f"line {lines.line_num}"
                    if len(row) != len(columns):
                        self.refuse(at, f"{len(row)} values in a table of {len(columns)} columns")
                    rows.append((at, row))
        except csv.Error as error:
            self.refuse(f"line {lines.line_num}", f"not CSV: {error}")
        return columns, rows

    def of_rows(self, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Statement]:
        for name in columns:
            if name not in _COLUMNS or columns.count(name) > 1:
                allowed = "cause, effect, rule and max_delay, or an event column and neighbour"
                self.refuse("line 1", f"the column '{quoted(name)}' is none of {allowed}{nearest(name, _COLUMNS)}")
        if missing := [name for name in _COLUMNS[:2] if name not in columns]:
            self.refuse("line 1", f"the column '{missing[0]}' is missing")
        for at, row in rows:
            said = {name: value.strip() for name, value in zip(columns, row, strict=True)}
            if not said["cause"] or not said["effect"]:
                self.refuse(at, "a statement has a cause and an effect")
            rule, delay = said.get("rule", ""), said.get("max_delay", "")
            if rule and rule not in _RULES:
                self.refuse(at, f"rule must be one of {', '.join(_RULES)}; got '{quoted(rule)}'{nearest(rule, _RULES)}")
            if not rule and not delay:
                self.refuse(at, f"a row needs a rule ({', '.join(_RULES)}) or a max_delay")
            if rule:
                yield Statement(rule, said["cause"], said["effect"], place=at)
            if delay:
                yield Statement("max_delay", said["cause"], said["effect"], self.seconds(delay, at), at)


_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<long>\"{3}.*?\"{3}|'{3}.*?'{3})|(?P<text>"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
    r"""|(?P<table>^[ \t]*\[+[ \t]*(?P<name>[\w.-]+)[ \t]*\]+)|(?P<key>^[ \t]*(?P<own>[\w.-]+)[ \t]*=)""",
    re.MULTILINE | re.DOTALL,
)


def _lines(text: str) -> dict[str, list[int]]:
    """Return, for each key of a TOML text, the line of the key and then those of the texts of its value."""
    found: dict[str, list[int]] = {}
    table, key, line, at = "", "", 1, 0
    for token in _TOKEN.finditer(text):
        line, at = line + text.count("\n", at, token.start()), token.start()
        here = line + len(token[0]) - len(token[0].lstrip("\n"))
        if token["table"]:
            table = key = token["name"]
            found.setdefault(key, [here])
        elif token["key"]:
            key = f"{table}.{token['own']}" if table else token["own"]
            found.setdefault(key, [here])
        elif (token["text"] or token["long"]) and key:
            if key == "max_delay" == table:  # "CAUSE -> EFFECT" = "10m"
                if re.match(r"\s*=", text[token.end() :][:20]):
                    found[key].append(here)
            else:
                found[key].append(here)
    return found


def knowledge_for(given: Knowledge | str | Path, log: Any, density: Any = None) -> Knowledge:
    """Return what is known, checked against the event types of a log and a density.

    Args:
        given: As the user gave it.
        log: The log, or one case.
        density: A density, or `cross_fit` densities; None where there is none yet.

    Raises:
        ConfigError: A pattern matches nothing, or statements contradict each other; says the line.
    """
    known = given if isinstance(given, Knowledge) else read_knowledge(given)
    one = density.densities[0] if hasattr(density, "densities") else density
    trained_on = {} if one is None else dict(one.info.get("log", {}).get("columns", {}))
    columns = (trained_on or dict(getattr(log, "columns", {}))).get("event", ())
    names = dict.fromkeys([] if one is None else one.vocabulary.names)
    if hasattr(log, "frame"):
        names |= dict.fromkeys(_types_of(log))
    bound = Knowledge(known.statements, known.columns or tuple(columns or ()), known.source)
    check_knowledge(bound, tuple(names))
    return bound


def check_asked(log: EventLog, causes: str | None, effects: str | None) -> None:
    """Raise `ConfigError` where a pattern of causes or effects matches no event type of a log."""
    asked(_types_of(log), tuple(log.columns.get("event", ())), causes, effects)


def _types_of(log: EventLog) -> list[str]:
    """Return the event types of a log, and those at a neighbour."""
    near = [] if log.neighbours is None else (log.neighbours.events["event"].unique().sort() + AT_NEIGHBOUR).to_list()
    return [*log.frame["event"].unique().sort(), *near]
