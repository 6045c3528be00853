"""Discovery over a whole log, streamed to a folder that appears only when it is complete.

```
edges.parquet     one row an edge: case and the columns of InstanceGraph.edges
summary.parquet   one row a pair of event types: the columns of SummaryGraph.edges
nodes.parquet     event types and their counts
places.parquet    how often each pair of event types was tested
events.parquet    one row an event as the density read it: case, position, event and, when the log has times, time
run.json          every argument, seed, versions, and what was clamped, folded and skipped
```
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sequela.arguments import public
from sequela.density.base import Density
from sequela.density.runtime.compiled import compiled_for
from sequela.density.runtime.network_density import runtime_of
from sequela.discovery.arguments import VERBS, chosen
from sequela.discovery.discover import iter_batches
from sequela.discovery.job import DensityHandle, job_fingerprint
from sequela.discovery.plan import case_costs
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.knowledge import Knowledge
from sequela.effects.settings import Settings
from sequela.errors import SequelaError
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.execution.chunks import Chunk, Chunks
from sequela.execution.engines import start_engine
from sequela.execution.map_cases import map_cases
from sequela.files import check_writable_folder, whole_folder
from sequela.graphs.places import count_places
from sequela.graphs.records import MARKER, save_knowledge
from sequela.graphs.results import Discovery, empty_edges, least_cases, log_events, log_nodes
from sequela.graphs.run_record import Counts, run_record
from sequela.graphs.summary import SummaryGraph, finish_pairs, pair_sums
from sequela.locks import locked
from sequela.progress import Reporter, reporter

_ROWS_A_GROUP = 50_000

_EVENTS_A_GROUP = 500_000

if TYPE_CHECKING:
    from sequela.effects.thresholds import Threshold
    from sequela.evidence.edge_probability import Beliefs
    from sequela.graphs.population import PopulationGraph


@public(VERBS)
def discover_to(
    density: Density,
    log: EventLog,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: bool | Reporter = True,
    self_loops: bool = False,
    engine: str = "local",
    workers: int | None = None,
    compile: bool | str = "auto",
    design: str = "atomic",
    proposal: str | None = None,
    kept_components: int = 1,
    contrast: str | None = None,
    state_weights: str = "even",
    particles: int = 32,
    statistic: str = "kl_of_mean",
    exclude_effect_type: bool | None = None,
    horizon: int | str | None = None,
    horizon_time: str | float | None = None,
    context: int = 0,
    causes: str | None = None,
    effects: str | None = None,
    knowledge: Knowledge | str | Path | None = None,
    threshold: str | Threshold = "effect-size",
    delta: float = 0.05,
    confidence_level: float = 0.95,
    tau: float | None = None,
    population: PopulationGraph | None = None,
    fdr: float | None = None,
    seed: int = 0,
    screening: float | str = "auto",
    batch_size: int | None = None,
    memory_budget: str | float | None = None,
) -> Discovery:
    """Discover every case of a log and stream the edges to a folder, in bounded memory.

    A run that was interrupted, even killed, goes on when the same call is made again.

    Args:
        density: A trained density, or a world.
        log: Event log.
        out: Folder to write; it appears when all is done.

    Returns:
        The result; its edges and events are read from the folder when they are asked for.

    Raises:
        ConfigError: A setting is not allowed, or the folder may not be written.
        VocabularyError: The log is not of the density's vocabulary.
        OutOfMemoryBudgetError: The memory budget is too small for the smallest step.
        MissingExtraError: Ray is asked for and not installed.

    Example:
        >>> import tempfile
        >>> from sequela import load_discovery, read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = read_log(world.to_log(world.sample(3, 6, seed=1)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = discover_to(world, log, Path(folder) / "results", progress=False)
        ...     found == load_discovery(Path(folder) / "results")
        True
    """
    check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    settings, beliefs = chosen(locals())
    sequences = encode_log(density, log)
    longest = longest_case(sequences)
    horizon = settings.horizon_for(density, longest)
    settings.allotment(density, horizon, longest)  # refuse what cannot fit before anything is written
    started = time.monotonic()
    tell = reporter(progress)
    n_steps = int(case_costs(density, sequences, settings, horizon)[2].sum())
    with locked(out):
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
        density = compiled_for(density, compile, n_steps)
        if runtime_of(density).compiled:
            tell.say("the model runs as compiled code")
        arguments = settings.to_dict(density) | {"horizon": horizon}
        if (rounded := settings.screening_precision(density)) != runtime_of(density).precision:
            arguments["screening_precision"] = rounded  # a processor without it must not go on with this job
        job = Chunks.open(Path(out), job_fingerprint(density, sequences, arguments), doing="discovering", say=tell.say)
        n_before = sum(chunk.high - chunk.low for chunk in job.done())
        if n_before:
            tell.say(f"taking up the interrupted discovery: {n_before:,} of {sequences.n_cases:,} cases are done")
        try:
            with tell.bar("discovering", sequences.n_cases) as bar, start_engine(engine, workers) as running:
                chunks = map_cases(
                    Discovering(settings, longest, beliefs),
                    DensityHandle(density),
                    sequences,
                    engine=running,
                    chunks=job,
                    update=lambda n_done, counts: bar(n_done, f"{counts['n_edges']:,} edges"),
                )
        except BaseException:
            if density.fingerprint is None or not job.done():
                job.close()
            raise
        counts = Counts(sequences.n_unknown)
        for chunk in chunks:
            counts.include(chunk.counts)
        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            sums = _merge(chunks, empty_edges(settings), folder / "edges.parquet", population)
            _check_merged(folder / "edges.parquet", counts, sequences)
            run = run_record(
                density, log, sequences, settings, counts, seconds=time.monotonic() - started, self_loops=self_loops
            )
            places = count_places(density, sequences, run.arguments, settings)
            if settings.knowledge is not None:
                save_knowledge(settings.knowledge, folder)
            pairs = finish_pairs(
                sums,
                places,
                chance=run.arguments.chance,
                least_cases=least_cases(sequences.n_cases),
                self_loops=self_loops,
            )
            summary = SummaryGraph(pairs, log_nodes(density, sequences))
            places.write_parquet(folder / "places.parquet")
            summary.edges.write_parquet(folder / "summary.parquet")
            summary.nodes.write_parquet(folder / "nodes.parquet")
            _write_events(density, sequences, log, folder / "events.parquet")
            run = run.write(folder)
        job.close()
    return Discovery.on_disk(Path(out), summary, run)


@dataclass(frozen=True)
class Discovering:
    """How the cases of one density are discovered.

    Attributes:
        settings: As for `discover`.
        longest: Events of the longest case of all.
        beliefs: What a population says of pairs of types.
    """

    settings: Settings
    longest: int
    beliefs: Beliefs | None = None

    def __call__(self, density: Density, cases: SequenceSet) -> tuple[pl.DataFrame, dict[str, int]]:
        """Return the edges of some cases, and what was counted."""
        frames, counts = [], Counts()
        for batch in iter_batches(density, cases, self.settings, self.longest, beliefs=self.beliefs):
            for graph in batch:
                counts.add(graph)
                if len(graph):
                    frames.append(graph.edges.select(pl.lit(graph.case).alias("case"), pl.all()))
        return self.join(frames), asdict(counts)

    def join(self, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Join the edges of disjoint cases."""
        return pl.concat([empty_edges(self.settings), *tables])


def _check_merged(edges: Path, counts: Counts, sequences: SequenceSet) -> None:
    """Raise unless what is about to be handed out is as much as was counted on the way."""
    import pyarrow.parquet as pq

    n_rows = pq.ParquetFile(edges).metadata.num_rows
    if (n_rows, counts.n_cases) != (counts.n_edges, sequences.n_cases):
        raise SequelaError(
            f"{n_rows:,} edges of {counts.n_cases:,} cases were joined, {counts.n_edges:,} of {sequences.n_cases:,} "
            "were found: nothing is written; run the same command again"
        )


def _merge(
    chunks: Sequence[Chunk], empty: pl.DataFrame, path: Path, population: PopulationGraph | None
) -> pl.DataFrame:
    """Join the chunks' edges into one file, in groups that do not depend on the chunks; return `pair_sums` of all."""
    import pyarrow.parquet as pq

    marked = (lambda rows: rows) if population is None else population.mark_edges
    schema = marked(empty).to_arrow().schema
    sums = pair_sums(marked(empty))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: pl.DataFrame) -> pl.DataFrame:
            rows = marked(rows)
            writer.write_table(rows.rechunk().to_arrow().cast(schema))
            added = pl.concat([sums, pair_sums(rows)])
            return added.group_by("cause", "effect", maintain_order=True).agg(pl.all().sum())

        waiting = empty
        for chunk in chunks:
            waiting = pl.concat([waiting, chunk.read()])
            while waiting.height >= _ROWS_A_GROUP:
                rest = waiting["case"][_ROWS_A_GROUP - 1 :]
                cut = _ROWS_A_GROUP - 1 + int((rest == rest[0]).sum())  # a case is in one group
                sums, waiting = write(waiting[:cut]), waiting[cut:]
        if waiting.height or not chunks:
            sums = write(waiting)
    return sums


def _write_events(density: Density, sequences: SequenceSet, log: EventLog, path: Path) -> None:
    """Write all events, some cases at a time."""
    import numpy as np
    import pyarrow.parquet as pq

    groups = np.searchsorted(sequences.offsets, np.arange(0, max(1, sequences.n_events), _EVENTS_A_GROUP))
    bounds = [*np.unique(groups).tolist(), sequences.n_cases]
    schema = log_events(density, sequences.take(range(0)), log).to_arrow().schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for low, high in pairwise(bounds):
            rows = log_events(density, sequences.take(range(low, high)), log, int(sequences.offsets[low]))
            writer.write_table(rows.rechunk().to_arrow().cast(schema))
