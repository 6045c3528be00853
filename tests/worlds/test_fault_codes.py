"""The fleet of fault codes: parentage by hand, its law by counting, ties, determinism."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError
from sequela.evaluation.ties import score_events, score_roots
from sequela.worlds.catalogue import make_generator
from sequela.worlds.fault_codes import FaultCodes, FaultLink
from sequela.worlds.parentage import EDGE_TRUTH_SCHEMA, EVENT_TRUTH_SCHEMA, Occurrence, canonical_events


@pytest.fixture(scope="module")
def fleet() -> FaultCodes:
    return FaultCodes.random(seed=0)


@pytest.fixture(scope="module")
def found(fleet):
    return fleet.simulate(seed=1)


def test_canonical_order_by_hand():
    """Two ticks; y at 0.9 s brings x at 1.4 s (the next tick) and z at 0.95 s (the same tick, after x in no order)."""
    history = [
        Occurrence(0.9, 1, -1, "root"),
        Occurrence(1.4, 0, 0, "caused"),
        Occurrence(0.95, 2, 0, "caused"),
        Occurrence(0.1, 0, -1, "background"),
        Occurrence(1.9, 2, 2, "repeat"),
    ]
    events, kinds = canonical_events(
        [history], case_names=["a"], type_names=["x", "y", "z"], starts_ms=np.array([5000]), tick_ms=1000
    )
    assert events.schema == pl.Schema(EVENT_TRUTH_SCHEMA)
    wanted = [
        (0, 0, "x", "background", None, 0, 0),
        (1, 0, "y", "root", None, 1, 0),
        (2, 0, "z", "caused", 1, 1, 1),
        (3, 1, "x", "caused", 1, 1, 1),
        (4, 1, "z", "repeat", 2, 1, 2),
    ]
    columns = ("position", "tick", "event", "kind", "cause_position", "root_position", "depth")
    assert events.select(columns).rows() == wanted
    assert kinds.tolist() == [0, 1, 2, 0, 2]
    assert (events["time"].dt.epoch("ms") - 1_704_067_200_000).unique().sort().to_list() == [5000, 6000]


def test_a_certain_chain_by_hand():
    """0 brings 1 after a minute, 1 brings 2 an hour later: one family an occurrence, nothing else."""
    links = [FaultLink(0, 1, 1.0, 60.0), FaultLink(1, 2, 1.0, 3600.0)]
    chain = FaultCodes([("A", "1"), ("B", "2"), ("C", "3")], [0.3, 0.0, 0.0], links, hours=1e5, spread=0.0)
    found = chain.simulate(300, seed=0)
    count = Counter(found.events["event"].to_list())
    assert count["A|1"] == count["B|2"] == count["C|3"] > 50
    assert set(found.edges.select("cause", "effect").rows()) == {("A|1", "B|2"), ("B|2", "C|3")}
    depth = dict(found.events.select("event", "depth").unique().rows())
    assert depth == {"A|1": 0, "B|2": 1, "C|3": 2}
    # Every root is the A of the same family: the number of families and of roots agree.
    assert found.events.select("case", "root_position").n_unique() == count["A|1"]
    # Median delays, from the untied clock.
    times = found.events.select("case", "position", "time")
    cause = times.rename({"position": "cause_position", "time": "before"})
    gaps = found.edges.join(cause, on=["case", "cause_position"]).join(
        times.rename({"position": "effect_position"}), on=["case", "effect_position"]
    )
    medians = gaps.group_by("effect").agg((pl.col("time") - pl.col("before")).dt.total_seconds().median().alias("s"))
    seconds = dict(medians.select("effect", "s").rows())
    assert seconds["B|2"] == pytest.approx(60, rel=0.3)
    assert seconds["C|3"] == pytest.approx(3600, rel=0.3)


def test_the_default_log_is_the_one_of_the_issue(fleet, found):
    assert len(fleet.types) == 59
    assert found.links.height == 25
    assert 7000 < found.log.height < 9000
    assert found.tied_share == pytest.approx(0.27, abs=0.025)
    rare = found.events["event"].value_counts().filter(pl.col("count") < 15)
    assert 5 <= rare.height <= 9
    assert found.links["n_events"].min() >= 20
    assert found.edges["same_tick"].mean() > 0.2
    assert found.events["depth"].max() >= 3
    assert found.log["text"].n_unique() > 0.5 * found.log.height  # free text, not a code


def test_events_and_table_are_the_same_log(found):
    log = sq.read_log(found.log, **found.columns)
    assert log.n_events == found.events.height
    assert log.n_ties == round(found.tied_share * log.n_events)
    mine = log.frame.with_columns(tick=(pl.col("time").rle_id().over("case")).cast(pl.Int64))
    ours, theirs = (
        frame.select("case", "tick", "event").sort("case", "tick", "event") for frame in (mine, found.events)
    )
    assert ours.equals(theirs)
    order = found.events.select("case", "position", "tick", "event")
    assert order.sort("case", "tick", "event", maintain_order=True).equals(order)


def test_rows_of_a_tick_are_in_random_order(found):
    """Within ticks of two different types, the alphabetic order is as likely as the other."""
    log = found.log.with_columns(event=pl.concat_str("component", "code", separator="|"))
    pairs = log.group_by("vehicle", "time", maintain_order=True).agg("event").filter(pl.col("event").list.len() == 2)
    first, second = pairs["event"].list.get(0), pairs["event"].list.get(1)
    different = pairs.filter(first != second)
    ordered = (different["event"].list.get(0) < different["event"].list.get(1)).mean()
    assert different.height > 400
    assert ordered == pytest.approx(0.5, abs=0.08)


def test_truth_is_consistent(fleet, found):
    edges, events = found.edges, found.events
    assert edges.schema == pl.Schema(EDGE_TRUTH_SCHEMA)
    assert set(edges.select("cause", "effect").rows()) <= set(found.links.select("cause", "effect").rows())
    assert edges.height == (events["kind"] == "caused").sum() == found.links["n_events"].sum()
    assert (edges["lag"] >= 0).all()
    assert ((edges["lag"] == 0) == edges["same_tick"]).all()
    assert (events.filter(pl.col("kind") == "background")["root_position"] == events.filter(
        pl.col("kind") == "background"
    )["position"]).all()  # fmt: skip
    linked = {name for pair in found.links.select("cause", "effect").rows() for name in pair}
    assert not linked & set(events.filter(pl.col("kind") == "incident")["event"])
    roots = events.filter(pl.col("kind") == "caused").join(
        events.select("case", root_position="position", root_kind="kind"), on=["case", "root_position"]
    )
    assert set(roots["root_kind"]) <= {"root", "background"}


def test_links_happen_as_often_as_they_say(fleet):
    """Untruncated watch: the share of causes that brought the effect is the probability of the link."""
    links = [FaultLink(0, 1, 0.7, 60.0), FaultLink(1, 2, 0.4, 60.0)]
    types = [("A", "1"), ("B", "2"), ("C", "3")]
    found = FaultCodes(types, [1.0, 0.0, 0.0], links, hours=1000.0).simulate(3000, seed=3)
    count = Counter(found.events["event"].to_list())
    assert count["B|2"] / count["A|1"] == pytest.approx(0.7, abs=0.03)
    assert count["C|3"] / count["B|2"] == pytest.approx(0.4, abs=0.03)


def test_same_seed_same_log_and_vehicles_do_not_depend_on_their_number(fleet, found):
    again = FaultCodes.random(seed=0).simulate(seed=1)
    for name in ("log", "events", "edges", "links"):
        assert getattr(again, name).equals(getattr(found, name))
    few = fleet.simulate(20, seed=1)
    assert few.events.equals(found.events.filter(pl.col("case") <= "V0020"))
    assert not fleet.simulate(20, seed=2).events.equals(few.events)


def test_shared_incidents_are_no_causes():
    busy = make_generator("fault_codes", seed=2, tied=0.1, incidents=1.0).simulate(200, seed=0)
    incident = busy.events.filter(pl.col("kind") == "incident")
    assert incident.height > 300
    assert incident["cause_position"].null_count() == incident.height
    n_ticks = incident.select("case", "tick").n_unique()
    assert n_ticks < 0.6 * incident.height  # several at the same time
    assert not set(incident["event"]) & set(busy.edges["cause"])


def test_repeats_are_events_of_the_same_type():
    again = make_generator("fault_codes", seed=2, tied=0, repeats=0.3).simulate(100, seed=0)
    repeats = again.edges.filter(pl.col("cause") == pl.col("effect"))
    assert repeats.height == (again.events["kind"] == "repeat").sum()
    n_first = again.events.height - repeats.height
    assert repeats.height / n_first == pytest.approx(0.3 / 0.7, abs=0.08)
    assert again.links.filter(pl.col("cause") == pl.col("effect")).height == 0


def test_the_truth_scores_full_marks_whatever_the_order_of_rows(found):
    """The same edges as somebody would find them who read the shuffled rows: positions of the file."""
    log = sq.read_log(found.log, **found.columns).frame
    file = log.with_columns(
        position=pl.int_range(pl.len()).over("case"), tick=pl.col("time").rle_id().over("case").cast(pl.Int64)
    )
    # Any event of the same tick and type stands for the other.
    one = file.unique(["case", "tick", "event"], keep="last").select("case", "tick", "event", "position")
    edges = found.edges
    for end in ("cause", "effect"):
        renamed = one.rename({"tick": f"{end}_tick", "event": end, "position": "file"})
        edges = (
            edges.join(renamed, on=["case", f"{end}_tick", end])
            .drop(f"{end}_position")
            .rename({"file": f"{end}_position"})
        )
    assert edges.height == found.edges.height
    scores = score_events(edges, found.edges, found.events)
    assert scores.events.f1 == scores.links.f1 == 1.0
    assert scores.events.n_reversed == 0
    assert score_roots(found.events, found.events) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_types": 20, "n_links": 25}, "n_types must be at least"),
        ({"tied": 0.95}, "tied"),
        ({"background": 1.5}, "background"),
        ({"linksn": 1}, "takes n_types"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_generator("fault_codes", **options)


def test_bad_fleets_are_named():
    types = [("A", "1"), ("B", "2")]
    with pytest.raises(ConfigError, match="two different types"):
        FaultCodes(types, [1, 1], [FaultLink(0, 5, 0.5, 1.0)])
    with pytest.raises(ConfigError, match="cascades must end"):
        FaultCodes(types, [1, 1], [FaultLink(0, 1, 1.0, 1.0), FaultLink(1, 0, 1.0, 1.0)])
    with pytest.raises(ConfigError, match="rates must be 2"):
        FaultCodes(types, [1], [])
    with pytest.raises(ConfigError, match="incident_classes"):
        FaultCodes(types, [1, 1], [], incidents=1.0)
    with pytest.raises(ConfigError, match="once"):
        FaultCodes([("A", "1"), ("A", "1")], [1, 1], [])


def test_a_fleet_without_any_code_is_an_empty_log():
    empty = FaultCodes([("A", "1"), ("B", "2")], [0.0, 0.0], [FaultLink(0, 1, 0.5, 1.0)]).simulate(3, seed=0)
    assert empty.log.height == empty.events.height == empty.edges.height == 0
    assert empty.links["n_events"].to_list() == [0]
