"""Places: counted from ids alone, and as many as discovery tests."""

import itertools
from collections import Counter

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.effects.encoding import encode_log
from sequela.graphs import places
from sequela.graphs.places import count_places, pair_counts
from sequela.graphs.records import Arguments
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(8, horizon=3, decay=0.2, sparsity=0.5, seed=0)
FRAME = WORLD.to_log(WORLD.sample(12, (1, 9), seed=1))
NUMBER = pl.col("event").str.slice(1).cast(pl.Int64)
LOG = sq.read_log(FRAME)


def by_hand(cases, horizon, context=0, seconds=None, times=None):
    found = Counter()
    for number, events in enumerate(cases):
        for i, j in itertools.combinations(range(len(events)), 2):
            late = seconds is not None and times[number][j] - times[number][i] > seconds
            if i >= context and j - i <= horizon and not late:
                found[events[i], events[j]] += 1
    return sorted((u, v, n) for (u, v), n in found.items())


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("horizon", "context", "seconds"), [(1, 0, None), (3, 2, None), (50, 0, None), (4, 1, 60.0)])
def test_equals_its_definition(monkeypatch, dense, horizon, context, seconds):
    monkeypatch.setattr(places, "_BLOCK", 20)
    monkeypatch.setattr(places, "_MOST_DENSE", 1 << 22 if dense else 0)
    monkeypatch.setattr(places, "_MOST_SPARSE", 30)
    cases = [LOG.case(name).events for name in LOG.case_names]
    times = [LOG.case(name).frame["time"].to_list() for name in LOG.case_names]
    sequences = encode_log(WORLD, LOG)
    arguments = Arguments(horizon=horizon, context=context, horizon_seconds=seconds)
    found = count_places(WORLD, sequences, arguments)
    assert found.rows() == by_hand(cases, horizon, context, seconds, times)


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"design": "leave-one-out"}, {"design": "staircase"}, {"horizon": "full"}, {"context": 2},
        {"horizon_time": "1m"}, {"horizon": 1},
    ],
)  # fmt: skip
def test_as_many_as_were_tested(settings):
    found = sq.discover_log(WORLD, LOG, progress=False, particles=4, **settings)
    assert found.places["n_places"].sum() == found.run.counts.n_pairs_tested > 0
    case = found.case(LOG.case_names[1])
    alone = sq.discover(WORLD, LOG.case(LOG.case_names[1]), particles=4, **settings)
    assert case.n_tested == alone.n_tested
    own = alone.summary(self_loops=True).edges
    assert (own["n_edges"] <= own["n_places"]).all()


@pytest.mark.parametrize("asked", [{"proposal": "siblings"}, {"contrast": "state"}])
def test_causes_without_an_alternative_have_no_places(asked):
    frame = FRAME.with_columns(unit=NUMBER // 3, code=NUMBER)
    log = sq.read_log(frame, case="case", event=["unit", "code"], time="time")
    density = sq.fit(log, max_steps=5, width=8, min_count=1, progress=False)
    found = sq.discover_log(density, log, particles=2, progress=False, **asked)
    assert found.places["n_places"].sum() == found.run.counts.n_pairs_tested > 0
    name = log.case_names[1]
    assert found.case(name).n_tested == sq.discover(density, log.case(name), particles=2, **asked).n_tested
    assert found.case(log.case_names[1]).summary().edges["n_places"].null_count() == len(
        found.case(log.case_names[1]).summary()
    )


def test_nothing_gives_nothing():
    empty = pair_counts(np.zeros(0, np.int32), np.zeros(1, np.int64), None, names=["a"], arguments=Arguments(horizon=3))
    assert empty.is_empty()
    alone = pair_counts(np.zeros(1, np.int32), np.array([0, 1]), None, names=["a"], arguments=Arguments(horizon=3))
    assert alone.is_empty()


@pytest.mark.parametrize("told", [None, "a population"])
@pytest.mark.parametrize("horizon", [1, 2])
def test_ties_without_an_order_count_ticks(monkeypatch, horizon, told):
    monkeypatch.setattr(places, "_BLOCK", 10)
    frame = FRAME.with_columns(time=pl.col("time").dt.truncate("2m"))
    log = sq.read_log(frame)
    assert log.n_ties > 10
    found = count_places(WORLD, encode_log(WORLD, log), Arguments(horizon=horizon, population=told))
    expected = Counter()
    for name in log.case_names:
        case = log.case(name).frame
        ticks = case["time"].rank("dense").to_list()
        for (u, one), (v, two) in itertools.combinations(zip(case["event"], ticks, strict=True), 2):
            if two - one > horizon:
                continue
            pairs = [(u, v)] if two > one or u == v else [(u, v), (v, u)] if told else [(min(u, v), max(u, v))]
            for pair in pairs:
                expected[pair] += 1
    assert found.rows() == sorted((u, v, n) for (u, v), n in expected.items())


def test_a_log_with_ties_has_no_more_edges_than_places():
    frame = FRAME.with_columns(time=pl.col("time").dt.truncate("2m"))
    found = sq.discover_log(WORLD, sq.read_log(frame), particles=4, delta=0.001, progress=False)
    pairs = found.summary(self_loops=True).edges
    assert pairs["n_undirected"].sum() > 0
    assert pairs["n_places"].null_count() == 0
    assert (pairs["share"] <= 1).all()
