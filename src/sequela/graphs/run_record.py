"""What a run says of itself: arguments, seed, versions and counts, for `run.json`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from sequela.density.base import Density
from sequela.effects.settings import Settings
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.execution.chunks import Counts
from sequela.version import __version__

MARKER = "run.json"

FORMAT = 1


def run_record(
    density: Density, log: EventLog, sequences: SequenceSet, settings: Settings, counts: Counts
) -> dict[str, Any]:
    """Return everything one needs to know to repeat and to judge a run, as plain values."""
    import numpy as np
    import torch

    longest = int(sequences.lengths.max()) if sequences.n_cases else 1
    return {
        "format": FORMAT,
        "arguments": settings.to_dict(density) | {"horizon": settings.horizon_for(density, longest)},
        "log": {
            "source": Path(log.source.strip("'")).name,
            "n_events": sequences.n_events,
            "n_ties": log.n_ties,
        },
        "counts": asdict(counts) | {"n_rare_events": _n_rare(density, sequences)},
        "density": {
            "backbone": density.backbone,
            "device": density.device,
            "precision": density.precision,
            "compiled": density.compiled,
            "memory": density.memory,
            "vocabulary": density.vocabulary.fingerprint,
            "n_types": density.vocabulary.n_types,
            "report": density.info.get("report"),
        },
        "versions": {
            "sequela": __version__,
            "torch": torch.__version__,
            "polars": pl.__version__,
            "numpy": np.__version__,
        },
    }


def _n_rare(density: Density, sequences: SequenceSet) -> int:
    rare = density.vocabulary.rare_id
    return 0 if rare is None else int((sequences.ids == rare).sum())
