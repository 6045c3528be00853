"""Population graphs of the first parts of event types: bets against their definition, and what adds up."""

import numpy as np
import polars as pl
import pytest

from conftest import tiny_window
from sequela.density.training.crossfit import cross_fit
from sequela.discovery.population import discover_population
from sequela.errors import ConfigError
from sequela.events.log import event_at_level, event_components, read_log
from sequela.events.sequences import Case, SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.bets import sum_bets
from sequela.evidence.fixed_point import from_units
from sequela.evidence.forecasts import forecasts, group_estimate
from sequela.evidence.pairs import Groups, co_occurring

NAMES = ("engine|a|1", "engine|a|2", "engine|b|1", "door|a|1", "door|c|1", "radio|a|1")
VOCABULARY = Vocabulary(NAMES, (1,) * 6)


def window_density():
    return tiny_window(VOCABULARY, head=0.7)


@pytest.mark.parametrize("cells", [7, 2**22])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_bets_on_groups_equal_their_definition(level, cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.forecasts._CELLS", cells)
    density, groups = window_density(), Groups.at_level(VOCABULARY, level)
    n = len(groups.names)
    assert n == {1: 3, 2: 5, 3: 6}[level]
    ids = np.random.default_rng(level).integers(0, 6, 20).astype(np.int32)
    one = SequenceSet(ids, np.array([0, 20]), pl.Series(["a"]))
    pairs = co_occurring(groups.cases(one), 3, n)
    log_e = from_units(sum_bets(pairs, density, one, 3, np.zeros(n), groups=groups))
    expected, n_rows = np.zeros((n, n)), 0
    for q in range(1, 20):
        reach = np.arange(max(0, q - 3), q)
        for kind in set(groups.of[ids[reach]].tolist()):
            n_rows += 1
            past = ids.copy()
            past[reach[groups.of[ids[reach]] == kind]] = VOCABULARY.hidden_id
            p, hidden = (
                np.bincount(groups.of, weights=np.exp(density.conditional(given, np.array([q]))[0]), minlength=n)
                for given in (ids, past)
            )
            came = np.arange(n) == groups.of[ids[q]]
            expected[kind] += np.where(came, np.log(p / hidden), np.log((1 - p) / (1 - hidden)))
    np.testing.assert_allclose(log_e, expected.ravel()[pairs], atol=1e-4)
    assert sum(len(rows.targets) for rows in forecasts(density, one[0], 3, groups=groups)) == n_rows


@pytest.mark.parametrize("seconds", [None, 2.5])
def test_strength_of_groups_equals_its_definition(seconds):
    density, groups = window_density(), Groups.at_level(VOCABULARY, 1)
    case = Case("a", np.random.default_rng(5).integers(0, 6, 15).astype(np.int32), np.arange(15.0))
    found = group_estimate(density, case, 3, seconds, groups)
    own = groups.of[case.ids]
    for j in range(15):
        for lag in range(1, 4):
            q = j + lag
            if q >= 15 or (seconds and lag > seconds):
                assert np.isnan(found.cmi[j, lag - 1])
                continue
            past = case.ids.copy()
            reach = np.arange(max(0, q - (2 if seconds else 3)), q)
            past[reach[own[reach] == own[j]]] = VOCABULARY.hidden_id
            p, hidden = (
                np.exp(density.conditional(given, np.array([q]))[0])[groups.of == own[q]].sum()
                for given in (case.ids, past)
            )
            expected = p * np.log(p / hidden) + (1 - p) * np.log((1 - p) / (1 - hidden))
            assert found.cmi[j, lag - 1] == pytest.approx(expected, abs=1e-5)
            assert found.pointwise[j, lag - 1] == pytest.approx(np.log(p / hidden), abs=1e-4)


def test_parts_of_names():
    assert event_components(r"a\|b|c") == ["a|b", "c"]
    assert event_at_level(r"a\|b|c", 1) == r"a\|b"
    assert Groups.at_level(VOCABULARY, 1).names == ("door", "engine", "radio")
    assert Groups.at_level(VOCABULARY, None).names == NAMES
    with pytest.raises(ConfigError, match="several columns"):
        Groups.at_level(Vocabulary(("a", "b"), (1, 1)), 1)
    with pytest.raises(ConfigError, match="hierarchy_level"):
        Groups.at_level(VOCABULARY, 0)


@pytest.mark.slow
def test_rare_codes_add_up_to_a_link_of_components():
    """Each of 8 engine codes is followed by one of 8 door codes: rare by themselves, plain together."""
    rng = np.random.default_rng(0)
    rows = []
    for case in range(90):
        door_next = False
        for _ in range(20):
            if door_next:
                component, code = "door", int(rng.integers(8))
            else:
                component, code = [("engine", int(rng.integers(8))), ("radio", int(rng.integers(3)))][rng.integers(2)]
            door_next = component == "engine" and rng.random() < 0.8
            rows.append((f"c{case:03}", component, str(code)))
    table = pl.DataFrame(rows, schema=["case", "component", "code"], orient="row")
    log = read_log(table, event=["component", "code"], time=False)
    densities = cross_fit(log, folds=2, memory=2, max_steps=150, progress=False)
    settings = {"horizon": 1, "particles": 4, "progress": False}
    coarse = discover_population(densities, log, hierarchy_level=1, **settings)
    assert set(coarse.nodes["event"]) == {"door", "engine", "radio"}
    assert coarse.nodes["count"].sum() == log.n_events
    likelier = coarse.edges.filter(pl.col("pointwise_nats") > 0)
    assert ("engine", "door") in set(likelier.select("cause", "effect").iter_rows())
    fine = discover_population(densities, log, **settings)
    one = fine.pairs.filter(pl.col("cause").str.starts_with("engine"), pl.col("effect").str.starts_with("door"))
    whole = coarse.pairs.filter(cause="engine", effect="door")
    assert whole["support"][0] == one["support"].sum()
    assert whole["log10_e"][0] > one["log10_e"].max() + 5
    assert coarse.run.arguments.hierarchy_level == 1
