"""The protocol of designs: one function and one line in the registry."""

import numpy as np
import pytest

from sequela import discover, estimate
from sequela.density.base import Branches
from sequela.effects.designs import DESIGNS, Cells, DesignSettings, Problem
from sequela.effects.scorer import answer
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=3, decay=0.3, seed=0)
EVENTS = ["e0", "e3", "e1", "e5", "e2", "e2", "e4", "e0"]


def swap_for_first(problem):
    """Put the first event type in the place of the cause."""
    tails = problem.branches(np.zeros((len(problem.causes), 1), np.int32))
    scores = yield tails
    log_p, log_q = problem.observed(scores.observed), scores.branches
    return Cells(np.abs(log_p - log_q), np.zeros_like(log_p), log_p, log_q, None, counts={"n_asked": 1})


def test_a_new_design_is_a_function_and_a_line(monkeypatch):
    monkeypatch.setitem(DESIGNS, "swap-for-first", swap_for_first)
    found = estimate(WORLD, EVENTS, design="swap-for-first")
    ids = np.array([int(name[1:]) for name in EVENTS], np.int32)
    changed = ids.copy()
    changed[2] = 0
    expected = WORLD.score(ids)[4] - WORLD.score(changed)[4]
    assert found.pointwise[2, 1] == pytest.approx(expected)
    assert found.cmi[0, 0] == 0.0  # e0 in the place of e0
    assert found.counts == {"n_asked": 1}
    assert len(discover(WORLD, EVENTS, design="swap-for-first", threshold="fixed", tau=0.5)) > 0
    with pytest.raises(ConfigError, match="swap-for-first"):
        estimate(WORLD, EVENTS, design="swap-for-last")


def test_a_design_may_ask_again_and_problems_are_answered_in_their_order():
    def until_sure(problem):
        scores = yield problem.branches(np.zeros((len(problem.causes), 1), np.int32))
        for _ in range(int(problem.causes[0])):  # later problems ask more often
            scores = yield Branches(problem.ids, problem.causes[:1], problem.ids[None, problem.causes[0] :][:, :1])
        log_p = problem.observed(scores.observed)
        return Cells(log_p, log_p, log_p, log_p, None, counts={"first": int(problem.causes[0])})

    case = Case("x", np.array([0, 1, 2, 3, 4, 5], np.int32), None)
    problems = [Problem(WORLD, case, np.array([cause]), 2, DesignSettings()) for cause in (3, 0, 2)]
    assert [cells.counts["first"] for cells in answer(problems, until_sure)] == [3, 0, 2]


def test_statistics_share_branches(monkeypatch):
    counts = []
    real = SoftmaxWorld.score_branches_many

    def count(self, branches):
        counts.extend(len(one.starts) for one in branches)
        return real(self, branches)

    monkeypatch.setattr(SoftmaxWorld, "score_branches_many", count)
    estimate(WORLD, EVENTS, particles=3, statistic="kl_of_mean")
    estimate(WORLD, EVENTS, particles=3, statistic="both")
    assert len(counts) == 2
    assert counts[0] == counts[1]
