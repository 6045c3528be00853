"""The command that tells what changed between two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sequela.cli.base import AsJson, command

if TYPE_CHECKING:
    import polars as pl

_ROWS = 20


@command()
def compare(
    results_a: Annotated[
        Path, typer.Argument(help="First result: a folder of `sequela discover` or `run`.", show_default=False)
    ],
    results_b: Annotated[Path, typer.Argument(help="Second result.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    fdr: Annotated[
        float, typer.Option(help="Highest expected share of false changes among links, and among event types.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two results: links, event types, rates.

    Before and after a release, two sites, two model years. Each link is tested with all others known.

    Example: sequela compare before after --out changes.html
    """
    from sequela.discovery.compare import compare as run
    from sequela.reports.page import report
    from sequela.text import visible

    found = run(results_a, results_b, fdr=fdr)
    if out is not None:
        report(found, out)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    columns = ["change", "cause", "effect", "gain_a_nats", "gain_b_nats", "q_value"]
    _show(f"{found.changed.height:,} of {found.links.height:,} links changed", found.changed.select(columns))
    columns = ["event", "change", "per_case_a", "per_case_b", "root_change", "roots_per_case_a", "roots_per_case_b"]
    title = f"{found.changed_types.height:,} of {found.types.height:,} event types changed"
    _show(title, found.changed_types.select(columns))
    for note in found.notes:
        typer.echo(f"note: {visible(note, longest=500)}")
    if out is not None:
        typer.echo(f"wrote '{out}': open it")


def _show(title: str, rows: pl.DataFrame) -> None:
    from rich.console import Console

    from sequela.display import rich_table

    if not rows.height:
        typer.echo(title)
        return
    Console().print(rich_table(title, rows.head(_ROWS)))
    if rows.height > _ROWS:
        typer.echo(f"and {rows.height - _ROWS:,} more (--json, or --out for a page)")
