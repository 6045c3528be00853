"""Weighing all cases of a population: here or on a cluster, in memory or with finished chunks on disk.

With chunks, every density has a folder of its own in that of the job (`chunks`): what is in a chunk is a `Partial`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sequela.density.base import Density, Floats
from sequela.effects.encoding import longest_case
from sequela.effects.settings import Settings
from sequela.events.sequences import SequenceSet
from sequela.evidence.bets import Groups, calibration, co_occurring
from sequela.evidence.sums import Partial, Weighing, unit_bounds
from sequela.execution.chunks import Chunks, job_fingerprint
from sequela.files import whole_file
from sequela.progress import Reporter, Update

Cases = tuple[Density, SequenceSet]
"""A density, and cases it never saw."""


@contextmanager
def weighing_job(
    cases: Sequence[Cases], settings: Settings, hierarchy_level: int | None, *, out: str | Path | None, on_disk: bool
) -> Iterator[Chunks | None]:
    """Yield the folder of finished chunks, or None where none is needed; it goes when the block succeeds.

    Args:
        cases: What is weighed, by which densities.
        settings: How.
        hierarchy_level: See `discover_population`.
        out: Where the result will be; the chunks are kept beside it and taken up when the same job comes again.
        on_disk: Whether chunks are needed even without ``out``.
    """
    if out is None:
        if not on_disk:
            yield None
            return
        with TemporaryDirectory(prefix="sequela-") as folder:
            yield Chunks.open(Path(folder) / "population", None, doing="weighing")
        return
    known = [
        job_fingerprint(
            density, sequences, settings.to_dict(density) | {"hierarchy_level": hierarchy_level}, times=True
        )
        for density, sequences in cases
    ]
    fingerprint = None if None in known else " ".join(map(str, known))
    job = Chunks.open(Path(out), fingerprint, doing="weighing")
    try:
        yield job
    except BaseException:
        if fingerprint is None or not any(job.within(str(number)).done() for number in range(len(cases))):
            job.close()
        raise
    job.close()


def weigh_all(
    cases: Sequence[Cases],
    settings: Settings,
    hierarchy_level: int | None,
    job: Chunks | None,
    *,
    engine: str,
    workers: int | None,
    tell: Reporter,
) -> list[Partial]:
    """Return what each density says of its cases.

    Args:
        cases: What is weighed, by which densities.
        settings: How.
        hierarchy_level: See `discover_population`.
        job: From `weighing_job`.
        engine: ``"local"`` or ``"ray"``, which needs a job.
        workers: Actors of the cluster.
        tell: Shows a bar.
    """
    folders = [None if job is None else job.within(str(number)) for number in range(len(cases))]
    n_before, n_cases = sum(map(_n_done, folders)), sum(sequences.n_cases for _, sequences in cases)
    if n_before:
        tell.say(f"taking up the interrupted weighing: {n_before:,} of {n_cases:,} cases are done")
    found = []
    with tell.bar("weighing evidence", n_cases) as bar:
        if engine == "ray":
            from sequela.execution.ray import cluster, work_on_ray

            with cluster(workers) as n_workers:
                for (density, sequences), chunks in zip(cases, folders, strict=True):
                    assert chunks is not None
                    task, update = (
                        _weighing(density, sequences, settings, hierarchy_level, chunks),
                        _moved(bar, n_before),
                    )
                    n_before += sequences.n_cases - _n_done(chunks)
                    work_on_ray(
                        density, sequences, task, chunks, n_workers=n_workers, update=update, bounds=task.bounds
                    )
                    found.append(_together(density, task, chunks))
        else:
            for (density, sequences), chunks in zip(cases, folders, strict=True):
                task, update = _weighing(density, sequences, settings, hierarchy_level, chunks), _moved(bar, n_before)
                n_before += sequences.n_cases - _n_done(chunks)
                if chunks is None:
                    found.append(_weigh_in_memory(density, sequences, task, update))
                else:
                    _weigh_to(density, sequences, task, chunks, update)
                    found.append(_together(density, task, chunks))
    return found


def _weighing(
    density: Density, sequences: SequenceSet, settings: Settings, hierarchy_level: int | None, chunks: Chunks | None
) -> Weighing:
    """Return how to weigh; what is computed from all cases is done here once, and kept with the chunks."""
    longest, seconds = longest_case(sequences), settings.horizon_seconds
    horizon, groups = settings.horizon_for(density, longest), Groups.at_level(density.vocabulary, hierarchy_level)
    path = None if chunks is None else chunks.folder / "shift.npy"
    if path is not None and path.exists():
        shift: Floats = np.load(path, allow_pickle=False)
    else:
        shift = calibration(density, sequences, horizon, seconds, groups)
        if path is not None:
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, shift, allow_pickle=False)
    pairs = co_occurring(groups.cases(sequences), horizon, len(groups.names), seconds)
    return Weighing(settings, longest, hierarchy_level, shift, pairs, unit_bounds(sequences))


def _weigh_in_memory(density: Density, sequences: SequenceSet, task: Weighing, update: Update) -> Partial:
    total = task.nothing(density)
    for end, partial in task.units(density, 0, sequences):
        total += partial
        update(end, "")
    return total


def _weigh_to(density: Density, sequences: SequenceSet, task: Weighing, chunks: Chunks, update: Update) -> None:
    n_done = 0
    for low, high in list(chunks.gaps(sequences.n_cases)):
        first, waiting, since = low, task.nothing(density), time.monotonic()
        for end, partial in task.units(density, low, sequences.take(range(low, high))):
            waiting += partial
            n_done += partial.counts.n_cases
            update(n_done, "")
            if end == high or time.monotonic() - since >= chunks.seconds:
                chunks.add(first, end, waiting.to_frame(), waiting.counts)
                first, waiting, since = end, task.nothing(density), time.monotonic()


def _together(density: Density, task: Weighing, chunks: Chunks) -> Partial:
    total = task.nothing(density)
    for chunk in chunks.done():
        total += task.read(density, chunk.read(), chunk.counts)
    return total


def _n_done(chunks: Chunks | None) -> int:
    return 0 if chunks is None else sum(chunk.high - chunk.low for chunk in chunks.done())


def _moved(bar: Update, n_before: int) -> Update:
    return lambda n_done, note: bar(n_before + n_done, note)
