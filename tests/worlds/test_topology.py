"""Alarms that travel: parentage across entities by hand, the topology kept, laws by counting."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError
from sequela.evaluation.compare import evaluate_edges
from sequela.evaluation.ties import score_events
from sequela.worlds.catalogue import make_generator
from sequela.worlds.topology import AlarmLink, AlarmTopology


@pytest.fixture(scope="module")
def found():
    return make_generator("topology", seed=0).simulate(60, seed=1)


def test_a_certain_chain_by_hand():
    """down at N brings loss in N after a minute, and loss brings remote at each of two neighbours ten minutes later."""
    types = [("link", "down"), ("radio", "loss"), ("link", "remote")]
    links = [AlarmLink(0, 1, 1.0, 60.0), AlarmLink(1, 2, 1.0, 600.0, across=True)]
    ring = AlarmTopology(types, [0.5, 0.0, 0.0], links, [("link", "radio")], degree=2.0, hours=1e5)
    found = ring.simulate(50, seed=0)
    count = Counter(found.events["event"].to_list())
    assert count["link|down"] == count["radio|loss"] > 10
    assert count["link|remote"] == 2 * count["link|down"]
    near = {frozenset(pair) for pair in found.known["neighbours"].rows()}
    assert len(near) == 50
    for case, cause_case, cause in found.edges.select("case", "cause_case", "cause").rows():
        if cause == "link|down":
            assert case == cause_case
        else:
            assert frozenset((case, cause_case)) in near
    remote = found.events.filter(pl.col("event") == "link|remote")
    assert set(remote["depth"]) == {2}
    # The root of a remote alarm is at the neighbour where the link went down.
    roots = remote.join(
        found.events.select(root_case="case", root_position="position", root="event"), on=["root_case", "root_position"]
    )
    assert roots.height == remote.height
    assert set(roots["root"]) == {"link|down"}
    assert (roots["root_case"] == roots["cause_case"]).all()
    seconds = dict(found.edges.group_by("effect").agg(pl.col("seconds").median()).rows())
    assert seconds["radio|loss"] == pytest.approx(60, rel=0.4)
    assert seconds["link|remote"] == pytest.approx(600, rel=0.4)


def test_the_truth_points_at_the_log(found):
    log = sq.read_log(found.log, **found.columns)
    assert log.n_events == found.events.height
    at = {(case, place): event for case, place, event in found.events.select("case", "position", "event").rows()}
    columns = ("case", "cause_case", "cause_position", "effect_position", "cause", "effect")
    for case, cause_case, i, j, cause, effect in found.edges.select(columns).rows():
        assert at[cause_case, i] == cause
        assert at[case, j] == effect
    assert found.edges.height == (found.events["kind"] == "caused").sum() == found.links["n_events"].sum()
    assert (found.edges["seconds"] >= 0).all()
    within = found.edges["case"] == found.edges["cause_case"]
    assert within.any()
    assert (~within).any()
    assert (found.edges["lag"].is_null() == ~within).all()
    assert found.links["n_events"].min() >= 5


def test_links_within_an_entity_follow_the_components(found):
    joined = set(found.known["components"].rows())
    component = {name: name.split("|")[0] for name in (*found.links["cause"], *found.links["effect"])}
    for cause, effect in found.links.filter(~pl.col("across")).select("cause", "effect").rows():
        ends = (component[cause], component[effect])
        assert ends[0] == ends[1] or ends in joined
    n_components = found.events["event"].str.split("|").list.first().n_unique()
    assert len(joined) / 2 < n_components * (n_components - 1) / 4  # it says something


def test_links_happen_as_often_as_they_say():
    types = [("a", "x"), ("a", "y"), ("a", "z")]
    links = [AlarmLink(0, 1, 0.7, 60.0), AlarmLink(0, 2, 0.3, 60.0, across=True)]
    found = AlarmTopology(types, [20.0, 0.0, 0.0], links, [], degree=4.0, hours=1e4).simulate(100, seed=3)
    count = Counter(found.events["event"].to_list())
    assert count["a|y"] / count["a|x"] == pytest.approx(0.7, abs=0.04)
    assert count["a|z"] / count["a|x"] == pytest.approx(4 * 0.3, abs=0.08)


def test_same_seed_same_log(found):
    again = make_generator("topology", seed=0).simulate(60, seed=1)
    for name in ("log", "events", "edges", "links"):
        assert getattr(again, name).equals(getattr(found, name))
    assert again.known["neighbours"].equals(found.known["neighbours"])
    assert not make_generator("topology", seed=0).simulate(60, seed=2).log.equals(found.log)


def test_edges_to_another_entity_are_not_taken_for_edges_of_one(found):
    """Without ``cause_case`` a found edge is within its case: it never hits an edge of the truth from a neighbour."""
    within = found.edges.filter(pl.col("case") == pl.col("cause_case"))
    blind = evaluate_edges(within.drop("cause_case"), found.edges)
    assert blind.pooled.precision == 1.0
    assert blind.pooled.recall == pytest.approx(within.height / found.edges.height)
    wrong = evaluate_edges(found.edges.drop("cause_case"), found.edges)
    assert wrong.pooled.n_correct == within.height
    assert evaluate_edges(found.edges, found.edges).pooled.f1 == 1.0
    scores = score_events(found.edges, found.edges, found.events)
    assert scores.events.f1 == 1.0
    assert score_events(within.drop("cause_case"), found.edges, found.events).events.precision == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_links": 10_000}, "must fit the topology"), ({"degree": 1.0}, "degree"), ({"n_typs": 3}, "n_types")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_generator("topology", **options)


def test_bad_networks_are_named():
    types = [("a", "x"), ("b", "y")]
    with pytest.raises(ConfigError, match="not joined"):
        AlarmTopology(types, [1, 1], [AlarmLink(0, 1, 0.5, 1.0)], [])
    with pytest.raises(ConfigError, match="no circle"):
        AlarmTopology(types, [1, 1], [AlarmLink(0, 1, 0.5, 1.0, True), AlarmLink(1, 0, 0.5, 1.0, True)], [])
    with pytest.raises(ConfigError, match="rates must be 2"):
        AlarmTopology(types, [1], [], [])
    with pytest.raises(ConfigError, match="types of 0"):
        AlarmTopology(types, [1, 1], [AlarmLink(0, 7, 0.5, 1.0)], [])


def test_links_to_neighbours_are_weaker_unless_they_are_to_be_equal():
    for equal, low, high in ((False, 0.2, 0.4), (True, 0.4, 0.9)):
        links = AlarmTopology.random(40, n_across=40, equal_strengths=equal, seed=0).links
        chances = [link.probability for link in links if link.across]
        assert low <= min(chances) < (low + high) / 2 < max(chances) <= high
        assert all(0.4 <= link.probability <= 0.9 for link in links if not link.across)
