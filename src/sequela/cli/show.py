"""Commands that show results or hand them to other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import AsJson, HierarchyLevel, command
from sequela.cli.reading import filters_result


@command()
@filters_result
def report(
    results: Annotated[
        Path, typer.Argument(help="Folder that `sequela discover` or `population` wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    population: Annotated[
        Path | None,
        typer.Option(help="Folder that `sequela population` wrote: only links with evidence then count as causes."),
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="Folder that `sequela outcomes` wrote: a tab of what leads to them.")
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Embed this case; repeat it. By default as many as fit, those with the most effects first."),
    ] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Replace case names, let times begin at 0, leave out the log's name.")
    ] = False,
    hierarchy_level: HierarchyLevel = None,
    title: Annotated[str | None, typer.Option(help="Heading; by default the name of the log.")] = None,
    max_links: Annotated[int, typer.Option(help="The strongest so many links go into the page.")] = 20_000,
    max_megabytes: Annotated[float, typer.Option(help="Size of the data of the embedded cases.")] = 10.0,
    as_json: AsJson = False,
    part: Any = None,
) -> None:
    """Write an interactive page of a result: one file to open, explore and send.

    Example: sequela report results --out report.html
    """
    from sequela.reports.page import report as write

    write(
        part(results), out, population=population, outcomes=outcomes, cases=case, title=title, max_links=max_links,
        max_megabytes=max_megabytes, hierarchy_level=hierarchy_level, anonymise=anonymise,
    )  # fmt: skip
    size = out.stat().st_size
    text = json.dumps({"out": str(out), "bytes": size}) if as_json else f"wrote '{out}' ({size / 1e6:.1f} MB): open it"
    typer.echo(text)


@command()
@filters_result
def export(
    results: Annotated[
        Path, typer.Argument(help="Folder that `sequela discover` or `population` wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File; its suffix is the format: see above.")],
    instance: Annotated[str | None, typer.Option(help="The graph of this case, not the one over event types.")] = None,
    hierarchy_level: HierarchyLevel = None,
    as_json: AsJson = False,
    part: Any = None,
) -> None:
    """Write a graph, or the log with the causes of each event, for another program.

    graphml (Gephi, Cytoscape, yEd), gexf (Gephi), dot (Graphviz), cypher (Neo4j), json (networkx, D3), csv, xlsx
    (Excel) and parquet hold the graph; xes and jsonocel (OCEL 2.0, for process mining) and otlp.json (OpenTelemetry)
    hold all events with their causes.

    Example: sequela export results --out graph.graphml
    """
    from sequela.errors import ConfigError
    from sequela.graphs.exports import export as write
    from sequela.graphs.exports import what_was_written
    from sequela.graphs.population import PopulationGraph
    from sequela.graphs.saved import load_results

    found: Any = part(load_results(results))
    if instance is not None:
        if isinstance(found, PopulationGraph):
            raise ConfigError(f"'{results}' is a population graph, which has no cases; leave --instance out")
        found = found.case(instance)
    written = write(found, out, hierarchy_level=hierarchy_level)
    typer.echo(json.dumps({"out": str(out)}) if as_json else f"wrote {what_was_written(written)} to '{out}'")


@command()
def verify(
    results: Annotated[
        Path, typer.Argument(help="Folder that `sequela discover`, `population` or `fit` wrote.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Check every file of a result or a model against its checksums; exit code 1 where one is damaged.

    Example: sequela verify results
    """
    from sequela.graphs.run_record import verify_results
    from sequela.text import visible

    found = verify_results(results)
    damaged = dict(found.drop_nulls().iter_rows())
    if as_json:
        typer.echo(json.dumps({"results": str(results), "n_files": found.height, "damaged": damaged}))
    elif damaged:
        for name, what in damaged.items():
            typer.echo(f"{visible(name)} {what}")
    else:
        typer.echo(f"all {found.height} files of '{results}' are as they were written")
    if damaged:
        raise typer.Exit(1)
