"""What CONTRIBUTING says of extending Sequela, tried: one piece of code and one line in a registry each."""

import sqlite3
from contextlib import closing, contextmanager

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.effects.designs import DESIGNS
from sequela.effects.thresholds import RULES, Fixed
from sequela.evaluation.baselines import Method
from sequela.events.readers import READERS
from sequela.events.readers.source import Table
from sequela.events.readers.sql import DATABASES
from sequela.execution import engines
from sequela.graphs.exports import GRAPH_WRITERS, export
from sequela.worlds import catalogue
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(5, horizon=2, sparsity=0.3, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(6, 8, seed=1)))


def test_a_file_format(tmp_path, monkeypatch):
    def read_words(source):
        with source.open() as file:
            rows = [line.split() for line in file.read().decode().splitlines()]
        frame = pl.DataFrame(rows, schema=["case", "event"], orient="row")
        return Table(frame.lazy(), source.name, len(rows))

    monkeypatch.setitem(READERS, ".words", read_words)
    (tmp_path / "log.words").write_text("a x\na y\n")
    assert sq.read_log(tmp_path / "log.words").events == ["x", "y"]


def test_a_database(monkeypatch):
    def own(uri):
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE log AS SELECT 1 AS 'case', 'x' AS event UNION ALL SELECT 1, 'y'")
        return closing(connection)

    monkeypatch.setitem(DATABASES, "own", own)
    log = sq.read_log("SELECT * FROM log", connection="own://host/shop")
    assert log.events == ["x", "y"]
    assert log.source == "query of shop"


def test_a_design(monkeypatch):
    def like_the_atomic_one(problem):
        return (yield from DESIGNS["atomic"](problem))

    expected = sq.estimate(WORLD, LOG.case("case-00000")).cmi
    monkeypatch.setitem(DESIGNS, "mine", like_the_atomic_one)
    assert np.array_equal(sq.estimate(WORLD, LOG.case("case-00000"), design="mine").cmi, expected, equal_nan=True)


def test_a_threshold(monkeypatch):
    monkeypatch.setitem(RULES, "mine", lambda given: Fixed(2 * given.delta))
    found = sq.discover(WORLD, LOG.case("case-00000"), threshold="mine", delta=0.01, screening=0)
    assert found.edges.height
    assert found.edges.equals(
        sq.discover(WORLD, LOG.case("case-00000"), threshold="fixed", tau=0.02, screening=0).edges
    )


def test_an_export(tmp_path, monkeypatch):
    def write_names(graph, path):
        path.write_text("\n".join(graph.edges["cause"]))

    monkeypatch.setitem(GRAPH_WRITERS, ".names", write_names)
    summary = sq.discover_log(WORLD, LOG, delta=0.01, progress=False).summary()
    export(summary, tmp_path / "graph.names")
    assert (tmp_path / "graph.names").read_text().splitlines() == summary.edges["cause"].to_list()


def test_an_engine(tmp_path, monkeypatch):
    from sequela.discovery.stream import discover_to

    used = []

    @contextmanager
    def mine(workers):
        used.append(workers)
        yield engines.run_here

    monkeypatch.setitem(engines.ENGINES, "mine", mine)
    discover_to(WORLD, LOG, tmp_path / "out", engine="mine", workers=3, progress=False)
    assert used == [3]


def test_a_world(monkeypatch):
    def mine(n_types=4, *, seed=0):
        return SoftmaxWorld.random(n_types, horizon=1, seed=seed)

    monkeypatch.setitem(catalogue.WORLDS, "mine", mine)
    monkeypatch.setitem(catalogue._MAKERS, "mine", SoftmaxWorld.random)
    assert catalogue.make_world("mine", n_types=3, seed=2).vocabulary.n_types == 3


def test_a_baseline():
    class Nearest(Method):
        name, threshold = "nearest", 0.5

        def scores(self, ids, horizon):
            effect = np.arange(len(ids))[:, None] + np.arange(1, horizon + 1)
            return np.where(effect < len(ids), 1.0 / np.arange(1, horizon + 1), np.nan)

    edges = Nearest().edges(np.array([0, 1, 2], np.int32), 2)
    assert edges.tolist() == [[True, False], [True, False], [False, False]]


def test_a_column_of_a_result_has_a_unit_and_a_meaning(tmp_path):
    from sequela.graphs.schemas import EDGES

    found = sq.discover_log(WORLD, LOG, delta=0.01, progress=False)
    assert set(found.edges.columns) <= set(EDGES.columns) | {"case"}
    assert all(column.meaning for column in EDGES.columns.values())


@pytest.mark.parametrize("registry", [READERS, DESIGNS, RULES, GRAPH_WRITERS])
def test_registries_are_as_they_were(registry):
    assert not {"mine", ".words", ".names"} & set(registry)
