"""What a run says of itself: arguments, seed, versions and counts, for `run.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from sequela.density.base import Density
from sequela.density.runtime.network_density import runtime_of
from sequela.effects.screening import COUNTS as SCREENING_COUNTS
from sequela.effects.settings import Settings
from sequela.errors import LogFormatError
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.files import damaged_files, read_record
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.records import FORMAT, MARKER, Arguments, CountsRecord, DensityRecord, LogRecord, RunRecord
from sequela.version import __version__


@dataclass
class Counts:
    """What happened on the way.

    Attributes:
        n_unknown_events: Events of types the density did not know, treated as ``<rare>``.
        n_cases: Cases seen.
        n_cases_skipped: Cases with fewer than two events: nothing to test.
        n_pairs_tested: Pairs of positions tested.
        n_edges: Edges found.
        n_clamped: Log-probabilities clamped to stay finite.
        n_replacements: With screening, replacements scored, over all pairs.
        n_pairs_stopped_early: Pairs that screening decided by fewer than all replacements.
        n_pairs_audited: Pairs that got all of them to count screening's errors.
        n_pairs_decided_otherwise: Those of the audited pairs that screening would have decided otherwise.
    """

    n_unknown_events: int = 0
    n_cases: int = 0
    n_cases_skipped: int = 0
    n_pairs_tested: int = 0
    n_edges: int = 0
    n_clamped: int = 0
    n_replacements: int = 0
    n_pairs_stopped_early: int = 0
    n_pairs_audited: int = 0
    n_pairs_decided_otherwise: int = 0

    def add(self, graph: InstanceGraph) -> None:
        """Count one graph."""
        self.n_cases += 1
        self.n_cases_skipped += len(graph.events) < 2
        self.n_pairs_tested += graph.n_tested
        self.n_edges += len(graph)
        self.n_clamped += graph.n_clamped
        for name in SCREENING_COUNTS:
            setattr(self, name, getattr(self, name) + graph.counts.get(name, 0))

    def include(self, other: Mapping[str, int]) -> None:
        """Add other counts, by name."""
        for name, value in other.items():
            setattr(self, name, getattr(self, name) + value)


def arguments_record(settings: Settings, density: Density, **more: Any) -> Arguments:
    """Return settings, and arguments beside them, as they are written down."""
    if settings.knowledge is not None:
        more |= {"knowledge_file": settings.knowledge.source}
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

    runtime = runtime_of(density)
    longest = int(sequences.lengths.max()) if sequences.n_cases else 1
    return RunRecord(
        format=FORMAT,
        kind=kind,
        arguments=arguments_record(settings, density, horizon=settings.horizon_for(density, longest), **arguments),
        log=LogRecord(
            source=Path(log.source.strip("'")).name,
            n_events=sequences.n_events - sequences.n_at_neighbours,
            n_neighbour_events=sequences.n_at_neighbours,
            n_ties=log.n_ties,
            event_columns=list(log.columns.get("event", [])),
        ),
        counts=msgspec.convert(asdict(counts) | {"n_rare_events": _n_rare(density, sequences)}, CountsRecord),
        density=DensityRecord(
            backbone=density.backbone or type(density).__name__,
            device=runtime.device,
            precision=runtime.precision,
            screening_precision=settings.screening_precision(density),
            compiled=runtime.compiled,
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


def verify_results(path: str | Path) -> pl.DataFrame:
    """Check a folder of results, or a trained model, against the checksums that were written with it.

    Args:
        path: Folder that ``sequela discover``, ``population`` or ``fit``, or their functions, wrote.

    Returns:
        One row a file: ``file`` and ``damage``, which is null where the file is as it was written.

    Raises:
        LogFormatError: The folder has no readable record of its files.

    Example:
        >>> import tempfile
        >>> from sequela.discovery.stream import discover_to
        >>> from sequela import read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = read_log(world.to_log(world.sample(3, 6, seed=1)))
        >>> found = discover_to(world, log, Path(tempfile.mkdtemp()) / "out", progress=False)
        >>> verify_results(found.folder)["damage"].null_count()
        6
        >>> with (found.folder / "edges.parquet").open("ab") as file:
        ...     _ = file.write(b"!")
        >>> verify_results(found.folder).filter(pl.col("damage").is_not_null())["file"].to_list()
        ['edges.parquet']
    """
    from sequela.density.checkpoint import MARKER as DENSITY

    folder = Path(path)
    name = DENSITY if (folder / DENSITY).is_file() else MARKER
    try:
        run = read_record(folder, name)
    except (OSError, ValueError) as error:
        raise LogFormatError(f"'{path}' cannot be checked: {error}") from error
    damaged = damaged_files(folder, run)
    names = [name, *run["files"]]
    schema = {"file": pl.String, "damage": pl.String}
    return pl.DataFrame({"file": names, "damage": [damaged.get(name) for name in names]}, schema=schema)


def _n_rare(density: Density, sequences: SequenceSet) -> int:
    rare = density.vocabulary.rare_id
    return 0 if rare is None else int((sequences.ids == rare).sum())
