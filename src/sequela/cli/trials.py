"""Commands on logs with known causes: demo, simulate, evaluate, experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sequela.cli.base import (
    AsJson,
    Overwrite,
    Quiet,
    Seed,
    command,
)
from sequela.errors import ConfigError, check_choice


@command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the log, the model, the edges and the pictures.")] = Path(
        "demo"
    ),
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a log from a known world, take it through the whole path, and score the result.

    Example: sequela demo --out demo
    """
    from sequela.evaluation.demo import run_demo

    result = run_demo(out, seed=seed, progress=not quiet)
    if as_json:
        scores = {name: score.__dict__ for name, score in result.scores.items()}
        typer.echo(json.dumps({"out": str(out), "scores": scores, "seconds": result.seconds}))
        return
    from sequela.cli.tables import print_links, print_scores

    print_links(result.summary, title="Strongest links", truth=result.true_links)
    print_scores(result.scores)
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in result.seconds.items())
    typer.echo(f"{seconds}. Open {out / 'report.html'} in a browser; next, your own log:")
    typer.echo("  sequela run LOG --case COLUMN --event COLUMN --time COLUMN --out answer")


@command()
def simulate(
    world: Annotated[
        str,
        typer.Argument(
            help="linear, nonlinear, multiplicative, threshold, long_range, confounded, slow_clock, "
            "simultaneous, noisy, diagnostic_log, services, fault_codes or topology.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Event log to write: csv or parquet.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Also write the true edges: parquet or csv. Of the last three also events and links, beside it."
        ),
    ] = None,
    types: Annotated[int | None, typer.Option(help="Event types; by default what suits the world.")] = None,
    cases: Annotated[int | None, typer.Option(help="How many cases: 1000; fault_codes 600, topology 100.")] = None,
    length: Annotated[
        str | None,
        typer.Option(help="Events a case: a number, or LOW-HIGH; 20-60. Not of the last three worlds."),
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Nats above which a pair is a true edge: 0.05. Not of the last two.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER of the world itself, as decay=0.2; repeat.")
    ] = None,
    seed: Seed = 0,
    draw: Annotated[int, typer.Option(help="Another number gives fresh cases of the same world.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a log with known causes, as a user could have it.

    Example: sequela simulate diagnostic_log --out log.csv --truth truth.parquet
    """
    from sequela.worlds.catalogue import GENERATORS, WORLDS
    from sequela.worlds.output import check_table_name, options_from_text, simulate_generator, simulate_world

    for path in (out, truth):
        if path is not None:
            check_table_name(path)
    check_choice("world", world, [*WORLDS, *GENERATORS])
    options = options_from_text(option or [])
    for name, instead in (("seed", "--seed"), ("n_types", "--types")):
        if name in options:
            raise ConfigError(f"--option {name}=… must be given as {instead}")
    options |= {"seed": seed} | ({} if types is None else {"n_types": types})
    draw_seed = 1 + seed + 1_000_003 * draw
    if world in WORLDS:
        record = simulate_world(
            world, options, out, truth, n_cases=1000 if cases is None else cases,
            length="20-60" if length is None else length, delta=0.05 if delta is None else delta, seed=draw_seed,
        )  # fmt: skip
    else:
        if length is not None:
            raise ConfigError(f"--length is not for '{world}': a case is as long as what happens in it")
        record = simulate_generator(world, options, out, truth, n_cases=cases, delta=delta, seed=draw_seed)
    if as_json:
        typer.echo(json.dumps(record))
        return
    edges = "" if truth is None else f", and {record['n_true_edges']:,} true edges to '{truth}'"
    typer.echo(f"wrote {record['n_events']:,} events of {record['n_cases']:,} cases to '{out}'{edges}")
    for path in record.get("beside", []):
        typer.echo(f"wrote '{path}'")
    if "read_with" in record:
        typer.echo(f"read it with:  {record['read_with']}")


@command()
def evaluate(
    graphs: Annotated[
        Path,
        typer.Argument(
            help="Folder that `sequela discover` or `population` wrote, or a table of edges.", show_default=False
        ),
    ],
    truth: Annotated[Path, typer.Argument(help="True edges: parquet or csv.", show_default=False)],
    events: Annotated[
        Path | None,
        typer.Option(help="Time stamp of each event, where events share them; by default TRUTH-events beside TRUTH."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare found edges with labels.

    Both tables need the columns case, cause_position, effect_position, cause, effect; positions count from 0. Where
    events of the true edges share time stamps (a column same_tick), positions inside one mean nothing: edges are
    then compared by time stamp and type, and an edge without direction counts one half. Of a population only the links
    between event types are compared.

    Example: sequela evaluate results truth.parquet
    """
    from sequela.evaluation.compare import evaluate_edges, evaluate_links, read_edges

    if (graphs / "population.parquet").is_file():
        from sequela.cli.tables import print_link_scores
        from sequela.graphs.saved import load_population

        links = evaluate_links(load_population(graphs).edges, read_edges(truth)[0])
        if as_json:
            typer.echo(json.dumps(links.to_dict()))
        else:
            print_link_scores(links)
        return
    found, n_pairs = read_edges(graphs)
    true = read_edges(truth)[0]
    if "same_tick" in true.columns and true["same_tick"].any():
        from sequela.cli.tables import print_tick_evaluation
        from sequela.evaluation.ties import score_events

        beside = truth.with_name(f"{truth.stem}-events{truth.suffix}")
        ticked = score_events(found, true, read_edges(beside if events is None else events)[0])
        if as_json:
            typer.echo(json.dumps(ticked.to_dict()))
        else:
            print_tick_evaluation(ticked)
        return
    result = evaluate_edges(found, true, n_pairs=n_pairs)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    from sequela.cli.tables import print_evaluation

    print_evaluation(result)


@command()
def experiment(
    name: Annotated[str | None, typer.Argument(help="Which; none lists them all.", show_default=False)] = None,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Sizes that claims rest on, or under two minutes.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for rows.csv, figure.png and experiment.json.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions: 2, or 5 with --full.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run one of the paper's experiments, or of ours, on worlds with known truth.

    Example: sequela experiment particles --out results/particles
    """
    from sequela.cli.tables import print_frame
    from sequela.evaluation.experiments import NAMES, get_experiment

    if name is None:
        for each in NAMES:
            typer.echo(f"{each:14}{get_experiment(each).question}")
        return
    from sequela.evaluation.experiments.common import run

    chosen = get_experiment(name)
    result = run(
        chosen,
        full=full,
        seeds=None if seeds is None else range(seeds),
        out=out,
        overwrite=overwrite,
        progress=not quiet,
    )
    if as_json:
        typer.echo(json.dumps({"experiment": name, "seconds": result.seconds, "rows": result.table.to_dicts()}))
        return
    print_frame(result.table, title=chosen.question)
    saved = "" if out is None else f"; saved to '{out}'"
    typer.echo(f"{'full' if full else 'quick'} size, {result.seconds:.0f} s{saved}")
