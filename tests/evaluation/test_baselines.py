"""The baselines by hand."""

import numpy as np
import polars as pl
import pytest

from sequela.errors import ConfigError
from sequela.evaluation.baselines import adjacent_pairs, adjacent_pairs_pmi
from sequela.events.sequences import SequenceSet


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
