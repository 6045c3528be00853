"""Bets on the cause: their expectation by enumeration of whole worlds, their definition from scratch, and power."""

import itertools

import numpy as np
import polars as pl
import pytest

from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.effects.contrasts import state_groups
from sequela.events.sequences import Case, SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.evidence import cause_bets as module
from sequela.evidence.cause_bets import MIXTURE, _apart, add_bets, cause_bets, mean_over_lags
from sequela.evidence.fixed_point import from_units, to_units
from sequela.worlds.softmax import SoftmaxWorld


class Chain(FiniteMemoryDensity):
    """A first-order chain, exactly; it knows no hidden events."""

    memory = 1

    def __init__(self, transition, first):
        n = len(first)
        self.vocabulary = Vocabulary(tuple(f"e{i}" for i in range(n)), (1,) * n)
        self.transition, self.first = transition, first

    def window_conditional(self, windows):
        before = windows[:, -1]
        known = before < len(self.first)
        return np.log(np.where(known[:, None], self.transition[np.where(known, before, 0)], self.first))

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(windows)), targets]

    def probability(self, ids):
        return self.first[ids[0]] * np.prod([self.transition[a, b] for a, b in itertools.pairwise(ids)])


def runs(law, stay=0.5):
    """Each type comes in a run of its own; the next has nothing to do with it."""
    return Chain(stay * np.eye(len(law)) + (1 - stay) * law, np.asarray(law))


def wrong(n, seed=0):
    """A forecast that has nothing to do with the world."""
    return Chain(np.random.default_rng(seed).dirichlet(np.full(n, 0.5), n), np.full(n, 1 / n))


@pytest.mark.parametrize("n_draws", [1, 2])
def test_expectation_is_one_in_a_world_of_runs_however_wrong_the_forecast(n_draws):
    """All 3^5 sequences, weighed by their probability; with one draw also averaged over 4 seeds of the draws."""
    world, forecast = runs(np.array([0.5, 0.3, 0.2])), wrong(3)
    seeds = range(1) if n_draws == 2 else range(4)
    total = np.zeros(9 * 3)
    met, largest = np.zeros(9 * 3), 0.0
    for ids in itertools.product(range(3), repeat=5):
        chance = world.probability(ids)
        for seed in seeds:
            case = Case("a", np.array(ids, np.int32), None)
            codes, units = cause_bets(world, [case], 3, seed=seed, n_draws=n_draws, forecast=forecast)
            e = np.ones(9 * 3)
            e[codes] = np.exp(from_units(units))
            total += chance * e / len(seeds)
            met[codes] += chance / len(seeds)
            largest = max(largest, np.abs(np.log(e)).max())
    pairs = [u * 3 + v for u in range(3) for v in range(3) if u != v]
    for pair in pairs:
        for lag in range(3):
            # Enumerated draws: exact but for the rounding down. One draw a slot: the seeds are a sample.
            assert total[pair * 3 + lag] == pytest.approx(1, abs=1e-8 if n_draws == 2 else 0.05)
            assert met[pair * 3 + lag] > 0.1
    assert largest > 1  # bets were placed


def test_a_chain_tells_nothing_past_its_mediator():
    """Any chain: given the event between, lag 2 is nothing; at lag 1 the expectation of a real pair is above 1."""
    rng = np.random.default_rng(1)
    world = Chain(rng.dirichlet(np.full(3, 0.7), 3), np.full(3, 1 / 3))
    total = np.zeros(9 * 2)
    for ids in itertools.product(range(3), repeat=5):
        codes, units = cause_bets(world, [Case("a", np.array(ids, np.int32), None)], 2, forecast=wrong(3, 2))
        e = np.ones(9 * 2)
        e[codes] = np.exp(from_units(units))
        total += world.probability(ids) * e
    assert total[1::2] == pytest.approx(np.ones(9), abs=1e-8)
    assert np.abs(total[::2] - 1).max() > 0.05


def test_how_it_went_tells_what_comes_next_and_not_how_that_goes():
    """A failure changes what acts next, and nothing else: no evidence for states, whatever the forecast."""
    what, state = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    own = np.array([[0.7, 0.3], [0.6, 0.4]])
    follows = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5], [0.1, 0.9]])  # [what and state before, what]
    world = Chain(follows[:, what] * own[what, state], np.full(4, 0.25))
    names = ("a|ok", "a|no", "b|ok", "b|no")
    forecast = wrong(4, 3)
    world.vocabulary = forecast.vocabulary = Vocabulary(names, (1,) * 4)
    total = np.zeros((2, 16 * 2))  # of states; of types
    n_bets = 0
    for ids in itertools.product(range(4), repeat=4):
        case = Case("a", np.array(ids, np.int32), None)
        for row, settings in enumerate(({"states": state_groups(world.vocabulary)}, {})):
            codes, units = cause_bets(world, [case], 2, forecast=forecast, **settings)
            e = np.ones(16 * 2)
            e[codes] = np.exp(from_units(units))
            total[row] += world.probability(ids) * e
            n_bets += len(codes) if settings else 0
    assert total[0] == pytest.approx(np.ones(32), abs=1e-8)
    assert np.abs(total[1] - 1).max() > 0.01
    assert n_bets > 500


def from_scratch(world, forecast, ids, horizon):
    """All types take part: prior and posterior from products of conditional probabilities."""
    n = world.vocabulary.n_types
    found = {}

    def p(density, past, event):
        return np.exp(density.conditional(np.array(past, np.int32), np.array([len(past)]))[0, event])

    for lag in range(1, horizon + 1):
        last = dict.fromkeys(range(n), -1)
        for q in range(lag, len(ids)):
            j, v = q - lag, ids[q]
            if j <= last[v]:
                continue
            last[v] = q
            if ids[j] == v:
                continue
            others = [u for u in range(n) if u != v]
            prior, posterior = {}, {}
            for u in others:
                past = [*ids[:j], u]
                weight = p(world, ids[:j], u)
                for k in range(j + 1, q):
                    weight *= p(world, past, ids[k])
                    past.append(ids[k])
                prior[u], posterior[u] = weight, weight * p(forecast, past, v)
            for u in others:
                w, pi = prior[u] / sum(prior.values()), posterior[u] / sum(posterior.values())
                bet = pi / w if ids[j] == u else (1 - pi) / (1 - w)
                key = (u * n + v) * horizon + lag - 1
                found[key] = found.get(key, 0.0) + np.log(MIXTURE + (1 - MIXTURE) * bet)
    return found


def test_bets_equal_their_definition():
    world = SoftmaxWorld.random(4, horizon=3, decay=0.2, seed=0)
    forecast = SoftmaxWorld.random(4, horizon=3, decay=0.2, seed=1)
    ids = np.random.default_rng(0).integers(0, 4, 25).astype(np.int32)
    codes, units = cause_bets(world, [Case("a", ids, None)], 4, forecast=forecast)
    expected = from_scratch(world, forecast, ids.tolist(), 4)
    assert codes.tolist() == sorted(expected)
    np.testing.assert_allclose(from_units(units), [expected[code] for code in codes.tolist()], atol=1e-6)


def test_windows_of_one_effect_do_not_overlap():
    effects = np.array([0, 1, 0, 0, 1, 0, 0], np.int32)
    assert _apart(effects, 2, np.ones(7, bool)).tolist() == [True, True, False, True, True, False, True]
    fair = np.array([False, *[True] * 6])  # a slot that holds the effect itself takes its window, without a bet
    assert _apart(effects, 2, fair).tolist() == [False, True, False, True, True, False, True]


def test_sums_do_not_depend_on_the_chunks():
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    cases = list(world.sample(6, 12, seed=1))
    whole = cause_bets(world, cases, 3, n_draws=2)
    alone = [cause_bets(world, [case], 3, n_draws=2) for case in cases]
    parts = [*alone[:4], cause_bets(world, cases[4:], 3, n_draws=2)]
    joined = add_bets(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    for one, other in zip(whole, joined, strict=True):
        assert one.tolist() == other.tolist()
    parts = [cause_bets(world, cases[low : low + 2], 3, n_draws=2) for low in (4, 0, 2)]
    joined = add_bets(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    for one, other in zip(whole, joined, strict=True):
        assert one.tolist() == other.tolist()


def e_values(density, forecast, cases, horizon=3):
    codes, units = cause_bets(density, cases, horizon, forecast=forecast)
    pairs, log_e = mean_over_lags(codes, units, horizon)
    return dict(zip(pairs.tolist(), log_e.tolist(), strict=True))


def test_false_evidence_is_as_rare_as_promised_in_runs_and_true_links_are_found():
    """60 logs of runs, 5 types: 1,200 null pairs, with the true forecast, and with one that is wrong on purpose."""
    law = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    world = runs(law)
    rng = np.random.default_rng(0)
    found = {"true": [], "wrong": []}
    for _ in range(60):
        cases = []
        for number in range(10):
            kinds = rng.choice(5, 20, p=law)
            ids = np.repeat(kinds, rng.geometric(0.5, 20))[:20].astype(np.int32)
            cases.append(Case(f"c{rng.integers(2**40)}-{number}", ids, None))
        for name, forecast in (("true", world), ("wrong", wrong(5))):
            found[name] += [value for pair, value in e_values(world, forecast, cases).items() if pair % 6]
    for values in found.values():
        assert len(values) == 1200
        assert np.mean(np.array(values) >= np.log(20)) <= 0.05
        assert np.mean(np.exp(values)) <= 1.2
    linked = Chain(np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.2, 0.4]]), np.full(3, 1 / 3))
    cases = []
    for number in range(40):
        ids = [0]
        while len(ids) < 20:
            ids.append(int(rng.choice(3, p=linked.transition[ids[-1]])))
        cases.append(Case(f"c{number}", np.array(ids, np.int32), None))
    assert e_values(linked, linked, cases)[1] > np.log(1e4)


def test_rare_types_and_short_cases_are_left_out():
    vocabulary = SoftmaxWorld.random(3, seed=0).vocabulary
    assert vocabulary.rare_id is None
    world = SoftmaxWorld.random(3, horizon=1, seed=0)
    assert cause_bets(world, [Case("a", np.array([1], np.int32), None)], 2)[0].tolist() == []
    none = SequenceSet(np.zeros(0, np.int32), np.array([0]), pl.Series([], dtype=pl.String))
    codes, units = cause_bets(world, none, 2)
    assert mean_over_lags(codes, units, 2)[0].tolist() == []
    assert to_units(np.zeros(0)).tolist() == []
    assert module.N_DRAWS == 7
