"""Intervals where few of many types matter a lot: the observed type tells what a sample may have missed."""

import numpy as np
import pytest

from sequela.discovery.discover import estimate
from sequela.effects.cmi import with_observed
from sequela.evaluation.compare import interval_coverage
from sequela.worlds.softmax import SoftmaxWorld


def test_the_observed_type_counts_as_half_a_draw():
    # Four draws of nine types: three of error 0.02, none left over when all were drawn.
    found = with_observed(np.full((2, 1), 0.02), np.full((2, 1), 0.6), np.array([[(1 - 4 / 9) / 4], [0.0]]), 4)
    assert found[:, 0] == pytest.approx([np.sqrt(0.02**2 * 3 / 4 + 0.5 * (5 / 36) * 0.36 / 5), 0.02 * np.sqrt(3 / 4)])


def test_the_factor_of_types_not_seen_is_that_of_sampling_without_replacement():
    world = SoftmaxWorld.random(10, horizon=1, seed=3)
    (case,) = world.sample(1, 12, seed=4)
    some = estimate(world, case, particles=4, seed=5)
    n, others = 4, 9
    p, q = np.exp(some.log_p), np.exp(some.log_q)
    clear = np.abs(p - q) > 1e-3
    assert clear.sum() > 5
    gap = (p - q)[clear]
    own = some.std_error[clear] * (q * (1 - q))[clear] / np.abs(gap)  # the delta method undone: from the draws alone
    expected = np.sqrt(own**2 * (n - 1) / n + 0.5 * (1 - n / others) / n * gap**2 / (n + 1))
    assert some.q_std_error[clear] == pytest.approx(expected, rel=1e-6)
    assert np.nanmax(estimate(world, case, particles=10).q_std_error) == 0.0


@pytest.mark.parametrize("particles", [8, 32])
def test_true_edges_of_sparse_strong_worlds_are_covered(particles):
    found, exact = [], []
    for seed in (300, 301, 302):
        world = SoftmaxWorld.random(100, decay=0.5, seed=seed)
        for case in world.sample(3, 48, seed=seed + 1):
            found.append(estimate(world, case, horizon=6, particles=particles))
            exact.append(world.truth(case.ids))
    assert interval_coverage(found, exact, above=0.05) >= 0.93
    assert interval_coverage(found, exact) >= 0.85
