"""The baselines by hand."""

import numpy as np
import polars as pl
import pytest

from sequela.discovery.discover import estimate
from sequela.errors import ConfigError
from sequela.evaluation.baselines import (
    AdjacentPairs,
    AdjacentPMI,
    LaggedLift,
    NeuralGranger,
    NGramGranger,
    Ours,
    RandomScores,
    adjacent_pairs,
    adjacent_pairs_pmi,
)
from sequela.events.sequences import Case, SequenceSet
from sequela.worlds.softmax import SoftmaxWorld


def seq(*events):
    return np.array(events, np.int32)


def sequences(*cases):
    offsets = np.cumsum([0, *map(len, cases)]).astype(np.int64)
    return SequenceSet(
        np.concatenate([seq(*c) for c in cases]), offsets, pl.Series([f"c{i}" for i in range(len(cases))])
    )


@pytest.mark.parametrize(("ids", "expected"), [(seq(), []), (seq(3), [0]), (seq(3, 1, 1), [1, 1, 0])])
def test_adjacent_pairs(ids, expected):
    edges = adjacent_pairs(ids, 4)
    assert edges.shape == (len(ids), 4)
    assert edges.dtype == np.bool_
    assert edges[:, 0].tolist() == expected
    assert not edges[:, 1:].any()


def test_pmi_by_hand():
    # Neighbours: 01 three times, 21 once, 20 twice; n = 6. First: 0 three, 2 three. Second: 1 four, 0 two.
    train = sequences([0, 1], [0, 1], [0, 1], [2, 1], [2, 0], [2, 0])
    # 01: observed 3, expected 3*4/6 = 2: log(3.5/2.5) = 0.336. 20: 2 against 1: log(2.5/1.5) = 0.511.
    # 21: 1 against 2: log(1.5/2.5) < 0. 00: 0 against 1: < 0. 12: 1 never comes first: log(0.5/0.5) = 0.
    ids = seq(0, 1, 2, 0, 0, 1, 2, 1)
    assert adjacent_pairs_pmi(train, ids, 1, 3)[:, 0].tolist() == [1, 0, 1, 0, 1, 0, 0, 0]
    assert adjacent_pairs_pmi(train, ids, 1, 3, threshold=0.4)[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    # Below 0, pairs never seen count too; 21 (-0.511) and 00 (log(0.5/1.5) = -1.099) still do not.
    assert adjacent_pairs_pmi(train, ids, 2, 3, threshold=-0.4)[:, 0].tolist() == [1, 1, 1, 0, 1, 1, 0, 0]
    assert not adjacent_pairs_pmi(train, ids, 2, 3, threshold=-9.0)[:, 1].any()


def test_pmi_never_crosses_cases():
    # 1 is followed by 0 only from one case to the next.
    apart = adjacent_pairs_pmi(sequences(*[[0, 1]] * 9), seq(1, 0), 1, 3, threshold=0.0)
    together = adjacent_pairs_pmi(sequences([0, 1] * 9), seq(1, 0), 1, 3, threshold=0.0)
    assert (apart.any(), together.any()) == (False, True)


@pytest.mark.parametrize("train", [sequences([0]), sequences([0], [], [1]), sequences([])])
def test_pmi_with_nothing_to_count(train):
    assert not adjacent_pairs_pmi(train, seq(0, 1, 0), 2, 3).any()
    assert adjacent_pairs_pmi(train, seq(), 2, 3).shape == (0, 2)
    assert adjacent_pairs_pmi(train, seq(1), 2, 3).tolist() == [[False, False]]


@pytest.mark.parametrize("train", [sequences([], [0, 1], []), sequences([0, 1], [], [])])
def test_empty_cases_are_no_neighbours(train):
    assert adjacent_pairs_pmi(train, seq(0, 1), 1, 3, threshold=-0.1).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, "horizon"),
        ({"n_types": 2}, "ids must lie in 0 … 1; got 2 … 2"),
        ({"n_types": 1}, "n_types"),
        ({"smoothing": 0}, "smoothing"),
        ({"threshold": float("nan")}, "threshold"),
    ],
)
def test_wrong_arguments(arguments, message):
    settings = {"horizon": 1, "n_types": 3} | arguments
    with pytest.raises(ConfigError, match=message):
        adjacent_pairs_pmi(sequences([0, 1]), seq(0, 2), **settings)


TRAIN = SequenceSet(
    np.random.default_rng(0).integers(4, size=60).astype(np.int32),
    np.array([0, 20, 21, 45, 60]),
    pl.Series(["a", "b", "c", "d"]),
)
CASE = np.array([0, 3, 1, 1, 2, 0, 3], np.int32)


def _count(lag, first, second):
    """Count pairs case by case, the slow way."""
    return sum(
        int(case.ids[i] == first and case.ids[i + lag] == second) for case in TRAIN for i in range(len(case.ids) - lag)
    )


def test_lagged_lift_counts_every_lag_within_cases():
    band = LaggedLift(TRAIN, 4, 3).scores(CASE, 3)
    for lag in (1, 2, 3):
        total = sum(_count(lag, u, v) for u in range(4) for v in range(4))
        for i in range(len(CASE) - lag):
            u, v = CASE[i], CASE[i + lag]
            expected = sum(_count(lag, u, w) for w in range(4)) * sum(_count(lag, w, v) for w in range(4)) / total
            assert band[i, lag - 1] == pytest.approx(np.log((_count(lag, u, v) + 0.5) / (expected + 0.5)))
        assert np.isnan(band[len(CASE) - lag :, lag - 1]).all()


def test_adjacent_methods_agree_with_the_functions():
    np.testing.assert_array_equal(AdjacentPairs().edges(CASE, 3), adjacent_pairs(CASE, 3))
    np.testing.assert_array_equal(AdjacentPMI(TRAIN, 4).edges(CASE, 3), adjacent_pairs_pmi(TRAIN, CASE, 3, 4))


def test_ngram_granger_by_hand():
    band = NGramGranger(TRAIN, 4, 3).scores(CASE, 3)
    frequency = (np.bincount(TRAIN.ids, minlength=4) + 0.5) / 62

    def pair(u, v):
        counts = [_count(1, u, w) for w in range(4)]
        kinds = sum(c > 0 for c in counts)
        return (counts[v] + kinds * frequency[v]) / (sum(counts) + kinds)

    assert band[1, 0] == pytest.approx(np.log(pair(3, 1) / frequency[1]))
    near, far, target = CASE[3], CASE[1], CASE[4]  # lag 3
    counts = np.zeros(4)
    for case in TRAIN:
        for t in range(3, len(case.ids)):
            if case.ids[t - 1] == near and case.ids[t - 3] == far:
                counts[case.ids[t]] += 1
    kinds = (counts > 0).sum()
    both = (counts[target] + kinds * pair(near, target)) / (counts.sum() + kinds) if kinds else pair(near, target)
    assert band[1, 2] == pytest.approx(np.log(both / pair(near, target)))
    with pytest.raises(ConfigError, match="3 lags"):
        NGramGranger(TRAIN, 4, 3).scores(CASE, 4)


def test_random_scores_are_keyed_by_the_sequence():
    one, two = RandomScores(1), RandomScores(1)
    np.testing.assert_array_equal(one.scores(CASE, 3), two.scores(CASE, 3))
    assert not np.array_equal(one.scores(CASE[:-1], 3)[:4], one.scores(CASE, 3)[:4])
    many = np.arange(4000, dtype=np.int32) % 7
    assert RandomScores(0, share=0.2).edges(many, 1).mean() == pytest.approx(0.2, abs=0.03)


def test_ours_and_neural_granger_are_the_estimates_of_discover():
    world = SoftmaxWorld.random(4, horizon=3, decay=0.2, seed=0)
    true = np.nan_to_num(world.truth(CASE)) > 0.05
    np.testing.assert_array_equal(Ours(world, particles=4).edges(CASE, 3), true)
    gain = NeuralGranger(world, particles=4).scores(CASE, 3)
    expected = estimate(world, Case("", CASE, None), design="leave-one-out", particles=4).pointwise
    np.testing.assert_array_equal(gain, expected)


def test_methods_take_short_sequences():
    short = np.array([2], np.int32)
    for method in (
        AdjacentPairs(),
        AdjacentPMI(TRAIN, 4),
        LaggedLift(TRAIN, 4, 2),
        NGramGranger(TRAIN, 4, 2),
        RandomScores(),
    ):
        assert method.scores(short, 2).shape == (1, 2)
        assert not method.edges(short, 2).any()
