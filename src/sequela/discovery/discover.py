"""The verb ``discover``: density and sequences in, graphs out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.density.base import Density
from sequela.effects.cmi import CMIEstimate
from sequela.effects.encoding import encode_case, encode_log, longest_case
from sequela.effects.scorer import grouped, score_cases
from sequela.effects.settings import Settings, make_settings
from sequela.events.log import EventLog
from sequela.events.sequences import Case, SequenceSet
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.results import Discovery, empty_edges, log_events, log_nodes
from sequela.progress import Reporter, reporter

if TYPE_CHECKING:
    pass


def discover(density: Density, case: EventLog | Case | Sequence[str], **settings: Any) -> InstanceGraph:
    """Find which events of one sequence caused which.

    Args:
        density: A trained density, or a world.
        case: The log of one case, or a list of event types in time order.
        design: ``"atomic"`` (replace the cause, keep the rest), ``"leave-one-out"`` (sum the cause out under the
            density), ``"masked"`` (hide it; needs a density trained with hidden events; cheapest), ``"staircase"``
            (the paper's: replace the cause and all between by noise; nearly blind beyond lag 1).
        proposal: What replaces events: ``"uniform"`` (default), ``"unigram"`` (by frequency), ``"model"``, or
            ``"siblings"``: types that share the first component(s) with the cause (same component, other code),
            evenly. A
            cause without siblings is not tested. For event types with components, and the design ``"atomic"``.
        kept_components: How many leading components ``"siblings"`` keeps.
        particles: Replacements a cause. More is slower and more exact; with as many as types all are enumerated.
        statistic: ``"kl_of_mean"`` (the paper's formula), ``"mean_of_kl"`` (larger, noisier) or ``"both"``.
        exclude_effect_type: Leave replacements of the effect's own type out (not in pairs of equal types, nor in
            staircases).
            Otherwise an effect that brings itself about makes every other cause look like one that prevents it. By
            default that is done in `discover_population`, and here where its result is the ``population``.
        horizon: Largest lag to test, or ``"full"``; by default the density's memory, or 8 if it has none.
        horizon_time: Longest time between a cause and an effect: seconds, or text like ``"10m"``, ``"2h"``. Pairs
            further apart are not tested. Needs times; ``horizon`` holds as well.
        context: Leading positions that are never causes.
        threshold: ``"effect-size"`` (default), ``"fixed"``, ``"vocabulary"``, ``"percentile"``, ``"otsu"``, or a rule.
        delta: Smallest effect of interest in nats, for ``"effect-size"``.
        confidence_level: One-sided confidence that an edge's effect exceeds ``delta``, as far as Monte Carlo error
            goes.
        tau: For ``"fixed"`` and ``"vocabulary"``.
        seed: Same seed, same graph.
        screening: Pairs get a few of the particles first, and more only while that does not decide whether they are
            edges; at most about this share of pairs is then decided otherwise than by all particles. 0 is none;
            ``"auto"`` is 0.005 where it can be done and saves something (design ``"atomic"``, proposal ``"uniform"``,
            a threshold in nats, 16 particles or more, and more event types than particles; no population), and 0
            elsewhere, and in `estimate`.
        population: Population graph of the same kind of cases. Edges then have a ``confidence`` from their own effect
            and from what the population says of their types, see `sequela.evidence.edge_probability`.
        fdr: With a population: highest expected share of false edges (0.05); ``confidence_level`` then plays no part.
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
    chosen = make_settings(settings)
    one, n_unknown = encode_case(density, case)
    horizon = chosen.horizon_for(density, len(one.ids))
    return next(_graphs(density, [(one, n_unknown)], chosen, horizon, len(one.ids)))[0]


def estimate(density: Density, case: EventLog | Case | Sequence[str], **settings: Any) -> CMIEstimate:
    """Estimate the conditional mutual information of all pairs of positions of one sequence.

    Takes the arguments of `discover` (the threshold's play no part) and returns the banded arrays behind its graph.
    """
    chosen = make_settings(settings)
    one, _ = encode_case(density, case)
    horizon = chosen.horizon_for(density, len(one.ids))
    return score_cases(density, [one], chosen, horizon, chosen.allotment(density, horizon, len(one.ids)))[0]


def discover_log(density: Density, log: EventLog, *, progress: bool | Reporter = True, **settings: Any) -> Discovery:
    """Find which events caused which in every case of a log, and keep all edges in memory.

    For a log whose edges do not fit, use `sequela.discovery.stream.discover_to`, which streams them to a folder.

    Args:
        density: A trained density, or a world.
        log: Event log.
        progress: Show a bar.
        settings: As for `discover`.

    Returns:
        All edges, and their summary.
    """
    from sequela.graphs.run_record import Counts, run_record

    chosen = make_settings(settings)
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


def iter_estimates(
    density: Density, sequences: SequenceSet, settings: Settings, *, longest: int | None = None
) -> Iterator[tuple[Case, CMIEstimate]]:
    """Yield every case, in order, with its estimate; memory is that of one batch.

    ``longest`` is as for `iter_batches`, by default that of these cases.
    """
    longest = longest_case(sequences) if longest is None else longest
    horizon = settings.horizon_for(density, longest)
    allotment = settings.allotment(density, horizon, longest)
    for batch in grouped(((case, 0) for case in sequences), settings, horizon, allotment):
        cases = [case for case, _ in batch]
        yield from zip(cases, score_cases(density, cases, settings, horizon, allotment), strict=True)


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
    for batch in grouped(iter(cases), settings, horizon, allotment):
        estimates = score_cases(density, [case for case, _ in batch], settings, horizon, allotment, deciding=True)
        graphs = []
        for (case, n_unknown), found in zip(batch, estimates, strict=True):
            confidence = None if beliefs is None else beliefs.confidence(case, found, settings.delta)
            directions = None if beliefs is None else beliefs.directions(case, found)
            edges = rule.edges(found) if confidence is None else confidence >= 1 - settings.error_rate
            graph = InstanceGraph.from_estimate(
                case,
                density.vocabulary,
                found,
                edges,
                confidence=confidence,
                directions=directions,
                n_unknown=n_unknown,
                settings=record,
            )
            graphs.append(graph)
        yield graphs
