"""Which pairs the evidence suffices for: masking before e-BH in its worst case, e-values of folds by their scheme."""

import numpy as np
import polars as pl
import pytest

from sequela.density.training.crossfit import cross_fit
from sequela.discovery.population import discover_population
from sequela.events.log import read_log
from sequela.evidence.links import finish
from sequela.evidence.multiplicity import by_density, claimed, combined, e_bh
from sequela.worlds.softmax import SoftmaxWorld

DELTA, FDR = 0.05, 0.05


def worst_case(rng):
    """200 pairs linked beyond doubt, too weak to be edges; 100 without a link that look strong and bet fairly.

    Each of the 100 bets on a coin of its own with all it has, until it is 32 times as rich or has nothing.
    """
    log_e = np.concatenate([np.full(200, 50.0), np.where(rng.random(100) < 1 / 32, np.log(32.0), -np.inf)])
    return log_e, np.concatenate([np.full(200, 0.01), np.full(100, 0.2)])


def test_masking_keeps_the_rate_where_filtering_afterwards_loses_it():
    rng = np.random.default_rng(0)
    shares = {"masked before": [], "filtered after": []}
    for _ in range(400):
        log_e, strength = worst_case(rng)
        strong = strength >= DELTA
        for name, found in (
            ("masked before", e_bh(claimed(log_e, strength, DELTA)) <= FDR),
            ("filtered after", (e_bh(log_e) <= FDR) & strong),
        ):
            shares[name].append(found[200:].sum() / max(1, found.sum()))
    assert np.mean(shares["masked before"]) <= FDR
    assert np.mean(shares["filtered after"]) > 0.9  # 300 / (0.05 * 201) is 30: every lucky coin is an edge


def test_edges_of_a_population_are_masked_before():
    rng = np.random.default_rng(3)
    log_e, strength = worst_case(rng)
    assert (log_e[200:] > 0).any()
    names = [(f"u{i}", f"v{i}") for i in range(300)]
    sums = pl.DataFrame(
        [
            {
                "cause": u, "effect": v, "lag": 1, "cases": 2.0, "support": 1e6, "cmi": value * 1e6,
                "pointwise": 1.0, "cmi_squared": 0.0, "cmi_support": 0.0, "support_squared": 5e11, "ties": 0.0,
            }
            for (u, v), value in zip(names, strength, strict=True)
        ]
    )  # fmt: skip
    bets = pl.DataFrame(
        [{"cause": u, "effect": v, "log_e": max(e, -1e3)} for (u, v), e in zip(names, log_e, strict=True)]
    )
    assert not finish([sums], [bets], delta=DELTA, fdr=FDR)["is_edge"].any()
    one = bets.with_columns(log_e=pl.when(pl.col("cause") == "u200").then(50.0).otherwise("log_e"))
    found = finish([sums], [one], delta=DELTA, fdr=FDR)
    assert found.filter("is_edge")["cause"].to_list() == ["u200"]  # masked pairs count among the 300 hypotheses
    assert found["q_value"][0] == pytest.approx(300 * np.exp(-50.0))
    assert found.filter(pl.col("cmi_nats") < DELTA)["q_value"].to_list() == [1.0] * 200
    assert found.filter(pl.col("cmi_nats") < DELTA)["log10_e"].to_list() == pytest.approx([50 / np.log(10)] * 200)


def test_folds_are_combined_by_their_scheme():
    log_e = np.array([[1.0, 2.0, -0.5], [0.3, 0.0, 0.0], [0.0, 0.0, 0.0], [-800.0, 900.0, 1.0]])
    mixed = [
        np.log((3 * np.exp(a + b + c) + 2 * np.exp(b + c) + np.exp(c)) / 6) for a, b, c in log_e[:3]
    ]  # from the first density on, from the second, from the third
    assert combined(log_e, "forward").tolist() == pytest.approx([*mixed, 901 - np.log(3)])  # 800 lost first: not played
    mean = np.log(np.exp(log_e[:3]).mean(axis=1))
    assert combined(log_e, "leave-one-out").tolist() == pytest.approx([*mean, 900 - np.log(3)])
    assert combined(log_e[:, :1], "forward").tolist() == log_e[:, 0].tolist()


@pytest.mark.parametrize("scheme", ["forward", "leave-one-out"])
def test_a_density_that_never_met_a_pair_has_placed_no_bet(scheme):
    pair = {"cause": ["a"], "effect": ["b"]}
    bets = [pl.DataFrame(pair | {"log_e": [2.0]}), pl.DataFrame(pair | {"log_e": [0.0]}).clear()]
    table, log_e = by_density(bets, ["cause", "effect"])
    assert table.rows() == [("a", "b")]
    assert log_e.tolist() == [[2.0, 0.0]]
    expected = {"forward": (2 * np.exp(2) + 1) / 3, "leave-one-out": (np.exp(2) + 1) / 2}[scheme]
    assert np.exp(combined(log_e, scheme)).tolist() == pytest.approx([expected])


def test_products_of_folds_have_expectation_one_only_if_each_is_fair_given_those_before():
    """Densities learn the chance of heads from coins; "forward" from those before, "leave-one-out" from all others.

    Bet against one half on fair coins. The mean of either is fair; products only of the first: in
    "leave-one-out" the bets on a fold know the coins that the other folds are bet on.
    """
    n, folds = 3, 3
    outcomes = np.array(np.meshgrid(*[[0, 1]] * (n * folds))).reshape(n * folds, -1).T.reshape(-1, folds, n)
    heads = outcomes.sum(axis=2)

    def log_e(known_heads, known, own):
        p = (known_heads + 1) / (known + 2)
        return own * np.log(2 * p) + (n - own) * np.log(2 * (1 - p))

    forward = [log_e(heads[:, :k].sum(axis=1), n * k, heads[:, k]) for k in range(1, folds)]
    others = [log_e(heads.sum(axis=1) - heads[:, k], n * (folds - 1), heads[:, k]) for k in range(folds)]
    mixture = combined(np.stack(forward, axis=1), "forward")
    mean = combined(np.stack(others, axis=1), "leave-one-out")
    assert np.exp(mixture).mean() == pytest.approx(1)
    assert np.exp(mean).mean() == pytest.approx(1)
    assert np.exp(np.stack(others, axis=1).sum(axis=1)).mean() > 1.5


def test_a_forward_cross_fit_mixes_the_evidence_of_its_densities():
    world = SoftmaxWorld.random(6, horizon=2, sparsity=0.6, seed=4)
    log = read_log(world.to_log(world.sample(60, 20, seed=5)))
    found = cross_fit(log, folds=3, scheme="forward", seed=1, max_steps=60, width=16, progress=False)
    mixed = discover_population(found, log, particles=4, progress=False)
    single = [
        discover_population(density, part, cases="all", particles=4, progress=False).pairs
        for density, part in found.held_out(log)
    ]
    key = mixed.pairs["cause"][0], mixed.pairs["effect"][0]
    first, last = (
        10 ** table.filter((pl.col("cause") == key[0]) & (pl.col("effect") == key[1]))["log10_e"].sum()
        for table in single
    )
    assert mixed.pairs["log10_e"][0] == pytest.approx(np.log10((2 * first * last + last) / 3), abs=1e-9)


def test_each_pair_by_itself_asks_for_an_e_value_and_a_strength():
    from sequela.evidence.links import finish

    row = {"lag": 1, "cases": 10.0, "support": 100.0, "pointwise": 50.0, "cmi_squared": 90.0, "cmi_support": 300.0}
    row |= {"support_squared": 1000.0, "ties": 0.0}
    pairs = [("a", "b", 30.0), ("b", "c", 30.0), ("a", "c", 1.0)]  # sums of CMI: the last is weak
    sums = pl.DataFrame([{"cause": u, "effect": v, "cmi": cmi} | row for u, v, cmi in pairs])
    bets = pl.DataFrame({"cause": ["a", "b", "a"], "effect": ["b", "c", "c"], "log_e": [np.log(21), np.log(19), 50.0]})
    found = finish([sums], [bets], delta=0.05, fdr=0.05, control="each")
    assert found.filter("is_edge").select("cause", "effect").rows() == [("a", "b")]
    assert not finish([sums], [bets], delta=0.05, fdr=0.05)["is_edge"].any()  # 21 is not enough among three


def test_a_weak_link_counts_where_its_order_is_certain_too():
    from sequela.evidence.links import finish

    row = {"lag": 1, "cases": 10.0, "support": 100.0, "pointwise": 50.0, "cmi_squared": 90.0, "cmi_support": 300.0}
    row |= {"support_squared": 1000.0, "ties": 0.0, "cmi": 2.0}  # a mean of 0.02 nats, below delta
    pairs = [("a", "b"), ("b", "c"), ("a", "c")]
    sums = pl.DataFrame([{"cause": u, "effect": v} | row for u, v in pairs])
    bets = pl.DataFrame({"cause": ["a", "b", "a"], "effect": ["b", "c", "c"], "log_e": [9.0, 9.0, 1.0]})
    votes = pl.DataFrame({"cause": ["a", "b", "a"], "effect": ["b", "c", "c"], "first": [12, 7, 12], "total": [12] * 3})

    def links(**given):
        found = finish([sums], [bets], fdr=0.05, votes=votes, **given)
        return found.filter("is_edge").select("cause", "effect").rows()

    assert links(delta=0.05, control="each") == [("a", "b")]  # the second has no order, the third no evidence
    assert links(delta=0.15, control="each") == []  # less than a fifth of it
    assert links(delta=0.05) == []  # a rate over all needs the strength that was asked for
