"""Every world: its law, its truth by three ways, what an exact density finds in it."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError
from sequela.evaluation.metrics import score_edges
from sequela.events.log import read_log
from sequela.worlds import softmax
from sequela.worlds.base import TRUTH_SCHEMA, FiniteWorld
from sequela.worlds.catalogue import WORLDS, make_world
from sequela.worlds.confounded import ConfoundedWorld
from sequela.worlds.diagnostic import DiagnosticWorld
from sequela.worlds.observed import NoisyWorld, SimultaneousWorld, _project
from sequela.worlds.rules import RuleWorld
from sequela.worlds.softmax import SoftmaxWorld

FINITE = {
    "linear": {"n_types": 8, "horizon": 3, "decay": 0.3, "sparsity": 0.5},
    "nonlinear": {"n_types": 8, "horizon": 3, "decay": 0.3, "sparsity": 0.5},
    "multiplicative": {"n_types": 6, "horizon": 4},
    "threshold": {"n_types": 6, "horizon": 5},
    "long_range": {"n_types": 6, "lag": 5},
    "diagnostic_log": {"n_types": 8, "horizon": 3},
}
DELTA = 0.05


def _finite(name: str) -> FiniteWorld:
    world = make_world(name, seed=3, **FINITE[name])
    assert isinstance(world, FiniteWorld)
    return world


def _kl(p: float, q: float) -> float:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


@pytest.mark.parametrize("name", FINITE)
def test_conditionals_are_distributions_and_scores_are_their_entries(name):
    world = _finite(name)
    ids = world.sample(1, 15, seed=1).ids
    law = np.exp(world.conditional(ids, np.arange(15)))
    np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(world.score(ids), np.log(law[np.arange(15), ids]), atol=1e-12)


@pytest.mark.parametrize("name", FINITE)
def test_truth_is_the_definition_enumerated(name):
    """Whole sequences with one event replaced, scored from scratch: no windows, no shortcuts."""
    world = _finite(name)
    ids = world.sample(1, 12, seed=2).ids
    truth = world.truth(ids)
    expected = np.full_like(truth, np.nan)
    for cause, lag in itertools.product(range(12), range(1, world.memory + 1)):
        effect = cause + lag
        if effect >= 12:
            continue
        chances = []
        for u in range(world.vocabulary.n_types):
            changed = ids.copy()
            changed[cause] = u
            chances.append(float(np.exp(world.conditional(changed[:effect], np.array([effect]))[0, ids[effect]])))
        expected[cause, lag - 1] = _kl(chances[ids[cause]], float(np.mean(chances)))
    np.testing.assert_allclose(truth, expected, atol=1e-9)
    assert np.nanmax(truth) > DELTA


@pytest.mark.parametrize("name", FINITE)
def test_truth_is_what_interventions_do_when_they_are_carried_out(name):
    """Force the cause to random types, let the world go on from the rest as observed, count how often it says x_q."""
    world = _finite(name)
    ids = world.sample(1, 12, seed=2).ids
    truth = np.nan_to_num(world.truth(ids))
    cause, column = np.unravel_index(int(truth.argmax()), truth.shape)
    effect = cause + column + 1
    generator = np.random.default_rng(0)
    n = 200_000

    def frequency(replacements: np.ndarray) -> float:
        windows = np.full((n, world.memory), world.vocabulary.begin_id, dtype=np.int32)
        seen = ids[max(0, effect - world.memory) : effect]
        windows[:, world.memory - len(seen) :] = seen
        windows[:, world.memory - (effect - cause)] = replacements
        chance = np.exp(world.window_conditional(windows)).cumsum(axis=1)
        drawn = (chance <= generator.random(n)[:, None] * chance[:, -1:]).sum(axis=1)
        return float((drawn == ids[effect]).mean())

    p = frequency(np.full(n, ids[cause]))
    q = frequency(generator.integers(world.vocabulary.n_types, size=n))
    assert _kl(p, q) == pytest.approx(truth[cause, column], rel=0.05)


@pytest.mark.parametrize("name", FINITE)
def test_an_exact_density_recovers_the_exact_truth(name):
    world = _finite(name)
    n_edges = 0
    for case in world.sample(3, 20, seed=4):
        true = np.nan_to_num(world.truth(case.ids)) > DELTA
        found = sq.discover(world, case, particles=world.vocabulary.n_types, delta=DELTA)
        predicted = np.zeros_like(true)
        predicted[found.edges["cause_position"].to_numpy(), found.edges["lag"].to_numpy() - 1] = True
        assert score_edges(predicted, true).f1 == 1.0
        n_edges += int(true.sum())
    assert n_edges > 10


@pytest.mark.parametrize("name", WORLDS)
def test_simulated_logs_can_be_read_and_their_truth_points_at_them(name):
    world = make_world(name, seed=1, **FINITE.get(name, {"n_types": 12}))
    found = world.simulate(4, (25, 30), seed=2)
    log = read_log(found.log, case="case", event="event", time="time")
    assert log.n_cases == 4
    assert found.truth.schema == pl.Schema(TRUTH_SCHEMA)
    assert found.truth.height > 5
    rows = found.log.with_columns(pl.int_range(pl.len()).over("case").alias("row"))
    at = {(case, row): event for case, event, row in rows.select("case", "event", "row").iter_rows()}
    for case, cause, effect, a, b, lag, cmi in found.truth.iter_rows():
        assert (at[case, cause], at[case, effect], effect - cause) == (a, b, lag)
        assert cmi > DELTA
    names = [world.vocabulary.names[i] for i in found.sequences.ids]
    assert names == found.log["event"].to_list()
    again = world.simulate(4, (25, 30), seed=2)
    assert again.log.equals(found.log)
    assert again.truth.equals(found.truth)
    assert world.simulate(4, (25, 30), seed=2, with_truth=False).log.equals(found.log)


def test_unknown_worlds_and_options_are_refused():
    with pytest.raises(ConfigError, match="world"):
        make_world("liner")
    with pytest.raises(ConfigError, match="n_type"):
        make_world("linear", n_type=4)


@pytest.mark.parametrize("nonlinear", [0.0, 1.0])
def test_a_large_sparse_world_is_the_same_world_as_a_small_one(monkeypatch, nonlinear):
    small = SoftmaxWorld.random(40, horizon=3, decay=0.2, nonlinear=nonlinear, seed=0)
    monkeypatch.setattr(softmax, "_DENSE_TYPES", 10)
    large = SoftmaxWorld(
        small.bias,
        small.weights,
        horizon=3,
        decay=0.2,
        nonlinear=nonlinear,
        **(
            {
                "embedding": small.embedding,
                "hidden_weights": small.hidden_weights,
                "output_weights": small.output_weights,
            }
            if nonlinear
            else {}
        ),
    )
    assert large._table is None
    ids = small.sample(1, 30, seed=1).ids
    np.testing.assert_array_equal(large.sample(1, 30, seed=1).ids, ids)
    np.testing.assert_allclose(large.score(ids), small.score(ids), atol=1e-10)
    np.testing.assert_allclose(large.conditional(ids, np.arange(30)), small.conditional(ids, np.arange(30)), atol=1e-10)
    np.testing.assert_allclose(large.truth(ids), FiniteWorld.truth(small, ids), atol=1e-10)


def test_memory_of_a_large_world_grows_with_its_types_only():
    world = SoftmaxWorld.random(5000, seed=0)
    assert world.weights.nnz / 5000 == pytest.approx(100, rel=0.1)
    assert world._table is None
    assert np.isfinite(world.score(world.sample(1, 8, seed=0).ids)).all()


def _bytes(world: SoftmaxWorld) -> int:
    parts = [p for v in vars(world).values() for p in ((v.data, v.indices, v.indptr) if hasattr(v, "indptr") else (v,))]
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def test_memory_is_linear_up_to_29_100_types():
    small, large = (SoftmaxWorld.random(n, nonlinear=1.0, seed=0) for n in (7275, 29_100))
    assert _bytes(large) == pytest.approx(4 * _bytes(small), rel=0.02)
    assert _bytes(large) < 250_000_000
    (case,) = large.sample(1, 12, seed=1)
    assert np.isfinite(large.score(case.ids)).all()


def test_the_weight_scale_is_solved_for_a_redundancy():
    world = SoftmaxWorld.random(30, redundancy=0.4, seed=2)
    assert world.redundancy(seed=9, n_cases=100) == pytest.approx(0.4, abs=0.03)
    with pytest.raises(ConfigError, match="redundancy"):
        SoftmaxWorld.random(30, redundancy=0.999, seed=2)


def test_fillers_have_no_effect():
    world = make_world("long_range", n_types=9, lag=4, n_causes=3, seed=0)
    assert isinstance(world, SoftmaxWorld)
    assert world.weights.toarray()[3:].max() == world.weights.toarray()[3:].min() == 0.0
    truth = world.truth(world.sample(1, 30, seed=0).ids)
    assert np.nanmax(truth[:, :3]) == 0.0
    assert np.nanmax(truth[:, 3]) > DELTA


def test_rules_by_hand():
    world = RuleWorld([0.0, 0.0], [[0, 2, 0, 2]], [1], [np.log(3.0)], horizon=3)
    law = np.exp(world.window_conditional(np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]], np.int32)))[:, 1]
    np.testing.assert_allclose(law, [0.5, 0.75, 0.75])
    # Either of two zeros is needed for the rule, none of three alone is.
    truth = world.truth(np.array([0, 0, 1], np.int32))
    assert truth[1, 0] == pytest.approx(_kl(0.75, 0.625))
    assert world.truth(np.array([0, 0, 0, 1], np.int32))[2, 0] == pytest.approx(0.0, abs=1e-15)
    both = RuleWorld([0.0] * 3, [[0, 1, 1, 1]], [2], [2.0], horizon=2)
    assert both.fires(np.array([[0, 1], [1, 0], [0, 0], [2, 1]], np.int32)).ravel().tolist() == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ConfigError, match="as many"):
        RuleWorld([0.0, 0.0], [[0, 1, 1, 1]], [1], [], horizon=2)
    with pytest.raises(ConfigError, match="types 0"):
        RuleWorld([0.0, 0.0], [[0, 1, 5, 1]], [1], [1.0], horizon=2)


def test_diagnostic_by_hand():
    world = DiagnosticWorld([3.0, 1.0], [[0.0, 2.0], [0.0, 0.0]], horizon=2, decay=np.log(2.0), strength=4.0)
    # After 0, 0: (1/4 + 4 + 2) / (1 + 4 + 2).
    assert np.exp(world.score(np.array([0, 0, 1], np.int32)))[2] == pytest.approx(6.25 / 7)
    assert np.exp(world.score(np.array([0, 1, 1], np.int32)))[2] == pytest.approx(2.25 / 3)
    log = make_world("diagnostic_log", n_types=30, seed=0).simulate(5, 40, seed=1).log
    assert {"component", "code", "severity"} <= set(log.columns)
    parts = log["component"] + "." + log["code"] + "." + log["severity"]
    assert parts.to_list() == log["event"].to_list()
    gaps = log.select(pl.col("time").diff().over("case").dt.total_seconds().drop_nulls())["time"]
    assert (gaps >= 0).all()
    assert gaps.quantile(0.2) < 120 < 3600 < gaps.max()
    counts = log["event"].value_counts()["count"]
    assert counts.max() > 3 * counts.median()


@pytest.fixture
def confounded() -> ConfoundedWorld:
    base = SoftmaxWorld.random(5, horizon=2, decay=0.3, sparsity=0.6, seed=1)
    return ConfoundedWorld(base, [(0, 1), (1, 2)], delay=2, rate=0.4, strength=2.0)


def _chance_by_paths(world: ConfoundedWorld, ids: np.ndarray) -> float:
    """Sum over every way the hidden triggers could have fired."""
    n, total = len(ids), 0.0
    base = [np.exp(world.base.conditional(ids, np.array([t]))[0]) for t in range(n)]
    for fired in itertools.product(range(3), repeat=n):
        chance = 1.0
        for t in range(n):
            weight = base[t].copy()
            old = fired[t - 2] if t >= 2 else 0
            if fired[t]:
                weight[world.pairs[fired[t] - 1, 0]] *= np.exp(2.0)
            if old:
                weight[world.pairs[old - 1, 1]] *= np.exp(2.0)
            chance *= (0.6 if fired[t] == 0 else 0.2) * weight[ids[t]] / weight.sum()
        total += chance
    return total


def test_the_filter_is_the_sum_over_all_hidden_paths(confounded):
    ids = np.array([0, 3, 1, 1, 2], np.int32)
    scores = confounded.score(ids)
    for n in range(1, 6):
        assert np.exp(scores[:n].sum()) == pytest.approx(_chance_by_paths(confounded, ids[:n]), rel=1e-10)
    law = np.exp(confounded.conditional(ids, np.arange(6)))
    np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.log(law[np.arange(5), ids]), scores, atol=1e-12)


def test_branches_of_the_filter_are_whole_sequences(confounded):
    ids = np.array([0, 3, 1, 1, 2, 4], np.int32)
    tails = np.array([[2, 1, 0], [4, 1, 1]], np.int32)
    scores = confounded.score_branches(ids, np.array([1, 4]), tails)
    for row, start in enumerate((1, 4)):
        for step in range(3):
            target = start + step + 1
            if target >= 6:
                assert np.isnan(scores[row, step])
                continue
            whole = np.concatenate([ids[:start], tails[row, : step + 1], ids[target : target + 1]]).astype(np.int32)
            assert scores[row, step] == pytest.approx(confounded.score(whole)[-1], abs=1e-12)


def test_sampled_confounded_cases_follow_the_filter(confounded):
    cases = confounded.sample(20_000, 4, seed=0)
    table = cases.ids.reshape(-1, 4)
    for word in ([0, 3, 1], [1, 1, 2], [0, 0, 1]):
        found = (table[:, :3] == word).all(axis=1).mean()
        expected = _chance_by_paths(confounded, np.array(word, np.int32))
        assert found == pytest.approx(expected, abs=4 * np.sqrt(expected / 20_000))


def test_a_hidden_trigger_makes_links_that_are_not_causes():
    base = SoftmaxWorld(np.zeros(6), np.zeros((6, 6)), horizon=1)
    world = ConfoundedWorld(base, [(0, 1)], delay=2, rate=0.3, strength=5.0)
    ids = np.array([4, 0, 3, 1, 5], np.int32)
    association, truth = world.association(ids), world.truth(ids)
    assert association[1, 1] > DELTA
    assert np.nanmax(truth) == pytest.approx(0.0, abs=1e-12)
    found = sq.discover(world, [f"e{i}" for i in ids], particles=6)
    assert ((found.edges["cause"] == "e0") & (found.edges["effect"] == "e1")).any()


def test_confounding_spares_real_causes(confounded):
    ids = confounded.sample(1, 12, seed=3).ids
    truth = confounded.truth(ids)
    assert np.nanmax(truth) > DELTA
    with pytest.raises(ConfigError, match="different"):
        ConfoundedWorld(confounded.base, [(1, 1)])
    with pytest.raises(ConfigError, match="hidden states"):
        ConfoundedWorld(confounded.base, [(0, 1)], delay=40)


def test_a_noisy_world_without_noise_is_clean():
    base = SoftmaxWorld.random(8, horizon=3, seed=0)
    clean = base.simulate(3, 30, seed=1)
    noisy = NoisyWorld(base, insert=0.0, delete=0.0).simulate(3, 30, seed=1)
    assert noisy.log["event"].to_list() == clean.log["event"].to_list()
    assert noisy.truth.sort("case", "cause_position", "effect_position").equals(
        clean.truth.sort("case", "cause_position", "effect_position")
    )


def test_lost_mediators_are_bridged():
    edges = pl.DataFrame(
        [("a", 0, 1, "x", "y", 1, 0.5), ("a", 1, 3, "y", "z", 2, 0.2), ("a", 0, 2, "x", "w", 2, 0.3)],
        schema=TRUTH_SCHEMA,
        orient="row",
    )
    bridged = _project(edges, np.array([0, -1, 1, 2]))
    assert bridged.rows() == [("a", 0, 1, "x", "w", 1, 0.3), ("a", 0, 2, "x", "z", 2, 0.2)]
    assert _project(edges, np.array([-1, 0, 1, 2])).rows() == [("a", 0, 2, "y", "z", 2, 0.2)]


def test_noise_changes_as_much_as_it_says():
    base = SoftmaxWorld.random(10, seed=0)
    half = NoisyWorld(base, insert=0.0, delete=0.5).simulate(100, 40, seed=1, with_truth=False)
    assert half.log.height == pytest.approx(2000, rel=0.05)
    more = NoisyWorld(base, insert=0.5, delete=0.0).simulate(100, 40, seed=1, with_truth=False)
    assert more.log.height == pytest.approx(8000, rel=0.05)
    assert (
        NoisyWorld(base, insert=0.0, delete=0.9).simulate(50, 4, seed=1, with_truth=False).sequences.lengths.min() >= 2
    )
    dropped = NoisyWorld(base, insert=0.0, delete=0.0, drop_mediators=1.0).simulate(5, 40, seed=1)
    causes, effects = (set(dropped.truth.select("case", f"{kind}_position").rows()) for kind in ("cause", "effect"))
    assert dropped.truth.height
    assert not causes & effects  # no mediator is left


def test_ticks_hold_events_that_were_neighbours():
    base = SoftmaxWorld.random(8, horizon=3, decay=0.2, seed=0)
    clean = base.simulate(3, 30, seed=1)
    kept = SimultaneousWorld(base, tick_size=3.0, shuffle=False).simulate(3, 30, seed=1)
    assert kept.log["event"].to_list() == clean.log["event"].to_list()
    assert kept.truth.equals(clean.truth)
    assert kept.log["time"].n_unique() < 60
    mixed = SimultaneousWorld(base, tick_size=3.0).simulate(3, 30, seed=1)
    ticks = [
        log.group_by("case", "time", maintain_order=True).agg(pl.col("event").sort()) for log in (kept.log, mixed.log)
    ]
    assert ticks[0].equals(ticks[1])
    assert mixed.log["event"].to_list() != clean.log["event"].to_list()
    assert mixed.truth["cmi_nats"].to_list() == clean.truth["cmi_nats"].to_list()
    with pytest.raises(ConfigError, match="tick_size"):
        SimultaneousWorld(base, tick_size=0.5)
