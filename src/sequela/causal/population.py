"""The verb ``discover_population``: which event types cause which, over many cases, with evidence and no labels.

Two questions are answered for each pair of types, on cases the density never saw. How *strong* is it: the mean CMI over
the places where it occurs, at its strongest lag (by the design of `discover`). Is it *real*: does knowing of the cause
improve the forecast of the effect (`evidence`). An edge is a pair that is strong enough (``delta``) and real at the
false discovery rate asked for (``fdr``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.stats import norm

from sequela.causal.encoding import encode_log
from sequela.causal.evidence import Groups, check_evidence
from sequela.causal.graphs import _Graph, makes_it
from sequela.causal.multiplicity import e_bh, families, family_weights
from sequela.causal.parts import Counts
from sequela.causal.run import ENGINES, FORMAT, MARKER, SavedDiscovery, load_discovery, run_record
from sequela.causal.settings import Settings
from sequela.causal.weighing import weigh_all, weighing_job
from sequela.density.base import Density
from sequela.density.crossfit import CrossFit, held_out_cases
from sequela.display import TOP_ROWS
from sequela.errors import LogFormatError, check_choice, check_range
from sequela.events.log import EventLog, event_parts
from sequela.files import check_writable_folder, read_json, whole_folder, write_json
from sequela.progress import Reporter, reporter

if TYPE_CHECKING:
    import networkx as nx

CASES = ("held-out", "all")
_OWN_SHARE = 1 / 3
"""An edge that keeps less than this of its log lift when the other events are known is marked as uncertain."""
_TELLING_LIFT = 0.4
"""Least absolute log lift for that: without an association there is nothing to lose."""
_PRIOR = 5.0
"""Places at the mean of the other lags that the mean of a lag is drawn towards."""
POPULATION_SCHEMA = pl.Schema(
    {
        "cause": pl.String,
        "effect": pl.String,
        "support_cases": pl.Int64,
        "support": pl.Int64,
        "lag": pl.Int64,
        "cmi_nats": pl.Float64,
        "cmi_low_nats": pl.Float64,
        "cmi_high_nats": pl.Float64,
        "pointwise_nats": pl.Float64,
        "log10_e": pl.Float64,
        "q_value": pl.Float64,
        "is_edge": pl.Boolean,
        "mark": pl.String,
    }
)
"""Columns of a population table."""
LAG_SCHEMA = pl.Schema(
    {
        "cause": pl.String,
        "effect": pl.String,
        "lag": pl.Int64,
        "support": pl.Int64,
        "cmi_nats": pl.Float64,
        "std_error": pl.Float64,
    }
)
"""Columns of a table of strengths by lag; the standard error is over cases, infinite for a single one."""


@dataclass(frozen=True, repr=False)
class PopulationGraph(_Graph):
    """Which event types cause which in a population of cases.

    Attributes:
        pairs: One row an ordered pair of types that occurs within the horizon, edges first, strongest first; columns
            `POPULATION_SCHEMA`: cases (at one lag, the most) and places (pairs of positions, all lags) that hold it,
            its strongest lag, there the mean CMI with its 95 % interval (over cases) and the mean pointwise
            information (above 0: the cause makes the effect more likely), log10 of the e-value, q-value, whether it
            is an edge, and why it is uncertain.
        nodes: ``event`` and ``count`` over the cases that were used.
        run: Arguments, seed, versions and counts, as plain values.
        lags: Strength of each pair at each lag, columns `LAG_SCHEMA`; empty where it is not known.
    """

    pairs: pl.DataFrame
    nodes: pl.DataFrame
    run: Mapping[str, Any] = field(default_factory=dict)
    lags: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LAG_SCHEMA))

    @property
    def edges(self) -> pl.DataFrame:  # type: ignore[override]
        """The pairs that are edges."""
        return self.pairs.filter("is_edge")

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are event types with ``count``, edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph()
        graph.add_nodes_from((row["event"], {"count": row["count"]}) for row in self.nodes.iter_rows(named=True))
        for row in self.edges.iter_rows(named=True):
            graph.add_edge(row.pop("cause"), row.pop("effect"), **row)
        return graph

    def save(self, out: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder: ``population.parquet`` (all pairs), ``lags.parquet``, ``nodes.parquet``, ``run.json``."""
        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            self.pairs.write_parquet(folder / "population.parquet")
            self.nodes.write_parquet(folder / "nodes.parquet")
            self.lags.write_parquet(folder / "lags.parquet")
            write_json(folder / MARKER, dict(self.run))

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause", "effect", "support_cases", "lag", "cmi_nats", "cmi_low_nats", "cmi_high_nats"]
        return self.edges.head(TOP_ROWS).select(*columns, makes_it(), "q_value", "mark")

    def __repr__(self) -> str:
        return f"PopulationGraph({self.nodes.height:,} event types, {len(self):,} edges of {self.pairs.height:,} pairs)"


def load_population(path: str | Path) -> PopulationGraph:
    """Open a folder that `PopulationGraph.save` wrote.

    Raises:
        LogFormatError: It is not such a folder, or is damaged.
    """
    folder = Path(path)
    try:
        run = read_json(folder / MARKER)
        if run["format"] != FORMAT:
            raise ValueError(f"format {run['format']}, this version reads {FORMAT}")
        pairs = pl.read_parquet(folder / "population.parquet")
        missing = set(POPULATION_SCHEMA) - set(pairs.columns)
        if missing:
            raise ValueError(f"columns are missing: {', '.join(sorted(missing))}")
        nodes, lags = (pl.read_parquet(folder / f"{name}.parquet") for name in ("nodes", "lags"))
        return PopulationGraph(pairs, nodes, run, lags.select(list(LAG_SCHEMA)))
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"'{path}' is not a folder of population results: {error}") from error


def load_results(path: str | Path) -> SavedDiscovery | PopulationGraph:
    """Open a folder that ``sequela discover`` or ``sequela population`` wrote, whichever it is.

    Raises:
        LogFormatError: It is neither, or is damaged.
    """
    return load_population(path) if (Path(path) / "population.parquet").is_file() else load_discovery(path)


def discover_population(
    density: Density | CrossFit,
    log: EventLog,
    *,
    cases: str = "held-out",
    fdr: float = 0.05,
    level: int | None = None,
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
        level: For event types with parts (several event columns): pairs of first parts (1), of first two parts (2), …
            in place of pairs of whole types. All types that share these parts are hidden together and forecast
            together, so what is rare by itself adds up; the density stays that of the whole types, and the strength is
            that of hiding (``design`` and ``particles`` play no part).
        pool: For event types with parts: evidence counts for more in a pair whose first parts are linked in other
            pairs too, and for less elsewhere, see `sequela.causal.multiplicity.family_weights`.
        out: Folder to save the result to. With it, a run that was interrupted, even killed, goes on when the same call
            is made again.
        overwrite: Replace an earlier result in ``out``.
        engine: ``"local"`` (this process) or ``"ray"`` (a Ray cluster; needs the extra ``ray``). Same result, to the
            last bit. Where the cluster is of several machines, ``out`` must be a folder that all of them see.
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
    chosen = Settings(**({"spare_effect": True} | settings))
    if isinstance(density, CrossFit):
        parts = list(density.held_out(log))
    else:
        parts = [(density, log if cases == "all" else held_out_cases(density, log))]
    for one, _ in parts:
        check_evidence(one)
    started = time.monotonic()
    given = [(one, encode_log(one, part)) for one, part in parts]
    counts = Counts(sum(sequences.n_unknown for _, sequences in given))
    sums, bets, nodes = [], [], []
    with weighing_job(given, chosen, level, out=out, on_disk=engine == "ray") as job:
        weighed = weigh_all(given, chosen, level, job, engine=engine, workers=workers, tell=reporter(progress))
        for (one, _), partial in zip(given, weighed, strict=True):
            strength, evidence, seen = partial.tables(Groups.at_level(one.vocabulary, level))
            sums.append(strength)
            bets.append(evidence)
            nodes.append(seen)
            counts.include(partial.counts)
        first = parts[0][0]
        pool = pool and level is None and any(len(event_parts(name)) > 1 for name in first.vocabulary.names)
        record = run_record(first, log, encode_log(first, log), chosen, counts)
        record["arguments"] |= {
            "delta": chosen.delta, "fdr": fdr, "cases": cases, "folds": len(parts), "level": level, "pool": pool,
        }  # fmt: skip
        record["kind"] = "population"
        record["seconds"] = round(time.monotonic() - started, 3)
        summed = pl.concat(nodes).group_by("event").agg(pl.col("count").sum()).sort("event")
        lags = _by_lag(pl.concat(sums)).select(list(LAG_SCHEMA)).cast(LAG_SCHEMA)
        pairs = finish(sums, bets, delta=chosen.delta, fdr=fdr, nodes=summed, pool=pool)
        found = PopulationGraph(pairs, summed, record, lags)
        if out is not None:
            found.save(out, overwrite=overwrite)
    return found


def finish(
    sums: list[pl.DataFrame],
    bets: list[pl.DataFrame],
    *,
    delta: float,
    fdr: float,
    nodes: pl.DataFrame | None = None,
    pool: bool = False,
) -> pl.DataFrame:
    """Turn strengths and log e-values, one frame each a density, into the columns of `PopulationGraph.pairs`.

    The e-value of a pair is the mean over densities: those of cross-fitting have seen each other's cases, and the
    product of their e-values would not be one.

    Args:
        sums: From `LagSums`.
        bets: ``cause``, ``effect``, ``log_e``.
        delta: Least mean CMI of an edge.
        fdr: Highest expected share of false ones among the edges.
        nodes: ``event`` and ``count``, to tell whether what links a pair goes with other events.
        pool: Weigh the evidence of a pair by that of its family: pairs with the same first parts.
    """
    n_densities = len(bets)
    strength = _strongest(pl.concat(sums))
    evidence = pl.concat(bets).group_by("cause", "effect").agg("log_e")
    table = strength.join(evidence, on=["cause", "effect"], how="left").sort("cause", "effect")
    # A density that never met the pair has placed no bet: its e-value is 1.
    log_e = np.array([_log_mean_exp(list(row), n_densities) for row in table["log_e"]])
    q_value = e_bh(log_e + np.log(family_weights(log_e, families(table))) if pool else log_e)
    table = table.with_columns(
        log10_e=pl.Series(log_e / np.log(10), dtype=pl.Float64), q_value=pl.Series(q_value, dtype=pl.Float64)
    ).with_columns(is_edge=(pl.col("q_value") <= fdr) & (pl.col("cmi_nats") >= delta))
    return (
        table.with_columns(_mark(table, nodes))
        .sort(["is_edge", pl.col("cmi_nats").round(9), "cause", "effect"], descending=[True, True, False, False])
        .select(list(POPULATION_SCHEMA))
        .cast(POPULATION_SCHEMA)
    )


def _by_lag(sums: pl.DataFrame) -> pl.DataFrame:
    """Return each pair's strength at each lag.

    The best of several noisy means is biased upwards, most where a lag has few places. Each lag's mean is therefore
    taken together with `_PRIOR` places at the mean of the pair's other lags.
    """
    keys = ["cause", "effect"]
    # The order of additions is kept: same bits, however many threads.
    by_lag = sums.group_by(*keys, "lag", maintain_order=True).agg(pl.all().sum()).sort(*keys, "lag")
    places, nats = pl.col("support"), pl.col("cmi")
    other_places, other_nats = places.sum().over(keys) - places, nats.sum().over(keys) - nats
    others = pl.when(other_places > 0).then(other_nats / other_places).otherwise(0.0)
    mean, n_cases = nats / places, pl.col("cases")
    spread = pl.col("cmi_squared") - 2 * mean * pl.col("cmi_support") + mean**2 * pl.col("support_squared")
    # One case says nothing of how cases differ.
    error = pl.when(n_cases > 1).then((spread.clip(0) * n_cases / (n_cases - 1)).sqrt() / places).otherwise(math.inf)
    return by_lag.with_columns(
        cmi_nats=(nats + _PRIOR * others) / (places + _PRIOR),
        std_error=error,
        pointwise_nats=pl.col("pointwise") / places,
    )


def _strongest(sums: pl.DataFrame) -> pl.DataFrame:
    """Return each pair's strength at its strongest lag."""
    keys, places, margin = ["cause", "effect"], pl.col("support"), float(norm.ppf(0.975)) * pl.col("std_error")
    by_lag = _by_lag(sums).with_columns(
        places_there=places,
        tied=pl.col("ties").sum().over(keys) / places.sum().over(keys),
        support_cases=pl.col("cases").max().over(keys),
        support=places.sum().over(keys),
    )
    best = by_lag.sort([*keys, pl.col("cmi_nats").round(9), "lag"], descending=[False, False, True, False])
    return best.unique(keys, keep="first", maintain_order=True).with_columns(
        cmi_low_nats=(pl.col("cmi_nats") - margin).clip(0), cmi_high_nats=pl.col("cmi_nats") + margin
    )


def _log_mean_exp(values: list[float], n: int) -> float:
    padded = [*values, *[0.0] * (n - len(values))]
    top = max(padded)
    return top + math.log(math.fsum(math.exp(value - top) for value in padded) / n)


def _log_lift(table: pl.DataFrame, nodes: pl.DataFrame) -> list[float]:
    """Return how much more often than by chance each effect stands at the pair's strongest lag (log ratio)."""
    count = dict(nodes.select("event", "count").iter_rows())
    total = sum(count.values())
    columns = table.select("cause", "effect", "places_there").iter_rows()
    return [math.log(places * total / (count[cause] * count[effect])) for cause, effect, places in columns]


def _mark(table: pl.DataFrame, nodes: pl.DataFrame | None = None) -> pl.Series:
    """Say why an edge is uncertain; null where nothing speaks against it.

    What the cause tells of the effect when the other events are known is set against their plain association. Where
    most of that goes with other events, a cause of both that the log holds only in part fits as well.
    """
    lifts = [0.0] * len(table) if nodes is None else _log_lift(table, nodes)
    strength = {
        (cause, effect): value
        for cause, effect, value, edge in table.select("cause", "effect", "cmi_nats", "is_edge").iter_rows()
        if edge
    }
    marks: list[str | None] = []
    columns = table.select("cause", "effect", "tied", "is_edge", "pointwise_nats").iter_rows()
    for (cause, effect, tied, edge, pointwise), lift in zip(columns, lifts, strict=True):
        own, back = strength.get((cause, effect)), strength.get((effect, cause))
        if not edge or own is None:
            marks.append(None)
        elif tied > 0.5:
            marks.append("uncertain: most of its events share their time")
        elif back is not None and 0.5 <= own / back <= 2:
            marks.append("uncertain: as strong in the other direction")
        elif abs(lift) >= _TELLING_LIFT and pointwise / lift < _OWN_SHARE:
            marks.append("uncertain: most of their association goes with other events")
        else:
            marks.append(None)
    return pl.Series("mark", marks, dtype=pl.String)
