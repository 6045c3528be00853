"""The verb ``discover_population``: which event types cause which, over many cases, with evidence and no labels.

Two questions are answered for each pair of types, on cases the density never saw. How *strong* is it: the mean CMI over
the places where it occurs, at its strongest lag (by the design of `discover`). Is it *real*: does knowing of the cause
improve the forecast of the effect (`evidence`). An edge is a pair that is strong enough (``delta``) and real at the
false discovery rate asked for (``fdr``).
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.density.base import Density
from sequela.density.training.crossfit import CrossFit, held_out_cases
from sequela.discovery.weigh import weigh_all, weighing_job
from sequela.effects.encoding import encode_log
from sequela.effects.settings import Settings
from sequela.errors import check_choice, check_range
from sequela.events.log import EventLog, event_components
from sequela.evidence.bets import check_evidence
from sequela.evidence.links import LAG_SCHEMA, by_lag, finish
from sequela.execution.map_cases import ENGINES
from sequela.files import check_writable_folder
from sequela.graphs.population import PopulationGraph
from sequela.graphs.run_record import MARKER, Counts, run_record
from sequela.locks import locked
from sequela.progress import Reporter, reporter

if TYPE_CHECKING:
    pass

CASES = ("held-out", "all")


def discover_population(
    density: Density | CrossFit,
    log: EventLog,
    *,
    cases: str = "held-out",
    fdr: float = 0.05,
    hierarchy_level: int | None = None,
    pool: bool = True,
    out: str | Path | None = None,
    overwrite: bool = False,
    engine: str = "local",
    workers: int | None = None,
    progress: bool | Reporter = True,
    **settings: Any,
) -> PopulationGraph:
    """Find which event types cause which over many cases, with evidence.

    Args:
        density: A density trained with hidden events (the default of `fit`), or `cross_fit` densities: each case is
            then scored by the one that never saw it.
        log: Event log.
        cases: ``"held-out"``: only the cases that `fit` kept out of training, known by their name; ``"all"``: every
            case, for a log that the density has not seen. Plays no part with `cross_fit`.
        fdr: Highest expected share of false ones among the edges. Holds as far as the density's forecasts with hidden
            events are right; see the docs page on evidence.
        hierarchy_level: For event types with components (several event columns): pairs of first components (1), of
            first two parts (2), …
            in place of pairs of whole types. All types that share these parts are hidden together and forecast
            together, so what is rare by itself adds up; the density stays that of the whole types, and the strength is
            that of hiding (``design`` and ``particles`` play no part).
        pool: For event types with components: evidence counts for more in a pair whose first components are linked in
            other pairs too, and for less elsewhere, see `sequela.evidence.multiplicity.family_weights`.
        out: Folder to save the result to. With it, a run that was interrupted, even killed, goes on when the same call
            is made again.
        overwrite: Replace an earlier result in ``out``.
        engine: ``"local"`` (this process) or ``"ray"`` (a Ray cluster; needs the extra ``ray``). Same result, to the
            last bit.
        workers: Ray actors, each with a density of its own; by default one for each processor of the cluster.
        progress: Show a bar.
        settings: As for `discover`. ``delta`` is the least mean CMI of an edge at its strongest lag; the
            other thresholds play no part.

    Returns:
        All pairs with their evidence.

    Raises:
        ConfigError: A setting is not allowed, no case is held out, the density knows no hidden events, or the folder
            may not be written.
        VocabularyError: The log is not of the density's vocabulary.
        MissingExtraError: Ray is asked for and not installed.
    """
    check_choice("cases", cases, CASES)
    check_choice("engine", engine, ENGINES)
    check_range("fdr", fdr, low=0, high=1, above=True)
    if out is not None:
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    chosen = Settings(**({"exclude_effect_type": True} | settings))
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
        bets: list[pl.DataFrame] = []
        nodes: list[pl.DataFrame] = []
        with weighing_job(given, chosen, hierarchy_level, out=out, tell=tell) as job:
            weighed = weigh_all(given, chosen, hierarchy_level, job, engine=engine, workers=workers, tell=tell)
            for one in weighed:
                for tables, table in zip((sums, bets, nodes), one.partial.tables(one.groups), strict=True):
                    tables.append(table)
                counts.include(one.counts)
            first = parts[0][0]
            pool = (
                pool
                and hierarchy_level is None
                and any(len(event_components(name)) > 1 for name in first.vocabulary.names)
            )
            record = run_record(first, log, encode_log(first, log), chosen, counts)
            record["arguments"] |= {
                "delta": chosen.delta, "fdr": fdr, "cases": cases, "folds": len(parts), "hierarchy_level":
                hierarchy_level, "pool": pool,
            }  # fmt: skip
            record["kind"] = "population"
            record["seconds"] = round(time.monotonic() - started, 3)
            summed = pl.concat(nodes).group_by("event").agg(pl.col("count").sum()).sort("event")
            lags = by_lag(pl.concat(sums)).select(list(LAG_SCHEMA)).cast(LAG_SCHEMA)
            pairs = finish(sums, bets, delta=chosen.delta, fdr=fdr, nodes=summed, pool=pool)
            found = PopulationGraph(pairs, summed, record, lags)
            if out is not None:
                found.save(out, overwrite=overwrite)
    return found
