"""The two commands that most people need: run (a log in, an answer out) and explain (why did this event happen?)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import (
    AsJson,
    CaseColumn,
    EventColumn,
    FileFormat,
    Log,
    Quiet,
    State,
    Tick,
    Ties,
    TimeColumn,
    TimeFormat,
    command,
    read,
)
from sequela.cli.options import generated
from sequela.discovery.run import RUN


@command()
@generated(RUN, [name for name in RUN if name not in ("log", "out", "progress")])
def run(
    log: Log,
    out: Annotated[Path, typer.Option(help=RUN["out"].help, rich_help_panel="Log and files")],
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    state: State = None,
    time_format: TimeFormat = None,
    ties: Ties = "unordered",
    tick: Tick = None,
    file_format: FileFormat = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say about how long it would take.", rich_help_panel="How it runs")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Find the root causes of a log: train, weigh the evidence, explain every case, write one page.

    An interrupted run goes on when the same command is given again.

    Example: sequela run alarms.csv --case device_id --event alarm_id --time start_timestamp --out answer
    """
    from sequela.discovery.run import run as go

    table = read(
        log, case=case, event=event, time=time, state=state, time_format=time_format, ties=ties, tick=tick,
        file_format=file_format,
    )  # fmt: skip
    if plan:
        from sequela.discovery.run_plan import plan_run

        wanted = {name: value for name, value in settings.items() if name != "overwrite"}
        found = plan_run(table, progress=not quiet, **wanted)
        typer.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))
        return
    result = go(table, out=out, progress=not quiet, **settings)
    if as_json:
        import msgspec

        values = {name: value for name, value in msgspec.to_builtins(result.record).items() if name != "files"}
        typer.echo(json.dumps({"out": str(out), "page": str(result.report_path), **values}))
        return
    from sequela.cli.tables import print_run

    print_run(result)
