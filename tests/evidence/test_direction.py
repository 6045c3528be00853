"""Votes on the order of two types: their definition from scratch, the law of their e-value, what is symmetric."""

from itertools import pairwise
from math import comb

import numpy as np
import polars as pl
import pytest

from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet, tick_numbers
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.direction import _ranks, burst_seconds, log_e_direction, order_votes
from sequela.evidence.pairs import co_occurring


def sequence_set(cases, times=None, *, unordered=False):
    offsets = np.cumsum([0, *map(len, cases)])
    flat = None if times is None else np.concatenate(times).astype(float)
    names = pl.Series([f"c{number}" for number in range(len(cases))])
    return SequenceSet(np.concatenate(cases).astype(np.int32), offsets, names, flat, unordered_ties=unordered)


def from_scratch(sequences, n_types, horizon, seconds, seed):
    """Walk through every case for every unordered pair."""
    first, total = np.zeros((n_types, n_types), int), np.zeros((n_types, n_types), int)
    for case in sequences:
        rank = _ranks(case.name, len(case.ids), seed)
        ticks = case.ticks if case.ticks is not None else np.arange(len(case.ids))
        for u in range(n_types):
            for v in range(u + 1, n_types):
                own = [i for i in range(len(case.ids)) if case.ids[i] in (u, v)]
                if not {u, v} <= set(case.ids.tolist()):
                    continue
                bursts, burst = [], [own[0]]
                for before, i in pairwise(own):
                    far = ticks[i] - ticks[before] > horizon
                    if seconds is not None and case.times is not None:
                        far |= case.times[i] - case.times[before] > seconds
                    if far:
                        bursts.append(burst)
                        burst = []
                    burst.append(i)
                for some in [*bursts, burst]:
                    chosen = [
                        min((i for i in some if case.ids[i] == k), key=rank.__getitem__, default=None) for k in (u, v)
                    ]
                    if None not in chosen and ticks[chosen[0]] != ticks[chosen[1]]:
                        total[u, v] += 1
                        first[u, v] += ticks[chosen[0]] < ticks[chosen[1]]
    return first, total


@pytest.mark.parametrize("rows", [1, 40, 2**22])
@pytest.mark.parametrize(("times", "seconds"), [(False, None), (True, 4.0), (True, None)])
def test_votes_equal_their_definition(rows, times, seconds, monkeypatch):
    monkeypatch.setattr("sequela.evidence.direction._ROWS", rows)
    rng = np.random.default_rng(0)
    cases = [rng.integers(0, 4, rng.integers(0, 25)) for _ in range(12)]
    when = [np.sort(rng.integers(0, 40, len(ids))) for ids in cases] if times else None
    sequences = sequence_set(cases, when, unordered=times)
    pairs = np.arange(16)
    votes = order_votes(sequences, 4, 2, seconds, pairs=pairs, seed=3)
    first, total = from_scratch(sequences, 4, 2, seconds, 3)
    assert votes.pairs.tolist() == [1, 2, 3, 6, 7, 11]
    assert votes.total.tolist() == total.ravel()[votes.pairs].tolist()
    assert votes.first.tolist() == first.ravel()[votes.pairs].tolist()
    assert votes.total.sum() > 20
    assert any(tick_numbers(one.times) is not None for one in sequences) == times
    some = order_votes(sequences, 4, 2, seconds, pairs=np.array([9, 3]), seed=3)  # 2 -> 1 and 0 -> 3
    assert some.pairs.tolist() == [3, 6]
    assert some.total.tolist() == total.ravel()[[3, 6]].tolist()


def test_the_e_value_has_expectation_one_for_fair_coins():
    for n in (0, 1, 7, 40):
        k = np.arange(n + 1)
        law = np.array([comb(n, int(one)) for one in k]) / 2.0**n
        assert (law * np.exp(log_e_direction(k, np.full(n + 1, n)))).sum() == pytest.approx(1)


def test_a_shared_incident_has_no_order_however_unequal_the_rates():
    """In each of 400 incidents 5 events of one type and 1 of the other come at random times."""
    rng = np.random.default_rng(1)
    cases, when = [], []
    for _ in range(400):
        at = rng.random(6)
        order = np.argsort(at)
        cases.append(np.array([0, 0, 0, 0, 0, 1])[order])
        when.append(at[order])
    sequences = sequence_set(cases, when)
    votes = order_votes(sequences, 2, 8, None, pairs=co_occurring(sequences, 8, 2))
    assert votes.total.tolist() == [400]
    assert 170 <= votes.first[0] <= 230
    assert log_e_direction(votes.first, votes.total)[0] < np.log(20)
    by_first_event = sum(int(ids[0] == 0) for ids in cases)
    assert by_first_event > 300  # the first event of all would decide for the commoner type


def test_a_cause_comes_first_and_a_tick_has_no_vote():
    log = read_log(
        pl.DataFrame(
            {
                "case": np.repeat([f"c{i:02}" for i in range(30)], 3),
                "event": ["a", "b", "c"] * 30,
                "time": [60.0 * i + t for i in range(30) for t in (0.0, 5.0, 5.0)],
            }
        ),
        case="case",
        event="event",
        time="time",
    )
    vocabulary = Vocabulary.build(log)
    sequences = SequenceSet.from_log(log, vocabulary)
    codes = co_occurring(sequences, 4, 3)
    names = [(vocabulary.names[code // 3], vocabulary.names[code % 3]) for code in codes]
    first, total = order_votes(sequences, 3, 4, None, pairs=np.arange(9)).of(codes, 3)
    assert dict(zip(names, zip(first.tolist(), total.tolist(), strict=True), strict=True)) == {
        ("a", "b"): (30, 30),
        ("a", "c"): (30, 30),
    }


def test_the_longest_gap_of_a_burst_lies_between_delays_and_waiting_times():
    rng = np.random.default_rng(2)
    starts = np.cumsum(rng.uniform(5_000, 50_000, 200))
    times = np.sort(np.concatenate([starts, starts + rng.uniform(1, 30, 200)]))
    found = burst_seconds(sequence_set([np.zeros(400, int)], [times]))
    assert 30 < found < 5_000
    assert burst_seconds(sequence_set([np.zeros(3, int)])) is None
    assert burst_seconds(sequence_set([np.zeros(1, int), np.zeros(1, int)], [[3.0], [9.0]])) == 0.0
    assert burst_seconds(sequence_set([np.zeros(2, int)], [[3.0, 9.0]])) == pytest.approx(6.0)
