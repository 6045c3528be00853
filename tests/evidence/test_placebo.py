"""The far-lag placebo: the same estimate beyond the horizon, where no effect is asked for."""

import numpy as np
import polars as pl
import pytest

from sequela.discovery.population import discover_population
from sequela.events.log import read_log
from sequela.evidence.links import by_lag, finish
from sequela.worlds.softmax import SoftmaxWorld


class Hiding(SoftmaxWorld):
    """A world that forecasts from hidden events, too: they tell nothing."""

    knows_hidden = True


def lag_row(lag, nats):
    return {
        "cause": "a", "effect": "b", "lag": lag, "cases": 2.0, "support": 20.0, "cmi": 20 * nats, "pointwise": 10.0,
        "cmi_squared": 200 * nats**2, "cmi_support": 200 * nats, "support_squared": 200.0, "ties": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("far", "mark"), [(0.15, "uncertain: about as strong beyond the horizon"), (0.01, None)])
def test_a_link_as_strong_beyond_the_horizon_is_marked_and_stays(far, mark):
    sums = pl.DataFrame([lag_row(1, 0.2), lag_row(2, 0.1), lag_row(3, far), lag_row(4, 0.0)])
    bets = pl.DataFrame([{"cause": "a", "effect": "b", "log_e": 9.0}])
    row = finish([sums], [bets], delta=0.05, fdr=0.05, horizon=2).row(0, named=True)
    near = finish([sums.filter(pl.col("lag") <= 2)], [bets], delta=0.05, fdr=0.05, horizon=2).row(0, named=True)
    assert row["placebo_nats"] == pytest.approx(by_lag(sums.filter(pl.col("lag") > 2))["cmi_nats"].max())
    assert (row["mark"], row["is_edge"]) == (mark, True)
    for column in ("cmi_nats", "cmi_low_nats", "support", "support_cases", "lag", "q_value"):
        assert row[column] == near[column]  # the placebo changes nothing else
    assert near["placebo_nats"] is None


def test_placebo_is_the_estimate_of_a_longer_horizon():
    world = Hiding.random(4, horizon=6, decay=0.3, seed=0)
    log = read_log(world.to_log(world.sample(12, 15, seed=1)), time=False)
    settings = {"progress": False, "exclude_effect_type": False}
    found = discover_population(world, log, cases="all", horizon=3, placebo=True, **settings)
    plain = discover_population(world, log, cases="all", horizon=3, **settings)
    long = discover_population(world, log, cases="all", horizon=6, **settings)
    assert found.pairs.drop("placebo_nats", "mark").equals(plain.pairs.drop("placebo_nats", "mark"))
    assert found.lags.equals(plain.lags)
    assert plain.pairs["placebo_nats"].null_count() == plain.pairs.height
    places = long.lags.filter(pl.col("lag") > 3)
    # Pair by pair: the largest mean of the far lags, each drawn towards the pair's other far lags.
    for cause, effect, value in found.pairs.select("cause", "effect", "placebo_nats").iter_rows():
        own = places.filter(cause=cause, effect=effect)
        support = own["support"].to_numpy()
        # `lags` of the longer horizon are drawn towards all lags: undo that.
        if not len(support):
            assert value is None
            continue
        every = long.lags.filter(cause=cause, effect=effect)
        n, mean = every["support"].to_numpy().astype(float), every["cmi_nats"].to_numpy()
        raw = _undrawn(n, mean)[every["lag"].to_numpy() > 3]
        others = [(raw @ support - raw[i] * k) / max(support.sum() - k, 1) for i, k in enumerate(support)]
        expected = max((raw[i] * k + 5 * others[i]) / (k + 5) for i, k in enumerate(support))
        assert value == pytest.approx(expected, abs=1e-7)


def _undrawn(n, mean):
    """Solve for the plain means of lags (``[m]``) from those drawn towards 5 places at the mean of the others."""
    m = len(n)
    matrix = np.zeros((m, m))
    for i in range(m):
        matrix[i, i] = n[i] / (n[i] + 5)
        for j in range(m):
            if j != i:
                matrix[i, j] = 5 / (n[i] + 5) * n[j] / (n.sum() - n[i])
    return np.linalg.solve(matrix, mean)


def test_missing_where_the_density_forgets():
    world = Hiding.random(3, horizon=3, seed=0)
    log = read_log(world.to_log(world.sample(6, 10, seed=1)), time=False)
    found = discover_population(world, log, cases="all", placebo=True, progress=False)  # horizon 3 of a memory of 3
    assert found.pairs["placebo_nats"].null_count() == found.pairs.height
    assert found.run.arguments.placebo is True
