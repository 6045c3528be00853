"""Weighing all cases of a population: two passes of `map_cases` for each density, calibration and bets.

With an output, every density has a folder of finished chunks of its own in that of the job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density, Floats
from sequela.density.runtime.network_density import within_memory
from sequela.discovery.discover import iter_estimates
from sequela.discovery.job import DensityHandle, job_fingerprint
from sequela.discovery.kept import Pass, Sums
from sequela.effects.cmi import CMIEstimate
from sequela.effects.encoding import longest_case
from sequela.effects.knowledge import PairLimits
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, OutOfMemoryBudgetError
from sequela.events.sequences import SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.evidence.bets import sum_bets
from sequela.evidence.calibration import CalibrationSums, calibration_cases, calibration_sums
from sequela.evidence.cause_bets import N_DRAWS
from sequela.evidence.forecasts import group_estimate
from sequela.evidence.pairs import Codes, Groups, co_occurring
from sequela.evidence.sums import LagSums, Partial
from sequela.execution.chunks import Chunks
from sequela.execution.engines import start_engine
from sequela.execution.map_cases import map_cases
from sequela.execution.memory import default_budget, format_bytes, parse_bytes
from sequela.progress import Reporter

Cases = tuple[Density, SequenceSet]
"""A density, and cases it never saw."""
_SLOT_BYTES = 16
"""Bytes that bets on causes hold for each type of a slot, lag by lag (measured: 14)."""
_COUNT_BYTES = 8
"""Bytes that bets on effects hold for each event type at each event."""


class Weighed(NamedTuple):
    """What one density says of its cases: sums, the groups they are of, what was counted, and how they were weighed."""

    partial: Partial
    groups: Groups
    counts: Mapping[str, int]
    task: Weighing


@dataclass(frozen=True)
class Calibrating:
    """The first pass: how often each type came, and was forecast with other types hidden; see `calibration`."""

    horizon: int
    seconds: float | None
    groups: Groups

    def __call__(self, density: Density, cases: SequenceSet) -> tuple[pl.DataFrame, dict[str, int]]:
        """Return the sums over some cases, one row a type."""
        sums = calibration_sums(density, cases, self.horizon, self.seconds, self.groups)
        return pl.DataFrame(sums._asdict()).with_row_index("type"), {"n_cases": cases.n_cases}

    def join(self, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Add the sums of disjoint cases."""
        none = np.zeros(len(self.groups.names), np.int64)
        empty = pl.DataFrame(CalibrationSums(none, none, none)._asdict()).with_row_index("type")
        return pl.concat([empty, *tables]).group_by("type").agg(pl.all().sum()).sort("type")


@dataclass(frozen=True)
class Weighing:
    """The second pass: strengths and bets.

    Attributes:
        settings: As for `discover`.
        longest: Events of the longest case of all.
        horizon: Largest lag.
        groups: Types taken together.
        whole_types: Whether each type is a group by itself.
        shift: From `calibration`, over all cases.
        pairs: From `co_occurring`, over all cases. A pair that occurs anywhere is bet on wherever its cause is: to bet
            only where the effect comes too would be to know the outcome.
        bets_on_causes: Whether the bets are those of `sequela.evidence.cause_bets`, placed in a pass of their own.
        reach: Largest lag of the strengths: the horizon, or twice that where a placebo is asked for.
    """

    settings: Settings
    longest: int
    horizon: int
    groups: Groups
    whole_types: bool
    shift: Floats
    pairs: Codes
    bets_on_causes: bool
    reach: int

    def __call__(self, density: Density, cases: SequenceSet) -> tuple[pl.DataFrame, dict[str, int]]:
        """Weigh some cases; return their partial sums as a table, and what was counted."""
        seconds, n_groups = self.settings.horizon_seconds, len(self.groups.names)
        allotment = self.settings.allotment(density, self.reach, self.longest)
        density = within_memory(density, allotment.model_bytes, longest=self.longest, horizon=self.reach)
        cases = shuffle_ticks(cases, 0)  # forecasts need an order
        nodes = np.bincount(self.groups.of[cases.ids], minlength=n_groups).astype(np.int64)
        pairs = self.pairs[nodes[self.pairs // n_groups] > 0]
        sums, n_pairs, n_clamped = LagSums(self.reach), 0, 0
        estimates = (
            iter_estimates(density, cases, replace(self.settings, horizon=self.reach), longest=self.longest)
            if self.whole_types
            else ((case, group_estimate(density, case, self.reach, seconds, self.groups)) for case in cases)
        )
        limits = self.settings.limits(density)
        excluded = None if limits is None or self.whole_types else self.groups.excluded(limits)
        for case, found in estimates:
            own = self.groups.of[case.ids]
            tested = found if excluded is None else _without(found, own, excluded)
            sums.add(case._replace(ids=own), tested, n_groups)
            n_pairs += tested.n_tested
            n_clamped += found.n_clamped
        bets = np.zeros(len(pairs), np.int64)
        if not self.bets_on_causes:
            delays = self.settings.known_limits(density) if self.whole_types else None
            bets = sum_bets(pairs, density, cases, self.horizon, self.shift, seconds, self.groups, delays)
        counts = {
            "n_cases": cases.n_cases,
            "n_cases_skipped": int((cases.lengths < 2).sum()),
            "n_pairs_tested": n_pairs,
            "n_clamped": n_clamped,
        }
        return Partial(self.reach, nodes, pairs, bets, *sums.table()).to_frame(), counts

    def join(self, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Add the partial sums of disjoint cases."""
        return self.total(tables).to_frame()

    def total(self, tables: Sequence[pl.DataFrame]) -> Partial:
        """Return the partial sum of several tables."""
        return Partial.total(tables, len(self.groups.names), self.reach)


@contextmanager
def weighing_job(
    cases: Sequence[Cases],
    settings: Settings,
    hierarchy_level: int | None,
    *,
    placebo: bool,
    out: str | Path | None,
    kept: Sums | None,
    tell: Reporter,
) -> Iterator[Chunks | None]:
    """Yield the folder of finished chunks, or None where nothing is written; it goes when the block succeeds.

    Args:
        cases: What is weighed, by which densities.
        settings: How.
        hierarchy_level: See `discover_population`.
        placebo: See `discover_population`.
        out: Where the result will be, locked by the caller; the chunks are kept beside it and taken up when the same
            job comes again.
        kept: Sums of cases that were weighed before.
        tell: Told of damaged chunks.
    """
    if out is None:
        if kept is not None and kept.stored is not None and kept.stored.passes:
            raise ValueError("sums of earlier cases are added to in the folder of a job: give out")
        yield None
        return
    asked = {"hierarchy_level": hierarchy_level, "placebo": placebo}
    known = [
        job_fingerprint(density, sequences, settings.to_dict(density) | asked, times=True)
        for density, sequences in cases
    ]
    fingerprint = None if None in known else " ".join(map(str, known))
    job = Chunks.open(Path(out), fingerprint, doing="weighing", say=tell.say)
    if kept is not None:
        kept.begin(job)
    try:
        yield job
    except BaseException:
        if fingerprint is None or not any(job.folder.rglob("[0-9]*-[0-9]*.json")):
            job.close()
        raise
    job.close()


def weigh_all(
    cases: Sequence[Cases],
    settings: Settings,
    hierarchy_level: int | None,
    job: Chunks | None,
    *,
    kept: Sums | None,
    placebo: bool,
    engine: str,
    workers: int | None,
    tell: Reporter,
) -> list[Weighed]:
    """Return what each density says of its cases.

    Args:
        cases: What is weighed, by which densities.
        settings: How.
        hierarchy_level: See `discover_population`.
        job: From `weighing_job`.
        kept: Is given the sums.
        placebo: See `discover_population`.
        engine: ``"local"`` or ``"ray"``.
        workers: Processes that work, where the engine has several.
        tell: Shows a bar.
    """
    folders = [
        [None if job is None else job.within(f"{kind}{number}") for kind in ("calibration-", "")]
        for number in range(len(cases))
    ]
    n_cases = sum(sequences.n_cases for _, sequences in cases)
    n_before = sum(chunk.high - chunk.low for _, chunks in folders if chunks for chunk in chunks.done())
    if any(chunks.done() for passes in folders for chunks in passes if chunks):
        tell.say(f"taking up the interrupted weighing: {n_before:,} of {n_cases:,} cases are done")
    # Where events share their time, what stood in one slot is no event of its own: the bets are on the effects there.
    bets_on_causes = not any(has_ties(sequences) for _, sequences in cases)
    if kept is not None:
        kept.bets_on_causes = bets_on_causes
    if kept is not None and kept.stored is not None and kept.stored.bets_on_causes != bets_on_causes:
        raise ConfigError(
            "some of the new cases hold events that share their time, and the evidence of the earlier ones was weighed "
            "as for a log without: run the whole log again, or read it with ties='order' (--ties order)"
        )
    found = []
    n_earlier = 0
    with start_engine(engine, workers) as running, tell.bar("weighing evidence", n_cases) as bar:

        def update(n_done: int, counts: Mapping[str, int]) -> None:
            bar(n_earlier + n_done, "")

        for number, ((density, sequences), (first, second)) in enumerate(zip(cases, folders, strict=True)):
            model = DensityHandle(density)
            horizon = settings.horizon_for(density, longest_case(sequences))
            seconds, groups = settings.horizon_seconds, Groups.at_level(density.vocabulary, hierarchy_level)
            whole_types = groups.names == density.vocabulary.names
            on_causes = whole_types and bets_on_causes
            _check_longest(longest_case(sequences), horizon, len(groups.names), settings, on_causes=on_causes)
            calibrating = Calibrating(horizon, seconds, groups)
            fixed = None if kept is None else kept.fixed(number)
            some = calibration_cases(sequences).take([]) if on_causes or fixed else calibration_cases(sequences)
            known = map_cases(calibrating, model, some, engine=running, chunks=first) if some.n_cases else []
            by_type = calibrating.join([chunk.read() for chunk in known])
            sums = CalibrationSums(*(by_type[name].to_numpy() for name in CalibrationSums._fields))
            shift, pairs = fixed or (
                sums.shift(),
                co_occurring(groups.cases(sequences), horizon, len(groups.names), seconds),
            )
            pairs = _possible(pairs, groups, settings.known_limits(density))
            task = Weighing(
                settings, longest_case(sequences), horizon, groups, whole_types, shift, pairs, on_causes,
                2 * horizon if placebo and _remembers(density, 2 * horizon) else horizon,
            )  # fmt: skip
            chunks = map_cases(task, model, sequences, engine=running, chunks=second, update=update)
            n_earlier += sequences.n_cases
            counts = Counter[str]()
            for chunk in chunks:
                counts.update(chunk.counts)
            found.append(Weighed(task.total([chunk.read() for chunk in chunks]), groups, counts, task))
            if kept is not None:
                kept.passes[str(number)] = Pass(found[-1].partial.to_frame(), sequences.n_cases, counts)
    return found


def _check_longest(longest: int, horizon: int, n_groups: int, settings: Settings, *, on_causes: bool) -> None:
    """Refuse a case that cannot be weighed within the memory budget: bets go through a case as a whole."""
    each = horizon * (N_DRAWS + 1) * _SLOT_BYTES if on_causes else n_groups * _COUNT_BYTES
    budget = default_budget() if settings.memory_budget is None else parse_bytes(settings.memory_budget)
    if longest * each > budget:
        needed = format_bytes(longest * each)
        raise OutOfMemoryBudgetError(
            f"weighing the longest case holds {needed} ({longest:,} events x {each:,} B), memory_budget allows "
            f"{format_bytes(budget)}: set memory_budget to '{needed.replace(' ', '')}', or read shorter cases"
            + (", or take a smaller horizon" if on_causes else "")
        )


def _remembers(density: Density, lag: int) -> bool:
    """Return whether the density knows what stood ``lag`` events ago."""
    return all(limit is None or limit >= lag for limit in (density.memory, density.max_tail))


def _possible(pairs: Codes, groups: Groups, limits: PairLimits | None) -> Codes:
    """Return the pairs that are not excluded: the others are no hypotheses."""
    if limits is None:
        return pairs
    cause, effect = np.divmod(pairs, len(groups.names))
    if np.array_equal(groups.of, np.arange(len(groups.names))):
        return pairs[~limits.excluded(cause, effect)]
    if limits.has_delays:
        raise ConfigError("max_delay is for whole event types: leave hierarchy_level or the delays out")
    return pairs[~groups.excluded(limits)[cause, effect]]


def _without(found: CMIEstimate, own: NDArray[np.int32], excluded: NDArray[np.bool_]) -> CMIEstimate:
    """Return an estimate whose excluded pairs of groups are not tested."""
    effect = np.minimum(np.arange(len(own))[:, None] + np.arange(1, found.cmi.shape[1] + 1), len(own) - 1)
    return replace(found, cmi=np.where(excluded[own[:, None], own[effect]], np.nan, found.cmi))


def has_ties(sequences: SequenceSet) -> bool:
    """Return whether two events of a case share their time and have no order."""
    return sequences.unordered_ties and any(case.ticks is not None for case in sequences)
