"""The verb ``discover_population``: which event types cause which, over many cases, with evidence and no labels.

Two questions are answered for each pair of types, on cases the density never saw. How *strong* is it: the mean CMI over
the places where it occurs, at its strongest lag (by the design of `discover`). Is it *real*: does knowing of the cause
improve the forecast of the effect (`evidence`). An edge is a pair that is strong enough (``delta``) and real at the
false discovery rate asked for (``fdr``).
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sequela.arguments import public
from sequela.density.base import Density
from sequela.density.training.crossfit import CrossFit, held_out_cases
from sequela.discovery.arguments import POPULATION, chosen
from sequela.discovery.kept import KeptFolds
from sequela.discovery.weigh import Weighed, has_ties, weigh_all, weighing_job
from sequela.discovery.weigh_again import bet_on_causes, weigh_without
from sequela.effects.encoding import encode_log
from sequela.effects.knowledge import Knowledge
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.log import EventLog, event_components
from sequela.events.sequences import SequenceSet
from sequela.evidence.attribution import MAX_TYPES, attributed, order_probability
from sequela.evidence.direction import burst_seconds, log_e_direction, order_votes
from sequela.evidence.episodes import log_e_episodes
from sequela.evidence.forecasts import check_evidence
from sequela.evidence.links import LAG_SCHEMA, by_lag, finish
from sequela.evidence.multiplicity import by_density, combined
from sequela.evidence.pairs import co_occurring, pair_names
from sequela.files import check_writable_folder
from sequela.graphs.places import added_places, count_places
from sequela.graphs.population import PopulationGraph
from sequela.graphs.records import MARKER
from sequela.graphs.run_record import Counts, run_record
from sequela.locks import locked
from sequela.progress import Reporter, reporter


@public(POPULATION)
def discover_population(
    density: Density | CrossFit,
    log: EventLog,
    *,
    cases: str = "held-out",
    fdr: float = 0.05,
    control: str = "fdr",
    delta: float = 0.05,
    hierarchy_level: int | None = None,
    pool: bool = True,
    objective: str = "rate",
    placebo: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    engine: str = "local",
    workers: int | None = None,
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
    seed: int = 0,
    screening: float | str = "auto",
    batch_size: int | None = None,
    memory_budget: str | float | None = None,
) -> PopulationGraph:
    """Find which event types cause which over many cases, with evidence.

    Args:
        density: A density trained with hidden events (the default of `fit`), or `cross_fit` densities: each case is
            then scored by the one that never saw it.
        log: Event log.

    Returns:
        All pairs with their evidence.

    Raises:
        ConfigError: A setting is not allowed, no case is held out, the density knows no hidden events, or the folder
            may not be written.
        VocabularyError: The log is not of the density's vocabulary.
        MissingExtraError: Ray is asked for and not installed.

    Example:
        >>> from sequela import fit, read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = read_log(world.to_log(world.sample(30, 8, seed=1)))
        >>> density = fit(log, max_steps=10, width=8, progress=False)
        >>> discover_population(density, log, cases="all", progress=False).pairs.height
        12
    """
    settings, _ = chosen({name: value for name, value in locals().items() if name != "fdr"})  # here of the links
    if settings.exclude_effect_type is None:
        settings = replace(settings, exclude_effect_type=True)
    if settings.screening == "auto":  # the mean strength is wanted, not a decision
        settings = replace(settings, screening=0.0)
    if out is not None:
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    kept = density.sums if isinstance(density, KeptFolds) else None
    if objective == "cascades" and not log.has_times:
        raise ConfigError("objective='cascades' goes by times, and this log has none: use 'rate' or 'f1'")
    scheme = density.scheme if isinstance(density, CrossFit) else "leave-one-out"
    if isinstance(density, CrossFit):
        parts = list(density.held_out(log))
    else:
        parts = [(density, log if cases == "all" else held_out_cases(density, log))]
    for density_given, _ in parts:
        check_evidence(density_given)
    with nullcontext() if out is None else locked(out):
        if out is not None:
            check_writable_folder(out, marker=MARKER, overwrite=overwrite)
        started, tell = time.monotonic(), reporter(progress)
        given = [(one, encode_log(one, part)) for one, part in parts]
        counts = Counts(sum(sequences.n_unknown for _, sequences in given))
        sums: list[pl.DataFrame] = []
        nodes: list[pl.DataFrame] = []
        with weighing_job(given, settings, hierarchy_level, placebo=placebo, out=out, kept=kept, tell=tell) as job:
            how: Any = {"kept": kept, "engine": engine, "workers": workers, "tell": tell}
            weighed = weigh_all(given, settings, hierarchy_level, job, placebo=placebo, **how)
            bets, residuals = bet_on_causes(given, weighed, job, **how)
            without = weigh_without(given, weighed, scheme, job, **how)
            for one in weighed:
                strength, _, counted = one.partial.tables(one.groups)
                sums.append(strength)
                nodes.append(counted)
                counts.include(one.counts)
            first = parts[0][0]
            pool = (
                pool
                and hierarchy_level is None
                and any(len(event_components(name)) > 1 for name in first.vocabulary.names)
            )
            record = run_record(
                first, log, encode_log(first, log), settings, counts, kind="population",
                seconds=time.monotonic() - started, delta=settings.delta, fdr=fdr, cases=cases, folds=len(parts),
                hierarchy_level=hierarchy_level, pool=pool, control=control, objective=objective, placebo=placebo,
            )  # fmt: skip
            summed = pl.concat(nodes).group_by("event").agg(pl.col("count").sum()).sort("event")
            horizon = max(one.task.horizon for one in weighed)
            lags = by_lag(pl.concat(sums).filter(pl.col("lag") <= horizon)).select(list(LAG_SCHEMA)).cast(LAG_SCHEMA)
            votes, episodes = _order(weighed[0], encode_log(first, log), settings, fdr, _won(bets, scheme))
            pairs = finish(
                sums, bets, delta=settings.delta, fdr=fdr, nodes=summed, pool=pool, scheme=scheme, control=control,
                votes=votes, episodes=episodes, without=without, residuals=residuals, objective=objective,
                horizon=horizon,
                attributed=_attributed(weighed[0], encode_log(first, log)) if objective == "cascades" else None,
            )  # fmt: skip
            found = PopulationGraph(pairs, summed, record, lags, settings.knowledge)
            if settings.knowledge is not None and hierarchy_level is None:
                everywhere = [count_places(one, sequences, record.arguments, settings) for one, sequences in given]
                found = replace(found, places=added_places(everywhere))
            if isinstance(density, KeptFolds):
                density.keep(log, [(one.task.shift, one.task.pairs) for one in weighed])
            if out is not None:
                found.save(out, overwrite=overwrite)
    return found


def _order(
    weighed: Weighed, sequences: SequenceSet, settings: Settings, fdr: float, won: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return what no density plays a part in, from all cases: votes on the order of all pairs that occur, and counts.

    Counts are what `sequela.evidence.episodes` says: an e-value for the pairs whose order has one of ``1 / fdr``, and
    whether they are against a pair, for these and those whose bets have ``won``. None where each event has a time of
    its own.
    """
    task, groups = weighed.task, weighed.groups
    cases, n = groups.cases(sequences), len(groups.names)
    codes = co_occurring(cases, task.horizon, n, settings.horizon_seconds)
    window = settings.horizon_seconds if settings.horizon_seconds is not None else burst_seconds(cases)
    votes = order_votes(cases, n, task.horizon, window, pairs=codes, seed=settings.seed)
    first, total = votes.of(codes, n)
    table = pair_names(codes, groups.names).with_columns(first=pl.Series(first), total=pl.Series(total))
    if not has_ties(sequences):
        return table, None
    in_order = (log_e_direction(first, total) >= -math.log(fdr)) & (2 * first > total)
    has_won = table.join(won.with_columns(has_won=True), on=["cause", "effect"], how="left", maintain_order="left")
    asked = in_order | has_won["has_won"].fill_null(False).to_numpy()
    counted = log_e_episodes(cases, n, window, codes[asked])
    log_e = np.where(in_order[asked], counted.log_e, np.nan)
    return table, pair_names(codes[asked], groups.names).with_columns(
        log_e=pl.Series(log_e).fill_nan(None), is_against=pl.Series(counted.against(fdr), dtype=pl.Boolean)
    )


def _won(bets: list[pl.DataFrame], scheme: str) -> pl.DataFrame:
    """Return the pairs whose bets have an e-value above 1: ``cause``, ``effect``."""
    met, each = by_density(bets, ["cause", "effect"])
    return met.filter(pl.Series(combined(each, scheme) > 0, dtype=pl.Boolean))


def _attributed(weighed: Weighed, sequences: SequenceSet) -> pl.DataFrame:
    """Return how many events the types of all pairs that occur brought about, in either direction, from all cases."""
    groups, n = weighed.groups, len(weighed.groups.names)
    if n > MAX_TYPES:
        raise ConfigError(f"objective='cascades' is for logs of up to {MAX_TYPES:,} event types; this one has {n:,}")
    cases = groups.cases(sequences)
    shares = attributed(cases, n, burst_seconds(cases) or 1.0)
    probability = order_probability(shares)
    cause, effect = np.nonzero(shares)
    return pair_names(cause * n + effect, groups.names).with_columns(
        attributed=pl.Series(shares[cause, effect]), probability=pl.Series(probability[cause, effect])
    )
