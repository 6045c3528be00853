"""Links between event types: strength by lag, evidence, and marks, from sums over cases."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from scipy.stats import norm

from sequela.evidence.multiplicity import claimed, combined, e_bh, families, family_weights

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

_OWN_SHARE = 1 / 3
"""An edge that keeps less than this of its log lift when the other events are known is marked as uncertain."""

_TELLING_LIFT = 0.4
"""Least absolute log lift for that: without an association there is nothing to lose."""

_PRIOR = 5.0
"""Places at the mean of the other lags that the mean of a lag is drawn towards."""


def finish(
    sums: list[pl.DataFrame],
    bets: list[pl.DataFrame],
    *,
    delta: float,
    fdr: float,
    nodes: pl.DataFrame | None = None,
    pool: bool = False,
    scheme: str = "leave-one-out",
) -> pl.DataFrame:
    """Turn strengths and log e-values, one frame each a density, into the columns of `PopulationGraph.pairs`.

    Pairs weaker than ``delta`` are masked before e-BH (`claimed`), and count among its hypotheses all the same: a rate
    that holds for all pairs with evidence need not hold for those of them that are strong.

    Args:
        sums: From `LagSums`.
        bets: ``cause``, ``effect``, ``log_e``.
        delta: Least mean CMI of an edge.
        fdr: Highest expected share of false ones among the edges.
        nodes: ``event`` and ``count``, to tell whether what links a pair goes with other events.
        pool: Weigh the evidence of a pair by that of its family: pairs with the same first components.
        scheme: How the densities were cross-fitted, which says how their e-values are combined (`combined`).
    """
    strength = _strongest(pl.concat(sums))
    evidence = pl.concat(bets).group_by("cause", "effect").agg("log_e")
    table = strength.join(evidence, on=["cause", "effect"], how="left").sort("cause", "effect")
    log_e = combined(table["log_e"].to_list(), len(bets), scheme)
    claim = claimed(log_e, table["cmi_nats"].to_numpy(), delta)
    q_value = e_bh(claim + np.log(family_weights(claim, families(table))) if pool else claim)
    table = table.with_columns(
        log10_e=pl.Series(log_e / np.log(10), dtype=pl.Float64), q_value=pl.Series(q_value, dtype=pl.Float64)
    ).with_columns(is_edge=(pl.col("q_value") <= fdr) & (pl.col("cmi_nats") >= delta))
    return (
        table.with_columns(_mark(table, nodes))
        .sort(["is_edge", pl.col("cmi_nats").round(9), "cause", "effect"], descending=[True, True, False, False])
        .select(list(POPULATION_SCHEMA))
        .cast(POPULATION_SCHEMA)
    )


def by_lag(sums: pl.DataFrame) -> pl.DataFrame:
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
    lags = by_lag(sums).with_columns(
        places_there=places,
        tied=pl.col("ties").sum().over(keys) / places.sum().over(keys),
        support_cases=pl.col("cases").max().over(keys),
        support=places.sum().over(keys),
    )
    best = lags.sort([*keys, pl.col("cmi_nats").round(9), "lag"], descending=[False, False, True, False])
    return best.unique(keys, keep="first", maintain_order=True).with_columns(
        cmi_low_nats=(pl.col("cmi_nats") - margin).clip(0), cmi_high_nats=pl.col("cmi_nats") + margin
    )


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
