"""Graphs: tables, projections, exports."""

import json
import xml.etree.ElementTree as ET

import networkx as nx
import numpy as np
import polars as pl
import pytest

from sequela.effects.cmi import CMIEstimate
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary
from sequela.graphs.instance import InstanceGraph

NAMES = ('<script>alert("x")</script>', "b & 'c'", "bell\x07 ünï")
WORDS = Vocabulary(NAMES, (1, 1, 1))
IDS = np.array([0, 1, 0, 2, 1], np.int32)
EDGES = {(0, 1): 0.5, (0, 2): 0.25, (2, 4): 0.125, (3, 4): 1.0}


def graph(edges=EDGES, times=True):
    cmi = np.full((5, 3), 0.01)
    keep = np.zeros((5, 3), dtype=bool)
    for (cause, effect), value in edges.items():
        cmi[cause, effect - cause - 1] = value
        keep[cause, effect - cause - 1] = True
    estimate = CMIEstimate(cmi, cmi / 10, -cmi, cmi, cmi, None)
    case = Case("k", IDS, np.arange(5.0) if times else None)
    return InstanceGraph.from_estimate(case, WORDS, estimate, keep)


def test_table_is_keyed_by_position_and_sorted_by_effect():
    table = graph().edges
    assert table.select("cause_position", "effect_position", "lag").rows() == [
        (0, 1, 1),
        (0, 2, 2),
        (2, 4, 2),
        (3, 4, 1),
    ]
    assert table["cause"].to_list() == [NAMES[0], NAMES[0], NAMES[0], NAMES[2]]
    assert table["effect"].to_list() == [NAMES[1], NAMES[0], NAMES[1], NAMES[1]]
    assert table["cmi_nats"].to_list() == [0.5, 0.25, 0.125, 1.0]
    assert table["pointwise_nats"].to_list() == [-0.5, -0.25, -0.125, -1.0]


def test_summary_projects_and_drops_self_loops():
    summary = graph().summary()
    assert summary.edges.select("cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats_total").rows() == [
        (NAMES[2], NAMES[1], 1, 1, 1.0, 1.0),
        (NAMES[0], NAMES[1], 2, 1, 1.5, 0.625),
    ]
    assert summary.edges["cmi_nats"].to_list() == [1.0, 0.3125]
    assert dict(summary.nodes.iter_rows()) == {NAMES[0]: 2, NAMES[1]: 2, NAMES[2]: 1}
    assert (NAMES[0], NAMES[0]) in graph().summary(self_loops=True).edges.select("cause", "effect").rows()


@pytest.mark.parametrize("which", ["instance", "summary"])
def test_round_trips(which, tmp_path):
    made = graph() if which == "instance" else graph().summary()
    whole = made.to_networkx()
    made.to_parquet(tmp_path / "g.parquet")
    assert pl.read_parquet(tmp_path / "g.parquet").equals(made.edges)
    made.to_json(tmp_path / "g.json")
    again = nx.node_link_graph(json.loads((tmp_path / "g.json").read_text()), edges="edges")
    assert nx.utils.graphs_equal(again, whole)
    made.to_graphml(tmp_path / "g.graphml")
    ET.parse(tmp_path / "g.graphml")  # well-formed whatever the names hold
    read = nx.read_graphml(tmp_path / "g.graphml", node_type=int if which == "instance" else str)
    clean = "bell\\x07 ünï"
    if which == "instance":
        assert [read.nodes[i]["event"] for i in range(5)] == [clean if i == 2 else NAMES[i] for i in IDS]
        assert read.edges[3, 4]["cmi_nats"] == 1.0
    else:
        assert read.edges[clean, NAMES[1]]["n_edges"] == 1
    assert read.number_of_edges() == whole.number_of_edges() == len(made)


def test_networkx_without_times():
    assert "time" not in graph(times=False).to_networkx().nodes[0]
    assert graph().to_networkx().nodes[3]["time"] == 3.0


def test_empty():
    made = graph({})
    assert len(made) == len(made.summary()) == 0
    assert made.to_networkx().number_of_nodes() == 5
    assert made.n_tested == 15


def test_nothing_half_written(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="is a directory"):
        graph().to_json(tmp_path)
    monkeypatch.setattr(nx, "write_graphml", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        graph().to_graphml(tmp_path / "g.graphml")
    assert list(tmp_path.iterdir()) == []
