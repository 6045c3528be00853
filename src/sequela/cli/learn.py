"""Commands from a log to a graph: fit, discover, population, diagnose, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import (
    AsJson,
    CaseColumn,
    Device,
    EventColumn,
    HierarchyLevel,
    HorizonTime,
    Log,
    MemoryBudget,
    Overwrite,
    Quiet,
    Seed,
    Tick,
    Ties,
    TimeColumn,
    TimeFormat,
    app,
    named_errors,
)
from sequela.density.registry import backbone_help
from sequela.errors import ConfigError


@app.command()
@named_errors
def fit(
    log: Log,
    out: Annotated[Path, typer.Option(help="Folder to save the trained density to.")],
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    ties: Ties = "unordered",
    tick: Tick = None,
    backbone: Annotated[str, typer.Option(help=backbone_help())] = "window",
    memory: Annotated[int | None, typer.Option(help="Past events the model looks at.")] = None,
    width: Annotated[int | None, typer.Option(help="Size of the hidden layers.")] = None,
    min_count: Annotated[int, typer.Option(help="Types seen less often are folded into <rare>.")] = 2,
    hide: Annotated[float, typer.Option(help="Highest share of past events hidden in training.")] = 0.5,
    times: Annotated[
        bool | None,
        typer.Option("--times/--no-times", help="Use how long ago past events were; by default where that helps."),
    ] = None,
    components: Annotated[
        bool | None,
        typer.Option(
            "--components/--no-components",
            help="Let types that share components (several --event) learn from each other.",
        ),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Most training steps.")] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, or auto: bfloat16 where it is fast.")] = "float32",
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a next-event model on a log and save it.

    An interrupted run goes on when the same command is given again.

    Example: `sequela fit alarms.csv --case device_id --event alarm_id --time start_timestamp --out model`
    """
    from sequela.density.training.fit import fit as run
    from sequela.events.log import read_log

    table = read_log(log, case=case, event=event, time=time, time_format=time_format, ties=ties, tick=tick)
    density = run(
        table,
        backbone=backbone,
        out=out,
        overwrite=overwrite,
        seed=seed,
        min_count=min_count,
        memory=memory,
        width=width,
        hide=hide,
        times="auto" if times is None else times,
        components="auto" if components is None else components,
        max_steps=max_steps,
        precision=precision,
        device=device,
        progress=not quiet,
    )
    if as_json:
        typer.echo(json.dumps({"out": str(out), **density.info}))


@app.command()
@named_errors
def discover(
    model: Annotated[Path, typer.Argument(help="Folder that `sequela fit` wrote.", show_default=False)],
    log: Log,
    out: Annotated[Path | None, typer.Option(help="Folder for edges.parquet, summary.parquet and run.json.")] = None,
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this case; repeat it for several.")] = None,
    design: Annotated[str, typer.Option(help="atomic, leave-one-out, masked or staircase.")] = "atomic",
    proposal: Annotated[
        str | None, typer.Option(help="What replaces a cause: uniform, unigram, model or siblings.")
    ] = None,
    kept_components: Annotated[
        int, typer.Option(help="Leading components of the cause that siblings share: 1 is same component, other code.")
    ] = 1,
    particles: Annotated[int, typer.Option(help="Replacements a cause: more is slower and more exact.")] = 32,
    statistic: Annotated[str, typer.Option(help="kl_of_mean, mean_of_kl or both.")] = "kl_of_mean",
    horizon: Annotated[
        str | None, typer.Option(help="Largest lag in events, or 'full'; by default the model's memory.")
    ] = None,
    horizon_time: HorizonTime = None,
    context: Annotated[int, typer.Option(help="Leading events that are never causes.")] = 0,
    threshold: Annotated[str, typer.Option(help="effect-size, fixed, vocabulary, percentile or otsu.")] = "effect-size",
    delta: Annotated[float, typer.Option(help="Smallest effect of interest, in nats.")] = 0.05,
    confidence_level: Annotated[float, typer.Option(help="Confidence that an edge's effect exceeds delta.")] = 0.95,
    population: Annotated[
        Path | None, typer.Option(help="Folder of `sequela population`: weigh edges by its evidence for their types.")
    ] = None,
    fdr: Annotated[
        float | None, typer.Option(help="With --population: highest expected share of false edges (0.05).")
    ] = None,
    tau: Annotated[float | None, typer.Option(help="For the thresholds fixed and vocabulary.")] = None,
    self_loops: Annotated[bool, typer.Option("--self-loops", help="Keep u -> u in the summary.")] = False,
    seed: Seed = 0,
    batch_size: Annotated[int | None, typer.Option(help="Most cases scored together.")] = None,
    memory_budget: MemoryBudget = None,
    screening: Annotated[
        str, typer.Option(help="A few particles first, more where needed: share of pairs that may differ, auto, or 0.")
    ] = "auto",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would cost, as `sequela plan` does.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray (a Ray cluster; extra 'ray').")] = "local",
    workers: Annotated[int | None, typer.Option(help="Ray actors; by default one a processor.")] = None,
    device: Device = None,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, float16, or auto: what is fast on the device and close.")
    ] = "float32",
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="Run the model as compiled code; by default on CUDA for long jobs."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find which events caused which, in every case of a log.

    The columns are those given to `fit` unless named again. An interrupted run goes on when the same command is given
    again.

    Example: `sequela discover model alarms.csv --out results`
    """
    if out is None and not plan:
        raise typer.BadParameter("give a folder for the results", param_hint="--out")
    from sequela.density.checkpoint import load_density
    from sequela.discovery.stream import discover_to
    from sequela.graphs.population import load_population

    density = load_density(model, device=device, precision=precision)
    table = _read_like(density, log, case, event, time, time_format)
    if only:
        table = table.cases(only)
    settings = {
        "design": design,
        "proposal": proposal,
        "kept_components": kept_components,
        "particles": particles,
        "statistic": statistic,
        "horizon": _horizon(horizon),
        "horizon_time": horizon_time,
        "context": context,
        "threshold": threshold,
        "delta": delta,
        "confidence_level": confidence_level,
        "tau": tau,
        "seed": seed,
        "batch_size": batch_size,
        "memory_budget": memory_budget,
        "screening": _share_or_auto("screening", screening),
        "population": None if population is None else load_population(population),
        "fdr": fdr,
    }
    if out is None or plan:
        _print_plan(density, table, as_json, settings)
        return
    result = discover_to(
        density,
        table,
        out,
        overwrite=overwrite,
        progress=not quiet,
        self_loops=self_loops,
        engine=engine,
        workers=workers,
        compile="auto" if compile is None else compile,
        **settings,
    )
    if as_json:
        typer.echo(json.dumps({"out": str(out), "n_links": len(result.summary), **result.run}))
        return
    from sequela.cli.tables import print_links

    counts = result.run["counts"]
    print_links(result.summary, title="Strongest links")
    typer.echo(
        f"{counts['n_edges']:,} edges among {counts['n_pairs_tested']:,} pairs of positions in {counts['n_cases']:,} "
        f"cases, {len(result.summary):,} links between event types, in {result.run['seconds']:.0f} s; saved to '{out}'"
    )
    typer.echo(f"to look at it: sequela report {out} --out report.html")


@app.command()
@named_errors
def population(
    model: Annotated[Path, typer.Argument(help="Folder that `sequela fit` wrote.", show_default=False)],
    log: Log,
    out: Annotated[Path, typer.Option(help="Folder for population.parquet, nodes.parquet and run.json.")],
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train this many densities like the model, each without a part of the cases; uses all cases."
        ),
    ] = None,
    cases: Annotated[str, typer.Option(help="held-out (kept out of training), or all: the log is new.")] = "held-out",
    fdr: Annotated[float, typer.Option(help="Highest expected share of false links.")] = 0.05,
    delta: Annotated[float, typer.Option(help="Least mean effect of a link, in nats.")] = 0.05,
    hierarchy_level: HierarchyLevel = None,
    pool: Annotated[
        bool,
        typer.Option(
            help="Types with components: less evidence is needed where others with the same first components are "
            "linked."
        ),
    ] = True,
    design: Annotated[str, typer.Option(help="atomic, leave-one-out, masked or staircase.")] = "atomic",
    particles: Annotated[int, typer.Option(help="Replacements a cause.")] = 32,
    horizon: Annotated[str | None, typer.Option(help="Largest lag in events.")] = None,
    horizon_time: HorizonTime = None,
    seed: Seed = 0,
    engine: Annotated[str, typer.Option(help="local, or ray (a Ray cluster; extra 'ray').")] = "local",
    workers: Annotated[int | None, typer.Option(help="Ray actors; by default one a processor.")] = None,
    device: Device = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find which event types cause which over many cases, with evidence and without labels.

    Only cases that the model has not been trained on count: those that `fit` kept apart (a tenth), or all with --folds.
    An interrupted run goes on when the same command is given again.

    Example: `sequela population model alarms.csv --folds 5 --out population`
    """
    from sequela.density.checkpoint import load_density
    from sequela.density.training.crossfit import cross_fit
    from sequela.discovery.population import discover_population
    from sequela.files import check_writable_folder
    from sequela.graphs.run_record import MARKER

    check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    density: Any = load_density(model, device=device)
    table = _read_like(density, log, case, event, time, time_format)
    if folds is not None:
        arguments = dict(density.info.get("arguments", {})) | {"seed": seed, "device": device}
        density = cross_fit(table, folds=folds, progress=not quiet, **arguments)
    found = discover_population(
        density, table, cases=cases, fdr=fdr, delta=delta, design=design, particles=particles,
        horizon=_horizon(horizon), horizon_time=horizon_time, hierarchy_level=hierarchy_level, pool=pool,
        seed=seed, out=out, overwrite=overwrite, engine=engine, workers=workers, progress=not quiet,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"out": str(out), "n_links": len(found), "n_pairs": found.pairs.height, **found.run}))
        return
    from sequela.cli.tables import print_population

    print_population(found)
    typer.echo(
        f"{len(found):,} links among {found.pairs.height:,} pairs of event types, at a false discovery rate of "
        f"{fdr:g}, from {found.run['counts']['n_cases']:,} cases, in {found.run['seconds']:.0f} s; saved to '{out}'"
    )
    typer.echo(f"to look at it: sequela report {out} --out report.html")


@app.command()
@named_errors
def diagnose(
    model: Annotated[Path, typer.Argument(help="Folder that `sequela fit` wrote.", show_default=False)],
    log: Log,
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    cases: Annotated[str, typer.Option(help="held-out (kept out of training), or all: the log is new.")] = "held-out",
    delta: Annotated[float, typer.Option(help="Effect size of interest, in nats.")] = 0.05,
    fdr: Annotated[float, typer.Option(help="Highest expected share of false links.")] = 0.05,
    horizon: Annotated[str | None, typer.Option(help="Largest lag in events.")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say whether model and log are good enough: references, length, power, drift, ties.

    Example: `sequela diagnose model alarms.csv`
    """
    from sequela.density.checkpoint import load_density
    from sequela.discovery.diagnose import diagnose_log

    density = load_density(model, device=device)
    table = _read_like(density, log, case, event, time, time_format)
    found = diagnose_log(density, table, cases=cases, delta=delta, fdr=fdr, horizon=_horizon(horizon))
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in found]))
        return
    for finding in found:
        typer.echo(f"{finding.verdict:5} {finding.topic}: {finding.sentence}")


@app.command()
@named_errors
def plan(
    model: Annotated[Path, typer.Argument(help="Folder that `sequela fit` wrote.", show_default=False)],
    log: Log,
    case: CaseColumn = None,
    event: EventColumn = None,
    time: TimeColumn = None,
    time_format: TimeFormat = None,
    design: Annotated[str, typer.Option(help="atomic, leave-one-out, masked or staircase.")] = "atomic",
    proposal: Annotated[
        str | None, typer.Option(help="What replaces a cause: uniform, unigram, model or siblings.")
    ] = None,
    particles: Annotated[int, typer.Option(help="Replacements a cause.")] = 32,
    horizon: Annotated[str | None, typer.Option(help="Largest lag in events, or 'full'.")] = None,
    context: Annotated[int, typer.Option(help="Leading events that are never causes.")] = 0,
    memory_budget: MemoryBudget = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Say what `discover` would cost: branches, model steps, operations, memory, time.

    The time comes from two seconds of scoring cases of the log on this machine.

    Example: `sequela plan model alarms.csv --design leave-one-out`
    """
    from sequela.density.checkpoint import load_density

    density = load_density(model, device=device)
    table = _read_like(density, log, case, event, time, time_format)
    settings = {
        "design": design,
        "proposal": proposal,
        "particles": particles,
        "horizon": _horizon(horizon),
        "context": context,
        "memory_budget": memory_budget,
    }
    _print_plan(density, table, as_json, settings)


def _print_plan(density: Any, table: Any, as_json: bool, settings: dict[str, Any]) -> None:
    from sequela.discovery.plan import plan_discovery

    found = plan_discovery(density, table, **settings)
    typer.echo(json.dumps(found.to_dict()) if as_json else "\n".join(found.lines()))


def _horizon(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _read_like(density: Any, log: Path, case: Any, event: Any, time: Any, time_format: Any) -> Any:
    """Read a log with the columns the density was trained on, unless others are named."""
    from sequela.events.log import read_log

    known = dict(density.info.get("log", {}).get("columns", {}))
    if case is None and event is None and time is None and known:
        return read_log(
            log,
            case=known["case"],
            event=known["event"],
            time=known["time"] or False,
            time_format=time_format or known["time_format"],
            ties=known["ties"],
            tick=known["tick"],
        )
    return read_log(log, case=case, event=event, time=time, time_format=time_format)


def _share_or_auto(name: str, value: str) -> float | str:
    try:
        return value if value == "auto" else float(value)
    except ValueError:
        raise ConfigError(f"{name} must be a number or auto; got '{value}'") from None
