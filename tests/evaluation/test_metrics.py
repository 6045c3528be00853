"""Metrics by hand, and against their definitions written as loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequela.errors import ConfigError
from sequela.evaluation.metrics import Scores, auroc, average_precision, best_f1, recall_by_lag, score_edges

# Few different values, so that ties are common.
CELLS = st.lists(st.tuples(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.5000001, 2.0]), st.booleans()), max_size=12)


def columns(cells):
    return np.array([c[0] for c in cells], float), np.array([c[1] for c in cells], bool)


def test_scores_by_hand():
    # 5 cells: 2 found and true, 1 found and false, 1 missed, 1 neither.
    scores = score_edges([[True, True, True, False, False]], [[True, True, False, True, False]])
    assert scores == Scores(2 / 3, 2 / 3, 2 / 3, n_true=3, n_predicted=3, n_correct=2)
    # Without the false one and the missed one.
    tested = np.array([[True, True, False, False, True]])
    assert score_edges(np.ones((1, 5), bool), np.array([[True, True, False, True, False]]), tested) == Scores(
        2 / 3, 1.0, 0.8, n_true=2, n_predicted=3, n_correct=2
    )


@pytest.mark.parametrize(
    ("n_true", "n_predicted", "expected"),
    [(0, 0, (1.0, 1.0, 1.0)), (3, 0, (0.0, 0.0, 0.0)), (0, 3, (0.0, 0.0, 0.0))],
)
def test_empty_sets(n_true, n_predicted, expected):
    scores = Scores.from_counts(n_true=n_true, n_predicted=n_predicted, n_correct=0)
    assert (scores.precision, scores.recall, scores.f1) == expected


def test_sets_and_pooling():
    first = Scores.from_sets({("a", "b"), ("b", "c"), ("c", "c")}, {("a", "b")})
    second = Scores.from_sets(set(), {("a", "b"), ("b", "a")})
    assert (first.precision, first.recall) == (1 / 3, 1.0)
    pooled = Scores.pooled([first, second])
    assert (pooled.n_true, pooled.n_predicted, pooled.n_correct) == (3, 3, 1)
    assert pooled.f1 == pytest.approx(1 / 3)
    assert Scores.pooled([]).f1 == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=20))
def test_arrays_and_sets_agree(cells):
    predicted, true, tested = (np.array([c[i] for c in cells], bool) for i in range(3))
    by_set = Scores.from_sets(
        {i for i, c in enumerate(cells) if c[0] and c[2]}, {i for i, c in enumerate(cells) if c[1] and c[2]}
    )
    scores = score_edges(predicted, true, tested)
    assert scores == by_set
    assert min(scores.precision, scores.recall) <= scores.f1 <= max(scores.precision, scores.recall)


def test_recall_by_lag():
    true = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]], bool)
    predicted = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    np.testing.assert_array_equal(recall_by_lag(predicted, true), [0.75, 0.5, np.nan])
    np.testing.assert_array_equal(recall_by_lag(true, true), [1.0, 1.0, np.nan])


def test_auroc_by_hand():
    # Pairs (true, false): (3, 1) right, (3, 2) right, (2, 1) right, (2, 2) tie: 3.5 of 4.
    assert auroc([3, 2, 2, 1], [True, True, False, False]) == 0.875
    assert auroc([1, 1, 1], [True, False, False]) == 0.5
    assert math.isnan(auroc([1, 2], [True, True]))
    assert math.isnan(auroc([], np.zeros(0, bool)))


def test_average_precision_by_hand():
    # Cuts: 0.9 finds 1 of 1, recall 1/2; 0.8 adds a false one; 0.7 finds 2 of 3, recall 1.
    assert average_precision([0.9, 0.8, 0.7], [True, False, True]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # All tied: one cut, precision is the share of true edges.
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == 0.25
    assert math.isnan(average_precision([1, 2], [False, False]))
    assert math.isnan(average_precision([], np.zeros(0, bool)))


@given(CELLS)
def test_auroc_by_its_definition(cells):
    scores, labels = columns(cells)
    pairs = [(1.0 if a > b else 0.5 if a == b else 0.0) for a in scores[labels] for b in scores[~labels]]
    expected = np.mean(pairs) if pairs else np.nan
    assert auroc(scores, labels) == pytest.approx(expected, nan_ok=True)


@given(CELLS)
def test_average_precision_by_its_definition(cells):
    scores, labels = columns(cells)
    area, recall = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        at = score_edges(scores >= cut, labels)
        area += (at.recall - recall) * at.precision
        recall = at.recall
    assert average_precision(scores, labels) == pytest.approx(area if labels.any() else np.nan, nan_ok=True)


@given(CELLS)
def test_best_f1_is_reached_and_not_exceeded(cells):
    scores, labels = columns(cells)
    best = best_f1(scores, labels)
    every = [score_edges(scores >= cut, labels).f1 for cut in set(scores)]
    every.append(score_edges(np.zeros_like(labels), labels).f1)
    assert best.f1 == pytest.approx(max(every))
    # -inf cannot be exceeded by a smaller threshold: it is the score of what is never an edge.
    if not (labels.any() and best.threshold == -np.inf):
        assert score_edges(scores > best.threshold, labels).f1 == pytest.approx(best.f1)


def test_best_f1_by_hand():
    # Above 0.25 both true ones and one false one: 2 * 2 / (2 + 3); above 0.35 one true one: 2 / 3.
    best = best_f1([0.4, 0.3, 0.3, 0.1], [True, True, False, False])
    assert best.f1 == pytest.approx(0.8)
    assert 0.1 < best.threshold < 0.3
    assert best_f1([0.4, 0.3], [False, False]) == (1.0, np.inf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_edges([1, 0], [True, False]), "predicted must be True or False"),
        (lambda: score_edges([True], [True, False]), "must have the shape of true"),
        (lambda: recall_by_lag([True], [True]), r"must both be \[n, horizon\]"),
        (lambda: auroc([np.nan, 1], [True, False]), "scores must not be NaN .* got 1 NaN"),
        (lambda: best_f1([1, 2, 3], [True, False]), "labels must have the shape of scores"),
        (lambda: average_precision([1, 2], [1, 0]), "labels must be True or False"),
        (lambda: Scores.from_counts(n_true=1, n_predicted=1, n_correct=2), "n_correct must be"),
        (lambda: Scores.from_counts(n_true=-1, n_predicted=1, n_correct=0), "n_correct must be"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
