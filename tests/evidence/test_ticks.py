"""Evidence where ties have no order: bets at the last of each tick, and again where a third type is not in reach."""

import numpy as np
import polars as pl
import pytest
import torch

from sequela.density.window.density import WindowDensity
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.population import discover_population
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.bets import sum_bets, sum_bets_without
from sequela.evidence.fixed_point import from_units
from sequela.evidence.forecasts import forecasts
from sequela.evidence.links import finish, triangles
from sequela.evidence.pairs import Groups
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(5, horizon=3, seed=0)


def window_density():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(WindowConfig(5, 8, 6, 16, 32))
        torch.nn.init.normal_(network.head.weight, std=0.7)
    return WindowDensity(network, WORLD.vocabulary, knows_hidden=True)


def tied_cases(n=6):
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 5, 14 * n).astype(np.int32)
    times = np.concatenate([np.sort(rng.integers(0, 9, 14)) for _ in range(n)]).astype(float)
    names = pl.Series([f"c{i}" for i in range(n)])
    return SequenceSet(ids, np.arange(0, 14 * n + 1, 14), names, times, unordered_ties=True)


def from_scratch(density, cases, horizon, shift, *, absent=None):
    """At the last event of each tick: hide all of a type in the ticks before within the horizon, and in its own."""
    total = np.zeros((5, 5))
    for case in cases:
        ticks = case.ticks
        for q in range(1, len(case.ids)):
            if q + 1 < len(ticks) and ticks[q + 1] == ticks[q]:
                continue
            reach = [j for j in range(q) if ticks[q] - ticks[j] <= horizon and q - j <= density.memory]
            kinds = {int(case.ids[j]) for j in reach}
            for kind in kinds:
                past = case.ids.copy()
                past[[j for j in reach if past[j] == kind]] = density.vocabulary.hidden_id
                p = np.exp(density.conditional(case.ids, np.array([q]), case.times)[0])
                hidden = np.exp(density.conditional(past, np.array([q]), case.times)[0])
                odds = hidden / (1 - hidden) * np.exp(shift)
                hidden = odds / (1 + odds)
                came = np.arange(5) == case.ids[q]
                if absent is None or absent not in kinds:
                    total[kind] += np.where(came, np.log(p / hidden), np.log((1 - p) / (1 - hidden)))
    return total


@pytest.mark.parametrize("cells", [7, 2**22])
def test_bets_in_ticks_equal_their_definition(cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.forecasts._CELLS", cells)
    density, cases, shift = window_density(), tied_cases(), np.linspace(-0.2, 0.2, 5)
    pairs = np.arange(25)
    found = from_units(sum_bets(pairs, density, cases, 2, shift))
    np.testing.assert_allclose(found, from_scratch(density, cases, 2, shift).ravel(), atol=1e-4)
    triples = [(1, 2), (1, 4), (7, 0), (7, 3), (20, 1)]
    codes, absent = np.array(triples).T
    again = from_units(sum_bets_without(codes, absent.astype(np.int32), density, cases, 2, shift))
    for (code, third), value in zip(triples, again, strict=True):
        expected = from_scratch(density, cases, 2, shift, absent=third).ravel()[code]
        assert value == pytest.approx(expected, abs=1e-4)
    assert np.abs(again - found[codes]).min() > 1e-3  # the third types are somewhere in reach
    halves = [
        sum_bets_without(codes, absent.astype(np.int32), density, cases.take(some), 2, shift)
        for some in (range(2), range(2, 6))
    ]
    whole = sum_bets_without(codes, absent.astype(np.int32), density, cases, 2, shift)
    assert (halves[0] + halves[1]).tolist() == whole.tolist()


def test_lagged_forecasts_still_hide_earlier_ticks_only():
    case = tied_cases()[0]
    groups = Groups.at_level(WORLD.vocabulary, None)
    within = {(int(u), int(q)) for rows in forecasts(window_density(), case, 2, None, groups, within_ticks=True)
              for u, q in zip(rows.causes, rows.positions, strict=True)}  # fmt: skip
    lagged = {(int(u), int(q)) for rows in forecasts(window_density(), case, 2)
              for u, q in zip(rows.causes, rows.positions, strict=True)}  # fmt: skip
    last = {q for q in range(14) if q == 13 or case.ticks[q + 1] > case.ticks[q]}
    assert {q for _, q in within} <= last
    assert {q for _, q in lagged} - last


class Learned(FiniteMemoryDensity):
    """An imperfect forecast of ``c``, which follows ``b`` alone: it credits ``a``, two places before, with a part."""

    memory, knows_hidden = 4, True

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary

    def window_conditional(self, windows):
        a, b, c = (self.vocabulary.names.index(name) for name in "abc")
        last, hidden = windows[:, -1], windows[:, -1] == self.vocabulary.hidden_id
        near = (windows[:, -2:] == a).any(axis=1)
        law = np.full((len(windows), self.vocabulary.n_types), 1.0)
        law[:, c] = np.select([(last == b) & near, last == b, hidden & near], [0.7, 0.5, 0.3], 0.1)
        law[:, b] = np.select([last == a, last == b, hidden], [0.7, 0.02, 0.2], 0.1)
        rest = np.setdiff1d(np.arange(law.shape[1]), [b, c])
        law[:, rest] = (1 - law[:, [b, c]].sum(axis=1, keepdims=True)) / len(rest)
        return np.log(law)

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(windows)), targets]


def test_nothing_is_left_of_a_grandparent_where_the_parent_is_not_near():
    """``a`` brings ``b`` and ``b`` brings ``c``; what the density credits ``a`` with shows only beside ``b``."""
    rng = np.random.default_rng(0)
    rows = []
    for case in range(150):
        tick = 0
        for _ in range(5):
            cause = rng.random() < 0.6
            parent = rng.random() < (0.8 if cause else 0.3)
            ticks = ["a"] * cause + ["b"] * parent + ["c" if rng.random() < (0.7 if parent else 0.1) else "d"]
            for kinds in (*ticks, "de", "d", "e", "d"):
                tick += 1
                rows += [(case, kind, float(tick)) for kind in kinds]
    log = read_log(
        pl.DataFrame(rows, schema=["case", "event", "time"], orient="row"), case="case", event="event", time="time"
    )
    density = Learned(Vocabulary.build(log))
    names, n = density.vocabulary.names, density.vocabulary.n_types
    found = discover_population(density, log, cases="all", delta=0.01, progress=False)
    pairs = {(row["cause"], row["effect"]): row for row in found.pairs.iter_rows(named=True)}
    assert pairs["b", "c"]["is_edge"]
    assert not pairs["a", "c"]["is_edge"]
    assert pairs["a", "c"]["cmi_nats"] > 0.01
    assert pairs["a", "c"]["share_first"] > 0.8
    assert "where b is not near" in pairs["a", "c"]["mark"]
    sequences = SequenceSet.from_log(log, density.vocabulary)
    code, third = names.index("a") * n + names.index("c"), names.index("b")
    assert from_units(sum_bets(np.array([code]), density, sequences, 4, np.zeros(n)))[0] > np.log(100)
    without = sum_bets_without(np.array([code]), np.array([third], np.int32), density, sequences, 4, np.zeros(n))
    assert from_units(without)[0] < 0.5  # without the check it would pass for a link


def bets_table(rows):
    return pl.DataFrame(rows, schema=["cause", "effect", "log_e"], orient="row")


def test_triangles_by_hand():
    bets = bets_table([("a", "b", 50.0), ("b", "c", 40.0), ("a", "c", 20.0), ("d", "c", 30.0), ("c", "d", 1.0)])
    assert triangles([bets], "leave-one-out").rows() == [("a", "c", "b")]
    weak = bets.with_columns(log_e=pl.col("log_e") / 10)  # a -> c at 2 nats is no evidence anyway
    assert triangles([weak], "leave-one-out").rows() == []
    back = bets_table([("b", "a", 50.0), ("b", "c", 40.0), ("a", "c", 20.0)])  # a common cause
    assert triangles([back], "forward").rows() == [("a", "c", "b")]


def test_the_least_evidence_counts_and_a_backward_pair_is_no_edge():
    def sums(u, v, pointwise=0.5):
        return {
            "cause": u, "effect": v, "lag": 1, "cases": 10.0, "support": 100.0, "cmi": 30.0, "ties": 0.0,
            "pointwise": 100 * pointwise, "cmi_squared": 90.0, "cmi_support": 300.0, "support_squared": 1000.0,
        }  # fmt: skip

    names = [("a", "b"), ("b", "a"), ("a", "c"), ("c", "d"), ("d", "c")]
    strengths = pl.DataFrame([sums(u, v, -0.5 if (u, v) == ("d", "c") else 0.5) for u, v in names])
    bets = bets_table([(u, v, 30.0) for u, v in names])
    without = pl.DataFrame(
        [("a", "c", "b", -1.0), ("a", "c", "d", 5.0), ("a", "b", "d", 40.0)],
        schema=["cause", "effect", "absent", "log_e"], orient="row",
    )  # fmt: skip
    votes = pl.DataFrame(
        [("a", "b", 9, 10), ("b", "a", 1, 10), ("a", "c", 10, 10), ("c", "d", 5, 10), ("d", "c", 5, 10)],
        schema=["cause", "effect", "first", "total"], orient="row",
    )  # fmt: skip
    found = finish([strengths], [bets], delta=0.05, fdr=0.05, votes=votes, without=[without])
    rows = {(row["cause"], row["effect"]): row for row in found.iter_rows(named=True)}
    assert [key for key, row in rows.items() if row["is_edge"]] == [("a", "b"), ("d", "c")]
    assert rows["a", "c"]["log10_e"] == pytest.approx(-1 / np.log(10))
    assert rows["a", "b"]["log10_e"] == pytest.approx(30 / np.log(10))  # more evidence elsewhere adds none
    assert "where b is not near" in rows["a", "c"]["mark"]
    assert "comes first at least as often" in rows["b", "a"]["mark"]
    assert "comes first at least as often" in rows["c", "d"]["mark"]  # d -> c makes c rarer: its order says nothing
    assert rows["a", "b"]["share_first"] == 0.9
    assert rows["c", "d"]["direction_log10_e"] < 0
    assert rows["a", "b"]["sensitivity"] == pytest.approx(np.exp(0.5) + np.sqrt(np.exp(0.5) * (np.exp(0.5) - 1)))
    assert rows["a", "b"]["observed_sensitivity"] is None  # no other pair has the effect b
    assert rows["a", "c"]["observed_sensitivity"] == rows["d", "c"]["sensitivity"]
    assert finish([strengths], [bets], delta=0.05, fdr=0.05)["share_first"].null_count() == 5
