"""Discovery on Ray: Parquet in, actors that hold the density, Parquet parts out.

Every actor scores ranges of cases and keeps each as a part (`parts`) beside the output, so the folder must be one that
all machines see. The parts are then joined as those of a local run are: same edges, and a killed run goes on.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sequela.causal.parts import Counts, Parts
from sequela.causal.results import empty_edges
from sequela.causal.settings import Settings
from sequela.density.base import Density
from sequela.density.checkpoint import load_density, save_density
from sequela.errors import ConfigError, MissingExtraError
from sequela.events.sequences import SequenceSet
from sequela.progress import Update

_RANGES_A_WORKER = 8


class Worker:
    """An actor: a density, and what to do with ranges of cases."""

    def __init__(self, folder: str, settings: Settings, longest: int, precision: str, compiled: bool) -> None:
        import torch

        torch.set_num_threads(1)  # one actor a processor
        self.density = load_density(Path(folder) / "density", precision=precision)
        if compiled and not self.density.use_compilation():
            raise ConfigError("this worker could not compile the model, unlike the driver: set compile to False")
        self.parts = Parts(Path(folder))
        self.settings = settings
        self.longest = longest

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Discover the cases of one range and keep them as a part."""
        from sequela.causal.run import part_of_batches

        columns = (batch[name] for name in ("low", "ids", "lengths", "names", "times"))
        for low, ids, lengths, names, seconds in zip(*columns, strict=True):
            offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            times = np.asarray(seconds, np.float64) if len(seconds) else None
            named = pl.Series("case", list(names), dtype=pl.String)
            cases = SequenceSet(np.asarray(ids, np.int32), offsets, named, times)
            frames, counts = [empty_edges(self.settings)], Counts()
            for _, some, more in part_of_batches(self.density, cases, self.settings, self.longest):
                frames += some
                counts.include(more)
            self.parts.add(int(low), int(low) + cases.n_cases, pl.concat(frames), counts)
        return {"n_cases": np.array([sum(map(len, batch["lengths"]))])}


def discover_on_ray(
    density: Density,
    sequences: SequenceSet,
    settings: Settings,
    longest: int,
    parts: Parts,
    *,
    n_workers: int | None,
    update: Update,
) -> None:
    """Score all that is not done on a Ray cluster (a local one is started when there is none).

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: The density is a world, which cannot be sent.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("engine 'ray'", "ray")
    import ray
    import ray.data

    save_density(density, parts.folder / "density", overwrite=True)
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
        n_workers = n_workers or max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
        ray.data.DataContext.get_current().enable_progress_bars = False
        given = parts.folder / "cases.parquet"
        _ranges(sequences, parts, n_workers).write_parquet(given)
        found = ray.data.read_parquet(str(given), override_num_blocks=n_workers * _RANGES_A_WORKER).map_batches(
            Worker,
            fn_constructor_args=(str(parts.folder.resolve()), settings, longest, density.precision, density.compiled),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=n_workers),
            num_cpus=1,
        )
        n_done = 0
        for row in found.iter_rows():
            n_done += int(row["n_cases"])
            update(n_done, "")
    finally:
        if own:
            ray.shutdown()


def _ranges(sequences: SequenceSet, parts: Parts, n_workers: int) -> pl.DataFrame:
    """Return one row a range of cases that is not done: its first case, and all events."""

    def cut() -> Iterator[dict[str, Any]]:
        size = max(1, -(-sequences.n_cases // (n_workers * _RANGES_A_WORKER)))
        for low, high in parts.gaps(sequences.n_cases):
            for first in range(low, high, size):
                some = sequences.take(range(first, min(high, first + size)))
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
