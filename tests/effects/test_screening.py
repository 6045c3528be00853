"""Adaptive particles on exact worlds: edges of the full budget within the stated error, for less."""

import numpy as np
import pytest

from sequela.discovery.discover import discover_log, estimate
from sequela.effects.proposals import draw_uniform, first_few
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld


class Steps:
    """Counts the tail steps a world is asked for."""

    def __init__(self, world, monkeypatch):
        self.n, real = 0, world.score_branches_many

        def score(branches):
            self.n += sum(one.tails.size for one in branches)
            return real(branches)

        monkeypatch.setattr(world, "score_branches_many", score)


@pytest.mark.parametrize("error", [0.01, 0.05])
@pytest.mark.parametrize("threshold", [{"delta": 0.05}, {"threshold": "fixed", "tau": 0.05}])
def test_edges_are_those_of_the_full_budget_within_the_stated_error(error, threshold, monkeypatch):
    n_differ = n_pairs = n_steps = n_full = 0
    for seed in range(3):
        world = SoftmaxWorld.random(150, horizon=4, decay=0.3, seed=seed)
        steps = Steps(world, monkeypatch)
        for case in world.sample(6, 40, seed=1):
            full = estimate(world, case, particles=32, **threshold)
            n_full, before = n_full + steps.n, steps.n
            some = estimate(world, case, particles=32, screening=error, **threshold)
            n_steps += steps.n - before
            steps.n = 0
            rule = Settings(**threshold).rule(world)
            n_differ += int((rule.edges(full) != rule.edges(some)).sum())
            n_pairs += full.n_tested
            # What got all particles is the full budget's result, to rounding (sums of another length).
            whole = (some.n_particles == 32) & np.isfinite(full.cmi)
            assert 0 < whole.sum() < full.n_tested
            for name in ("cmi", "std_error", "log_q", "q_std_error"):
                assert np.allclose(getattr(full, name)[whole], getattr(some, name)[whole], rtol=1e-9, atol=1e-12)
    assert n_differ / n_pairs <= error
    assert n_steps < 0.8 * n_full


def test_an_enumerated_vocabulary_is_enumerated():
    world = SoftmaxWorld.random(12, horizon=3, seed=0)
    (case,) = world.sample(1, 30, seed=1)
    assert np.array_equal(estimate(world, case, screening=0.01).cmi, estimate(world, case).cmi, equal_nan=True)


def test_the_log_does_not_matter():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    log = read_log(world.to_log(world.sample(12, (1, 20), seed=1)))
    one, other = (discover_log(world, log, screening=0.02, batch_size=size, progress=False).edges for size in (1, None))
    assert one.equals(other)
    assert one.height > 0


def test_the_few_are_a_fair_sample_with_the_variance_they_have():
    n_types, n_all, n_few, n_repeats = 40, 16, 8, 4000
    rng = np.random.default_rng(0)
    values = rng.random(n_types) ** 4
    observed, positions = np.full(n_repeats, 3, np.int32), np.arange(n_repeats)
    _, few = first_few(draw_uniform(observed, positions, n_types, n_all, 7), n_few, positions, 7)
    assert all(len(set(row)) == n_few for row in few.types)
    g = values[few.types]
    mean = few.observed_weight * values[3] + (few.weight * g).sum(axis=1)
    assert abs(mean.mean() - values.mean()) < 4 * mean.std() / np.sqrt(n_repeats)
    claimed = (few.variance * (g - g.mean(axis=1, keepdims=True)) ** 2).sum(axis=1).mean()
    assert claimed == pytest.approx(mean.var(), rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [{"design": "staircase"}, {"statistic": "both"}, {"threshold": "otsu"}, {"proposal": "unigram"}, {"screening": 2}],
)
def test_where_it_does_not_apply_it_is_refused(settings):
    with pytest.raises(ConfigError, match="screening"):
        Settings(**({"screening": 0.01} | settings))
