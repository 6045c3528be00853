"""Options that say where a log is and how it is read: declared once, for every command that reads a log."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli import base
from sequela.cli.options import option
from sequela.events.reading import READ_LOG

_FILES, _PART = "Log and files", "Only a part"
Sql = Annotated[
    str | None,
    typer.Option(help="Query (a SELECT) that gives the log; it needs --database.", rich_help_panel=_FILES),
]
Database = Annotated[
    str | None,
    typer.Option(
        help=READ_LOG["connection"].help,
        rich_help_panel=_FILES,
        envvar="SEQUELA_DATABASE",
        show_envvar=True,
    ),
]
_COLUMNS = ("case", "event", "time", "state", "time_format", "lines", "template")
_NEW = ("ties", "tick")
FILTERS = ("only", "since", "until", "where")
"""What to keep of a log, or of a result."""
_OUTCOMES = ("outcome", "outcomes")
_ALWAYS = ("file_format", "glob", "attributes", "neighbours", *FILTERS)


@dataclass(frozen=True)
class LogOptions:
    """What was typed about a log.

    Attributes:
        files: Its files; empty with a query.
        sql: A query, or None.
        options: Arguments of `read_log`.
    """

    files: list[str]
    sql: str | None
    options: dict[str, Any]

    @property
    def is_given(self) -> bool:
        """Whether there is a log at all."""
        return bool(self.files) or self.sql is not None

    @property
    def filters(self) -> dict[str, Any]:
        """What was typed of the rows to keep."""
        return {name: value for name in FILTERS if (value := self.options.get(name))}

    def read(self) -> Any:
        """Read the log, and say on standard error what looks like swapped columns."""
        return base.read(self._source(), **self.options)

    def read_like(self, density: Any) -> Any:
        """Read the log with the columns that a density was trained on, unless others were named."""
        return base.read_like(density, self._source(), **self.options)

    def _source(self) -> Any:
        from sequela.errors import ConfigError

        if self.sql is not None:
            if self.files:
                raise ConfigError("give files or --sql, not both")
            if self.options.get("connection") is None:
                raise ConfigError("--sql needs --database, or the environment variable SEQUELA_DATABASE")
            return self.sql
        if not self.files:
            raise ConfigError("name the file of the log, or give --sql and --database")
        return self.files[0] if len(self.files) == 1 else self.files


Causes = Annotated[
    str | None, typer.Option(help="Only causes of these types: a pattern as 'door|*'.", rich_help_panel=_PART)
]
Effects = Annotated[str | None, typer.Option(help="Only effects of these types, as '*ERROR*'.", rich_help_panel=_PART)]


def part_of(found: Any, chosen: dict[str, Any]) -> Any:
    """Return the part of a result, or of that in a folder, that options choose; what was given without any."""
    if not chosen:
        return found
    from sequela.graphs.filtered import filter_result
    from sequela.graphs.saved import load_results

    return filter_result(load_results(found) if isinstance(found, Path) else found, **chosen)


def filters_result(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options that choose a part of a result in the place of a command's parameter ``part``.

    The command gets a function from a result to that part.
    """
    signature = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    types = {"causes": Causes, "effects": Effects}
    made = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in types.items()]
    made += [option(name, READ_LOG[name]) for name in FILTERS]
    own = [each.replace(kind=keyword) for name, each in signature.parameters.items() if name != "part"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        chosen = {each.name: value for each in made if (value := given.pop(each.name))}

        def part(found: Any) -> Any:
            return part_of(found, chosen)

        command(part=part, **given)

    run.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [*own, *made]}
    return run


def reads_log(
    *, ties: bool = False, columns: bool = True, outcomes: bool = False, argument: Any = base.Log
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put the options that say how a log is read in the place of a command's parameter ``log: LogOptions``.

    Args:
        ties: Whether the log is a new one, of which is asked what events at the same time are.
        columns: Whether columns can be named.
        outcomes: Whether outcomes of the cases can be named.
        argument: The files, as an annotation.
    """
    chosen = (*_COLUMNS * columns, *_NEW * ties, *_OUTCOMES * outcomes, *_ALWAYS)
    database = {"sql": Sql, "database": Database}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        keyword = inspect.Parameter.KEYWORD_ONLY
        made = [inspect.Parameter("log", keyword, default=None, annotation=argument)]
        made += [option(name, READ_LOG[name]) for name in chosen]
        made += [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in database.items()]
        own = [each for name, each in signature.parameters.items() if name != "log"]
        variable = [each for each in own if each.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = [each.replace(kind=keyword) for each in own if each not in variable]
        required = [each for each in parameters if each.default is inspect.Parameter.empty]
        optional = [each for each in parameters if each not in required]

        @functools.wraps(command)
        def run(log: list[str] | None = None, **given: Any) -> None:
            options = {name: given.pop(name) for name in chosen}
            sql, asked = (given.pop(name) for name in database)
            connection = {} if sql is None else {"connection": asked}
            command(log=LogOptions([str(each) for each in log or ()], sql, options | connection), **given)

        run.__signature__ = signature.replace(parameters=[*required, *made, *optional, *variable])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in [*required, *made, *optional]}
        return run

    return decorate
