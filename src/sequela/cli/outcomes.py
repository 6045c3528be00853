"""Commands on outcomes: what leads to a label, over many cases and in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sequela.cli.base import AsJson, Model, Overwrite, Quiet, Seed, command
from sequela.cli.reading import LogOptions, reads_log

MARKER = "outcomes.json"
Labels = Annotated[list[str] | None, typer.Option("--label", help="Only this label; repeat it.")]


@command()
@reads_log(outcomes=True)
def outcomes(
    model: Model,
    log: LogOptions,
    out: Annotated[Path, typer.Option(help="Folder for the model of outcomes and what was found.")],
    label: Labels = None,
    fdr: Annotated[float, typer.Option(help="Highest expected share of false causes.")] = 0.05,
    delta: Annotated[float, typer.Option(help="Least mean effect of a cause, as a probability.")] = 0.02,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find which event types lead to an outcome of whole cases: a failure, a warranty claim.

    Trains a model of the outcomes on top of a density, says whether it tells anything, weighs the evidence over all
    cases, and writes both to a folder.

    Example: sequela outcomes model log.csv --outcomes claims.csv --out claims
    """
    import polars as pl
    from rich.console import Console

    from sequela.density.checkpoint import load_density
    from sequela.density.outcomes.fit import fit_outcomes
    from sequela.discovery.outcomes import discover_outcomes
    from sequela.display import rich_table
    from sequela.files import check_writable_folder, whole_folder, write_json

    check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    density = load_density(model)
    table = log.read_like(density)
    trained = fit_outcomes(density, table, seed=seed, progress=not quiet)
    found = discover_outcomes(trained, table, labels=label, fdr=fdr, delta=delta, seed=seed, progress=not quiet)
    with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
        trained.save(folder / "model")
        found.save(folder / "causes")
        write_json(folder / MARKER, {"labels": list(trained.labels)})
    if as_json:
        told = {"causes": found.causes.to_dicts(), "sets": found.sets.to_dicts(), "pairs": found.pairs.to_dicts()}
        typer.echo(json.dumps(told))
        return
    title = f"{found.links.height:,} of {found.causes.height:,} pairs of event type and label are cause and effect"
    if found.links.height:
        columns = ["event", "label", "effect", "n_affected", "n_cases", "log10_e", "q_value"]
        Console().print(rich_table(title, found.links.select(columns).head(30)))
    else:
        typer.echo(title)
    if found.sets.height:
        sets = found.sets.group_by("label", maintain_order=True).head(3)
        sets = sets.with_columns(causes=pl.col("causes").list.join(" + "))
        Console().print(rich_table("Sets that suffice", sets))
    if found.pairs.height:
        Console().print(rich_table("Causes that act together", found.pairs.head(10)))
    typer.echo(f"wrote '{out}'; a page: sequela report RESULTS --outcomes {out} --out report.html")


@command()
@reads_log(columns=False)
def explain_outcome(
    results: Annotated[Path, typer.Argument(help="Folder that `sequela outcomes` wrote.", show_default=False)],
    log: LogOptions,
    case: Annotated[str, typer.Option(help="Name of the case.")],
    label: Labels = None,
    design: Annotated[str, typer.Option(help="atomic, structured or masked.")] = "atomic",
    simulations: Annotated[int, typer.Option(help="Simulated continuations an event for the total effect.")] = 32,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say what each event of a case did to the probability of its labels: directly, and through what came after it.

    Example: sequela explain-outcome claims log.csv --case 28
    """
    import polars as pl
    from rich.console import Console

    from sequela.density.outcomes.model import load_outcomes
    from sequela.discovery.explain_outcome import explain_outcome as ask
    from sequela.display import rich_table

    model = load_outcomes(results)
    one = log.read_like(model.density).case(case)
    found = ask(model, one, labels=label, design=design, simulations=simulations, seed=seed)
    if as_json:
        typer.echo(json.dumps(found.to_dicts()))
        return
    for name, rows in found.group_by("label", maintain_order=True):
        strongest = rows.sort(pl.max_horizontal(pl.col("direct_effect", "total_effect").abs()), descending=True).head(
            10
        )
        probability = rows["probability"][0]
        columns = ["position", "event", "direct_effect", "direct_std_error", "total_effect", "total_std_error"]
        Console().print(rich_table(f"{name[0]}: probability {probability:.2f}", strongest.select(columns)))
