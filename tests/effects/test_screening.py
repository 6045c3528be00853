"""Screening on exact worlds: the decisions of the full budget within the stated error, for less."""

from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from conftest import tiny_window, vocabulary_of
from sequela.density.checkpoint import load_density
from sequela.density.runtime.precision import screening_density, with_precision
from sequela.discovery.discover import discover, discover_log, estimate
from sequela.discovery.job import DensityHandle
from sequela.discovery.plan import plan_discovery
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.effects.proposals import draw_uniform, first_few, shuffled
from sequela.effects.screening import COUNTS, NEAR_NATS
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import Case
from sequela.worlds.softmax import SoftmaxWorld


class Steps:
    """Counts the log-probabilities of branches that a world is asked for."""

    def __init__(self, world, monkeypatch):
        self.n, real = 0, world.score_branches_many

        def score(branches):
            found = real(branches)
            self.n += sum(int(np.isfinite(one).sum()) for one in found)
            return found

        monkeypatch.setattr(world, "score_branches_many", score)


@pytest.mark.parametrize("error", [0.005, 0.05])
@pytest.mark.parametrize("threshold", [{"delta": 0.05}, {"threshold": "fixed", "tau": 0.05}])
def test_decisions_are_those_of_the_full_budget_within_the_stated_error(error, threshold, monkeypatch):
    n_differ = n_pairs = n_steps = n_full = n_replacements = n_whole = 0
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
            # What got all particles is the full budget's result, to rounding (sums of another order).
            whole = (some.n_particles == 32) & np.isfinite(full.cmi)
            assert whole.sum() < full.n_tested
            n_whole += whole.sum()
            for name in ("cmi", "std_error", "log_q", "q_std_error"):
                assert np.allclose(getattr(full, name)[whole], getattr(some, name)[whole], rtol=1e-9, atol=1e-12)
            assert np.array_equal(np.isfinite(full.cmi), np.isfinite(some.cmi))
            n_replacements += some.counts["n_replacements"]
            assert some.counts["n_pairs_stopped_early"] == ((some.n_particles < 32) & np.isfinite(full.cmi)).sum()
    assert n_differ / n_pairs <= error
    assert n_whole > 0
    assert n_steps == n_replacements
    assert n_steps < n_full / 2.5


def test_the_error_that_is_counted_is_the_error(monkeypatch):
    """With every cause audited the count is that of all differences, and what is returned is the full budget's."""
    monkeypatch.setattr("sequela.effects.screening._AUDITED", 1)
    world = SoftmaxWorld.random(150, horizon=4, decay=0.3, seed=0)
    rule, case = Settings().rule(world), world.sample(1, 150, seed=1)[0]
    full = estimate(world, case)
    every = estimate(world, case, screening=0.5)
    assert np.array_equal(rule.edges(full), rule.edges(every))
    assert every.counts["n_pairs_audited"] == full.n_tested
    monkeypatch.setattr("sequela.effects.screening._AUDITED", 10**9)
    some = estimate(world, case, screening=0.5)
    assert some.counts["n_pairs_audited"] == 0
    differ = int((rule.edges(full) != rule.edges(some)).sum())
    assert every.counts["n_pairs_decided_otherwise"] == differ > 0


@pytest.mark.parametrize("exclude_effect_type", [False, True])
def test_a_pair_that_stops_has_the_estimate_of_its_few(exclude_effect_type):
    world = SoftmaxWorld.random(60, horizon=3, seed=3)
    case = world.sample(1, 24, seed=4)[0]
    found = estimate(world, case, screening=0.05, exclude_effect_type=exclude_effect_type)
    causes = np.arange(len(case.ids) - 1)
    key = int.from_bytes(__import__("hashlib").blake2b(
        case.name.encode(), digest_size=8, salt=(0).to_bytes(8, "little")).digest(), "little")  # fmt: skip
    draws = first_few(shuffled(draw_uniform(case.ids[:-1], causes, 60, 32, key), causes, key), 3)
    few = np.argwhere(found.n_particles == 3)
    assert len(few) > 20
    for cause, column in few[:20]:
        effect = cause + column + 1
        top = bottom = 0.0
        options = [*zip(draws.types[cause], draws.weight[cause], strict=True), (case.ids[cause], 1 / 60)]
        for u, weight in options:
            if exclude_effect_type and u == case.ids[effect] != case.ids[cause]:
                continue
            changed = case.ids.copy()
            changed[cause] = u
            top += weight * np.exp(world.score(changed)[effect])
            bottom += weight
        assert np.exp(found.log_q[cause, column]) == pytest.approx(top / bottom, rel=1e-9)


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


def test_chunks_of_one_case_do_not_matter():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    case = world.sample(1, 400, seed=1)[0]
    one = estimate(world, case, screening=0.02)
    other = estimate(world, case, screening=0.02, memory_budget="26MB")
    assert np.array_equal(one.cmi, other.cmi, equal_nan=True)
    assert one.counts == other.counts


def test_auto_is_on_where_decisions_are_wanted_and_it_saves():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    case = world.sample(1, 30, seed=1)[0]
    assert estimate(world, case).counts == {}
    assert discover(world, case).settings.screening == 0.005
    assert discover(world, case, screening=0).settings.screening == 0
    small = SoftmaxWorld.random(12, horizon=3, seed=0)
    for settings in ({"particles": 8}, {"design": "leave-one-out"}, {"threshold": "otsu"}, {"statistic": "both"}):
        assert discover(world, case, **settings).settings.screening == 0
    assert discover(small, small.sample(1, 5, seed=1)[0]).settings.screening == 0


def test_cases_without_pairs():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    for n in (0, 1, 2):
        found = estimate(world, Case("x", np.arange(n, dtype=np.int32), None), screening=0.01)
        assert found.n_tested == max(0, n - 1)
        assert set(found.counts) == (set(COUNTS) if n == 2 else set())


def test_the_few_are_a_fair_sample_with_the_variance_they_have():
    n_types, n_all, n_few, n_repeats = 40, 16, 3, 4000
    rng = np.random.default_rng(0)
    values = rng.random(n_types) ** 4
    observed, positions = np.full(n_repeats, 3, np.int32), np.arange(n_repeats)
    few = first_few(shuffled(draw_uniform(observed, positions, n_types, n_all, 7), positions, 7), n_few)
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


def test_the_old_name_says_the_new_one():
    with pytest.raises(ConfigError, match="screening"):
        discover(SoftmaxWorld.random(4, horizon=2, seed=0), [0, 1, 2], adaptive=0.01)


def test_runs_and_plans_say_how_much_was_saved_and_how_often_it_errs():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    log = read_log(world.to_log(world.sample(40, 60, seed=1)))
    found = discover_log(world, log, progress=False)
    counts = msgspec.to_builtins(found.run.counts)
    assert 3 * counts["n_pairs_tested"] <= counts["n_replacements"] < 16 * counts["n_pairs_tested"]
    assert 0 < counts["n_pairs_audited"] < 0.03 * counts["n_pairs_tested"]
    assert counts["n_pairs_decided_otherwise"] <= 0.05 * counts["n_pairs_audited"]
    planned = plan_discovery(world, log)
    assert planned.replacements_a_pair == pytest.approx(counts["n_replacements"] / counts["n_pairs_tested"], rel=0.3)
    assert any("replacements a pair" in line for line in planned.lines())
    assert plan_discovery(world, log, screening=0.0).replacements_a_pair is None
    assert discover_log(world, log, screening=0.0, progress=False).run.counts.n_replacements == 0


def test_a_population_is_of_all_replacements():
    world = SoftmaxWorld.random(60, horizon=3, seed=0)
    world.knows_hidden = True
    log = read_log(world.to_log(world.sample(6, 20, seed=1)))
    found = discover_population(world, log, cases="all", progress=False)
    assert found.run.arguments.screening == 0


def a_network(monkeypatch):
    """A window density of 80 types on a processor that is fast with 16-bit numbers, and the same one in float32."""
    monkeypatch.setattr("sequela.density.runtime.precision.multiplies_bfloat16", lambda: True)
    density = tiny_window(vocabulary_of(80), embedding=32, width=64, head=0.3, wide=True, direct=1.0)
    return density, density.with_runtime(replace(density.runtime, screening="float32"))


def by_hand(density, whole, case, **settings):
    """Screen with nothing but 16-bit numbers, and put the full float32 estimate where the lower bound is near."""
    full = estimate(whole, case, particles=32, **settings)
    rough = estimate(with_precision(density, "bfloat16"), case, screening=0.02, **settings)
    if "tau" in settings:
        lower, cut = rough.cmi, settings["tau"]
    else:
        lower, cut = rough.interval(0.9)[0], settings["delta"]
    near = np.abs(lower - cut) < NEAR_NATS
    return {name: np.where(near, getattr(full, name), getattr(rough, name)) for name in ("cmi", "log_p", "log_q")}, near


@pytest.mark.parametrize("threshold", [{"delta": 0.05}, {"threshold": "fixed", "tau": 0.03}])
def test_stages_in_16_bits_decide_far_pairs_and_float32_the_near_ones(threshold, monkeypatch):
    density, whole = a_network(monkeypatch)
    assert screening_density(density).runtime.precision == "bfloat16"
    assert screening_density(whole) is whole
    rule, n_near = Settings(**threshold).rule(density), 0
    for number in range(3):
        case = Case(str(number), np.random.default_rng(number).integers(0, 80, 60).astype(np.int32), None)
        found = estimate(density, case, screening=0.02, **threshold)
        expected, near = by_hand(density, whole, case, **threshold)
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-12)
        assert (found.n_particles[near] == 32).all()
        assert found.counts["n_replacements"] >= found.n_particles[np.isfinite(found.cmi)].sum()
        alone = estimate(whole, case, screening=0.02, **threshold)
        assert (rule.edges(found) != rule.edges(alone)).mean() <= 0.005
        n_near += near.sum()
    assert n_near > 3


def test_16_bits_are_left_alone_where_they_would_not_do(monkeypatch):
    density, whole = a_network(monkeypatch)
    case = Case("a", np.random.default_rng(0).integers(0, 80, 30).astype(np.int32), None)
    for settings in ({"screening": 0}, {"screening": 0.02, "delta": 0.01}):  # all in float32; nearly all pairs near
        one, other = (estimate(each, case, **settings) for each in (density, whole))
        assert np.array_equal(one.cmi, other.cmi, equal_nan=True)
    small = tiny_window(vocabulary_of(80))  # nothing to gain
    assert screening_density(small) is small
    monkeypatch.setattr("sequela.density.runtime.precision.SCREENING_TOLERANCE", 0.0)
    density = density.with_runtime(density.runtime)
    assert screening_density(density) is density
    monkeypatch.setattr("sequela.density.runtime.precision.multiplies_bfloat16", lambda: False)
    density = density.with_runtime(density.runtime)
    assert screening_density(density) is density


def test_a_job_in_16_bits_says_so_and_goes_on_only_with_them(monkeypatch, tmp_path):
    density, whole = a_network(monkeypatch)
    ids = np.random.default_rng(0).integers(0, 80, (6, 20))
    rows = [(f"c{case}", f"e{event}") for case, own in enumerate(ids) for event in own]
    log = read_log(pl.DataFrame(rows, schema=["case", "event"], orient="row"))
    found = discover_log(density, log, progress=False)
    assert (found.run.density.precision, found.run.density.screening_precision) == ("float32", "bfloat16")
    assert discover_log(whole, log, progress=False).run.density.screening_precision == "float32"
    assert discover_log(density, log, batch_size=1, progress=False).edges.equals(found.edges)
    streamed = discover_to(density, log, tmp_path / "out", progress=False)
    assert streamed.edges.equals(found.edges)
    loader = DensityHandle(density).ship(tmp_path)
    monkeypatch.setattr("sequela.density.runtime.precision.multiplies_bfloat16", lambda: False)
    assert screening_density(loader(tmp_path)).runtime.precision == "bfloat16"
    assert screening_density(load_density(tmp_path / "density", device="cpu")).runtime.precision == "float32"
