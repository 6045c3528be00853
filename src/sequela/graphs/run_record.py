"""The record of a run, put together from what took part in it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from sequela import __version__
from sequela.density.base import Density
from sequela.effects.settings import Settings
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.execution.chunks import Counts
from sequela.graphs.records import FORMAT, Arguments, CountsRecord, DensityRecord, LogRecord, RunRecord


def arguments_record(settings: Settings, density: Density, **more: Any) -> Arguments:
    """Return settings, and arguments beside them, as they are written down."""
    return msgspec.convert(settings.to_dict(density) | more, Arguments)


def run_record(
    density: Density,
    log: EventLog,
    sequences: SequenceSet,
    settings: Settings,
    counts: Counts,
    *,
    kind: str = "discovery",
    seconds: float | None = None,
    **arguments: Any,
) -> RunRecord:
    """Return everything one needs to know to repeat and to judge a run.

    Args:
        density: The density that was asked.
        log: The log.
        sequences: Its cases as the density reads them.
        settings: How it was asked.
        counts: What happened on the way.
        kind: ``"discovery"`` or ``"population"``.
        seconds: How long it took.
        **arguments: Arguments beside the settings, by their names in `Arguments`.
    """
    import numpy as np
    import torch

    longest = int(sequences.lengths.max()) if sequences.n_cases else 1
    return RunRecord(
        format=FORMAT,
        kind=kind,
        arguments=arguments_record(settings, density, horizon=settings.horizon_for(density, longest), **arguments),
        log=LogRecord(source=Path(log.source.strip("'")).name, n_events=sequences.n_events, n_ties=log.n_ties),
        counts=msgspec.convert(asdict(counts) | {"n_rare_events": _n_rare(density, sequences)}, CountsRecord),
        density=DensityRecord(
            backbone=density.backbone,
            device=density.device,
            precision=density.precision,
            compiled=density.compiled,
            memory=density.memory,
            vocabulary=density.vocabulary.fingerprint,
            n_types=density.vocabulary.n_types,
            report=density.info.get("report"),
        ),
        versions={
            "sequela": __version__,
            "torch": str(torch.__version__),
            "polars": pl.__version__,
            "numpy": np.__version__,
        },
        seconds=None if seconds is None else round(seconds, 3),
    )


def _n_rare(density: Density, sequences: SequenceSet) -> int:
    rare = density.vocabulary.rare_id
    return 0 if rare is None else int((sequences.ids == rare).sum())
