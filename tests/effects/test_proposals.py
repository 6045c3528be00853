"""Keyed draws: without replacement, unbiased, and independent of what else is drawn."""

import numpy as np
import pytest

from sequela.effects.proposals import draw_uniform, draw_weighted, random_unit

OBSERVED = np.array([3, 0, 9], np.int32)  # 9 lies outside the eight types drawn from
POSITIONS = np.array([5, 6, 7])


def test_uniform_draws_are_distinct_and_never_the_observed_type():
    for key in range(200):
        draws = draw_uniform(OBSERVED, POSITIONS, 8, 5, key)
        for row, observed in enumerate(OBSERVED):
            types = draws.types[row].tolist()
            assert len(set(types)) == 5
            assert observed not in types
            assert 0 <= min(types) <= max(types) < 8
    assert draws.weight.sum(axis=1) + draws.observed_weight == pytest.approx(1)
    assert draws.observed_weight.tolist() == [1 / 8, 1 / 8, 0]


def test_uniform_draws_are_even():
    counts = np.zeros((3, 8))
    for key in range(4000):
        types = draw_uniform(OBSERVED, POSITIONS, 8, 3, key).types
        for row in range(3):
            counts[row, types[row]] += 1
    assert counts[0, 3] == counts[1, 0] == 0
    for row, n_others in enumerate((7, 7, 8)):
        share = counts[row][counts[row] > 0] / 4000
        assert share == pytest.approx(3 / n_others, abs=0.04)


@pytest.mark.parametrize("particles", [7, 8, 50])
def test_few_types_are_enumerated(particles):
    draws = draw_uniform(OBSERVED, POSITIONS, 8, particles, 1)
    assert (draws.variance[:2] == 0).all()
    for row, observed in enumerate(OBSERVED[:2]):
        there = draws.weight[row] > 0
        assert sorted(draws.types[row][there].tolist()) == [i for i in range(8) if i != observed]
    weighted = draw_weighted(OBSERVED[:2], POSITIONS[:2], np.arange(8) / 28, particles, 1)
    assert (weighted.variance == 0).all()
    assert weighted.weight.sum(axis=1) + weighted.observed_weight == pytest.approx(1)


def test_weighted_draws_are_distinct_and_unbiased():
    weights = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.0])
    values = np.array([0.0, 1.0, 5.0, 2.0, 0.5, 8.0, 3.0, 100.0])
    observed, positions = np.array([1], np.int32), np.array([0])
    found = []
    for key in range(4000):
        draws = draw_weighted(observed, positions, weights, 4, key)
        assert len(set(draws.types[0].tolist())) == 4
        assert not {1, 7} & set(draws.types[0].tolist())
        found.append((draws.weight[0] * values[draws.types[0]]).sum() + draws.observed_weight[0] * values[1])
    # Normalised to the known mass, so consistent rather than unbiased: within 5 % here.
    assert np.mean(found) == pytest.approx((weights * values).sum(), rel=0.05)


@pytest.mark.parametrize("weighted", [False, True])
def test_draws_depend_on_key_and_position_alone(weighted):
    def draw(rows, key=7):
        if weighted:
            return draw_weighted(OBSERVED[rows] % 8, POSITIONS[rows], np.full(8, 1 / 8), 4, key)
        return draw_uniform(OBSERVED[rows], POSITIONS[rows], 8, 4, key)

    whole, part = draw([0, 1, 2]), draw([2])
    assert np.array_equal(whole.types[2], part.types[0])
    assert np.array_equal(whole.weight[2], part.weight[0])
    assert not np.array_equal(whole.types, draw([0, 1, 2], key=8).types)


def test_numbers_are_even_and_uncorrelated():
    numbers = random_unit(3, np.arange(300, dtype=np.uint64)[:, None], np.arange(300, dtype=np.uint64))
    assert (numbers > 0).all()
    assert (numbers <= 1).all()
    assert numbers.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("particles", [6, 7, 8])
def test_a_rare_type_has_one_replacement_more(particles):
    """Of eight types the observed one has seven others; one that is drawn from outside (<rare>) has eight."""
    draws = draw_uniform(OBSERVED, POSITIONS, 8, particles, 1)
    n_others = np.array([7, 7, 8])
    sampled = n_others > particles
    assert ((draws.variance > 0).all(axis=1) == sampled).all()
    assert draws.weight.sum(axis=1) + draws.observed_weight == pytest.approx(1)
    n_drawn = (draws.weight > 0).sum(axis=1)
    assert n_drawn.tolist() == np.minimum(n_others, particles).tolist()
    for row in range(3):
        assert len(set(draws.types[row][draws.weight[row] > 0].tolist())) == n_drawn[row]
