"""Summary graphs between the first parts of event types."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.discovery.discover import discover_log
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError
from sequela.events.log import event_at_level, read_log
from sequela.graphs.exports import export
from sequela.graphs.population import PopulationGraph
from sequela.graphs.summary import SummaryGraph
from sequela.reports.payload import page_data
from sequela.worlds.softmax import SoftmaxWorld

NAMES = ("engine|a|1", "engine|a|2", "engine|b|1", "door|a|1", "door|c|1", "radio")
WORLD = SoftmaxWorld.random(6, horizon=2, sparsity=0.3, seed=0, names=NAMES)
LOG = read_log(WORLD.to_log(WORLD.sample(6, 12, seed=1)))


@pytest.fixture(scope="module")
def found():
    return discover_log(WORLD, LOG, progress=False)


def by_hand(edges, level, self_loops):
    groups = {}
    for row in edges.iter_rows(named=True):
        pair = event_at_level(row["cause"], level), event_at_level(row["effect"], level)
        if self_loops or pair[0] != pair[1]:
            groups.setdefault(pair, []).append(row)
    return {
        pair: (
            len(rows), len({row["case"] for row in rows}), np.mean([row["lag"] for row in rows]),
            np.mean([row["cmi_nats"] for row in rows]), sum(row["cmi_nats"] for row in rows),
            np.mean([row["pointwise_nats"] for row in rows]),
        )
        for pair, rows in groups.items()
    }  # fmt: skip


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_equals_its_definition(found, level, self_loops, tmp_path):
    expected = by_hand(found.edges, level, self_loops)
    whole = found.summary(self_loops=True)
    merged = whole.at_level(level, self_loops=self_loops)
    exact = found.summary(self_loops=self_loops, hierarchy_level=level)
    saved = discover_to(WORLD, LOG, tmp_path / "r", progress=False)
    saved = saved.summary(self_loops=self_loops, hierarchy_level=level)
    for graph in (merged, exact, saved):
        assert {(u, v) for u, v in graph.edges.select("cause", "effect").iter_rows()} == set(expected)
        assert graph.nodes["event"].to_list() == sorted({event_at_level(name, level) for name in found.nodes["event"]})
        assert graph.nodes["count"].sum() == LOG.n_events
        assert (graph.edges["cmi_nats_total"].round(9).diff().drop_nulls() <= 0).all()
        for row in graph.edges.iter_rows(named=True):
            n_edges, n_cases, lag, mean, total, gain = expected[row["cause"], row["effect"]]
            assert row["n_edges"] == n_edges
            assert row["n_cases"] == n_cases if graph is not merged else row["n_cases"] <= n_cases
            values = [row[name] for name in ("mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats")]
            assert values == pytest.approx([lag, mean, total, gain])
    assert len(merged) > 0
    assert merged.edges.columns == whole.edges.columns
    if level == 1:
        assert len(merged) < len(whole)
        assert any(u == v for u, v in expected) == self_loops
    if level == 3:
        exact_columns = merged.edges.columns[:8]
        assert merged.edges.select(exact_columns).equals(exact.edges.select(exact_columns))
        assert merged.edges["n_places"].null_count() == len(merged)
    assert exact == saved
    assert exact.edges["n_places"].sum() <= found.run.counts.n_pairs_tested


def test_one_case(found):
    graph = found.case("case-00002")
    own = found.edges.filter(case="case-00002")
    edges = graph.summary(hierarchy_level=1).edges
    assert {tuple(row) for row in edges.select("cause", "effect").iter_rows()} == set(by_hand(own, 1, False))


def test_what_is_refused(found):
    with pytest.raises(ConfigError, match="hierarchy_level"):
        found.summary().at_level(0)
    plain = SoftmaxWorld.random(3, horizon=1, seed=0)
    log = read_log(plain.to_log(plain.sample(2, 6, seed=1)))
    with pytest.raises(ConfigError, match="several columns"):
        discover_log(plain, log, progress=False).summary(hierarchy_level=1)


def test_an_empty_summary():
    whole = SummaryGraph(pl.DataFrame(schema=discover_log(WORLD, LOG, progress=False).summary().edges.schema),
                         pl.DataFrame({"event": ["a|1", "a|2"], "count": [1, 2]}))  # fmt: skip
    merged = whole.at_level(1)
    assert (len(merged), merged.nodes.rows()) == (0, [("a", 3)])


def test_page_at_a_level(found):
    data = page_data(found, hierarchy_level=1)
    assert data["types"]["names"] == ["door", "engine", "radio"]
    assert data["types"]["n_components"] == 1
    pairs = {(data["types"]["names"][u], data["types"]["names"][v])
             for u, v in zip(data["links"]["cause"], data["links"]["effect"], strict=True)}  # fmt: skip
    assert pairs == set(by_hand(found.edges, 1, False))
    shown = data["cases"][0]
    events = found.case(shown["name"]).events
    assert [data["types"]["names"][i] for i in shown["events"]] == [event_at_level(name, 1) for name in events]


def test_commands(found, tmp_path):
    discover_to(WORLD, LOG, tmp_path / "r", progress=False)
    run = CliRunner()
    done = run.invoke(app, ["export", str(tmp_path / "r"), "--out", str(tmp_path / "g.csv"), "--hierarchy-level", "1"])
    assert done.exit_code == 0, done.output
    expected = found.summary(hierarchy_level=1).edges
    assert (
        pl.read_csv(tmp_path / "g.csv").select("cause", "effect", "n_cases").rows()
        == expected.select("cause", "effect", "n_cases").rows()
    )
    done = run.invoke(
        app, ["report", str(tmp_path / "r"), "--out", str(tmp_path / "p.html"), "--hierarchy-level", "2", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["bytes"] > 1000
    refused = run.invoke(
        app, ["export", str(tmp_path / "r"), "--out", str(tmp_path / "g.xes"), "--hierarchy-level", "1"]
    )
    assert refused.exit_code == 1
    assert "leave it out" in refused.stderr


def test_evidence_is_not_merged(tmp_path):
    graph = PopulationGraph(pl.DataFrame(), pl.DataFrame({"event": ["a|1"], "count": [1]}))
    with pytest.raises(ConfigError, match="sequela population --hierarchy-level 1"):
        export(graph, tmp_path / "g.csv", hierarchy_level=1)
