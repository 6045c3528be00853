"""The command serve: a run as an HTTP service."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from sequela.cli.base import command
from sequela.effects.settings import TABLE

TOKEN = "SEQUELA_TOKEN"
_HERE = ("127.0.0.1", "::1", "localhost")


@command()
def serve(
    results: Annotated[Path, typer.Argument(help="Folder that `sequela run` wrote.", show_default=False)],
    host: Annotated[str, typer.Option(help=f"Address to listen on; others than this machine need {TOKEN}.")] = _HERE[0],
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    design: Annotated[str, typer.Option(help=f"Of new cases. {TABLE['design'].help} masked is fastest.")] = "atomic",
    max_events: Annotated[int, typer.Option(help="Most events of a case.", min=1)] = 2_000,
    max_cases: Annotated[int, typer.Option(help="Most cases of a batch.", min=1)] = 100,
    max_bytes: Annotated[int, typer.Option(help="Largest body of a request.", min=1)] = 2_000_000,
    max_seconds: Annotated[float, typer.Option(help="Longest time of a request.", min=0.1)] = 30.0,
) -> None:
    """Serve a run over HTTP: explain new cases, look up those of the run (extra `serve`).

    It listens on this machine only, unless a token is set (environment variable SEQUELA_TOKEN), which every client must
    then send. What can be asked is described at /docs.

    Example: sequela serve answer --port 8000
    """
    from sequela.errors import ConfigError, MissingExtraError

    try:
        import uvicorn

        from sequela.service.app import Limits, create_app
    except ImportError as error:
        raise MissingExtraError("sequela serve", "serve") from error
    from sequela.service.explainer import Explainer

    token = os.environ.get(TOKEN) or None
    if host not in _HERE and token is None:
        raise ConfigError(
            f"listening on '{host}' needs a token: set the environment variable {TOKEN}, or leave --host out"
        )
    limits = Limits(body_bytes=max_bytes, events=max_events, cases=max_cases, seconds=max_seconds)
    app = create_app(Explainer(results, design=design), limits=limits, token=token)
    gc.collect()
    gc.freeze()  # what is loaded stays: each search through all of it would hold up every request for 0.2 s
    typer.echo(f"serving '{results}' on http://{host}:{port} (what can be asked: /docs); stop with Ctrl-C", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=10, access_log=False)
