"""Commands from a log to a graph: fit, discover, population, diagnose, plan.

Their options are those of the verbs' declared arguments (`options.generated`): no default or help is written twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import (
    AsJson,
    Device,
    Model,
    Quiet,
    command,
)
from sequela.cli.options import generated
from sequela.cli.reading import LogOptions, reads_log
from sequela.density.training.arguments import FIT
from sequela.discovery.arguments import POPULATION, VERBS
from sequela.effects.settings import TABLE

_EDGES_ONLY = ("threshold", "confidence_level", "tau", "population")
_OF_POPULATION = [
    "cases", "fdr", "control", "objective", "delta", "hierarchy_level", "pool", "placebo",
    *(name for name in TABLE if name not in (*_EDGES_ONLY, "delta", "fdr")), "engine", "workers", "overwrite",
]  # fmt: skip

Precision = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16, or auto: what is fast on the device and close.",
        rich_help_panel="How it runs",
    ),
]


@command()
@generated(FIT, [name for name in FIT if name not in ("log", "out")])
@reads_log(ties=True)
def fit(
    log: LogOptions,
    out: Annotated[Path, typer.Option(help=FIT["out"].help, rich_help_panel="Log and files")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Train a next-event model on a log and save it.

    An interrupted run goes on when the same command is given again.

    Example: sequela fit alarms.csv --case device_id --event alarm_id --time start_timestamp --out model
    """
    table = log.read()
    from sequela.density.training.fit import fit as run

    density = run(table, out=out, progress=not quiet, **settings)
    if as_json:
        split = {name: value for name, value in density.info["split"].items() if name != "seen"}
        typer.echo(json.dumps({"out": str(out), **density.info, "split": split}))


@command()
@generated(VERBS, [*TABLE, "self_loops", "engine", "workers", "compile", "overwrite"])
@reads_log()
def discover(
    model: Model,
    log: LogOptions,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for edges.parquet, summary.parquet and run.json.", rich_help_panel="Log and files"),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Only say what it would cost, as `sequela plan` does.", rich_help_panel="How it runs"
        ),
    ] = False,
    device: Device = None,
    precision: Precision = "float32",
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Find which events caused which, in every case of a log.

    The columns are those given to `fit` unless named again. An interrupted run goes on when the same command is given
    again.

    Example: sequela discover model alarms.csv --out results
    """
    if out is None and not plan:
        raise typer.BadParameter("give a folder for the results", param_hint="--out")
    from sequela.density.checkpoint import load_density
    from sequela.discovery.stream import discover_to

    density = load_density(model, device=device, precision=precision)
    table = log.read_like(density)
    settings = _with_population(settings)
    if out is None or plan:
        _print_plan(density, table, as_json, settings)
        return
    result = discover_to(density, table, out, progress=not quiet, **settings)
    summary, counts = result.summary(), result.run.counts
    if as_json:
        links = {"n_links": summary.links.height, "n_pairs": len(summary)}
        typer.echo(json.dumps({"out": str(out), **links, **result.run.to_dict()}))
        return
    from sequela.cli.tables import print_known, print_links

    print_links(summary, title="Strongest links")
    typer.echo(
        f"{counts.n_edges:,} edges among {counts.n_pairs_tested:,} pairs of positions in {counts.n_cases:,} cases; "
        f"{summary.links.height:,} of {len(summary):,} pairs of event types with an edge are links (in two cases or "
        f"more, and at more places than chance explains); {result.run.seconds or 0:.0f} s; saved to '{out}'"
    )
    print_known(result.known)
    typer.echo(f"to look at it: sequela report {out} --out report.html")


@command()
@generated(POPULATION, _OF_POPULATION)
@reads_log()
def population(
    model: Model,
    log: LogOptions,
    out: Annotated[
        Path,
        typer.Option(help="Folder for population.parquet, nodes.parquet and run.json.",
                     rich_help_panel="Log and files"),
    ],
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train this many densities like the model, each without a fold of the cases; uses all cases.",
            rich_help_panel="Evidence",
        ),
    ] = None,
    device: Device = None,
    precision: Precision = "float32",
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:  # fmt: skip
    """Find which event types cause which over many cases, with evidence and without labels.

    Only cases that the model has not been trained on count: those that `fit` kept apart (a tenth), or all with --folds.
    An interrupted run goes on when the same command is given again.

    Example: sequela population model alarms.csv --folds 5 --out population
    """
    from sequela.density.checkpoint import load_density
    from sequela.density.training.crossfit import cross_fit
    from sequela.discovery.population import discover_population
    from sequela.files import check_writable_folder
    from sequela.graphs.records import MARKER

    check_writable_folder(out, marker=MARKER, overwrite=settings["overwrite"])
    density: Any = load_density(model, device=device, precision=precision)
    table = log.read_like(density)
    if folds is not None:
        density = cross_fit(table, folds=folds, like=density, seed=settings["seed"], device=device, progress=not quiet)
    found = discover_population(density, table, out=out, progress=not quiet, **settings)
    if as_json:
        counts = {"n_links": len(found), "n_pairs": found.pairs.height}
        typer.echo(json.dumps({"out": str(out), **counts, **found.run.to_dict()}))
        return
    from sequela.cli.tables import print_known, print_population

    print_population(found)
    bound = "at a false discovery rate of" if settings["control"] == "fdr" else "each by itself at a level of"
    bound = "for the highest expected F1" if settings["objective"] != "rate" else f"{bound} {settings['fdr']:g}"
    typer.echo(
        f"{len(found):,} links among {found.pairs.height:,} pairs of event types, {bound}, from "
        f"{found.run.counts.n_cases:,} cases, in {found.run.seconds or 0:.0f} s; saved to '{out}'"
    )
    print_known(found.known)
    typer.echo(f"to look at it: sequela report {out} --out report.html")


@command()
@generated(POPULATION, ["cases", "delta", "fdr", "control", "horizon"])
@reads_log()
def diagnose(
    model: Model,
    log: LogOptions,
    device: Device = None,
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Say whether model and log are good enough: references, length, power, drift, ties.

    Example: sequela diagnose model alarms.csv
    """
    from sequela.density.checkpoint import load_density
    from sequela.discovery.diagnose import diagnose_log

    density = load_density(model, device=device)
    table = log.read_like(density)
    found = diagnose_log(density, table, **settings)
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in found]))
        return
    for finding in found:
        typer.echo(f"{finding.verdict:5} {finding.topic}: {finding.sentence}")


@command()
@generated(VERBS, TABLE)
@reads_log()
def plan(
    model: Model,
    log: LogOptions,
    device: Device = None,
    precision: Precision = "float32",
    as_json: AsJson = False,
    **settings: Any,
) -> None:
    """Say what `discover` would cost: branches, model steps, operations, memory, time.

    The time comes from two seconds of scoring cases of the log on this machine.

    Example: sequela plan model alarms.csv --design leave-one-out
    """
    from sequela.density.checkpoint import load_density

    density = load_density(model, device=device, precision=precision)
    table = log.read_like(density)
    _print_plan(density, table, as_json, _with_population(settings))


def _print_plan(density: Any, table: Any, as_json: bool, settings: dict[str, Any]) -> None:
    from sequela.discovery.plan import plan_discovery

    found = plan_discovery(density, table, **{name: settings[name] for name in TABLE})
    typer.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))


def _with_population(settings: dict[str, Any]) -> dict[str, Any]:
    """Read the population that a folder was named of."""
    if settings["population"] is None:
        return settings
    from sequela.graphs.saved import load_population

    return settings | {"population": load_population(settings["population"])}
