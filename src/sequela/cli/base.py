"""The program, its shared options, and how errors are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperCommand

from sequela.arguments import RETIRED
from sequela.errors import SequelaError
from sequela.text import visible

app = typer.Typer(
    name="sequela",
    help="Train one next-event model on your event log, then ask which events caused which.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",  # markdown would swallow <rare>
    context_settings={"help_option_names": ["--help", "-h"]},
)

Command = TypeVar("Command", bound=Callable[..., None])


class _Command(TyperCommand):
    """A command that knows the options of 0.1.0 by their old names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            old = str(getattr(error, "option_name", "")).removeprefix("--").replace("-", "_")
            own = {each.name for each in self.params}
            now = [f"--{name.replace('_', '-')}" for name in RETIRED.get(old, ()) if name in own]
            if now:
                error.message = f"No such option: --{old.replace('_', '-')}. It is now {' or '.join(now)}."  # type: ignore[attr-defined]
                error.possibilities = None  # type: ignore[attr-defined]
            raise


def command() -> Callable[[Command], Command]:
    """Make a function a command whose errors are one line each."""

    def decorate(function: Command) -> Command:
        app.command(cls=_Command)(named_errors(function))
        return function

    return decorate


def named_errors(command: Command) -> Command:
    """Turn a named error into one line on standard error and exit code 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SequelaError as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
        except KeyboardInterrupt:
            typer.echo("interrupted; nothing half-written is left", err=True)
            raise typer.Exit(130) from None

    return run  # type: ignore[return-value]


def _fail(text: str) -> NoReturn:
    """Say what went wrong in one harmless line, whatever names from files are in it."""
    typer.echo(f"error: {visible(' '.join(text.split()), longest=_LONGEST_ERROR)}", err=True)
    raise typer.Exit(1) from None


_LONGEST_ERROR = 2000

Model = Annotated[Path, typer.Argument(help="Folder that `sequela fit` wrote.", show_default=False)]
Log = Annotated[
    list[str] | None,
    typer.Argument(
        help="Event log: csv, tsv, jsonl, parquet or xes; several files are one log; - is standard input.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, for scripts.", rich_help_panel="Output")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No progress and no choices on standard error.", rich_help_panel="Output")
]
HierarchyLevel = Annotated[
    int | None,
    typer.Option(help="Links between the first 1, 2, … components of event types (several --event columns)."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, mps; chosen automatically.", rich_help_panel="How it runs")
]


def _version(show: bool) -> None:
    if show:
        from sequela.version import __version__

        typer.echo(f"sequela {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def read(log: Any, **options: Any) -> Any:
    """Read a log, and say on standard error what its reader left out and what looks like swapped columns."""
    from sequela.events.column_check import suspicious_columns

    table = _read(log, options)
    warning = suspicious_columns(table)
    if warning is not None:
        typer.echo(f"warning: {warning}", err=True)
    return table


def read_like(density: Any, log: Any, **options: Any) -> Any:
    """Read a log with the columns that a density was trained on, unless others are named."""
    has_columns = bool(density.info.get("log", {}).get("columns"))
    if not has_columns or any(options.get(name) is not None for name in ("case", "event", "time", "state")):
        return read(log, **options, **({"like": density} if has_columns else {}))
    return _read(log, {"like": density} | options)


def _read(log: Any, options: dict[str, Any]) -> Any:
    from sequela.events.log import read_log

    table = read_log(log, **options)
    for note in table.notes:
        typer.echo(f"note: {visible(note, longest=500)}", err=True)
    return table
