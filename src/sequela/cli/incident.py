"""The command that ranks the services of an incident."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from sequela.cli.base import AsJson, command


@command()
def incident(
    normal: Annotated[
        Path,
        typer.Option(
            help="Normal operation: a folder with spans.parquet and logs.parquet (or .csv; one may be missing), or a "
            "file of spans, also of OpenTelemetry or Jaeger.",
            show_default=False,
        ),
    ],
    window: Annotated[Path, typer.Option(help="The incident: the same.", show_default=False)],
    normal_rows: Annotated[
        str | None,
        typer.Option(
            help="Only rows of normal operation whose COLUMN=PATTERN, as 'window=normal-*'.", metavar="COLUMN=PATTERN"
        ),
    ] = None,
    window_rows: Annotated[str | None, typer.Option(help="The same of the incident.", metavar="COLUMN=PATTERN")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What a column is called, as instance=host or service=app; repeat it. Names: trace, span, parent, "
            "instance, operation, start, end, message, log_time, service, instance_suffix.",
            metavar="NAME=COLUMN",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="How many services are explained.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Rank the services of an incident: where did it begin, and what is the evidence?

    Compares a window with normal operation: what services did when called, which calls they made, how long calls to
    them waited, and how long their own work took.

    Example: sequela incident --normal monday --window tuesday-noon
    """
    from sequela.discovery.incident import explain_incident
    from sequela.display import rich_table
    from sequela.errors import ConfigError
    from sequela.events.trace_files import SPAN_COLUMNS, has_span_columns, read_folder, read_normal_and_window
    from sequela.events.traces import TraceColumns
    from sequela.text import visible

    names = dict(_pair("--column", each) for each in column or [])
    allowed = [each.name for each in fields(TraceColumns)]
    for name in names:
        if name not in allowed:
            raise ConfigError(f"--column must begin with one of {', '.join(allowed)}; got '{name}'")
    files = [has_span_columns(path) for path in (normal, window)]
    if any(files) and not all(files):
        raise ConfigError("give both periods as files of OpenTelemetry or Jaeger, or none")
    columns = TraceColumns(**((SPAN_COLUMNS if any(files) else {}) | names))
    pairs = [
        read_folder(path, columns, *(_pair(option, rows) if rows is not None else ()))
        for path, option, rows in ((normal, "--normal-rows", normal_rows), (window, "--window-rows", window_rows))
    ]
    found = explain_incident(*read_normal_and_window(pairs[0], pairs[1], columns=columns))
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    from rich.console import Console

    Console().print(
        rich_table(f"{found.window_calls:,} calls, {found.normal_calls:,} in normal operation", found.table.head(10))
    )
    for rank, suspect in enumerate(found.suspects[:top], 1):
        typer.echo(f"{rank}. {visible(suspect.service)}")
        for evidence in suspect.evidence:
            if evidence.z >= 1:
                traces = f" Traces: {', '.join(evidence.examples)}" if evidence.examples else ""
                typer.echo(visible(f"   {evidence.kind} {evidence.z:.1f}: {evidence.sentence}.{traces}", longest=1000))
    for note in found.notes:
        typer.echo(f"note: {visible(note, longest=500)}")


def _pair(option: str, text: str) -> tuple[str, str]:
    from sequela.errors import ConfigError

    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ConfigError(f"{option} must be NAME=VALUE; got '{text}'")
    return name, value
