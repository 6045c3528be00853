"""Traces of services: laws by hand, the filter against every way a request can run, the truth by carrying it out."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError
from sequela.evaluation.compare import evaluate_edges
from sequela.worlds.call_plans import Call, Influence, Mechanism, Operation, Plan, Source
from sequela.worlds.catalogue import make_generator
from sequela.worlds.services import ServiceWorld

ALMOST_NONE = 1e-12  # noise: so rare that traces are what plans make


def _kl(p: float, q: float) -> float:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def _chain(noise: float = ALMOST_NONE) -> ServiceWorld:
    """A calls B; an error of B becomes one of A in 80 of 100."""
    operations = (Operation("s/A", (0, 2), (0.95, 0.05)), Operation("s/B", (0, 2), (0.9, 0.1)))
    influences = {Influence("call", 0, 1): np.array([[1.0, 0.0], [0.2, 0.8]])}
    return ServiceWorld(Mechanism(operations, (Plan(1.0, (Call(0, (1,)), Call(1))),), influences), noise=noise)


def _small(noise: float = ALMOST_NONE) -> ServiceWorld:
    """Two plans with everything: retries, an optional call, a dependent call, calls in random order."""
    operations = (
        Operation("s/A", (0, 1, 2, 3), (0.9, 0.04, 0.03, 0.03)),
        Operation("s/B", (0, 2), (0.8, 0.2), attempts=2, retry=0.7),
        Operation("s/C", (0, 1, 3), (0.8, 0.1, 0.1)),
        Operation("s/D", (0,), (1.0,)),
    )
    plans = (
        Plan(2.0, (Call(0, (1, 2)), Call(1), Call(2, (3,), after=1, chance=0.6), Call(3))),
        Plan(1.0, (Call(0, (1, 2, 3), parallel=True), Call(1), Call(2), Call(3, chance=0.5))),
    )
    influences = {
        Influence("call", 0, 1): np.array([[1.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.7, 0.1]]),
        Influence("call", 0, 2): np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.3, 0.0, 0.2, 0.5]]),
        Influence("order", 2, 1): np.array([[1.0, 0.0, 0.0], [0.5, 0.1, 0.4]]),
        Influence("retry", 1, 1): np.array([[1.0, 0.0], [0.4, 0.6]]),
    }
    return ServiceWorld(Mechanism(operations, plans, influences), noise=noise)


def _all_traces(world: ServiceWorld) -> dict[tuple[int, ...], float]:
    """Every trace and its probability, by running calls one inside the other: no states, no filter, no sums."""
    mechanism = world.mechanism
    found: Counter[tuple[int, ...]] = Counter()

    def worst(operation: int, rows: list[tuple[float, ...]]) -> dict[int, float]:
        chance: Counter[int] = Counter()
        outcomes = mechanism.operations[operation].outcomes
        for picks in itertools.product(range(len(outcomes)), repeat=len(rows)):
            chance[outcomes[max(picks)]] += float(np.prod([row[pick] for row, pick in zip(rows, picks, strict=True)]))
        return chance

    def row(route: str, operation: int, source: int, outcome: int) -> list[tuple[float, ...]]:
        matrix = mechanism.influences.get(Influence(route, operation, source))
        place = mechanism.operations[source].outcomes.index(outcome)
        return [] if matrix is None else [tuple(matrix[place])]

    def run(plan: Plan, number: int, siblings: dict[int, int]):
        """Yield probability, events and outcome of one call."""
        call = plan.calls[number]
        operation = mechanism.operations[call.operation]
        orders = list(itertools.permutations(call.calls)) if call.parallel else [call.calls]
        for order in orders:
            ways = [(1.0 / len(orders), (), {})]
            for child in order:
                following = []
                for chance, events, done in ways:
                    made = plan.calls[child].chance
                    if made < 1:
                        following.append((chance * (1 - made), events, done))
                    for c, e, outcome in run(plan, child, done):
                        following.append((chance * made * c, events + e, {**done, child: outcome}))
                ways = following
            for chance, events, done in ways:
                rows = [operation.own]
                for child, outcome in done.items():
                    rows += row("call", call.operation, plan.calls[child].operation, outcome)
                if call.after in siblings:
                    rows += row("order", call.operation, plan.calls[call.after].operation, siblings[call.after])
                yield from attempts(call, operation, rows, chance, events, 1)

    def attempts(call, operation, rows, chance, events, attempt, before=()):
        for outcome, p in worst(call.operation, rows + list(before)).items():
            after = (*events, world.types[call.operation, outcome])
            again = operation.retry if outcome >= 2 and attempt < operation.attempts and not call.calls else 0.0
            yield chance * p * (1 - again), after, outcome
            if again:
                persists = row("retry", call.operation, call.operation, outcome)
                yield from attempts(call, operation, rows, chance * p * again, after, attempt + 1, persists)

    total = sum(plan.weight for plan in mechanism.plans)
    for plan in mechanism.plans:
        for chance, events, _ in run(plan, 0, {}):
            found[events] += chance * plan.weight / total
    return found


def test_a_chain_by_hand():
    world = _chain()
    types = {name: i for i, name in enumerate(world.vocabulary.names)}
    bad = np.array([types["s/B|error"], types["s/A|error"]], np.int32)
    # A is fine only if neither its own fault nor B's error makes it fail.
    np.testing.assert_allclose(np.exp(world.score(bad)), [0.1, 1 - 0.95 * 0.2], atol=1e-9)
    good = np.array([types["s/B|ok"], types["s/A|ok"]], np.int32)
    np.testing.assert_allclose(np.exp(world.score(good)), [0.9, 0.95], atol=1e-9)
    # What if B had gone otherwise: mean of both outcomes.
    truth = world.truth(bad)
    assert truth[0, 0] == pytest.approx(_kl(0.81, (0.81 + 0.05) / 2))
    assert world.truth(good)[0, 0] == pytest.approx(_kl(0.95, (0.95 + 0.19) / 2))
    assert np.isnan(truth[0, 1])
    assert np.isnan(truth[1]).all()


def test_the_filter_is_the_sum_over_every_way_a_request_can_run():
    world = _small()
    traces = _all_traces(world)
    assert sum(traces.values()) == pytest.approx(1.0)
    assert len(traces) > 200
    some = sorted(traces)[:: max(1, len(traces) // 150)]
    for trace in some:
        score = world.score(np.array(trace, np.int32)).sum()
        # A trace may be the beginning of no other: the root ends it.
        assert np.exp(score) == pytest.approx(traces[trace], rel=1e-6)


def test_sampled_traces_follow_the_law():
    world = _small()
    traces = _all_traces(world)
    sampled = Counter(tuple(case.ids.tolist()) for case in world.sample(4_000, seed=0))
    assert set(sampled) <= set(traces)
    for trace, chance in sorted(traces.items(), key=lambda item: -item[1])[:12]:
        assert sampled[trace] / 4_000 == pytest.approx(chance, abs=4 * np.sqrt(chance / 4_000))


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_conditionals_and_branches_agree_with_scores(noise):
    world = _small(noise)
    for case in world.sample(5, seed=3):
        ids = case.ids
        law = np.exp(world.conditional(ids, np.arange(len(ids) + 1)))
        np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-9)
        scores = world.score(ids)
        np.testing.assert_allclose(np.log(law[np.arange(len(ids)), ids]), scores, atol=1e-9)
        tails = np.tile(ids[1:3].astype(np.int32), (world.vocabulary.n_types, 1))
        tails[:, 0] = np.arange(world.vocabulary.n_types)
        branches = world.score_branches(ids, np.zeros(len(tails), np.int64), tails)
        for row, tail in enumerate(tails):
            for step in range(min(2, len(ids) - 1)):
                whole = np.concatenate([tail[: step + 1], ids[step + 1 : step + 2]]).astype(np.int32)
                assert branches[row, step] == pytest.approx(world.score(whole)[-1], abs=1e-9)


def test_a_hidden_event_is_summed_over():
    world = _small(0.1)
    ids = world.sample(1, seed=4).ids
    hidden = ids.copy()
    hidden[0] = world.vocabulary.hidden_id
    joint = np.zeros(world.vocabulary.n_types)
    for event in range(world.vocabulary.n_types):
        changed = ids.copy()
        changed[0] = event
        before = np.exp(world.score(changed[:1])[0])
        joint += before * np.exp(world.conditional(changed, np.array([1])))[0]
    np.testing.assert_allclose(np.exp(world.conditional(hidden, np.array([1])))[0], joint, atol=1e-9)


def test_the_law_is_the_worst_of_all_proposals_when_they_are_drawn():
    """Carry the intervention out: force one source, draw what every source proposes, take the worst."""
    world = _small()
    mechanism = world.mechanism
    sources = (Source(1, 2, Influence("call", 0, 1)), Source(2, 3, Influence("call", 0, 2)))
    generator = np.random.default_rng(0)
    n = 200_000

    def frequencies(forced: int) -> np.ndarray:
        rows = [mechanism.operations[0].own, mechanism.influences[sources[0].influence][forced]]
        rows.append(mechanism.influences[sources[1].influence][2])
        drawn = [generator.choice(4, n, p=row) for row in rows]
        return np.bincount(np.max(drawn, axis=0), minlength=4) / n

    for forced, outcome in enumerate((0, 2)):
        changed = (sources[0]._replace(outcome=outcome), sources[1])
        np.testing.assert_allclose(mechanism.law(0, changed), frequencies(forced), atol=0.005)


def test_a_retry_is_caused_by_the_failure_before_it_and_hides_it_from_the_caller():
    world = _small()
    types = {name: i for i, name in enumerate(world.vocabulary.names)}
    trace = [types[name] for name in ("s/B|error", "s/B|ok", "s/D|ok", "s/C|ok", "s/A|ok")]
    truth = world.truth(np.array(trace, np.int32))
    # Tried again in 70 of 100 after an error, never after ok; then fine unless by itself (0.2) or as before (0.6).
    p = 0.7 * 0.8 * 0.4
    assert truth[0, 0] == pytest.approx(_kl(p, p / 2))
    assert truth[0, 3] == 0.0  # the caller sees the last attempt only
    assert truth[1, 2] > 0.05
    assert truth[1, 1] > 0.05  # C depends on B
    assert truth[2, 0] == truth[2, 1] == 0.0  # D has one outcome


def test_the_most_probable_parse_is_what_happened():
    world = ServiceWorld.random(seed=1)
    found = world.simulate(60, seed=2)
    names = ["case", "cause_position", "effect_position"]
    parsed = set()
    for case in world.sample(60, seed=2):
        truth = np.nan_to_num(world.truth(case.ids))
        parsed |= {(case.name, int(i), int(i + k + 1)) for i, k in zip(*np.nonzero(truth > 0.05), strict=True)}
    real = set(found.edges.select(names).rows())
    assert len(real) > 200
    assert len(real ^ parsed) <= 0.01 * len(real)


def test_the_log_can_be_read_and_the_truth_points_at_it():
    world = ServiceWorld.random(seed=0)
    found = world.simulate(40, seed=1)
    log = sq.read_log(found.log, **found.columns)
    assert log.n_ties == 0
    assert log.frame["event"].to_list() == found.events["event"].to_list()
    at = {(case, place): event for case, place, event in found.events.select("case", "position", "event").rows()}
    for case, i, j, a, b in found.edges.select("case", "cause_position", "effect_position", "cause", "effect").rows():
        assert (at[case, i], at[case, j]) == (a, b)
        assert i < j
    assert found.edges["cmi_nats"].min() > 0.05
    calls = found.events.filter(pl.col("call").is_not_null()).select("case", "position")
    for end in ("cause", "effect"):
        on = found.edges.select("case", pl.col(f"{end}_position").alias("position"))
        assert on.join(calls, on=["case", "position"], how="anti").height == 0  # noise neither acts nor is acted on
    assert (
        found.links.height
        == found.edges.filter(pl.col("cause") != pl.col("effect")).select("cause", "effect").n_unique()
    )
    few = world.simulate(40, seed=1, delta=0.3).edges
    assert few.equals(found.edges.filter(pl.col("cmi_nats") > 0.3))


def test_same_seed_same_log_and_requests_do_not_depend_on_their_number():
    one, two = (make_generator("services", seed=3) for _ in range(2))
    found, again, few = one.simulate(30, seed=1), two.simulate(30, seed=1), two.simulate(10, seed=1)
    for name in ("log", "events", "edges", "links"):
        assert getattr(again, name).equals(getattr(found, name))
    assert few.events.equals(found.events.filter(pl.col("case") < "trace-00010"))
    assert not two.simulate(10, seed=2).events.equals(few.events)


@pytest.mark.parametrize("n_types", [82, 310])
def test_systems_have_the_sizes_of_the_issue(n_types):
    world = ServiceWorld.random(n_types, seed=0)
    assert world.vocabulary.n_types == n_types
    used = {call.operation for plan in world.mechanism.plans for call in plan.calls}
    named = {operation.name for operation in world.mechanism.operations}
    assert len(named) == len(world.mechanism.operations)
    assert len(used) >= 0.9 * len(named)  # the rest is noise
    found = world.simulate(100, seed=0)
    lengths = found.events.group_by("case").len()["len"]
    assert lengths.min() >= 2
    assert 5 < lengths.mean() < 25
    assert 0.75 < (found.log["outcome"] == "ok").mean() < 0.95
    assert set(found.edges["route"]) == {"call", "order", "retry"}


def test_an_exact_density_finds_states_and_not_plans():
    """With the law known, replacing outcomes finds the truth; replacing operations finds the plan."""
    world = ServiceWorld.random(seed=0, retry=0.0)
    found = world.simulate(8, seed=7)
    scores = {}
    for proposal, options in (("siblings", {"kept_components": 1}), ("uniform", {})):
        edges = []
        for case in world.sample(8, seed=7):
            graph = sq.discover(world, case, particles=82, delta=0.05, proposal=proposal, **options)
            edges.append(graph.edges.with_columns(case=pl.lit(case.name)))
        scores[proposal] = evaluate_edges(pl.concat(edges), found.edges).pooled
    assert scores["siblings"].precision == 1.0
    assert scores["siblings"].f1 > 0.85
    assert scores["uniform"].f1 < 0.5


def test_bad_systems_are_named():
    operations = (Operation("s/A", (0, 2), (0.9, 0.1)), Operation("s/B", (0, 2), (0.9, 0.1)))
    plan = Plan(1.0, (Call(0, (1,)), Call(1)))
    for mechanism, message in (
        (Mechanism(operations, (Plan(1.0, (Call(0, (1,)),)),), {}), "exactly one other"),
        (Mechanism(operations, (Plan(1.0, (Call(0), Call(1))),), {}), "exactly one other"),
        (Mechanism(operations, (Plan(1.0, (Call(0, (1,)), Call(1, after=0))),), {}), "earlier call"),
        (Mechanism(operations, (Plan(1.0, (Call(9),)),), {}), "no such operation"),
        (Mechanism((Operation("s/A", (2,), (1.0,)),), (Plan(1.0, (Call(0),)),), {}), "ascend from 0"),
        (Mechanism((Operation("s/A", (0, 2), (0.9, 0.2)),), (Plan(1.0, (Call(0),)),), {}), "sum to 1"),
        (Mechanism(operations, (plan,), {Influence("call", 0, 1): np.ones((2, 2))}), "rows that sum to 1"),
        (Mechanism(operations, (), {}), "at least one"),
    ):
        with pytest.raises(ConfigError, match=message):
            ServiceWorld(mechanism)
    with pytest.raises(ConfigError, match="noise_law"):
        ServiceWorld(Mechanism(operations, (plan,), {}), noise_law=[1.0])
    with pytest.raises(ConfigError, match="n_types"):
        ServiceWorld.random(3, seed=0)
