"""Discovery over a whole log, streamed to a folder that appears only when it is complete.

```
edges.parquet     one row an edge: case and the columns of InstanceGraph.edges
summary.parquet   one row a pair of event types: the columns of SummaryGraph.edges
nodes.parquet     event types and their counts
run.json          every argument, seed, versions, and what was clamped, folded and skipped
```
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sequela import __version__
from sequela.causal.discovery import Settings, empty_edges, encode_log, iter_graphs, log_nodes
from sequela.causal.graphs import InstanceGraph, SummaryGraph, finish_pairs, pair_sums
from sequela.density.base import Density
from sequela.errors import LogFormatError
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.files import check_writable_folder, read_json, whole_folder, write_json
from sequela.progress import Reporter, reporter

MARKER = "run.json"
FORMAT = 1
_ROWS_A_GROUP = 50_000


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
    """

    n_unknown_events: int = 0
    n_cases: int = 0
    n_cases_skipped: int = 0
    n_pairs_tested: int = 0
    n_edges: int = 0
    n_clamped: int = 0

    def add(self, graph: InstanceGraph) -> None:
        """Count one graph."""
        self.n_cases += 1
        self.n_cases_skipped += len(graph.events) < 2
        self.n_pairs_tested += graph.n_tested
        self.n_edges += len(graph)
        self.n_clamped += graph.n_clamped


@dataclass(frozen=True)
class SavedDiscovery:
    """A folder of results.

    Attributes:
        folder: Where.
        summary: Graph over event types.
        run: What `run.json` says.
    """

    folder: Path
    summary: SummaryGraph
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def edges(self) -> pl.LazyFrame:
        """All edges, scanned from the file."""
        return pl.scan_parquet(self.folder / "edges.parquet")


def discover_to(
    density: Density,
    log: EventLog,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: bool | Reporter = True,
    self_loops: bool = False,
    **settings: Any,
) -> SavedDiscovery:
    """Discover every case of a log and stream the edges to a folder, in bounded memory.

    Args:
        density: A trained density, or a world.
        log: Event log.
        out: Folder to write; it appears when all is done.
        overwrite: Replace an earlier result there.
        progress: Show a bar.
        self_loops: Keep ``u -> u`` in the summary.
        settings: As for `sequela.discover`.

    Raises:
        ConfigError: A setting is not allowed, or the folder may not be written.
        VocabularyError: The log is not of the density's vocabulary.
    """
    import pyarrow.parquet as pq

    check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    chosen = Settings(**settings)
    sequences = encode_log(density, log)
    counts = Counts(sequences.n_unknown)
    empty = empty_edges(chosen)
    schema = empty.to_arrow().schema
    sums = pair_sums(empty)
    started = time.monotonic()
    tell = reporter(progress)
    with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
        waiting: list[pl.DataFrame] = []
        with (
            pq.ParquetWriter(folder / "edges.parquet", schema, compression="zstd") as writer,
            tell.bar("discovering", sequences.n_cases) as update,
        ):

            def write() -> pl.DataFrame:
                rows = pl.concat([empty, *waiting])
                waiting.clear()
                writer.write_table(rows.to_arrow().cast(schema))
                added = pl.concat([sums, pair_sums(rows)])
                return added.group_by("cause", "effect", maintain_order=True).agg(pl.all().sum())

            n_waiting = 0
            for done, graph in enumerate(iter_graphs(density, sequences, chosen), start=1):
                counts.add(graph)
                if len(graph):
                    waiting.append(graph.edges.select(pl.lit(graph.case).alias("case"), pl.all()))
                    n_waiting += len(graph)
                if n_waiting >= _ROWS_A_GROUP:
                    sums, n_waiting = write(), 0
                update(done, f"{counts.n_edges:,} edges")
            sums = write()
        summary = SummaryGraph(finish_pairs(sums, self_loops=self_loops), log_nodes(density, sequences))
        summary.edges.write_parquet(folder / "summary.parquet")
        summary.nodes.write_parquet(folder / "nodes.parquet")
        run = run_record(density, log, sequences, chosen, counts)
        run["arguments"]["self_loops"] = self_loops
        run["seconds"] = round(time.monotonic() - started, 3)
        write_json(folder / MARKER, run)
    return SavedDiscovery(Path(out), summary, run)


def load_discovery(path: str | Path) -> SavedDiscovery:
    """Open a folder that `discover_to` wrote.

    Raises:
        LogFormatError: It is not such a folder, or is damaged.
    """
    folder = Path(path)
    try:
        run = read_json(folder / MARKER)
        if run["format"] != FORMAT:
            raise ValueError(f"format {run['format']}, this version reads {FORMAT}")
        summary = SummaryGraph(pl.read_parquet(folder / "summary.parquet"), pl.read_parquet(folder / "nodes.parquet"))
        pl.read_parquet_schema(folder / "edges.parquet")
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"'{path}' is not a folder of discovery results: {error}") from error
    return SavedDiscovery(folder, summary, run)


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
