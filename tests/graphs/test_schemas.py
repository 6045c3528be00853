"""Schemas: every table that is handed out fits its own, and the docs say the same."""

from pathlib import Path

import polars as pl
import pytest

import sequela as sq
from sequela.errors import LogFormatError
from sequela.evidence.links import LAG_SCHEMA, POPULATION_SCHEMA
from sequela.graphs.schemas import EDGES, EVENTS, INSTANCE, LAGS, NODES, PLACES, POPULATION, ROOTS, SUMMARY, TABLES
from sequela.worlds.softmax import SoftmaxWorld

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"
WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.2, sparsity=0.5, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(10, 8, seed=1)))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_docs_hold_every_table(table):
    assert table.markdown() in PAGE.read_text()
    for name, column in table.columns.items():
        assert column.meaning.endswith("."), name
        if name.endswith("_nats") or name == "std_error":
            assert column.unit == "nats", name


@pytest.mark.parametrize("statistic", ["kl_of_mean", "both"])
def test_what_is_handed_out_fits(statistic):
    found = sq.discover_log(WORLD, LOG, statistic=statistic, progress=False)
    graph = found.case(LOG.case_names[0])
    for table, frame in [
        (EDGES, found.edges), (EVENTS, found.events), (NODES, found.nodes), (PLACES, found.places),
        (SUMMARY, found.summary().edges), (INSTANCE, graph.edges), (ROOTS, graph.root_causes(-1)),
    ]:  # fmt: skip
        assert table.check(frame, "x") is frame
        assert set(frame.columns) <= set(table.columns)
        assert set(table.schema) <= set(frame.columns)


def test_evidence_writes_the_same_columns():
    # Those of earlier versions lack some columns.
    assert pl.Schema({name: column.kind for name, column in POPULATION.columns.items()}) == POPULATION_SCHEMA
    assert LAGS.schema == LAG_SCHEMA


def test_what_does_not_fit_is_named():
    good = pl.DataFrame({"event": ["a"], "count": [1]})
    assert NODES.check(good.with_columns(more=pl.lit(1)), "f") is not None
    for bad, says in [
        (good.drop("count"), "f has no column 'count': Its events in the log."),
        (good.cast({"count": pl.Int8}), "f: the column 'count' must be of type Int64; got Int8"),
        (good.with_columns(event=pl.lit(None, pl.String)), "f: the column 'event' lacks 1 values"),
    ]:
        with pytest.raises(LogFormatError) as caught:
            NODES.check(bad, "f")
        assert str(caught.value) == says
