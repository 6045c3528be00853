"""The proposal that replaces a part only: against brute force, where nothing can be replaced, and what it refuses."""

import numpy as np
import polars as pl
import pytest

from sequela.discovery.discover import discover, discover_log, estimate
from sequela.errors import ConfigError
from sequela.events.hierarchy import siblings
from sequela.events.log import event_at_level, event_components, read_log
from sequela.events.sequences import Case
from sequela.events.vocabulary import RARE, Vocabulary
from sequela.worlds.diagnostic import DiagnosticWorld

BASE = DiagnosticWorld.random(14, horizon=3, seed=4)


def named(names):
    """The same world with other names: parts separated as in a log of several columns."""
    return DiagnosticWorld(BASE.fresh, BASE.links.toarray(), horizon=3, strength=6.0, names=names)


# Components of 6, 4, 3 and one type; in each, two types share their code.
NAMES = tuple(
    f"{component}|{code // 2}|{code % 2}"
    for component, n in {"a": 6, "b": 4, "c": 3, "d": 1}.items()
    for code in range(n)
)
WORLD = named(NAMES)
IDS = np.concatenate([np.arange(14), WORLD.sample(1, 16, seed=1)[0].ids]).astype(np.int32)
CASE = Case("x", IDS, None)


@pytest.mark.parametrize("kept", [1, 2])
def test_equals_brute_force(kept):
    found = estimate(WORLD, CASE, proposal="siblings", kept_components=kept, particles=14)
    n_nothing = 0
    for cause in range(len(IDS) - 1):
        name = NAMES[IDS[cause]]
        group = [u for u, other in enumerate(NAMES) if event_components(other)[:kept] == event_components(name)[:kept]]
        for effect in range(cause + 1, min(len(IDS), cause + 4)):
            cell = cause, effect - cause - 1
            if len(group) == 1:
                for values in (found.cmi, found.std_error, found.log_q, found.pointwise):
                    assert np.isnan(values[cell])
                n_nothing += 1
                continue
            f = []
            for u in group:
                changed = IDS.copy()
                changed[cause] = u
                f.append(np.exp(WORLD.conditional(changed[:effect], np.array([effect]))[0, IDS[effect]]))
            p, q = f[group.index(IDS[cause])], np.mean(f)
            assert found.log_q[cell] == pytest.approx(np.log(q), abs=1e-9)
            expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
            assert found.cmi[cell] == pytest.approx(expected, abs=1e-9)
            assert found.std_error[cell] == 0.0
    assert n_nothing > 0
    assert found.n_tested == np.isfinite(found.cmi).sum() > 50
    uniform = estimate(WORLD, CASE, particles=14)
    assert np.nanmax(np.abs(uniform.cmi - found.cmi)) > 0.05


def test_sampling_converges_to_enumeration_and_errors_cover():
    exact = estimate(WORLD, CASE, proposal="siblings", particles=14)
    found = [estimate(WORLD, CASE, proposal="siblings", particles=3, seed=seed) for seed in range(300)]
    q = np.exp(np.stack([one.log_q for one in found]))
    tested = np.isfinite(exact.cmi)
    assert all(np.array_equal(np.isfinite(one.cmi), tested) for one in found)
    spread = q.std(axis=0)[tested]
    sampled = spread > 1e-9
    # At most 3 others are enumerated: groups of 4, 3 and fewer; the component of 6 is sampled.
    rows = np.nonzero(tested)[0]
    assert (IDS[rows[sampled]] < 6).all()
    assert sampled.sum() > 10
    assert all((one.q_std_error[tested][IDS[rows] >= 6] == 0).all() for one in found)
    off = (q.mean(axis=0)[tested] - np.exp(exact.log_q[tested]))[sampled] / (spread[sampled] / np.sqrt(len(found)))
    assert np.abs(off).mean() < 1.2
    claimed = np.sqrt(np.mean([one.q_std_error**2 for one in found], axis=0))[tested][sampled]
    assert 0.8 < np.median(claimed / spread[sampled]) < 1.3


def test_same_numbers_whatever_is_scored_together():
    whole = estimate(WORLD, CASE, proposal="siblings", particles=3)
    tail = estimate(WORLD, CASE, proposal="siblings", particles=3, context=17)
    np.testing.assert_array_equal(tail.cmi[17:], whole.cmi[17:])


def test_graph_has_only_edges_that_were_tested():
    log = read_log(pl.DataFrame({"case": "x", "event": [NAMES[i] for i in IDS]}), time=False)
    graph = discover(WORLD, log, proposal="siblings", particles=14)
    found = estimate(WORLD, CASE, proposal="siblings", particles=14)
    assert graph.n_tested == found.n_tested
    alone = NAMES[13]
    assert alone not in graph.edges["cause"].to_list()
    assert len(graph) > 5
    assert graph.settings.kept_components == 1
    every = discover_log(WORLD, log, proposal="siblings", particles=14, progress=False)
    assert every.edges.drop("case").equals(graph.edges)
    assert discover(WORLD, log).settings.kept_components is None


def test_groups_and_rare():
    found = siblings(Vocabulary(("b|1", "a|1", "b|2", RARE), (1,) * 4, has_rare=True), 1)
    for t, group in enumerate([[0, 2], [1], [0, 2]]):
        own = found.types[found.low[t] : found.low[t] + found.size[t]]
        assert own.tolist() == group
        assert own[found.place[t]] == t
    assert found.size[3] == 1  # <rare> has no siblings
    assert event_at_level(NAMES[0], 1) == "a"


def test_what_is_refused():
    with pytest.raises(ConfigError, match="several columns"):
        estimate(BASE, Case("x", IDS, None), proposal="siblings")
    with pytest.raises(ConfigError, match="at most 3"):
        estimate(WORLD, CASE, proposal="siblings", kept_components=3)
    with pytest.raises(ConfigError, match="'atomic' only"):
        estimate(WORLD, CASE, proposal="siblings", design="staircase")
    with pytest.raises(ConfigError, match="sums the cause out"):
        estimate(WORLD, CASE, proposal="siblings", design="leave-one-out")
    with pytest.raises(ConfigError, match="screening"):
        estimate(WORLD, CASE, proposal="siblings", screening=0.1)
    with pytest.raises(ConfigError, match="kept_components"):
        estimate(WORLD, CASE, proposal="siblings", kept_components=0)
