"""The command services: which service calls which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.cli.base import command
from sequela.cli.options import generated
from sequela.events.reading import READ_LOG
from sequela.text import visible


@command()
@generated(READ_LOG, ["file_format"])
def services(
    spans: Annotated[list[str], typer.Argument(help="Files of OpenTelemetry or Jaeger.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write: the columns service and neighbour.")],
    **options: Any,
) -> None:
    """Write which service calls which in traces: a topology, for what is known beforehand.

    Example: sequela services spans.jsonl --out services.csv
    """
    from sequela.events.spans import read_spans
    from sequela.files import whole_file

    found = read_spans(spans, **options)
    for note in found.notes:
        typer.echo(f"note: {visible(note, longest=500)}", err=True)
    pairs = found.services()
    with whole_file(out) as path:
        pairs.write_csv(path)
    typer.echo(f"{pairs.height:,} pairs of services that call each other, in '{out}'")
