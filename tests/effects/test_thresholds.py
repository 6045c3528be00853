"""Threshold rules by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from sequela.effects.cmi import CMIEstimate, bernoulli_kl, clamp, log1mexp, slope_in_p, slope_in_q
from sequela.effects.thresholds import (
    EffectSize,
    Fixed,
    Otsu,
    Percentile,
    make_threshold,
    sweep,
    validated,
    vocabulary,
)
from sequela.errors import ConfigError
from sequela.evaluation.metrics import score_edges

NAN = np.nan


def make(cmi, std_error=None, q_std_error=None, p=0.5, q=0.5):
    cmi = np.array(cmi, dtype=float)
    errors = np.zeros_like(cmi) if std_error is None else np.array(std_error, dtype=float)
    log_p, log_q = np.full_like(cmi, np.log(p)), np.full_like(cmi, np.log(q))
    return CMIEstimate(cmi, errors, log_p - log_q, log_p, log_q, q_std_error, n_particles=1000)


BAND = make([[0.30, 0.20, 0.01], [0.06, 0.05, NAN], [0.02, NAN, NAN]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Fixed(0.05), [[1, 1, 0], [1, 0, 0], [0, 0, 0]]),
        (vocabulary(2.0, 100), [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),
        (EffectSize(0.05), [[1, 1, 0], [1, 0, 0], [0, 0, 0]]),
        (Percentile(50.0, decay=1.0), [[1, 1, 0], [1, 0, 0], [0, 0, 0]]),  # the median is 0.055
        # Decayed: .3 .02 .0001 .06 .005 .02, median .02, and an edge lies above it.
        (Percentile(50.0, decay=0.1), [[1, 0, 0], [1, 0, 0], [0, 0, 0]]),
        (Otsu(decay=1.0), [[1, 1, 0], [0, 0, 0], [0, 0, 0]]),
    ],
    ids=str,
)
def test_by_hand(rule, expected):
    assert np.array_equal(rule.edges(BAND), np.array(expected, dtype=bool))
    assert rule.to_dict()["rule"] == type(rule).__name__


def test_effect_size_asks_for_the_lower_bound():
    estimate = make([[0.10, 0.10]], [[0.01, 0.05]])
    assert EffectSize(0.05, confidence_level=0.95).edges(estimate).tolist() == [
        [True, False]
    ]  # 0.10 - 1.65 * 0.05 < 0.05
    assert EffectSize(0.05, confidence_level=0.5).edges(estimate).tolist() == [[True, True]]


@pytest.mark.parametrize("q", [0.2, 0.8])
def test_interval_maps_the_error_of_q(q):
    p, error = 0.5, 0.02
    cmi = bernoulli_kl(np.log([[p]]), np.log([[q]]))
    low, high = make(cmi, q_std_error=np.array([[error]]), p=p, q=q).interval(0.95)
    reach, odds = stdtrit(1000, 0.975) * error, np.log(q / (1 - q))
    ends = [q + side * reach for side in (-1, 1)]
    by_odds = [1 / (1 + np.exp(-odds - side * reach / (q * (1 - q)))) for side in (-1, 1)]
    ends = [max(ends[0], by_odds[0]), min(ends[1], by_odds[1])]
    divergences = [bernoulli_kl(np.log([p]), np.log([end]))[0] for end in ends]
    assert low[0, 0] == pytest.approx(min(divergences), abs=1e-12)
    assert high[0, 0] == pytest.approx(max(divergences), abs=1e-12)
    near, _ = make([[0.0]], q_std_error=np.array([[error]]), p=0.5, q=0.5).interval(0.95)
    assert near[0, 0] == 0.0


@pytest.mark.parametrize("rule", [Otsu(), Percentile(), Fixed(0.1), EffectSize()])
def test_nothing_tested_gives_no_edges(rule):
    assert not rule.edges(make([[NAN, NAN]])).any()
    assert not rule.edges(make([[0.0, 0.0], [0.0, NAN]])).any()


def test_validated_is_the_best_of_all_cuts():
    rng = np.random.default_rng(0)
    for _ in range(30):
        estimates = [make(np.round(rng.exponential(size=(6, 3)), 1) + 0.1) for _ in range(2)]
        labels = [rng.random((6, 3)) < 0.3 for _ in range(2)]
        labels[0][0, 0] = True

        def f1(tau, estimates=estimates, labels=labels):
            guess = np.concatenate([(e.cmi > tau).ravel() for e in estimates])
            truth = np.concatenate([y.ravel() for y in labels])
            return 2 * (guess & truth).sum() / (guess.sum() + truth.sum())

        cuts = [-1.0, *np.unique([e.cmi for e in estimates])]
        assert f1(validated(estimates, labels).tau) == pytest.approx(max(map(f1, cuts)))


def test_validated_needs_labels_that_fit():
    with pytest.raises(ConfigError, match="same shape"):
        validated([BAND], [np.zeros((2, 2), dtype=bool)])
    with pytest.raises(ConfigError, match="at least one true edge"):
        validated([BAND], [np.zeros((3, 3), dtype=bool)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rule": "otso"}, "did you mean 'otsu'"),
        ({"rule": "fixed"}, "needs tau"),
        ({"rule": "fixed", "tau": -1.0}, "tau must be .* got -1"),
        ({"rule": "effect-size", "confidence_level": 0.1}, "confidence_level must be .* got 0.1"),
    ],
)
def test_bad_rules(arguments, says):
    with pytest.raises(ConfigError, match=says):
        make_threshold(n_types=5, **arguments)


@pytest.mark.parametrize("x", [-1e-30, -1e-9, -0.5, -1.0, -50.0, -690.0])
def test_log1mexp(x):
    found = float(log1mexp(np.array([x]))[0])
    series = np.log(-x) if x > -1e-8 else (-np.exp(x) if x < -40 else np.log(1 - np.exp(x)))
    assert found == pytest.approx(series, rel=1e-8)


def test_divergence_at_the_edges():
    tiny = np.log(np.array([1e-300]))
    assert bernoulli_kl(tiny, tiny)[0] == 0.0
    # p and q within 1e-12 of 1: to first order a log(a/b) - a + b with a = 1 - p, b = 1 - q.
    a, b = 2e-12, 1e-12
    assert bernoulli_kl(np.array([-a]), np.array([-b]))[0] == pytest.approx(a * np.log(a / b) - a + b, rel=1e-3)
    values, n_clamped = clamp(np.array([0.0, -1e-50, -1000.0, -np.inf, -1.0, NAN]))
    assert n_clamped == 4
    assert np.isfinite(bernoulli_kl(values[:5], values[:5])).all()


def test_slopes_are_derivatives():
    p, q, h = 0.3, 0.6, 1e-6
    numbers = np.log(np.array([p, p + h, q, q + h]))
    by_p = (bernoulli_kl(numbers[1], numbers[2]) - bernoulli_kl(numbers[0], numbers[2])) / h
    by_q = (bernoulli_kl(numbers[0], numbers[3]) - bernoulli_kl(numbers[0], numbers[2])) / h
    assert float(slope_in_p(numbers[0], numbers[2])) == pytest.approx(float(by_p), rel=1e-4)
    assert float(slope_in_q(numbers[0], numbers[2])) == pytest.approx(float(by_q), rel=1e-4)


@pytest.mark.parametrize(("n_particles", "quantile"), [(2, 12.7062), (6, 2.5706), (11, 2.2281), (1001, 1.9623)])
def test_interval_has_the_quantile_of_students_t(n_particles, quantile):
    estimate = replace(make([[0.9]], [[0.01]]), n_particles=n_particles)
    _, high = estimate.interval(0.95)
    assert high[0, 0] == pytest.approx(0.9 + quantile * 0.01, abs=1e-5)


@given(
    st.lists(st.tuples(st.sampled_from([NAN, 0.0, 0.1, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30),
    st.lists(st.sampled_from([0.0, 0.1, 0.15, 0.5, 2.0]), min_size=1, max_size=5),
)
def test_sweep_is_what_each_fixed_threshold_gives(cells, taus):
    cmi, label = (np.array(part).reshape(-1, 1) for part in zip(*cells, strict=True))
    halves = [CMIEstimate(part, part, part, part, part, None) for part in (cmi[: len(cmi) // 2], cmi[len(cmi) // 2 :])]
    labels = [label[: len(cmi) // 2], label[len(cmi) // 2 :]]
    table = sweep(halves, labels, taus=taus)
    assert table["tau_nats"].to_list() == sorted(taus)
    for tau, n_edges, precision, recall, f1 in table.iter_rows():
        found = np.concatenate([Fixed(tau).edges(half) for half in halves])
        scores = score_edges(found, label, np.isfinite(cmi))
        assert n_edges == scores.n_predicted
        assert precision == scores.precision if n_edges else np.isnan(precision)
        assert recall == scores.recall if scores.n_true else np.isnan(recall)
        assert f1 == pytest.approx(scores.f1) if n_edges + scores.n_true else np.isnan(f1)


def test_sweep_without_labels_and_with_wrong_ones():
    one = CMIEstimate(*[np.array([[0.5, NAN]])] * 5, None)
    table = sweep([one])
    assert table.columns == ["tau_nats", "n_edges"]
    assert table["n_edges"].to_list() == [1] * 59 + [0]
    assert table["tau_nats"][59] == pytest.approx(0.5)
    with pytest.raises(ConfigError, match="same shape"):
        sweep([one], [np.zeros((1, 1), dtype=bool)])
