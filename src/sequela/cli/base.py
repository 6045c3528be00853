"""The program, its shared options, and how errors are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sequela.errors import SequelaError

app = typer.Typer(
    name="sequela",
    help="Train one next-event model on your event log, then ask which events caused which.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Command = TypeVar("Command", bound=Callable[..., None])


def named_errors(command: Command) -> Command:
    """Turn a named error into one line on standard error and exit code 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SequelaError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            typer.echo(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; nothing half-written is left", err=True)
            raise typer.Exit(130) from None

    return run  # type: ignore[return-value]


Log = Annotated[Path, typer.Argument(help="Event log: csv, tsv, jsonl, parquet or xes.", show_default=False)]
CaseColumn = Annotated[str | None, typer.Option("--case", help="Column that says which sequence an event belongs to.")]
EventColumn = Annotated[
    list[str] | None, typer.Option("--event", help="Column of the event type; repeat it to combine several.")
]
TimeColumn = Annotated[
    str | None, typer.Option("--time", help="Column of the time; without any, the row order is the order.")
]
TimeFormat = Annotated[str | None, typer.Option(help="How to read times that are not ISO, as in '%d/%m/%Y %H:%M'.")]
Ties = Annotated[
    str, typer.Option(help="Events of a case at one time: unordered (a set), or order (as the rows stand).")
]
Tick = Annotated[
    str | None, typer.Option(help="Resolution of the times, as 1s: what happened within a tick has no order.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no choices on standard error.")]
MemoryBudget = Annotated[
    str | None, typer.Option(help="Most memory above model and log, as 2GB; by default a quarter of what is free.")
]
HorizonTime = Annotated[
    str | None, typer.Option(help="Longest time between cause and effect, as 90s, 10m, 2h; needs times.")
]
HierarchyLevel = Annotated[
    int | None,
    typer.Option(help="Links between the first 1, 2, … components of event types (several --event columns)."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps; chosen automatically.")]


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
