"""Work over cases on Ray: Parquet in, actors that hold the density, Parquet chunks out.

Every actor does ranges of cases and keeps the result of each as a chunk (`chunks`) beside the output, so the folder
must
be one that all machines see. The chunks are then joined as those of a local run are: same result, and a killed run goes
on.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density
from sequela.density.checkpoint import load_density, save_density
from sequela.errors import ConfigError, MissingExtraError, check_range
from sequela.events.sequences import SequenceSet
from sequela.execution.chunks import Chunks, Counts
from sequela.progress import Update

_RANGES_A_WORKER = 8


class Task(Protocol):
    """What is done with cases; it must be possible to pickle it."""

    def __call__(self, density: Density, low: int, cases: SequenceSet) -> tuple[pl.DataFrame, Counts]:
        """Return the result of the cases from number ``low`` on, and what was counted."""
        ...


class Worker:
    """An actor: a density, and what to do with ranges of cases."""

    def __init__(self, folder: str, task: Task, precision: str, compiled: bool) -> None:
        import torch

        torch.set_num_threads(1)  # one actor a processor
        self.density = load_density(Path(folder) / "density", precision=precision)
        if compiled and not self.density.use_compilation():
            raise ConfigError("this worker could not compile the model, unlike the driver: set compile to False")
        self.chunks = Chunks(Path(folder))
        self.task = task

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the cases of one range and keep the result as a chunk."""
        columns = (batch[name] for name in ("low", "ids", "lengths", "names", "times"))
        for low, ids, lengths, names, seconds in zip(*columns, strict=True):
            offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            times = np.asarray(seconds, np.float64) if len(seconds) else None
            named = pl.Series("case", list(names), dtype=pl.String)
            cases = SequenceSet(np.asarray(ids, np.int32), offsets, named, times)
            self.chunks.add(int(low), int(low) + cases.n_cases, *self.task(self.density, int(low), cases))
        return {"n_cases": np.array([sum(map(len, batch["lengths"]))])}


@contextmanager
def cluster(n_workers: int | None) -> Iterator[int]:
    """Yield how many actors to use on the Ray cluster; a local one lives for the block when there is none.

    Raises:
        ConfigError: Fewer than one actor.
        MissingExtraError: Ray is not installed.
    """
    if n_workers is not None:
        check_range("workers", n_workers, low=1, whole=True)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("engine 'ray'", "ray")
    import ray

    own = not ray.is_initialized()
    if own:
        ray.init(
            num_cpus=(n_workers or os.cpu_count() or 1) + 1,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    try:
        # One processor stays free to read.
        yield n_workers or max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
    finally:
        if own:
            ray.shutdown()


def work_on_ray(
    density: Density,
    sequences: SequenceSet,
    task: Task,
    chunks: Chunks,
    *,
    n_workers: int,
    update: Update,
    bounds: NDArray[np.int64] | None = None,
) -> None:
    """Do all that is not done on the cluster that `cluster` gives.

    Args:
        density: A trained density.
        sequences: All cases.
        task: What to do with ranges of them.
        chunks: Where results are kept.
        n_workers: Actors.
        update: Told how many of the cases that were not done are done.
        bounds: Cases that a range may start with, in order, and the number of cases; by default any.

    Raises:
        ConfigError: The density is a world, which cannot be sent.
    """
    import ray.data

    save_density(density, chunks.folder / "density", overwrite=True)
    ray.data.DataContext.get_current().enable_progress_bars = False
    given = chunks.folder / "cases.parquet"
    ranges = _ranges(sequences, chunks, n_workers, np.arange(sequences.n_cases + 1) if bounds is None else bounds)
    if ranges.is_empty():
        return
    ranges.write_parquet(given)
    found = ray.data.read_parquet(str(given), override_num_blocks=n_workers * _RANGES_A_WORKER).map_batches(
        Worker,
        fn_constructor_args=(str(chunks.folder.resolve()), task, density.precision, density.compiled),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=n_workers),
        num_cpus=1,
    )
    n_done = 0
    for row in found.iter_rows():
        n_done += int(row["n_cases"])
        update(n_done, "")


def _ranges(sequences: SequenceSet, chunks: Chunks, n_workers: int, bounds: NDArray[np.int64]) -> pl.DataFrame:
    """Return one row a range of cases that is not done: its first case, and all events."""

    def cut() -> Iterator[dict[str, Any]]:
        size = max(1, -(-(len(bounds) - 1) // (n_workers * _RANGES_A_WORKER)))
        for low, high in chunks.gaps(sequences.n_cases):
            starts = bounds[(bounds >= low) & (bounds < high)][::size].tolist()
            for first, end in pairwise([*starts, high]):
                some = sequences.take(range(first, end))
                yield {
                    "low": first,
                    "ids": some.ids.tolist(),
                    "lengths": some.lengths.tolist(),
                    "names": some.case_names.to_list(),
                    "times": [] if some.times is None else some.times.tolist(),
                }

    kinds: dict[str, pl.DataType] = {
        "low": pl.Int64(),
        "ids": pl.List(pl.Int32),
        "lengths": pl.List(pl.Int64),
        "names": pl.List(pl.String),
        "times": pl.List(pl.Float64),
    }
    return pl.DataFrame(list(cut()), schema=kinds)
