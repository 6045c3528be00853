"""What forecasts leave over: its definition from scratch, sums that do not depend on the chunks, and its coverage."""

import numpy as np
import pytest

from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.events.sequences import Case
from sequela.evidence import residuals as module
from sequela.evidence.cause_bets import add_rows, score_slots
from sequela.evidence.fixed_point import from_units
from sequela.evidence.residuals import ResidualSums
from sequela.worlds.softmax import SoftmaxWorld

N, HORIZON = 4, 3
WORLD = SoftmaxWorld.random(N, horizon=2, decay=0.2, seed=0)


def sums_of(density, cases, pairs=None, **scoring):
    found = ResidualSums(np.arange(N * N) if pairs is None else pairs, N, HORIZON)
    for some in score_slots(density, cases, HORIZON, **scoring):
        found.add(density, some)
    return found.table()


def from_scratch(density, cases):
    """All types take part: residuals of cause and effect from products of conditional probabilities."""
    found = np.zeros((3, N, N, HORIZON))

    def law(past):
        return np.exp(density.conditional(np.array(past, np.int32), np.array([len(past)]))[0])

    for case in cases:
        ids, own = case.ids.tolist(), np.zeros((2, N, N, HORIZON))
        for j in range(len(ids) - 1):
            for lag in range(1, HORIZON + 1):
                q = j + lag
                if q >= len(ids):
                    continue
                weight = law(ids[:j])
                for u in range(N):
                    for k in range(j + 1, q):
                        weight[u] *= law([*ids[:j], u, *ids[j + 1 : k]])[ids[k]]
                chance = law(ids[:q])
                for v in range(N):
                    if ids[j] == v:
                        continue
                    w = weight / (weight.sum() - weight[v])
                    for u in range(N):
                        if u != v:
                            of_cause = (ids[j] == u) - w[u]
                            own[0, u, v, lag - 1] += of_cause * ((ids[q] == v) - chance[v])
                            own[1, u, v, lag - 1] += of_cause**2 * chance[v] * (1 - chance[v])
        found[:2] += own
        found[2] += own[0] ** 2
    return found.reshape(3, -1)


def test_sums_equal_their_definition():
    cases = list(WORLD.sample(3, 10, seed=1))
    codes, sums = sums_of(WORLD, cases, n_draws=N)
    expected = from_scratch(WORLD, cases)
    pairs = codes // HORIZON
    off = pairs // N != pairs % N
    assert off.sum() == N * (N - 1) * HORIZON
    np.testing.assert_allclose(from_units(sums)[:, off], expected[:, codes[off]], atol=1e-8)
    some = np.array([1, 6, 11])
    codes_of_some, sums_of_some = sums_of(WORLD, cases, some, n_draws=N)
    there = np.isin(pairs, some)
    assert (codes_of_some.tolist(), sums_of_some.tolist()) == (codes[there].tolist(), sums[:, there].tolist())


def test_sums_do_not_depend_on_the_chunks(monkeypatch):
    cases = list(WORLD.sample(6, 14, seed=2))
    whole = sums_of(WORLD, cases, n_draws=2)
    alone = [sums_of(WORLD, [case], n_draws=2) for case in cases]
    joined = add_rows(np.concatenate([one[0] for one in alone]), np.concatenate([one[1] for one in alone], axis=1))
    assert [one.tolist() for one in whole] == [one.tolist() for one in joined]
    monkeypatch.setattr(module, "_LAGS", 5 * HORIZON)  # cases in blocks of five slots, alone and together
    blocks = [sums_of(WORLD, [case], n_draws=2) for case in cases]
    for one, other in zip([*alone, whole], [*blocks, sums_of(WORLD, cases, n_draws=2)], strict=True):
        assert one[0].tolist() == other[0].tolist()
        np.testing.assert_allclose(from_units(one[1]), from_units(other[1]), atol=1e-8)


def test_large_vocabularies_are_left_alone(monkeypatch):
    monkeypatch.setattr(module, "MAX_TYPES", N - 1)
    assert sums_of(WORLD, list(WORLD.sample(2, 8, seed=0)))[0].tolist() == []


class Shrunken(FiniteMemoryDensity):
    """A world whose logits are shrunken on purpose, as by a network that stopped early."""

    memory = WORLD.memory

    def __init__(self, share):
        self.vocabulary, self.share = WORLD.vocabulary, share

    def window_conditional(self, windows):
        logits = self.share * WORLD.window_conditional(windows)
        return logits - np.logaddexp.reduce(logits, axis=1)[:, None]

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(windows)), targets]


def shift_of(density, cases):
    codes, sums = sums_of(density, cases, n_draws=N)
    score, information, squared = from_units(sums)
    off = (codes // HORIZON) // N != (codes // HORIZON) % N
    return score[off] / information[off], np.sqrt(np.maximum(information, squared)[off]) / information[off]


def named(cases, number):
    return [Case(f"{number}-{case.name}", case.ids, case.times) for case in cases]


def test_sums_that_round_to_0_in_one_case_count_in_all():
    density, cases = Shrunken(6.0), list(WORLD.sample(40, 14, seed=3))
    codes, sums = sums_of(density, cases)
    alone = [sums_of(density, [case]) for case in cases]
    assert any(((units[1] == 0) & (units[0] != 0)).any() for _, units in alone)
    joined = add_rows(np.concatenate([one[0] for one in alone]), np.concatenate([one[1] for one in alone], axis=1))
    assert [codes.tolist(), sums.tolist()] == [one.tolist() for one in joined]


def test_shrunken_logits_are_found_out_and_the_interval_covers():
    """Intervals of 15 small logs cover what one large log says of the error at 95 %; no correction does not."""
    density = Shrunken(0.7)
    truth, truth_error = shift_of(density, named(WORLD.sample(1500, 20, seed=9), "all"))
    strong = np.abs(truth) > 0.15
    assert strong.sum() >= 3
    covered, plain = [], []
    for seed in range(15):
        shift, error = shift_of(density, named(WORLD.sample(120, 20, seed=100 + seed), seed))
        reach = 1.96 * np.hypot(error, truth_error)
        covered.append(np.abs(shift - truth) <= reach)
        plain.append(np.abs(truth[strong]) <= reach[strong])
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(plain) < 0.8


def test_an_exact_density_leaves_nothing_over():
    shift, error = shift_of(WORLD, named(WORLD.sample(400, 20, seed=5), "exact"))
    assert np.mean(np.abs(shift) <= 1.96 * error) >= 0.85
    assert np.abs(shift).max() < 0.2


@pytest.mark.parametrize("wrong", ["effect", "cause"])
def test_one_of_both_forecasts_may_be_wrong(wrong):
    """Independent events: nothing is to be corrected, whichever of the two laws is made wrong on purpose."""
    law = np.array([0.4, 0.3, 0.2, 0.1])
    rng = np.random.default_rng(0)
    cases = [Case(f"c{i}", rng.choice(N, 20, p=law).astype(np.int32), None) for i in range(400)]
    right = SoftmaxWorld(np.log(law), np.zeros((N, N)), horizon=1)
    other = SoftmaxWorld.random(N, horizon=1, seed=3)
    slots, effects = (right, other) if wrong == "effect" else (other, right)
    found = ResidualSums(np.arange(N * N), N, 1)
    for some in score_slots(slots, cases, 1, n_draws=N):
        found.add(effects, some)
    codes, sums = found.table()
    score, information, squared = from_units(sums)
    off = codes // N != codes % N
    error = np.sqrt(np.maximum(information, squared)[off]) / information[off]
    assert np.mean(np.abs(score[off] / information[off]) <= 1.96 * error) >= 0.8
