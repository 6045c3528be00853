"""A part of a result, and attributes in exports and on the page."""

import json

import polars as pl
import pytest

import sequela as sq
from conftest import tiny_window, vocabulary_of
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.2, sparsity=0.5, seed=0)
TABLE = WORLD.to_log(WORLD.sample(6, 12, seed=1)).with_columns(
    site=pl.col("case").str.slice(-1), load=pl.int_range(pl.len()) % 4
)
LOG = sq.read_log(TABLE, attributes=["site", "load"])
FOUND = sq.discover_log(WORLD, LOG, delta=0.01, progress=False)


def test_a_part_is_what_its_edges_say():
    events = FOUND.events
    part = sq.filter_result(FOUND, only=["case-00000", "case-00001"], where="load > 1", causes="e0")
    wanted = FOUND.edges.filter((pl.col("cause") == "e0") & pl.col("case").is_in(["case-00000", "case-00001"]))
    loads = {(row["case"], row["position"]): row["load"] for row in events.rows(named=True)}
    wanted = wanted.filter([loads[row["case"], row["effect_position"]] > 1 for row in wanted.rows(named=True)])
    assert part.edges.equals(wanted)
    assert len(part) < len(FOUND)
    places = part.places.filter(cause="e0", effect="e1")["n_places"].sum()
    by_hand = 0
    for rows in events.filter(pl.col("case").is_in(["case-00000", "case-00001"])).partition_by("case"):
        names, load = rows["event"].to_list(), rows["load"].to_list()
        by_hand += sum(
            names[i] == "e0" and names[j] == "e1" and load[j] > 1
            for i in range(len(names))
            for j in range(i + 1, min(i + 3, len(names)))
        )
    assert places == by_hand
    assert part.case("case-00001").events == FOUND.case("case-00001").events


def test_a_span_of_time_chooses_effects():
    times = FOUND.events["time"]
    part = sq.filter_result(FOUND, since=float(times.quantile(0.5)), until=float(times.max()))
    at = FOUND.events.select("case", pl.col("position").alias("effect_position"), "time")
    joined = part.edges.join(at, on=["case", "effect_position"])
    assert joined.height == len(part)
    assert joined["time"].min() >= times.quantile(0.5)
    assert joined["time"].max() < times.max()


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ConfigError, match="causes='x' matches no event type"):
        sq.filter_result(FOUND, causes="x*"[:1])
    with pytest.raises(ConfigError, match="has no case"):
        sq.filter_result(FOUND, only="none")
    density = tiny_window(vocabulary_of(5), head=1.0)
    population = sq.discover_population(density, LOG, cases="all", horizon=2, progress=False)
    assert set(sq.filter_result(population, causes="e0").pairs["cause"]) == {"e0"}
    with pytest.raises(ConfigError, match="has no cases"):
        sq.filter_result(population, only="case-00000")


def test_attributes_are_kept_by_results_exports_and_the_page(tmp_path):
    saved = discover_to(WORLD, LOG, tmp_path / "out", delta=0.01, progress=False)
    assert saved.events.equals(FOUND.events)
    assert saved.events["load"].to_list() == LOG.frame["load"].to_list()
    graph = saved.case("case-00002")
    assert graph.attributes.columns == ["site", "load"]
    assert graph.attributes.equals(sq.discover(WORLD, LOG.case("case-00002"), delta=0.01).attributes)
    saved.to_ocel(tmp_path / "log.jsonocel")
    written = json.loads((tmp_path / "log.jsonocel").read_text())
    case = next(each for each in written["objects"] if each["id"] == "case:case-00002")
    assert [(each["name"], each["value"]) for each in case["attributes"]] == [("site", "2")]
    loads = [each["value"] for event in written["events"] for each in event["attributes"] if each["name"] == "load"]
    assert loads == LOG.frame["load"].to_list()
    page = sq.report(saved, tmp_path / "page.html").read_text()
    assert '"attributes":{"site":["' in page.replace(": ", ":").replace(", ", ",")
    quiet = sq.report(saved, tmp_path / "quiet.html", anonymise=True).read_text()
    assert '"site"' not in quiet


def test_xes_keeps_attributes_and_reads_them_back(tmp_path):
    pytest.importorskip("r4pm")
    FOUND.to_xes(tmp_path / "log.xes")
    back = sq.read_log(tmp_path / "log.xes", attributes=["case:site", "load"])
    assert back.frame["case:site"].to_list() == LOG.frame["site"].to_list()
    assert back.frame["load"].cast(pl.Int64).to_list() == LOG.frame["load"].to_list()
