"""Effects where events at one time have no order: against the definition, and whatever the order of rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sequela as sq
from sequela.density.window.objective import Ticks
from sequela.effects.cmi import bernoulli_kl
from sequela.effects.scorer import score_cases
from sequela.effects.settings import Settings
from sequela.effects.ties import Precedence
from sequela.events.sequences import Case, SequenceSet, case_hash
from sequela.events.ties import random_order, shuffle_ticks
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(5, horizon=4, sparsity=0.3, seed=1)
ENUMERATED = {"particles": 5, "delta": 0.001}


def a_log(times, events, **settings):
    frame = pl.DataFrame({"case": "a", "event": [f"e{i}" for i in events], "time": list(times)})
    frame = frame.cast({"time": pl.Float64})
    return sq.read_log(frame, **settings)


def probability(ids):
    """Return P(last | all before) by the density's own plain score."""
    return np.exp(WORLD.score(np.array(ids, np.int32))[-1])


def direct(order, ids, cause, effect):
    """Return p and q of one effect in one order of the events before it, all replacements enumerated."""
    before = [*order, effect]
    p = probability([ids[i] for i in before])
    q = np.mean([probability([u if i == cause else ids[i] for i in before]) for u in range(5)])
    return p, q


def test_effects_are_those_of_the_definition():
    times, events = [0.0, 1, 1, 2, 3, 3, 3], [0, 1, 3, 2, 0, 2, 4]
    log = a_log(times, events)
    found = sq.estimate(WORLD, log, horizon=2, **ENUMERATED)
    (case,) = SequenceSet.from_log(log, WORLD.vocabulary)
    ticks, ids = case.ticks, case.ids
    orders = [random_order(ticks, case_hash("a", 0), rotation).tolist() for rotation in range(3)]
    n_checked = 0
    for cause in range(7):
        for effect in range(7):
            lag = ticks[effect] - ticks[cause]
            if not 1 <= lag <= 2:
                continue
            tick = ticks[effect]
            size, first = (ticks == tick).sum(), int(np.searchsorted(ticks, tick))
            # A single effect after ties is the mean of two orders.
            n_orders = size if size > 1 else 1 + bool((np.bincount(ticks)[max(0, tick - 2) : tick] > 1).any())
            chosen = [order for order in orders[:n_orders] if order[first] == effect]
            p, q = np.mean([direct(order[:first], ids, cause, effect) for order in chosen], axis=0)
            expected = bernoulli_kl(np.log(p), np.log(q))
            assert found.cmi[cause, effect - cause - 1] == pytest.approx(expected, abs=1e-9)
            assert found.lags[cause, effect - cause - 1] == lag
            n_checked += 1
    assert n_checked == 14
    for one, other in [(1, 2), (4, 5), (4, 6), (5, 6)]:  # within a tick: the mean of both directions, effect last
        each = []
        for cause, effect in [(one, other), (other, one)]:
            last = int(np.searchsorted(ticks, ticks[effect], side="right")) - 1
            (order,) = (o for o in orders[: (ticks == ticks[effect]).sum()] if o[last] == effect)
            each.append(bernoulli_kl(*np.log(direct(order[:last], ids, cause, effect))))
        assert found.cmi[one, other - one - 1] == pytest.approx(np.mean(each), abs=1e-9)
        assert found.lags[one, other - one - 1] == 0
    assert found.n_tested == 14 + 4


def test_known_causes_in_the_tick_are_shown_in_their_order():
    times, events = [0.0, 1, 1, 1, 2], [4, 0, 1, 2, 3]
    log = a_log(times, events)
    known = Precedence.of(np.array([2, 0]), np.array([0, 1]), n_types=5)  # e2 causes e0, e0 causes e1
    (case,) = SequenceSet.from_log(log, WORLD.vocabulary)
    settings = Settings(horizon=1, **ENUMERATED)
    allotment = settings.allotment(WORLD, 1, 5)
    (found,) = score_cases(WORLD, [case], settings, 1, allotment, precedence=known)
    ids = case.ids
    shown = {1: [3], 2: [3, 1], 3: []}  # e0 sees e2; e1 sees e2 and e0; e2 sees nothing of its tick
    for effect, before in shown.items():
        for cause in [0, *before]:
            p, q = direct([0, *before], ids, cause, effect)
            at = (min(cause, effect), abs(effect - cause) - 1)
            assert found.cmi[at] == pytest.approx(bernoulli_kl(np.log(p), np.log(q)), abs=1e-9)
            assert found.lags[at] == (cause == 0)
            assert found.directions[at] == (1 if cause < effect else -1)
    assert found.n_tested == 3 + 3 + 3  # onto the tick, within it, from it


def test_types_that_cause_each_other_precede_nothing():
    assert not Precedence.of(np.array([0, 1]), np.array([1, 0]), n_types=3).ancestors(np.array([0, 1, 2])).any()
    circle = Precedence.of(np.array([0, 1, 2, 2]), np.array([1, 2, 0, 3]), n_types=4)
    assert circle.ancestors(np.array([0, 1, 2])).sum() == 0
    assert circle.ancestors(np.array([3, 2])).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "staircase"])
def test_a_log_without_ties_is_scored_as_an_ordered_one(design):
    times, events = np.arange(9.0), [0, 1, 3, 2, 0, 2, 4, 1, 1]
    one = sq.estimate(WORLD, a_log(times, events), design=design, particles=3)
    other = sq.estimate(WORLD, a_log(times, events, ties="order"), design=design, particles=3)
    assert np.array_equal(one.cmi, other.cmi, equal_nan=True)
    assert one.lags is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=4, max_size=12), st.randoms())
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_in_a_tick_cannot_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    graphs = [
        sq.discover(
            WORLD, a_log([float(t) for t, _ in some], [e for _, e in some]), particles=3, horizon=3, delta=0.001
        )
        for some in (rows, shuffled)
    ]
    assert graphs[0].edges.equals(graphs[1].edges)
    assert graphs[0].events == graphs[1].events


def test_edges_within_a_tick_have_no_direction():
    graph = sq.discover(WORLD, a_log([0.0, 0, 1, 1, 2], [0, 1, 2, 3, 4]), horizon=4, **ENUMERATED)
    tied = graph.edges.filter(pl.col("lag") == 0)
    assert tied.height
    assert not tied["directed"].any()
    assert graph.edges.filter(pl.col("lag") > 0)["directed"].all()
    assert (tied["cause"] < tied["effect"]).all()
    summary = graph.summary()
    assert summary.edges["n_undirected"].sum() == tied.height
    ordered = sq.discover(WORLD, a_log([0.0, 0, 1, 1, 2], [0, 1, 2, 3, 4], ties="order"), horizon=4, **ENUMERATED)
    assert ordered.edges["directed"].all()


def test_a_tick_rounds_times_down():
    log = a_log([0.2, 0.9, 1.1], [3, 1, 2], tick="1s")
    assert log.events == ["e1", "e3", "e2"]
    assert log.frame["time"].to_list() == [0.0, 0.0, 1.0]
    assert log.n_ties == 1


def test_every_event_is_first_and_last_once():
    ticks = np.array([0, 0, 0, 1, 2, 2])
    orders = np.array([random_order(ticks, 3, rotation) for rotation in range(6)])
    for tick, size in enumerate(np.bincount(ticks)):
        first = int(np.searchsorted(ticks, tick))
        members = first + np.arange(size)
        assert sorted(orders[:size, first]) == sorted(orders[:size, first + size - 1]) == members.tolist()
        assert all(sorted(order[members]) == members.tolist() for order in orders)


def test_training_shuffles_ticks_and_nothing_else():
    times = np.array([0.0, 1, 1, 1, 2, 0, 0, 5])
    sequences = SequenceSet(
        np.arange(8, dtype=np.int32), np.array([0, 5, 8]), pl.Series(["a", "b"]), times, unordered_ties=True
    )
    ticks = Ticks.of_sequences(sequences, memory=3)
    place = np.array([3, 4, 5, 6, 7, 11, 12, 13])  # three begin marks before each case
    seen = [set() for _ in place]
    for seed in range(200):
        slots = ticks.shuffled(place, np.random.default_rng(seed))
        for own, row in zip(seen, slots.tolist(), strict=True):
            own.add(tuple(row))
            assert len(set(row)) == 4
    number = {3 + i: i for i in range(5)} | {11 + i: 5 + i for i in range(3)}
    tick = {slot: (i >= 5, times[i]) for slot, i in number.items()}
    assert seen[0] == {(0, 1, 2, 3)}  # the first event, alone in its tick
    for at, own in zip(place.tolist(), seen, strict=True):
        for row in own:
            for wanted, got in zip(range(at - 3, at + 1), row, strict=True):
                assert tick.get(wanted, wanted) == tick.get(got, got)
    assert {row[-1] for row in seen[1]} == {4, 5, 6}  # any member of the tick may come first
    assert len(seen[4]) == 6  # 3! orders before the event after the tick


def test_shuffled_sets_are_the_same_set():
    times = np.array([0.0, 1, 1, 1, 2])
    sequences = SequenceSet(
        np.arange(5, dtype=np.int32), np.array([0, 5]), pl.Series(["a"]), times, unordered_ties=True
    )
    orders = {tuple(shuffle_ticks(sequences, seed).ids.tolist()) for seed in range(60)}
    assert len(orders) == 6
    assert all(order[0] == 0 and order[4] == 4 for order in orders)
    assert Case("a", sequences.ids, times).ticks is None


def test_a_population_of_ticks_does_not_see_the_order_of_rows():
    rng = np.random.default_rng(0)
    rows = []
    for case in range(60):
        for time in range(6):  # a causes b in the next tick; c stands with a, in any order
            a = rng.random() < 0.5
            rows += [(case, time, "a" if a else "d"), (case, time, "c")]
            rows.append((case, time + 0.5, "b" if a and rng.random() < 0.8 else "d"))
    frame = pl.DataFrame(rows, schema=["case", "time", "event"], orient="row")
    found = []
    for seed in (1, 2):
        log = sq.read_log(frame.sample(fraction=1, shuffle=True, seed=seed))
        density = sq.fit(log, width=16, max_steps=150, progress=False)
        found.append(sq.discover_population(density, log, cases="all", particles=4, progress=False))
    assert found[0].pairs.equals(found[1].pairs)
    strengths = {(c, e): s for c, e, s in found[0].pairs.select("cause", "effect", "cmi_nats").rows()}
    assert strengths["a", "b"] > 0.05
