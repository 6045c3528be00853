"""Changes of links: the fit equals a plain one, its errors are right, and rates are told by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize

from sequela.evidence import changes
from sequela.evidence.changes import (
    Cases,
    Links,
    above_common_level,
    by_q_values,
    change_p_values,
    known_effects,
    places_by_lag,
    rate_p_values,
    slopes,
)
from sequela.graphs.places import pair_counts
from sequela.graphs.records import Arguments
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.4, sparsity=0.7, weight_scale=1.2, seed=3)


def true_links(world):
    weights = world.weights.toarray()
    cause, effect = np.nonzero(weights)
    return Links(cause, effect, weights[cause, effect][:, None] * world.lag_scale)


def log_of(world, n_cases=40, length=12, seed=0):
    sequences = world.sample(n_cases, (3, length), seed=seed)
    ticks = np.concatenate([np.arange(n) for n in sequences.lengths])
    return Cases(sequences.ids.astype(np.int64), sequences.offsets, ticks)


def with_ticks(cases, every=2):
    return Cases(cases.ids, cases.offsets, cases.ticks // every)


@pytest.mark.parametrize("make", [lambda cases: cases, with_ticks])
def test_known_effects_and_places_are_those_of_a_loop(make):
    cases, links = make(log_of(WORLD)), true_links(WORLD)
    z = np.zeros((len(cases.ids), len(links.cause)))
    places = np.zeros(links.shape.shape, dtype=int)
    for low, high in zip(cases.offsets[:-1], cases.offsets[1:], strict=True):
        for q in range(low, high):
            for j in range(low, q):
                lag = cases.ticks[q] - cases.ticks[j]
                for row, (u, v) in enumerate(zip(links.cause, links.effect, strict=True)):
                    if 1 <= lag <= 2 and cases.ids[j] == u:
                        z[q, row] += links.shape[row, lag - 1]
                        places[row, lag - 1] += cases.ids[q] == v
    np.testing.assert_allclose(known_effects(cases, links, 5).toarray(), z, atol=1e-12)
    np.testing.assert_array_equal(places_by_lag(cases, links, 5), places)


def test_places_are_those_of_discovery():
    cases, links = log_of(WORLD), true_links(WORLD)
    names = [f"e{i}" for i in range(5)]
    counted = pair_counts(cases.ids.astype(np.int32), cases.offsets, None, names=names, arguments=Arguments(horizon=2))
    known = {(u, v): n for u, v, n in counted.iter_rows()}
    for u, v, n in zip(links.cause, links.effect, places_by_lag(cases, links, 5).sum(axis=1), strict=True):
        assert known.get((names[u], names[v]), 0) == n


@pytest.mark.parametrize("block", [7, 1 << 14])
def test_the_fit_and_its_errors_are_those_of_a_plain_likelihood(monkeypatch, block):
    monkeypatch.setattr(changes, "_BLOCK", block)
    cases, links = log_of(WORLD), true_links(WORLD)
    n, v = len(links.cause), 5
    strongest = np.take_along_axis(links.shape, np.abs(links.shape).argmax(axis=1)[:, None], axis=1)
    z = known_effects(cases, Links(links.cause, links.effect, links.shape / strongest), v).toarray()
    targets = np.unique(links.effect)
    column = np.full(v, len(targets))
    column[targets] = np.arange(len(targets))
    observed, k = column[cases.ids], len(targets) + 1
    counts = np.bincount(observed, minlength=k)
    start = np.append(strongest[:, 0], np.log((counts + 0.5) / counts.sum()))

    def by_event(theta):
        logits = np.tile(theta[n:], (len(observed), 1))
        for row in range(n):
            logits[:, column[links.effect[row]]] += z[:, row] * theta[row]
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return log_p[np.arange(len(observed)), observed]

    def loss(theta):
        return -by_event(theta).sum() + 0.5 * ((theta - start) ** 2).sum()

    plain = minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    found = slopes(cases, links, v)
    np.testing.assert_allclose(found.theta, plain.x[:n], atol=1e-4)
    step, eye = 1e-4, np.eye(len(start))
    scores = np.stack([(by_event(plain.x + step * e) - by_event(plain.x - step * e)) / (2 * step) for e in eye], 1)
    by_case = np.add.reduceat(scores, cases.offsets[:-1])
    gradient = lambda x: np.array([(loss(x + step * e) - loss(x - step * e)) / (2 * step) for e in eye])  # noqa: E731
    inverse = np.linalg.inv(
        np.stack([(gradient(plain.x + step * e) - gradient(plain.x - step * e)) / 2e-4 for e in eye])
    )
    m = len(by_case)
    sandwich = np.diag(inverse @ by_case.T @ by_case @ inverse)[:n] * m / (m - 1)
    np.testing.assert_allclose(found.variance, np.maximum(sandwich, np.diag(inverse)[:n]), rtol=1e-3)
    np.testing.assert_array_equal(
        found.n_cases, (np.add.reduceat((z != 0).astype(int), cases.offsets[:-1]) > 0).sum(axis=0)
    )


def test_errors_cover_and_a_doubled_effect_is_told():
    links = true_links(WORLD)
    weights = WORLD.weights.toarray()
    u, v = links.cause[0], links.effect[0]
    weights[u, v] *= 2
    other = SoftmaxWorld(WORLD.bias, weights, horizon=2, decay=0.4)
    before, same, after = (
        slopes(log_of(w, 1000, 30, seed), links, 5) for w, seed in ((WORLD, 1), (WORLD, 2), (other, 3))
    )
    off = (before.theta - np.abs(links.shape).max(axis=1) * np.sign(links.shape[:, 0])) / np.sqrt(before.variance)
    assert np.abs(off).max() < 3.5
    testable = np.ones(len(links.cause), bool)
    assert change_p_values(before, same, testable).min() > 0.001
    p = change_p_values(before, after, testable)
    assert p[0] < 1e-6
    assert np.delete(p, 0).min() > 0.001
    assert change_p_values(before, after, ~testable).min() == 1


def test_a_type_that_never_comes_has_a_wide_error():
    cases, links = log_of(WORLD), true_links(WORLD)
    kept = cases.ids != links.effect[0]
    lengths = np.add.reduceat(kept.astype(int), cases.offsets[:-1])
    ticks = np.concatenate([np.arange(n) for n in lengths])
    without = slopes(Cases(cases.ids[kept], np.concatenate([[0], np.cumsum(lengths)]), ticks), links, 5)
    assert without.variance[0] > 0.5


def test_a_common_level_is_taken_off_and_its_links_left_out():
    counts = np.array([10, 10, 10, 10])
    shape = np.array([[2.0, 1.0], [-0.5, -0.2], [-0.5, -0.2], [-0.4, -0.2], [1.0, 0.0]])
    links = Links(np.array([0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, 2]), shape)
    found, differs = above_common_level(links, counts)
    assert differs.tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(found.shape, [[2.5, 1.2], [1.0, 0.0]])


def test_rates_and_the_false_discovery_rate_by_hand():
    a, b = np.array([[0], [1], [0], [1], [0]]), np.array([[9], [8], [9], [8], [9]])
    assert rate_p_values(a, b)[0] == pytest.approx(1 / 252)  # one of the ways to share ten cases out
    assert rate_p_values(a[:1], b)[0] == 1  # one case tells nothing
    assert rate_p_values(a, a)[0] == pytest.approx(1)
    np.testing.assert_allclose(by_q_values(np.array([0.01, 0.002, 0.9]), 4), [0.041667, 0.016667, 1.0], rtol=1e-4)
    assert by_q_values(np.zeros(0), 0).tolist() == []
