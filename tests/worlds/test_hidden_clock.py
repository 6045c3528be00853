"""A hidden clock: the filter against every hidden path, no cause where there is none, order symmetric or not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sequela.errors import ConfigError
from sequela.worlds.hidden_clock import HiddenClockWorld
from sequela.worlds.softmax import SoftmaxWorld


@pytest.fixture(params=[False, True])
def world(request) -> HiddenClockWorld:
    return HiddenClockWorld.random(5, n_states=3, dwell=4.0, rotating=request.param, horizon=2, sparsity=0.5, seed=1)


def _chance_by_paths(world: HiddenClockWorld, ids: np.ndarray) -> float:
    n, total = len(ids), 0.0
    base = [np.exp(world.base.conditional(ids, np.array([t]))[0]) for t in range(n)]
    for path in itertools.product(range(3), repeat=n):
        chance = 1.0 / 3
        for t, state in enumerate(path):
            if t:
                chance *= world.transition[path[t - 1], state]
            weight = base[t] * np.exp(world.tilt[state])
            chance *= weight[ids[t]] / weight.sum()
        total += chance
    return total


def test_the_filter_is_the_sum_over_all_hidden_paths(world):
    ids = np.array([0, 3, 1, 1, 2], np.int32)
    scores = world.score(ids)
    for n in range(1, 6):
        assert np.exp(scores[:n].sum()) == pytest.approx(_chance_by_paths(world, ids[:n]), rel=1e-10)
    law = np.exp(world.conditional(ids, np.arange(6)))
    np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.log(law[np.arange(5), ids]), scores, atol=1e-12)


def test_branches_are_whole_sequences(world):
    ids = np.array([0, 3, 1, 1, 2, 4], np.int32)
    tails = np.array([[2, 1, 0], [4, 1, 1]], np.int32)
    scores = world.score_branches(ids, np.array([1, 4]), tails)
    for row, start in enumerate((1, 4)):
        for step in range(3):
            target = start + step + 1
            if target >= 6:
                assert np.isnan(scores[row, step])
                continue
            whole = np.concatenate([ids[:start], tails[row, : step + 1], ids[target : target + 1]]).astype(np.int32)
            assert scores[row, step] == pytest.approx(world.score(whole)[-1], abs=1e-12)


def test_samples_follow_the_law(world):
    table = world.sample(20_000, 3, seed=0).ids.reshape(-1, 3)
    for word in ([0, 3, 1], [1, 1, 2], [0, 0, 1]):
        expected = _chance_by_paths(world, np.array(word, np.int32))
        assert (table == word).all(axis=1).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))


def test_the_truth_holds_the_clock_still(world):
    """By hand: replace the cause in the window of the effect, keep the belief."""
    ids = world.sample(1, 8, seed=3).ids
    truth = world.truth(ids)
    _, beliefs = world._follow(ids)
    effect, lag = 5, 2
    chances = []
    for u in range(5):
        changed = ids.copy()
        changed[effect - lag] = u
        weight = np.exp(world.base.conditional(changed[:effect], np.array([effect]))[0] + world.tilt)
        law = weight / weight.sum(axis=1, keepdims=True)
        chances.append(float(beliefs[effect] @ law[:, ids[effect]]))
    p, q = chances[ids[effect - lag]], float(np.mean(chances))
    assert truth[effect - lag, lag - 1] == pytest.approx(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


@pytest.mark.parametrize("rotating", [False, True])
def test_without_links_everything_is_association(rotating):
    world = HiddenClockWorld.random(6, rotating=rotating, sparsity=1.0, strength=3.0, seed=0)
    ids = world.sample(1, 30, seed=1).ids
    assert np.nanmax(world.truth(ids)) == pytest.approx(0.0, abs=1e-12)
    assert np.nanmax(world.association(ids)) > 0.05


@pytest.mark.parametrize("rotating", [False, True])
def test_the_slow_clock_is_symmetric_in_time_and_the_rotating_one_is_not(rotating):
    """How often ``u`` comes two events before ``v``, against ``v`` before ``u``."""
    world = HiddenClockWorld.random(6, rotating=rotating, dwell=3.0, sparsity=1.0, strength=3.0, seed=2)
    table = world.sample(3000, 20, seed=1).ids.reshape(-1, 20)
    pairs = np.zeros((6, 6))
    np.add.at(pairs, (table[:, 4:-4].ravel(), table[:, 8:].ravel()), 1)
    error = np.abs(pairs - pairs.T) / np.sqrt(pairs + pairs.T + 1)
    assert (error.max() > 6) == rotating


def test_bad_clocks_are_named():
    base = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), horizon=1)
    with pytest.raises(ConfigError, match="tilt"):
        HiddenClockWorld(base, [[0.0, 0.0, 0.0]])
    with pytest.raises(ConfigError, match="dwell"):
        HiddenClockWorld(base, np.zeros((2, 3)), dwell=0.5)
