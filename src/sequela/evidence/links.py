"""Links between event types: strength by lag, evidence, and marks, from sums over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import norm

from sequela.evidence.correction import effect_intervals, link_probability
from sequela.evidence.direction import log_e_direction
from sequela.evidence.edge_probability import linked
from sequela.evidence.marks import marks
from sequela.evidence.multiplicity import best_for_f1, by_density, claimed, combined, e_bh, families, family_weights

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
        "pointwise_low_nats": pl.Float64,
        "pointwise_high_nats": pl.Float64,
        "log10_e": pl.Float64,
        "q_value": pl.Float64,
        "corrected_nats": pl.Float64,
        "probability": pl.Float64,
        "is_edge": pl.Boolean,
        "direction_log10_e": pl.Float64,
        "share_first": pl.Float64,
        "sensitivity": pl.Float64,
        "observed_sensitivity": pl.Float64,
        "placebo_nats": pl.Float64,
        "attributed": pl.Float64,
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

CONTROLS = ("fdr", "each")
"""``"fdr"``: the expected share of false ones among all links (e-BH). ``"each"``: each pair by itself, an e-value of
``1 / fdr`` (20 for 0.05), and takes a link down to a fifth of ``delta`` where its order has an e-value of ``1 / fdr``
too: more links of a small log, and no bound on the share of false ones beyond what strength and order ask for."""

WEAKEST = 5
"""So many times weaker than ``delta`` may a link be whose order is decided, and a single edge on a link (``run``)."""

OBJECTIVES = ("rate", "f1", "cascades")
"""What decides which pairs are links: ``"rate"``, the evidence and strength that `CONTROLS` ask for; ``"f1"``, the
probabilities (`best_for_f1`); ``"cascades"``, the probabilities that follow from times alone
(`sequela.evidence.attribution`), whatever the strength."""

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
    votes: pl.DataFrame | None = None,
    episodes: pl.DataFrame | None = None,
    without: Sequence[pl.DataFrame] = (),
    control: str = "fdr",
    residuals: Sequence[pl.DataFrame] = (),
    objective: str = "rate",
    horizon: int | None = None,
    attributed: pl.DataFrame | None = None,
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
        votes: ``cause``, ``effect``, ``first`` and ``total``: votes on the order (`sequela.evidence.direction`). A pair
            whose cause makes its effect likelier is an edge only with the majority of its votes, if it has any.
        episodes: ``cause``, ``effect``, ``log_e`` and ``is_against``: evidence from counts
            (`sequela.evidence.episodes`). The e-value of every pair is then the mean of this one (0 for pairs without,
            or with null: their order has no evidence) and that of the bets; a mean of e-values is one, and so is what
            is at most an e-value. A pair whose cause makes its effect likelier is no edge where counts are against it.
        without: One frame a density, ``cause``, ``effect``, ``absent`` and ``log_e``: evidence at the places without a
            third type (`triangles`). The e-value of a pair is then the least of all.
        control: One of `CONTROLS`: what ``fdr`` bounds.
        residuals: What the forecasts left over, one frame a density (`sequela.evidence.residuals`); none where ties
            have no order.
        objective: One of `OBJECTIVES`.
        horizon: Largest lag of an effect; strengths at larger lags are the placebo. By default all are effects.
        attributed: ``cause``, ``effect``, ``attributed`` and ``probability`` of `sequela.evidence.attribution`, for the
            objective ``"cascades"``: that is then the probability of a link.
    """
    far = pl.col("lag") > (math.inf if horizon is None else horizon)
    near, beyond = (by_lag(pl.concat(sums).filter(side)) for side in (~far, far))
    placebo = beyond.group_by("cause", "effect").agg(placebo_nats=pl.col("cmi_nats").max())
    strength = _strongest(near).join(placebo, on=["cause", "effect"], how="left")
    evidence, each = by_density(bets, ["cause", "effect"])
    evidence = evidence.with_columns(log_e=pl.Series(combined(each, scheme), dtype=pl.Float64))
    table = strength.join(evidence, on=["cause", "effect"], how="left").sort("cause", "effect")
    # Pairs on which nothing was bet (new ones of a log that has grown) have no evidence.
    table = table.with_columns(pl.col("log_e").fill_null(0.0))
    table = _with_least(table, without, scheme)
    table = _with_votes(table, votes)
    is_refuted = pl.lit(False)
    if episodes is not None:
        table = table.join(episodes.rename({"log_e": "counted"}), on=["cause", "effect"], how="left")
        both = np.logaddexp(table["log_e"].to_numpy(), table["counted"].fill_null(-math.inf).to_numpy()) - math.log(2)
        table = table.with_columns(log_e=pl.Series(both)).sort("cause", "effect")
        is_refuted = pl.col("is_against").fill_null(False) & (pl.col("pointwise_nats") > 0)
    table = table.with_columns(is_refuted=is_refuted).with_columns(is_out=pl.col("is_backward") | pl.col("is_refuted"))
    log_e = table["log_e"].to_numpy()
    claim = np.where(
        table["is_backward"] | table["is_refuted"], -np.inf, claimed(log_e, table["cmi_nats"].to_numpy(), delta)
    )
    q_value = e_bh(claim + np.log(family_weights(claim, families(table))) if pool else claim)
    ratio = pl.col("pointwise_nats").abs().exp()
    table = table.with_columns(
        log10_e=pl.col("log_e") / math.log(10),
        is_strong=pl.col("cmi_nats") >= delta,
        q_value=pl.Series(q_value, dtype=pl.Float64),
        sensitivity=ratio + (ratio * (ratio - 1)).sqrt(),
    ).with_columns(observed_sensitivity=_largest_of_others("sensitivity", "effect"))
    table = table.join(
        link_probability(near, residuals, delta=delta), on=["cause", "effect"], how="left", maintain_order="left"
    )
    if residuals:
        table = table.join(
            effect_intervals(near, residuals), on=["cause", "effect", "lag"], how="left", maintain_order="left"
        )
    else:
        table = table.with_columns(pl.lit(None, pl.Float64).alias(f"pointwise_{end}_nats") for end in ("low", "high"))
    if attributed is None:
        probability = (
            pl.when(pl.col("is_backward") | pl.col("is_refuted"))
            .then(0.0)
            .otherwise(_linked(table) * pl.col("probability"))
        )
        table = table.with_columns(probability=probability, attributed=pl.lit(None, pl.Float64))
    else:
        table = table.drop("probability").join(attributed, on=["cause", "effect"], how="left", maintain_order="left")
        table = table.with_columns(pl.col("attributed", "probability").fill_null(0.0))
    if objective != "rate":
        table = table.with_columns(is_edge=pl.Series(best_for_f1(table["probability"].to_numpy()), dtype=pl.Boolean))
    else:
        certain = pl.col("q_value") <= fdr
        if control == "each":
            certain = pl.col("log_e") >= -math.log(fdr)
            table = table.with_columns(is_strong=pl.col("is_strong") | (certain & _weak_in_order(delta, fdr)))
        table = table.with_columns(
            is_edge=certain & pl.col("is_strong") & ~pl.col("is_backward") & ~pl.col("is_refuted")
        )
    return (
        table.with_columns(marks(table, nodes))
        .sort(["is_edge", pl.col("cmi_nats").round(9), "cause", "effect"], descending=[True, True, False, False])
        .select(list(POPULATION_SCHEMA))
        .cast(POPULATION_SCHEMA)
    )


def _largest_of_others(column: str, key: str) -> pl.Expr:
    """Return the largest value of the other rows with the same key; null where there is none."""
    value = pl.col(column)
    is_largest = value.rank("ordinal", descending=True).over(key) == 1
    second = value.sort(descending=True).get(1, null_on_oob=True).over(key)
    return pl.when(is_largest).then(second).otherwise(value.max().over(key))


def _weak_in_order(delta: float, fdr: float) -> pl.Expr:
    """Return whether a pair has a weak effect that makes the other likelier, and an order as certain as that."""
    in_order = (pl.col("direction_log10_e") >= -math.log10(fdr)) & (2 * pl.col("first") > pl.col("total"))
    return (pl.col("cmi_nats") >= delta / WEAKEST) & (pl.col("pointwise_nats") > 0) & in_order.fill_null(False)


def triangles(bets: Sequence[pl.DataFrame], scheme: str, *, alpha: float = 0.05) -> pl.DataFrame:
    """Return which pairs to weigh again without which third types: ``cause``, ``effect``, ``absent``.

    A third type is asked for where it has more evidence with the cause (in either direction) and with the effect than
    the pair itself: then the pair may be associated through it alone. Pairs whose e-value is below ``1 / alpha`` are no
    links in any case and are left out.
    """
    table, each = by_density(bets, ["cause", "effect"])
    log_e = combined(each, scheme)
    names = pl.concat([table["cause"], table["effect"]]).unique().sort()
    place = {name: number for number, name in enumerate(names)}
    own = np.full((len(names), len(names)), -np.inf)
    for (cause, effect), value in zip(table.select("cause", "effect").iter_rows(), log_e, strict=True):
        own[place[cause], place[effect]] = value
    either = np.maximum(own, own.T)
    found = []
    for cause, effect in zip(*np.nonzero(own > -math.log(alpha)), strict=True):
        more = (either[cause] > own[cause, effect]) & (either[:, effect] > own[cause, effect])
        found += [(names[int(cause)], names[int(effect)], names[int(third)]) for third in np.flatnonzero(more)]
    return pl.DataFrame(found, schema=dict.fromkeys(("cause", "effect", "absent"), pl.String), orient="row")


def _with_least(table: pl.DataFrame, without: Sequence[pl.DataFrame], scheme: str) -> pl.DataFrame:
    """Put the least e-value of each pair in the place of its own; add the third type that makes it smallest."""
    if not without:
        return table.with_columns(screened_by=pl.lit(None, pl.String))
    keys = ["cause", "effect", "absent"]
    again, each = by_density(without, keys)
    again = again.with_columns(least=pl.Series(combined(each, scheme), dtype=pl.Float64))
    again = again.sort("least", *keys).unique(keys[:2], keep="first", maintain_order=True)
    table = table.join(again.select(*keys, "least"), on=keys[:2], how="left", maintain_order="left")
    lower = pl.col("least").is_not_null() & (pl.col("least") < pl.col("log_e"))
    return table.with_columns(
        log_e=pl.when(lower).then("least").otherwise("log_e"),
        screened_by=pl.when(lower).then("absent").otherwise(None),
    )


def _with_votes(table: pl.DataFrame, votes: pl.DataFrame | None) -> pl.DataFrame:
    """Add what the votes on the order say of each pair."""
    if votes is None:
        votes = table.select("cause", "effect", first=pl.lit(0, pl.Int64), total=pl.lit(0, pl.Int64))
    table = table.join(votes, on=["cause", "effect"], how="left", maintain_order="left")
    first, total = (table[name].fill_null(0).to_numpy() for name in ("first", "total"))
    voted = pl.col("total").fill_null(0) > 0
    return table.with_columns(
        direction_log10_e=pl.Series(log_e_direction(first, total) / math.log(10), dtype=pl.Float64),
        share_first=pl.when(voted).then(pl.col("first") / pl.col("total")),
        is_backward=voted & (pl.col("pointwise_nats") > 0) & (2 * pl.col("first") <= pl.col("total")),
    )


def _linked(table: pl.DataFrame) -> pl.Series:
    """Return the probability that the types of each pair are linked, at even odds beforehand (`linked`).

    The e-value is the mean of those of the bets and of the order, where the cause makes the effect likelier and mostly
    comes first; a mean of e-values is one.
    """
    bets, order = table["log_e"].to_numpy(), table["direction_log10_e"].to_numpy() * math.log(10)
    ahead = (table["share_first"].fill_null(0.0).to_numpy() > 0.5) & (table["pointwise_nats"].to_numpy() > 0)
    log_e = np.where(ahead, np.logaddexp(bets, order) - math.log(2), bets)
    return pl.Series(linked(log_e, share=0.5)[0], dtype=pl.Float64)


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


def _strongest(lags: pl.DataFrame) -> pl.DataFrame:
    """Return each pair's strength at its strongest lag, from `by_lag`."""
    keys, places, margin = ["cause", "effect"], pl.col("support"), float(norm.ppf(0.975)) * pl.col("std_error")
    lags = lags.with_columns(
        places_there=places,
        tied=pl.col("ties").sum().over(keys) / places.sum().over(keys),
        support_cases=pl.col("cases").max().over(keys),
        support=places.sum().over(keys),
    )
    best = lags.sort([*keys, pl.col("cmi_nats").round(9), "lag"], descending=[False, False, True, False])
    return best.unique(keys, keep="first", maintain_order=True).with_columns(
        cmi_low_nats=(pl.col("cmi_nats") - margin).clip(0), cmi_high_nats=pl.col("cmi_nats") + margin
    )
