"""The command services: which service calls which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sequela.cli.base import FileFormat, command
from sequela.text import visible


@command()
def services(
    spans: Annotated[list[str], typer.Argument(help="Files of OpenTelemetry or Jaeger.", show_default=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write: the columns service and neighbour.")],
    file_format: FileFormat = None,
) -> None:
    """Write which service calls which in traces: a topology, for what is known beforehand.

    Example: sequela services spans.jsonl --out services.csv
    """
    from sequela.events.spans import read_spans
    from sequela.files import whole_file

    found = read_spans(spans, file_format=file_format)
    for note in found.notes:
        typer.echo(f"note: {visible(note, longest=500)}", err=True)
    pairs = found.services()
    with whole_file(out) as path:
        pairs.write_csv(path)
    typer.echo(f"{pairs.height:,} pairs of services that call each other, in '{out}'")
