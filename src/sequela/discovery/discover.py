"""The verb ``discover``: density and sequences in, graphs out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from sequela.arguments import public
from sequela.density.base import Density
from sequela.discovery.arguments import VERBS, chosen
from sequela.effects.cmi import CMIEstimate
from sequela.effects.encoding import encode_case, encode_log, longest_case
from sequela.effects.knowledge import Knowledge
from sequela.effects.scorer import grouped, score_cases
from sequela.effects.settings import Settings
from sequela.effects.stretches import Stretch, stretches
from sequela.effects.thresholds import EffectSize, Fixed
from sequela.effects.ties import Precedence
from sequela.events.log import EventLog
from sequela.events.sequences import Case, SequenceSet
from sequela.graphs.instance import Decided, InstanceGraph
from sequela.graphs.places import count_places
from sequela.graphs.results import Discovery, empty_edges, log_events, log_nodes
from sequela.graphs.run_record import Counts, arguments_record, run_record
from sequela.progress import Reporter, reporter

if TYPE_CHECKING:
    from sequela.effects.thresholds import Threshold
    from sequela.evidence.edge_probability import Beliefs
    from sequela.graphs.population import PopulationGraph


@public(VERBS)
def discover(
    density: Density,
    case: EventLog | Case | Sequence[str],
    *,
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
) -> InstanceGraph:
    """Find which events of one sequence caused which.

    Args:
        density: A trained density, or a world.
        case: The log of one case, or a list of event types in time order.

    Returns:
        The graph of the sequence.

    Raises:
        ConfigError: An argument is not allowed, or there is more than one case.
        VocabularyError: Events are not of the density's vocabulary.
        OutOfMemoryBudgetError: The memory budget is too small for the smallest step.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> graph = discover(world, ["e0", "e1", "e2", "e1"])
        >>> graph.n_tested
        5
    """
    settings, beliefs = chosen(locals())
    one, n_unknown = encode_case(density, case)
    graph = next(_graphs(density, [(one, n_unknown)], settings, len(one.ids), beliefs))[0]
    if isinstance(case, EventLog) and (case.attributes or case.neighbours is not None):
        events = log_events(density, SequenceSet.from_log(case, density.vocabulary), case)
        graph = replace(graph, attributes=events.drop("case", "position", "event", "time", strict=False))
    return graph if population is None else replace(graph, edges=population.mark_edges(graph.edges))


@public(VERBS)
def estimate(
    density: Density,
    case: EventLog | Case | Sequence[str],
    *,
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
    seed: int = 0,
    screening: float | str = "auto",
    batch_size: int | None = None,
    memory_budget: str | float | None = None,
) -> CMIEstimate:
    """Estimate the conditional mutual information of all pairs of positions of one sequence.

    The threshold plays a part with ``screening`` only.

    Args:
        density: A trained density, or a world.
        case: The log of one case, or a list of event types in time order.

    Returns:
        The banded arrays behind the graph that `discover` gives.

    Raises:
        ConfigError: An argument is not allowed, or there is more than one case.
        VocabularyError: Events are not of the density's vocabulary.
        OutOfMemoryBudgetError: The memory budget is too small for the smallest step.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> estimate(SoftmaxWorld.random(4, horizon=2, seed=0), ["e0", "e1", "e2"]).cmi.shape
        (3, 2)
    """
    settings, _ = chosen(locals())
    one, _ = encode_case(density, case)
    horizon = settings.horizon_for(density, len(one.ids))
    return score_cases(density, [one], settings, horizon, settings.allotment(density, horizon, len(one.ids)))[0]


@public(VERBS)
def discover_log(
    density: Density,
    log: EventLog,
    *,
    self_loops: bool = False,
    progress: bool | Reporter = True,
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
    """Find which events caused which in every case of a log, and keep all edges in memory.

    For a log whose edges do not fit, use `sequela.discovery.stream.discover_to`, which streams them to a folder.

    Args:
        density: A trained density, or a world.
        log: Event log.

    Returns:
        All edges, and their summary.

    Raises:
        ConfigError: An argument is not allowed.
        VocabularyError: The log is not of the density's vocabulary.
        OutOfMemoryBudgetError: The memory budget is too small for the smallest step.

    Example:
        >>> from sequela import read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> found = discover_log(world, read_log(world.to_log(world.sample(3, 6, seed=1))), progress=False)
        >>> found.run.counts.n_cases
        3
    """
    settings, beliefs = chosen(locals())
    sequences = encode_log(density, log)
    counts = Counts(sequences.n_unknown)
    frames = [empty_edges(settings)]
    tell = reporter(progress)
    started = time.monotonic()
    with tell.bar("discovering", sequences.n_cases) as update:
        for done, graph in enumerate(iter_graphs(density, sequences, settings, beliefs=beliefs), start=1):
            counts.add(graph)
            frames.append(graph.edges.select(pl.lit(graph.case).alias("case"), pl.all()))
            update(done, f"{counts.n_edges:,} edges")
    nodes = log_nodes(density, sequences)
    record = run_record(
        density, log, sequences, settings, counts, seconds=time.monotonic() - started, self_loops=self_loops
    )
    places = count_places(density, sequences, record.arguments, settings)
    edges = pl.concat(frames)
    edges = edges if population is None else population.mark_edges(edges)
    return Discovery(edges, nodes, record, log_events(density, sequences, log), places, settings.knowledge)


def iter_graphs(
    density: Density, sequences: SequenceSet, settings: Settings, *, beliefs: Beliefs | None = None
) -> Iterator[InstanceGraph]:
    """Yield the graph of every case, in order; memory is that of one batch."""
    for batch in iter_batches(density, sequences, settings, longest_case(sequences), beliefs=beliefs):
        yield from batch


def iter_batches(
    density: Density,
    sequences: SequenceSet,
    settings: Settings,
    longest: int,
    *,
    beliefs: Beliefs | None = None,
) -> Iterator[list[InstanceGraph]]:
    """Yield the graphs of all cases, in order, as many at a time as are scored together.

    Args:
        density: A trained density, or a world.
        sequences: Cases.
        settings: How to discover.
        longest: Events of the longest case, of these or of the whole log of which they are a part.
        beliefs: What a population says of pairs of types.
    """
    yield from _graphs(density, ((case, 0) for case in sequences), settings, longest, beliefs)


def iter_estimates(
    density: Density,
    sequences: SequenceSet,
    settings: Settings,
    *,
    longest: int | None = None,
    precedence: Precedence | None = None,
) -> Iterator[tuple[Case, CMIEstimate]]:
    """Yield every case, in order, with its estimate; memory is that of one batch.

    ``longest`` is as for `iter_batches`, by default that of these cases.
    """
    longest = longest_case(sequences) if longest is None else longest
    horizon = settings.horizon_for(density, longest)
    allotment = settings.allotment(density, horizon, longest)
    for batch in grouped(((case, 0) for case in sequences), settings, horizon, allotment):
        cases = [case for case, _ in batch]
        estimates = score_cases(density, cases, settings, horizon, allotment, precedence=precedence)
        yield from zip(cases, estimates, strict=True)


def _graphs(
    density: Density,
    cases: Iterable[tuple[Case, int]],
    settings: Settings,
    longest: int,
    beliefs: Beliefs | None,
) -> Iterator[list[InstanceGraph]]:
    rule, horizon = settings.rule(density), settings.horizon_for(density, longest)
    record = arguments_record(settings, density, horizon=horizon)
    allotment = settings.allotment(density, horizon, longest)
    own_beliefs = None if beliefs is None else beliefs.for_types(density.vocabulary)
    precedence = None if own_beliefs is None else own_beliefs.precedence
    by_pair = own_beliefs is None and isinstance(rule, EffectSize | Fixed)  # each pair is decided by itself

    def cut(case: Case) -> list[Stretch]:
        whole = [Stretch(case, range(len(case.ids)))]
        return list(stretches(case, horizon, density.memory)) if by_pair and density.memory is not None else whole

    def scored(some: Sequence[Stretch]) -> list[Decided]:
        estimates = score_cases(
            density, [one.case for one in some], settings, horizon, allotment, deciding=True, precedence=precedence,
            causes=[one.causes for one in some],
        )  # fmt: skip
        if own_beliefs is None:
            return [Decided(one.case, found, rule.edges(found)) for one, found in zip(some, estimates, strict=True)]
        return [
            Decided(one.case, found, *own_beliefs.edges(one.case, found, settings.delta, settings.error_rate))
            for one, found in zip(some, estimates, strict=True)
        ]

    for batch in grouped(iter(cases), settings, horizon, allotment):
        pieces = [cut(case) for case, _ in batch]
        together = iter(scored([own[0] for own in pieces if len(own) == 1]))
        graphs = []
        for (case, n_unknown), own in zip(batch, pieces, strict=True):
            decided = [next(together)] if len(own) == 1 else (scored([stretch])[0] for stretch in own)
            graph = InstanceGraph.from_stretches(
                case, density.vocabulary, decided, n_unknown=n_unknown, settings=record, knowledge=settings.knowledge
            )
            graphs.append(graph)
        yield graphs
