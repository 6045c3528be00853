"""The two commands that most people need: run (a log in, an answer out) and explain (why did this event happen?)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import (
    AsJson,
    Quiet,
    command,
)
from sequela.cli.options import generated
from sequela.cli.reading import Causes, Effects, LogOptions, part_of, reads_log
from sequela.discovery.arguments import RUN, UPDATE


@command()
@generated(RUN, [name for name in RUN if name not in ("log", "out", "progress")])
@reads_log(ties=True)
def run(
    log: LogOptions,
    out: Annotated[Path, typer.Option(help=RUN["out"].help, rich_help_panel="Log and files")],
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
    table = log.read()  # first: what is wrong with a file is said at once
    if plan:
        from sequela.discovery.run_plan import plan_run

        wanted = {name: value for name, value in settings.items() if name != "overwrite"}
        found = plan_run(table, progress=not quiet, **wanted)
        typer.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))
        return
    from sequela.discovery.run import run as go

    result = go(table, out=out, progress=not quiet, **settings)
    if as_json:
        import msgspec

        values = {name: value for name, value in msgspec.to_builtins(result.record).items() if name != "files"}
        typer.echo(json.dumps({"out": str(out), "page": str(result.report_path), **values}))
        return
    from sequela.cli.tables import print_run

    print_run(result)


_NEW = Annotated[
    list[str] | None,
    typer.Argument(
        help="Log with new cases: explained with the model of the run.", metavar="[NEW]", show_default=False
    ),
]


@command()
@generated(UPDATE, [name for name in UPDATE if name not in ("results", "log", "progress")])
@reads_log(columns=False)
def update(
    results: Annotated[Path, typer.Argument(help="Folder that `sequela run` wrote.", show_default=False)],
    log: LogOptions,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Add new cases to a run: discover them, add them to its evidence, renew its page.

    The columns are those of the run. The last line says whether it is time to train again (--refit). An interrupted
    update goes on when the same command is given again.

    Example: sequela update answer new.csv
    """
    from sequela.discovery.run_folder import load_run
    from sequela.discovery.update import update as add
    from sequela.discovery.update import update_sentence

    run = load_run(results)
    n_before = len(run.record.updates)
    result = add(run, log.read_like(run.model), progress=not quiet, **settings)
    added = result.record.updates[-1] if len(result.record.updates) > n_before else None
    if as_json:
        import msgspec

        typer.echo(json.dumps({"out": str(results), "added": None if added is None else msgspec.to_builtins(added)}))
        return
    if added is None:
        typer.echo(f"nothing to add: all cases of the log are known, '{results}' stays as it is")
        return
    aside = ((added.n_known, "known cases left aside"), (added.n_grown, "changed cases kept as they were"))
    more = "".join(f"; {number:,} {what}" for number, what in aside if number)
    typer.echo(f"added {added.n_cases:,} cases with {added.n_events:,} events to '{results}'{more}")
    if added.n_links is not None:
        typer.echo(f"links between event types: {added.n_links[0]:,} before, {added.n_links[1]:,} now")
    typer.echo(f"open {result.report_path}")
    typer.echo("the model was trained further" if added.refitted else update_sentence(added))


@command()
@reads_log(columns=False, argument=_NEW)
def explain(
    results: Annotated[Path, typer.Argument(help="Folder that `sequela run` or `discover` wrote.", show_default=False)],
    log: LogOptions,
    case: Annotated[str | None, typer.Option(help="Name of the case; may be left out where there is one.")] = None,
    event: Annotated[
        str, typer.Option(help="Event to explain: its type, or its position from 0 (-1 is the last).")
    ] = "-1",
    page: Annotated[Path | None, typer.Option(help="Also write a page of this case alone.")] = None,
    causes: Causes = None,
    effects: Effects = None,
    as_json: AsJson = False,
) -> None:
    """Say why one event happened: its root cause, the chain to it, and what speaks against that.

    Example: sequela explain answer --case dev3
    """
    from sequela.discovery.explain import explain as ask
    from sequela.discovery.run_folder import load_run
    from sequela.errors import ConfigError

    run: Any = results
    new = None
    if log.is_given:
        run = load_run(results)
        new = log.read_like(run.model)
    types = {name: value for name, value in (("causes", causes), ("effects", effects)) if value}
    if new is not None and types:
        raise ConfigError("--causes and --effects choose among what was found; a new case is explained whole")
    if new is None and (chosen := types | log.filters):
        run = part_of(results, chosen)
    found = ask(run, new, case=case, event=event)
    if page is not None:
        from sequela.reports.page import report

        report(found.graph, page, population=found.population)
    if as_json:
        typer.echo(json.dumps(found.explanation.to_dict() | ({} if page is None else {"page": str(page)})))
        return
    typer.echo(str(found.explanation))
    if page is not None:
        typer.echo(f"open {page}")
