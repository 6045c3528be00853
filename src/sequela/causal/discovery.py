"""The verb ``discover``: density and sequences in, graphs out, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.causal.adaptive import TwoStages, check_adaptive
from sequela.causal.budget import Allotment, allot, parse_bytes
from sequela.causal.cmi import CMIEstimate
from sequela.causal.confidence import Beliefs
from sequela.causal.designs import (
    DESIGNS,
    PROPOSALS,
    STATISTICS,
    Cells,
    Problem,
    SingleCause,
    Staircase,
    default_proposal,
    make_design,
)
from sequela.causal.exports import AnnotatedLog
from sequela.causal.graphs import INSTANCE_SCHEMA, InstanceGraph, SummaryGraph, summarise, to_pandas
from sequela.causal.thresholds import EffectSize, Fixed, Threshold, make_threshold
from sequela.density.base import Branches, Density
from sequela.display import Shown
from sequela.errors import ConfigError, LogFormatError, VocabularyError, check_choice, check_range, nearest
from sequela.events.log import EventLog
from sequela.events.sequences import Case, SequenceSet, case_hash
from sequela.events.times import parse_duration
from sequela.progress import Reporter, reporter
from sequela.threads import right_threads

if TYPE_CHECKING:
    import pandas as pd

    from sequela.causal.population import PopulationGraph

DEFAULT_HORIZON = 8
DEFAULT_PARTICLES = 32
DEFAULT_FDR = 0.05
_MAX_UNKNOWN_SHARE = 0.5


@dataclass(frozen=True)
class Settings:
    """How to discover; see `discover` for what each argument does."""

    design: str = "atomic"
    proposal: str | None = None
    particles: int = DEFAULT_PARTICLES
    statistic: str = "kl_of_mean"
    horizon: int | str | None = None
    horizon_time: str | float | None = None
    context: int = 0
    threshold: str | Threshold = "effect-size"
    delta: float = 0.05
    level: float = 0.95
    tau: float | None = None
    seed: int = 0
    batch_size: int | None = None
    memory_budget: str | float | None = None
    adaptive: float = 0.0
    population: PopulationGraph | None = None
    fdr: float | None = None

    def __post_init__(self) -> None:
        check_choice("design", self.design, DESIGNS)
        if self.proposal is not None:
            check_choice("proposal", self.proposal, PROPOSALS)
        check_choice("statistic", self.statistic, STATISTICS)
        check_range("particles", self.particles, low=2, whole=True)
        check_range("context", self.context, low=0, whole=True)
        check_range("seed", self.seed, whole=True)
        if self.batch_size is not None:
            check_range("batch_size", self.batch_size, low=1, whole=True)
        if self.memory_budget is not None:
            parse_bytes(self.memory_budget)
        if isinstance(self.horizon, str):
            check_choice("horizon", self.horizon, ["full"])
        elif self.horizon is not None:
            check_range("horizon", self.horizon, low=1, whole=True)
        if self.horizon_time is not None:
            parse_duration("horizon_time", self.horizon_time)
        default_proposal(self.design, self.proposal)
        rule = make_threshold(self.threshold, n_types=2, delta=self.delta, level=self.level, tau=self.tau)
        if self.fdr is not None:
            check_range("fdr", self.fdr, low=0, high=1, above=True)
            if self.population is None:
                raise ConfigError(
                    "fdr needs a population, which says how likely each pair of event types is linked: make one with "
                    "discover_population (sequela population) and pass it (--population FOLDER)"
                )
        if self.population is not None and not isinstance(rule, EffectSize):
            raise ConfigError("a population goes with the threshold 'effect-size' (delta and fdr) only")
        check_range("adaptive", self.adaptive, low=0, high=0.5)
        if self.adaptive:
            check_adaptive(self.design, default_proposal(self.design, self.proposal), self.statistic, rule)

    @property
    def error_rate(self) -> float:
        """Highest expected share of false edges, where a population is given."""
        return DEFAULT_FDR if self.fdr is None else self.fdr

    def rule(self, density: Density) -> Threshold:
        """Return the threshold for a density."""
        return make_threshold(
            self.threshold,
            n_types=density.vocabulary.n_types,
            delta=self.delta,
            level=self.level,
            tau=self.tau,
        )

    def horizon_for(self, density: Density, longest: int) -> int:
        """Return the largest lag to test for sequences of at most ``longest`` events."""
        limits = [limit for limit in (density.max_tail, density.memory) if limit is not None]
        if self.horizon is None:
            return max(1, min([DEFAULT_HORIZON if density.memory is None else density.memory, *limits]))
        wanted = max(1, longest - 1) if self.horizon == "full" else int(self.horizon)
        if density.max_tail is not None and wanted > density.max_tail:
            raise ConfigError(
                f"horizon must be at most {density.max_tail} for this density (half its context); got {wanted}"
            )
        return wanted

    @cached_property
    def beliefs(self) -> Beliefs | None:
        """What the population says of each pair of types."""
        return None if self.population is None else Beliefs.of(self.population)

    @property
    def horizon_seconds(self) -> float | None:
        """Longest time between a cause and an effect that is tested, or None."""
        return None if self.horizon_time is None else parse_duration("horizon_time", self.horizon_time)

    def particles_for(self, density: Density) -> int:
        """Return how many branches a cause has."""
        return 1 if self.design == "masked" else min(self.particles, density.vocabulary.n_types)

    def allotment(self, density: Density, horizon: int, longest: int) -> Allotment:
        """Return the sizes that the memory budget allows; makes the density keep to its part."""
        return allot(
            density,
            budget=self.memory_budget,
            particles=self.particles_for(density),
            horizon=horizon,
            longest=longest,
            draws_by_weight=self.design != "masked" and default_proposal(self.design, self.proposal) != "uniform",
        )

    def to_dict(self, density: Density) -> dict[str, Any]:
        """Return everything that decides the result as plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "proposal": default_proposal(self.design, self.proposal),
            "threshold": self.rule(density).to_dict(),
            "horizon_seconds": self.horizon_seconds,
        }
        if self.beliefs is None:
            del values["population"], values["fdr"]
        else:
            values |= {"population": self.beliefs.fingerprint, "fdr": self.error_rate}
        for decided in ("delta", "level", "tau", "batch_size", "memory_budget", "horizon_time"):
            del values[decided]
        return values


@dataclass(frozen=True, repr=False)
class Discovery(Shown, AnnotatedLog):
    """Graphs of all cases of a log.

    Attributes:
        edges: One row an edge of any case: ``case`` and the columns of `InstanceGraph.edges`.
        nodes: ``event`` and ``count`` over the log.
        run: Arguments, seed, versions and counts, as plain values.
        events: One row an event as the density read it: ``case``, ``position`` (0-based), ``event`` and, when the log
            has times, ``time`` (seconds); None when they are not known.
    """

    edges: pl.DataFrame
    nodes: pl.DataFrame
    run: dict[str, Any]
    events: pl.DataFrame | None = None

    def summary(self, *, self_loops: bool = False) -> SummaryGraph:
        """Return which event types caused which, over all cases."""
        return summarise(self.edges, self.nodes, self_loops=self_loops)

    def case(self, name: str) -> InstanceGraph:
        """Return the graph of one case, as `discover` gives it (what was clamped is known for the whole run only).

        Args:
            name: Case name; numbers are taken as their text.

        Raises:
            LogFormatError: There is no such case, or the events are not known.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> from sequela import read_log
            >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
            >>> found = discover_log(world, read_log(world.to_log(world.sample(3, 6, seed=1))), progress=False)
            >>> len(found.case("case-00001").events)
            6
        """
        events = None if self.events is None else self.events.lazy()
        return case_graph(name, self.edges.lazy(), events, self.run, source="the discovery")

    @cached_property
    def n_cases(self) -> int:
        """Cases with at least one edge."""
        return self.edges["case"].n_unique()

    def to_pandas(self) -> pd.DataFrame:
        """Return all edges as a pandas frame (extra ``pandas``)."""
        return to_pandas(self.edges)

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        if self.events is None:
            raise LogFormatError("the discovery does not hold the events of its cases; run discover again")
        return self.events, self.edges

    def _top_rows(self) -> pl.DataFrame:
        return self.summary()._top_rows()

    def __repr__(self) -> str:
        return f"Discovery({self.edges.height:,} edges in {self.n_cases:,} cases)"


def discover(density: Density, case: EventLog | Case | Sequence[str], **settings: Any) -> InstanceGraph:
    """Find which events of one sequence caused which.

    Args:
        density: A trained density, or a world.
        case: The log of one case, or a list of event types in time order.
        design: ``"atomic"`` (replace the cause, keep the rest), ``"leave-one-out"`` (sum the cause out under the
            density), ``"masked"`` (hide it; needs a density trained with hidden events; cheapest), ``"staircase"``
            (the paper's: replace the cause and all between by noise; nearly blind beyond lag 1).
        proposal: What replaces events: ``"uniform"`` (default), ``"unigram"`` (by frequency) or ``"model"``.
        particles: Replacements a cause. More is slower and more exact; with as many as types all are enumerated.
        statistic: ``"kl_of_mean"`` (the paper's formula), ``"mean_of_kl"`` (larger, noisier) or ``"both"``.
        horizon: Largest lag to test, or ``"full"``; by default the density's memory, or 8 if it has none.
        horizon_time: Longest time between a cause and an effect: seconds, or text like ``"10m"``, ``"2h"``. Pairs
            further apart are not tested. Needs times; ``horizon`` holds as well.
        context: Leading positions that are never causes.
        threshold: ``"effect-size"`` (default), ``"fixed"``, ``"vocabulary"``, ``"percentile"``, ``"otsu"``, or a rule.
        delta: Smallest effect of interest in nats, for ``"effect-size"``.
        level: One-sided confidence that an edge's effect exceeds ``delta``, as far as Monte Carlo error goes.
        tau: For ``"fixed"`` and ``"vocabulary"``.
        seed: Same seed, same graph.
        adaptive: Above 0, causes get a quarter of the particles first, and the rest only where that does not decide
            all their effects; at most about this share of pairs is then decided otherwise than by all particles.
        population: Population graph of the same kind of cases. Edges then have a ``confidence`` from their own effect
            and from what the population says of their types, see `sequela.causal.confidence`.
        fdr: With a population: highest expected share of false edges (0.05); ``level`` then plays no part.
        batch_size: Most cases scored together (`discover_log`); changes neither the result nor, much, the speed.
        memory_budget: What discovery may hold above the density and the log: bytes, or text like ``"2GB"``; a quarter
            of the free memory, at most 2 GiB, by default. Does not change the result.
        **settings: The arguments above, all optional, by name.

    Returns:
        The graph of the sequence.

    Raises:
        ConfigError: A setting is not allowed, or there is more than one case.
        VocabularyError: Events are not of the density's vocabulary.
        OutOfMemoryBudgetError: The memory budget is too small for the smallest step.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> graph = discover(world, ["e0", "e1", "e2", "e1"])
        >>> graph.n_tested
        5
    """
    chosen = _settings(settings)
    one, n_unknown = encode_case(density, case)
    horizon = chosen.horizon_for(density, len(one.ids))
    return next(_graphs(density, [(one, n_unknown)], chosen, horizon, len(one.ids)))[0]


def estimate(density: Density, case: EventLog | Case | Sequence[str], **settings: Any) -> CMIEstimate:
    """Estimate the conditional mutual information of all pairs of positions of one sequence.

    Takes the arguments of `discover` (the threshold's play no part) and returns the banded arrays behind its graph.
    """
    chosen = _settings(settings)
    one, _ = encode_case(density, case)
    horizon = chosen.horizon_for(density, len(one.ids))
    return _estimates(density, [one], chosen, horizon, chosen.allotment(density, horizon, len(one.ids)))[0]


def discover_log(density: Density, log: EventLog, *, progress: bool | Reporter = True, **settings: Any) -> Discovery:
    """Find which events caused which in every case of a log, and keep all edges in memory.

    For a log whose edges do not fit, use `sequela.causal.run.discover_to`, which streams them to a folder.

    Args:
        density: A trained density, or a world.
        log: Event log.
        progress: Show a bar.
        settings: As for `discover`.

    Returns:
        All edges, and their summary.
    """
    from sequela.causal.parts import Counts
    from sequela.causal.run import run_record

    chosen = _settings(settings)
    sequences = encode_log(density, log)
    counts = Counts(sequences.n_unknown)
    frames = [empty_edges(chosen)]
    tell = reporter(progress)
    with tell.bar("discovering", sequences.n_cases) as update:
        for done, graph in enumerate(iter_graphs(density, sequences, chosen), start=1):
            counts.add(graph)
            frames.append(graph.edges.select(pl.lit(graph.case).alias("case"), pl.all()))
            update(done, f"{counts.n_edges:,} edges")
    nodes = log_nodes(density, sequences)
    record = run_record(density, log, sequences, chosen, counts)
    return Discovery(pl.concat(frames), nodes, record, log_events(density, sequences))


def iter_graphs(density: Density, sequences: SequenceSet, settings: Settings) -> Iterator[InstanceGraph]:
    """Yield the graph of every case, in order; memory is that of one batch."""
    for batch in iter_batches(density, sequences, settings, longest_case(sequences)):
        yield from batch


def iter_batches(
    density: Density, sequences: SequenceSet, settings: Settings, longest: int
) -> Iterator[list[InstanceGraph]]:
    """Yield the graphs of all cases, in order, as many at a time as are scored together.

    Args:
        density: A trained density, or a world.
        sequences: Cases.
        settings: How to discover.
        longest: Events of the longest case, of these or of the whole log of which they are a part.
    """
    horizon = settings.horizon_for(density, longest)
    yield from _graphs(density, ((case, 0) for case in sequences), settings, horizon, longest)


def iter_estimates(density: Density, sequences: SequenceSet, settings: Settings) -> Iterator[tuple[Case, CMIEstimate]]:
    """Yield every case, in order, with its estimate; memory is that of one batch."""
    longest = longest_case(sequences)
    horizon = settings.horizon_for(density, longest)
    allotment = settings.allotment(density, horizon, longest)
    for batch in _batches(((case, 0) for case in sequences), settings, horizon, allotment):
        cases = [case for case, _ in batch]
        yield from zip(cases, _estimates(density, cases, settings, horizon, allotment), strict=True)


def longest_case(sequences: SequenceSet) -> int:
    """Return the events of the longest case."""
    return int(sequences.lengths.max()) if sequences.n_cases else 1


def encode_log(density: Density, log: EventLog) -> SequenceSet:
    """Encode a log for a density; refuse one that is mostly foreign to it."""
    sequences = SequenceSet.from_log(log, density.vocabulary)
    _refuse_foreign(sequences.n_unknown, sequences.n_events, log.source)
    return sequences


def empty_edges(settings: Settings) -> pl.DataFrame:
    """Return an empty edge table of many cases, with the columns these settings give."""
    extra = {} if settings.statistic == "kl_of_mean" else {"mean_of_kl_nats": pl.Float64}
    if settings.population is not None:
        extra["confidence"] = pl.Float64
    return pl.DataFrame(schema={"case": pl.String, **INSTANCE_SCHEMA, **extra})


def log_nodes(density: Density, sequences: SequenceSet) -> pl.DataFrame:
    """Return ``event`` and ``count`` of the types that occur."""
    counts = np.bincount(sequences.ids, minlength=density.vocabulary.n_types)
    nodes = pl.DataFrame({"event": density.vocabulary.names, "count": counts.astype(np.int64)})
    return nodes.filter(pl.col("count") > 0).sort("event")


def log_events(density: Density, sequences: SequenceSet) -> pl.DataFrame:
    """Return ``case``, ``position``, ``event`` and, when there are any, ``time`` of all events."""
    lengths = sequences.lengths
    names = pl.Series("event", density.vocabulary.names, dtype=pl.String)
    case = np.repeat(np.arange(sequences.n_cases), lengths)
    columns = {
        "case": sequences.case_names.rename("case").gather(case),
        "position": pl.Series(np.arange(sequences.n_events) - np.repeat(sequences.offsets[:-1], lengths)),
        "event": names.gather(sequences.ids),
    }
    if sequences.times is not None:
        columns["time"] = pl.Series(sequences.times)
    return pl.DataFrame(columns)


def case_graph(
    name: str, edges: pl.LazyFrame, events: pl.LazyFrame | None, run: Mapping[str, Any], *, source: str
) -> InstanceGraph:
    """Put the graph of one case together from the tables of many.

    Raises:
        LogFormatError: There is no such case, or no table of events.
    """
    if events is None:
        raise LogFormatError(f"{source} does not hold the events of its cases; run discover again")
    wanted = pl.col("case") == str(name)
    own = events.filter(wanted).sort("position").collect()
    if own.is_empty():
        some = events.select("case").unique().head(10_000).collect()["case"].to_list()
        raise LogFormatError(f"{source} has no case '{name}'{nearest(str(name), some)}")
    arguments = run["arguments"]
    causes = np.arange(min(int(arguments["context"]), own.height), own.height)
    return InstanceGraph(
        case=str(name),
        events=tuple(own["event"]),
        edges=edges.filter(wanted).drop("case").collect(),
        times=tuple(own["time"]) if "time" in own.columns else None,
        n_tested=int(np.minimum(own.height - 1 - causes, int(arguments["horizon"])).sum()),
        settings=dict(arguments),
    )


def _settings(given: dict[str, Any]) -> Settings:
    for name in given:
        check_choice("setting", name, list(Settings.__dataclass_fields__))
    return Settings(**given)


def encode_case(density: Density, case: EventLog | Case | Sequence[str]) -> tuple[Case, int]:
    """Return one case in the density's ids, and how many of its events are of unknown types."""
    if isinstance(case, Case):
        return case, 0
    if isinstance(case, EventLog):
        sequences = encode_log(density, case)
        if sequences.n_cases != 1:
            raise ConfigError(
                f"discover takes one case, the log has {sequences.n_cases}: use log.case('{sequences.case_names[0]}'), "
                "or discover_log for all of them"
            )
        return sequences[0], sequences.n_unknown
    if isinstance(case, str) or not all(isinstance(event, str) for event in case):
        raise ConfigError("case must be the log of one case or a list of event types (text)")
    ids, n_unknown = density.vocabulary.encode(pl.Series(list(case), dtype=pl.String))
    _refuse_foreign(n_unknown, len(ids), "the sequence")
    return Case("", ids, None), n_unknown


def _refuse_foreign(n_unknown: int, n_events: int, source: str) -> None:
    if n_unknown > _MAX_UNKNOWN_SHARE * n_events:
        raise VocabularyError(
            f"{n_unknown:,} of {n_events:,} events of {source} are of types the density has never seen: it was "
            "trained on another vocabulary; use the density of this log, or name the right event column"
        )


def _graphs(
    density: Density,
    cases: Iterable[tuple[Case, int]],
    settings: Settings,
    horizon: int,
    longest: int,
) -> Iterator[list[InstanceGraph]]:
    rule = settings.rule(density)
    record = settings.to_dict(density) | {"horizon": horizon}
    allotment = settings.allotment(density, horizon, longest)
    beliefs = None if settings.beliefs is None else settings.beliefs.for_types(density.vocabulary)
    for batch in _batches(iter(cases), settings, horizon, allotment):
        estimates = _estimates(density, [case for case, _ in batch], settings, horizon, allotment)
        graphs = []
        for (case, n_unknown), found in zip(batch, estimates, strict=True):
            confidence = None if beliefs is None else beliefs.confidence(case, found, settings.delta)
            edges = rule.edges(found) if confidence is None else confidence >= 1 - settings.error_rate
            graph = InstanceGraph.from_estimate(
                case, density.vocabulary, found, edges, confidence=confidence, n_unknown=n_unknown, settings=record
            )
            graphs.append(graph)
        yield graphs


def _batches(
    cases: Iterator[tuple[Case, int]], settings: Settings, horizon: int, allotment: Allotment
) -> Iterator[list[tuple[Case, int]]]:
    """Group cases: about as many as fill one call, and no more than may be held."""
    batch: list[tuple[Case, int]] = []
    pairs = 0
    for case in cases:
        size = len(case[0].ids) * horizon
        full = pairs + size > allotment.n_band_cells or pairs * settings.particles > allotment.n_cells
        if batch and (full or len(batch) == settings.batch_size):
            yield batch
            batch, pairs = [], 0
        batch.append(case)
        pairs += size
    if batch:
        yield batch


def _estimates(
    density: Density, cases: Sequence[Case], settings: Settings, horizon: int, allotment: Allotment
) -> list[CMIEstimate]:
    """Estimate a batch of cases; each result depends on its own case, the settings and the seed alone."""
    if settings.design == "masked" and not density.knows_hidden:
        raise ConfigError(
            "the design 'masked' needs a density trained with hidden events (fit with hide > 0); "
            "use 'leave-one-out' for this one"
        )
    with right_threads():
        return _estimates_of(density, cases, settings, horizon, allotment)


def _estimates_of(
    density: Density, cases: Sequence[Case], settings: Settings, horizon: int, allotment: Allotment
) -> list[CMIEstimate]:
    bands = [Band(case, horizon, settings) for case in cases]
    proposal = default_proposal(settings.design, settings.proposal)
    rule = settings.rule(density)
    waiting: list[tuple[int, Any, Branches]] = []
    n_cells = 0

    def flush() -> None:
        scores, answers = density.score_both([branches for _, _, branches in waiting])
        if settings.adaptive:
            more = [two.decide(*both) for (_, two, _), *both in zip(waiting, scores, answers, strict=True)]
            second = iter(density.score_branches_many([one for some in more for one in some]))
            for (index, two, _), own, some in zip(waiting, scores, more, strict=True):
                cells, n_particles = two.cells(own, list(islice(second, len(some))))
                bands[index].put(two.design.problem, cells, n_particles)
        else:
            for (index, design, _), own, answer in zip(waiting, scores, answers, strict=True):
                bands[index].put(design.problem, design.cells(own, answer), settings.particles)
        waiting.clear()

    size = max(1, allotment.n_cells // (settings.particles_for(density) * horizon))
    for index, case in enumerate(cases):
        key = case_hash(case.name, settings.seed)
        causes = np.arange(settings.context, len(case.ids) - 1)
        for low in range(0, len(causes), size):
            problem = Problem(
                density, case.ids, causes[low : low + size], horizon, settings.context, proposal,
                settings.particles, key, settings.statistic, case.times,
            )  # fmt: skip
            design: SingleCause | Staircase | TwoStages = make_design(settings.design, problem)
            if settings.adaptive:
                assert isinstance(design, SingleCause)
                assert isinstance(rule, EffectSize | Fixed)
                design = TwoStages(design, rule, settings.adaptive)
            branches = design.branches()
            if waiting and n_cells + branches.tails.size > allotment.n_cells:
                flush()
                n_cells = 0
            waiting.append((index, design, branches))
            n_cells += branches.tails.size
    if waiting:
        flush()
    return [band.estimate() for band in bands]


def too_late(case: Case, horizon: int, seconds: float | None) -> NDArray[np.bool_] | None:
    """Return which pairs lie further apart in time than ``seconds`` (bool, ``[L, m]``); None where that plays no part.

    Raises:
        ConfigError: The case has no times.
    """
    if seconds is None:
        return None
    if case.times is None:
        raise ConfigError("horizon_time needs times: name the time column (time=..., --time), or leave it out")
    effect = np.minimum(np.arange(len(case.ids))[:, None] + np.arange(1, horizon + 1), len(case.ids) - 1)
    return np.asarray(case.times[effect] - case.times[:, None] > seconds)


class Band:
    """Banded arrays of one sequence, filled chunk by chunk."""

    def __init__(self, case: Case, horizon: int, settings: Settings) -> None:
        length = len(case.ids)

        def empty() -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.full((length, horizon), np.nan)

        self.too_late = too_late(case, horizon, settings.horizon_seconds)

        self.cmi, self.std_error, self.log_p, self.log_q, self.q_std_error = (empty() for _ in range(5))
        self.mean_of_kl = None if settings.statistic == "kl_of_mean" else empty()
        self.has_q_error = settings.design != "staircase" and settings.statistic != "mean_of_kl"
        self.n_particles = np.full((length, horizon), settings.particles)
        self.n_clamped = 0

    def put(self, problem: Problem, cells: Cells, n_particles: int | NDArray[np.int64]) -> None:
        """Fill the rows of a problem's causes."""
        rows = slice(int(problem.causes[0]), int(problem.causes[-1]) + 1)
        for name in ("cmi", "std_error", "log_p", "log_q", "q_std_error", "mean_of_kl"):
            value = getattr(cells, name)
            if value is not None:
                getattr(self, name)[rows] = value
                if self.too_late is not None:
                    getattr(self, name)[rows][self.too_late[rows]] = np.nan
        self.n_particles[rows] = n_particles
        self.n_clamped += cells.n_clamped

    def estimate(self) -> CMIEstimate:
        """Return all rows."""
        return CMIEstimate(
            cmi=self.cmi,
            std_error=self.std_error,
            pointwise=self.log_p - self.log_q,
            log_p=self.log_p,
            log_q=self.log_q,
            q_std_error=self.q_std_error if self.has_q_error else None,
            mean_of_kl=self.mean_of_kl,
            n_particles=self.n_particles,
            n_clamped=self.n_clamped,
        )
