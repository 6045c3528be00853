"""Corrected effects, the probability that they reach delta, and links chosen for the highest expected F1."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequela.density.training.crossfit import cross_fit
from sequela.discovery.population import discover_population
from sequela.events.log import read_log
from sequela.evidence.correction import corrected, interval, posterior
from sequela.evidence.links import finish
from sequela.evidence.multiplicity import best_for_f1
from sequela.worlds.softmax import SoftmaxWorld

PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


@given(PROBABILITIES)
def test_no_number_of_the_likeliest_pairs_has_a_higher_ratio(values):
    probability = np.array(values)
    chosen = best_for_f1(probability)
    top = np.sort(probability)[::-1]
    ratios = [2 * top[:k].sum() / (k + top.sum()) for k in range(1, len(top) + 1)]
    if not chosen.any():
        assert max([0.0, *ratios]) <= np.prod(1 - probability)
        return
    k = int(chosen.sum())
    assert ratios[k - 1] == pytest.approx(max(ratios))
    assert probability[chosen].min() >= probability[~chosen].max(initial=0.0)


def test_expected_f1_is_next_to_the_best_of_all_sets():
    """Six independent pairs: all 64 choices against all 64 truths."""
    rng = np.random.default_rng(0)
    truths = np.array(list(itertools.product([False, True], repeat=6)))
    for _ in range(10):
        probability = rng.beta(0.5, 1.0, 6)
        chance = np.prod(np.where(truths, probability, 1 - probability), axis=1)

        def expected(chosen, chance=chance):
            total = chosen.sum() + truths.sum(axis=1)
            f1 = np.where(total > 0, 2 * (truths & chosen).sum(axis=1) / np.maximum(total, 1), 1.0)
            return chance @ f1

        best = max(expected(np.array(one)) for one in truths)
        assert expected(best_for_f1(probability)) >= best - 0.05


def world_of_effects(rng, n):
    """Effects of which a tenth are real; a model shows 0.7 of each log ratio, and some that are not there."""
    real = rng.random(n) < 0.1
    ratio = np.where(real, rng.normal(1.5, 0.5, n), 0.0)
    base = rng.uniform(0.02, 0.1, n)

    def effect(d):
        return base * ((d - 1) * np.exp(d) + 1)

    shown = 0.7 * ratio + np.where(rng.random(n) < 0.05, rng.normal(0.8, 0.3, n), rng.normal(0, 0.05, n))
    information = rng.uniform(5, 60, n)
    score = information * (ratio - shown) + rng.normal(0, np.sqrt(information))
    return effect(ratio), effect(shown), shown, score, information


def test_corrected_effects_are_nearer_to_the_truth_and_their_probabilities_come_true():
    rng = np.random.default_rng(1)
    delta = 0.05
    truth, shown, ratio, score, information = world_of_effects(rng, 3000)
    nats, probability = corrected(shown, ratio, score, information, information, delta)
    real = truth >= delta
    assert np.abs(np.sqrt(nats) - np.sqrt(truth)).mean() < 0.8 * np.abs(np.sqrt(shown) - np.sqrt(truth)).mean()
    assert probability.sum() == pytest.approx(real.sum(), rel=0.2)
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        there = (probability >= low) & (probability < high)
        assert real[there].mean() == pytest.approx(probability[there].mean(), abs=0.1 if there.sum() > 100 else 0.3)

    def f1(chosen):
        return 2 * (chosen & real).sum() / (chosen.sum() + real.sum())

    assert f1(best_for_f1(probability)) > f1(shown >= delta) + 0.05


def test_without_information_nothing_is_corrected():
    none = np.zeros(4)
    nats, probability = corrected(
        np.array([0.2, 0.04, 0.0, 0.06]), np.array([1.0, 0.5, 0.0, -1.0]), none, none, none, 0.05
    )
    assert nats == pytest.approx([0.2, 0.04, 0.0, 0.06], rel=0.3)
    assert probability[0] > probability[1] > probability[2] == 0


def test_posterior_of_a_normal_mean_by_hand():
    """With one spread of the mixture the posterior is the textbook one."""
    share, mean, spread = posterior(np.array([0.6]), np.array([0.16]), np.array([0.2]), np.array([False]))
    at = 3  # a spread of 0.4: the weights of prior and estimate are equal
    assert mean[0, at] == pytest.approx((0.2 + 0.6) / 2)
    assert spread[0, at] == pytest.approx(np.sqrt(0.08))
    assert share.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("true", "shown"), [(0.0, 0.0), (0.0, 0.7), (1.0, 0.3), (2.3, 1.3), (-1.0, -0.3)])
def test_intervals_hold_the_effect_however_wrong_the_density(true, shown):
    """Places of known law: the effect has 0.05 without its cause; the density shows another log ratio than there is."""
    rng = np.random.default_rng(0)
    shape, without = (400, 1500), 0.05
    present = rng.random(shape) < 0.3
    left = (rng.random(shape) < np.where(present, without * np.exp(true), without)).astype(float)
    forecast = np.where(present, without * np.exp(shown), without)
    score = (present - 0.3) * (left - forecast)
    information = ((present - 0.3) ** 2 * forecast * (1 - forecast)).sum(axis=1)
    chance = without * np.exp(shown)
    nats = chance * shown + (1 - chance) * np.log((1 - chance) / (1 - without))
    low, high = interval(
        np.full(400, nats), np.full(400, shown), score.sum(axis=1), information, (score**2).sum(axis=1)
    )
    assert ((low <= true) & (true <= high)).mean() > 0.93
    assert np.median(high - low) < 4


def sums_row(cause, effect, nats, error):
    # Two cases of 50 places each, whose sums differ by as much as the standard error says.
    low, high = 50 * (nats - error), 50 * (nats + error)
    return {
        "cause": cause, "effect": effect, "lag": 1, "cases": 2.0, "support": 100.0, "cmi": low + high,
        "pointwise": 50.0,
        "cmi_squared": low**2 + high**2, "cmi_support": 50 * (low + high), "support_squared": 5000.0, "ties": 0.0,
    }  # fmt: skip


def test_links_for_f1_are_the_likeliest_in_order():
    sums = pl.DataFrame([sums_row("a", "b", 0.2, 0.01), sums_row("b", "a", 0.2, 0.01), sums_row("c", "a", 0.056, 0.05),
                         sums_row("c", "b", 0.01, 0.01)])  # fmt: skip
    bets = sums.select("cause", "effect", log_e=pl.lit(2.0))
    votes = pl.DataFrame([{"cause": "b", "effect": "a", "first": 1, "total": 9}])
    found = finish([sums], [bets], delta=0.05, fdr=0.05, objective="f1", votes=votes)
    rows = {(row["cause"], row["effect"]): row for row in found.iter_rows(named=True)}
    assert rows["b", "a"]["probability"] == 0.0  # the effect comes first
    assert rows["a", "b"]["probability"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert 0.3 < rows["c", "a"]["probability"] < 0.6
    assert [key for key, row in rows.items() if row["is_edge"]] == [("a", "b"), ("c", "a")]
    assert rows["a", "b"]["corrected_nats"] is None  # without residuals
    assert not finish([sums], [bets], delta=0.05, fdr=0.05, votes=votes)["is_edge"].any()  # e 7.4 is too little


def test_f1_finds_what_the_rate_leaves_out():
    """A small log: cross-fitted densities, from training to links."""
    world = SoftmaxWorld.random(6, horizon=2, sparsity=0.8, weight_scale=3.0, seed=1)
    log = read_log(world.to_log(world.sample(40, 20, seed=2)), time=False)
    densities = cross_fit(log, folds=2, max_steps=60, width=16, memory=2, progress=False)
    rate = discover_population(densities, log, progress=False)
    found = discover_population(densities, log, objective="f1", progress=False)
    same = ["cause", "effect", "cmi_nats", "corrected_nats", "probability", "q_value"]
    assert found.pairs.select(same).sort(same[:2]).equals(rate.pairs.select(same).sort(same[:2]))
    assert found.run.arguments.objective == "f1"
    chosen = best_for_f1(found.pairs["probability"].to_numpy())
    assert found.pairs["is_edge"].to_list() == chosen.tolist()
    assert len(found) >= len(rate) > 0
    assert found.pairs["corrected_nats"].null_count() == 0
