"""The truth of a world, three ways: by hand, by a plain loop, and by carrying the interventions out."""

import numpy as np
import pytest

from sequela.errors import ConfigError
from sequela.worlds import base
from sequela.worlds.divergence import bernoulli_kl, log1mexp, log_mean_exp
from sequela.worlds.softmax import SoftmaxWorld

ln = np.log


def seq(*events):
    return np.array(events, np.int32)


def test_by_hand_one_step_back():
    # P(next | 0) = (1/2, 1/4, 1/4), P(next | 1) = (1/4, 1/4, 1/2), P(next | 2) = (1/8, 6/8, 1/8).
    world = SoftmaxWorld(np.zeros(3), ln([[2, 1, 1], [1, 1, 2], [1, 6, 1]]), horizon=1)
    # Mean over what stands before, of each next event: (7/24, 5/12, 7/24).
    expected = [
        0.25 * ln((1 / 4) / (5 / 12)) + 0.75 * ln((3 / 4) / (7 / 12)),  # 0 -> 1: p = 1/4, q = 5/12
        0.5 * ln((1 / 2) / (7 / 24)) + 0.5 * ln((1 / 2) / (17 / 24)),  # 1 -> 2: p = 1/2, q = 7/24
        0.75 * ln((3 / 4) / (5 / 12)) + 0.25 * ln((1 / 4) / (7 / 12)),  # 2 -> 1: p = 3/4, q = 5/12
        np.nan,  # nothing follows the last event
    ]
    truth = world.truth(seq(0, 1, 2, 1))
    assert truth.dtype == np.float64
    np.testing.assert_allclose(truth, np.array(expected)[:, None], rtol=1e-13)
    # With ln 0.6 = -0.510826, ln 9/7 = 0.251314, ln 144/119 = 0.190690, ln 1.8 = 0.587787, ln 3/7 = -0.847298.
    np.testing.assert_allclose(truth[:3, 0], [0.060779, 0.095345, 0.229016], atol=1e-6)


def test_by_hand_two_steps_back_with_decay():
    # Only event 0 matters: it adds log 4 to the logit of 0 at lag 1 and, with r = log 2, half of that (log 2) at lag 2.
    weights = np.zeros((3, 3))
    weights[0, 0] = ln(4)
    world = SoftmaxWorld(np.zeros(3), weights, horizon=2, decay=ln(2))
    expected = [
        [
            # 0 at 0 -> 1 at 1. Weights (4, 1, 1): p = 1/6; replaced by 1 or 2: 1/3. q = (1/6 + 1/3 + 1/3) / 3 = 5/18.
            1 / 6 * ln((1 / 6) / (5 / 18)) + 5 / 6 * ln((5 / 6) / (13 / 18)),
            # 0 at 0 -> 0 at 2, over the 1 between. Weights (2, 1, 1): p = 1/2; replaced: 1/3. q = 7/18.
            1 / 2 * ln((1 / 2) / (7 / 18)) + 1 / 2 * ln((1 / 2) / (11 / 18)),
        ],
        # 1 at 1 -> 0 at 2, the 0 before stays. p = 1/2; replaced by 0: weights (8, 1, 1), 8/10. q = (.8 + .5 + .5) / 3.
        [1 / 2 * ln((1 / 2) / (6 / 10)) + 1 / 2 * ln((1 / 2) / (4 / 10)), np.nan],
        [np.nan, np.nan],
    ]
    np.testing.assert_allclose(world.truth(seq(0, 1, 0)), expected, rtol=1e-13)


@pytest.mark.parametrize("nonlinear", [0.0, 1.0])
def test_by_a_plain_loop(nonlinear):
    world = SoftmaxWorld.random(5, horizon=3, sparsity=0.3, weight_scale=1.5, nonlinear=nonlinear, seed=3)
    ids = world.sample(1, 12, seed=1)[0].ids
    truth = world.truth(ids)

    def probability(sequence, position):
        return np.exp(world.conditional(sequence, np.array([position]))[0])[ids[position]]

    for cause in range(12):
        for lag in range(1, 4):
            effect = cause + lag
            if effect >= 12:
                assert np.isnan(truth[cause, lag - 1])
                continue
            p = probability(ids, effect)
            replaced = []
            for event in range(5):
                changed = ids.copy()
                changed[cause] = event
                replaced.append(probability(changed, effect))
            q = np.mean(replaced)
            kl = p * ln(p / q) + (1 - p) * ln((1 - p) / (1 - q))
            assert truth[cause, lag - 1] == pytest.approx(kl, rel=1e-9, abs=1e-14)


def test_by_simulated_interventions():
    # Replace the cause by a fair draw, keep the rest of the past, let the world go on one event, count.
    n = 40_000
    world = SoftmaxWorld.random(4, horizon=3, decay=0.3, sparsity=0.2, weight_scale=1.5, seed=2)
    ids = world.sample(1, 8, seed=4)[0].ids
    truth = world.truth(ids)
    generator = np.random.default_rng(0)
    for cause, effect in [(2, 3), (2, 4), (2, 5), (4, 5), (0, 3)]:
        frequency = []
        for intervened in (False, True):
            logits = np.tile(world.bias, (n, 1))
            for lag in range(1, 4):
                event = np.full(n, ids[effect - lag])
                if intervened and effect - lag == cause:
                    event = generator.integers(4, size=n)
                logits += world.weights[event] * np.exp(-0.3 * (lag - 1))
            # The Gumbel-max way of drawing: it shares nothing with the sampler of the package.
            drawn = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
            frequency.append((drawn == ids[effect]).mean())
        p, q = frequency
        kl = p * ln(p / q) + (1 - p) * ln((1 - p) / (1 - q))
        # One standard error of log(p / q) is below 0.01 here, and KL grows with its square.
        assert kl == pytest.approx(truth[cause, effect - cause - 1], abs=0.004 + 0.06 * kl)


def test_no_influence_is_zero():
    world = SoftmaxWorld(np.arange(4.0), np.zeros((4, 4)), horizon=3)
    truth = world.truth(seq(0, 1, 2, 3, 3))
    assert np.nanmax(truth) < 1e-28
    assert np.isnan(truth).tolist() == [[i + k + 1 >= 5 for k in range(3)] for i in range(5)]


def test_certain_events_stay_finite():
    # After 0 comes 0 but for one in e^60, far below the rounding of 1; after 1, anything.
    world = SoftmaxWorld(np.zeros(2), [[60.0, 0.0], [0.0, 0.0]], horizon=1)
    truth = world.truth(seq(0, 0, 1))
    # p = 1 - e^-60, q = (1 + 1/2) / 2 = 3/4: KL = log(4/3). Then p = e^-60, q = 1/4: KL = -log(3/4).
    np.testing.assert_allclose(truth[:2, 0], [ln(4 / 3), ln(4 / 3)], rtol=1e-12)
    world = SoftmaxWorld(np.array([60.0, 0.0]), [[1.0, 0.0], [0.0, 0.0]], horizon=1)
    # p = 1 - e^-61 and q = 1 - (e^-61 + e^-60) / 2: both print as 1, and the divergence is still right.
    not_p, not_q = np.exp(-61), (np.exp(-61) + np.exp(-60)) / 2
    assert world.truth(seq(0, 0))[0, 0] == pytest.approx(not_p * ln(not_p / not_q) + not_q - not_p, rel=1e-9)


def test_chunks_do_not_matter(monkeypatch):
    world = SoftmaxWorld.random(6, horizon=3, nonlinear=0.5, seed=0)
    ids = world.sample(1, 15, seed=0)[0].ids
    whole = world.truth(ids)
    monkeypatch.setattr(base, "_CHUNK_BYTES", 100)
    np.testing.assert_array_equal(world.truth(ids), whole)


@pytest.mark.parametrize("ids", [seq(), seq(1)])
def test_short_sequences_have_no_pairs(ids):
    world = SoftmaxWorld.random(3, horizon=2, seed=0)
    assert np.isnan(world.truth(ids)).all()
    assert world.truth(ids).shape == world.truth_sampled(ids, seed=0).shape == (len(ids), 2)


def test_truth_refuses_what_is_no_event():
    with pytest.raises(ConfigError, match="ids must lie in 0 … 2"):
        SoftmaxWorld.random(3, seed=0).truth(seq(0, 3))


def test_sampled_truth_nears_the_exact_one():
    world = SoftmaxWorld.random(5, horizon=2, sparsity=0.3, weight_scale=1.5, seed=3)
    ids = world.sample(1, 20, seed=1)[0].ids
    exact = world.truth(ids)
    error = [np.nanmean(np.abs(world.truth_sampled(ids, n_draws=n, seed=0) - exact)) for n in (10, 4000)]
    # Noise falls with the root of the draws, here 20 times; tenfold leaves room for chance.
    assert error[0] > 0.002
    assert error[1] < 0.1 * error[0]
    np.testing.assert_array_equal(world.truth_sampled(ids, seed=7), world.truth_sampled(ids, seed=7))
    assert np.nanmax(np.abs(world.truth_sampled(ids, seed=7) - world.truth_sampled(ids, seed=8))) > 0


def test_sampled_truth_is_the_mean_over_its_draws():
    # One draw: q is P(x_j | u) of some u, so the cell is one of two values, and both turn up.
    world = SoftmaxWorld(np.zeros(2), ln([[3, 1], [1, 3]]), horizon=1)
    cells = np.concatenate([world.truth_sampled(seq(0, 0), n_draws=1, seed=s)[:1, 0] for s in range(40)])
    # u = 0: q = p, 0. u = 1: p = 3/4, q = 1/4, so KL = 1/2 log 3.
    assert sorted(set(cells.round(12))) == [0.0, round(0.5 * ln(3), 12)]


def test_divergence_at_the_edges():
    with np.errstate(divide="ignore"):
        p = np.array([0.0, 0.0, 1.0, 1.0, 0.5, 0.5])
        q = np.array([0.0, 0.5, 1.0, 0.5, 0.0, 1.0])
        kl = bernoulli_kl(ln(p), ln(1 - p), ln(q), ln(1 - q))
    np.testing.assert_allclose(kl, [0, ln(2), 0, ln(2), np.inf, np.inf])
    np.testing.assert_array_equal(log1mexp(np.array([0.0, -np.inf])), [-np.inf, 0.0])
    np.testing.assert_array_equal(log_mean_exp(np.full((1, 3), -np.inf)), [-np.inf])
