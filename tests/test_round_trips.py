"""Rows in are rows out, or rows reported: every reader and every export, beside a program that is not ours.

A format that is added to a registry must come into one of the tables here: by what writes or reads its files without
our code, or by the name of the test that does so elsewhere.
"""

import csv
import io
import json
from pathlib import Path

import networkx as nx
import polars as pl
import pyarrow.parquet as pq
import pytest

from formats import ROWS, WRITERS
from sequela.discovery.discover import discover_log
from sequela.errors import LogFormatError
from sequela.events.log import read_log
from sequela.events.readers import READERS
from sequela.graphs.exports import GRAPH_WRITERS, LOG_WRITERS, export
from sequela.worlds.softmax import SoftmaxWorld

HERE = Path(__file__).parent


def as_lines(rows):
    return "".join(f"{time} {case} {event!r}\n" for case, event, time in rows).encode()


WRITTEN = {
    **{suffix: WRITERS[suffix] for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".xes")},
    ".txt": WRITERS[".csv"],
    ".tab": WRITERS[".tsv"],
    ".ndjson": WRITERS[".jsonl"],
    ".pq": WRITERS[".parquet"],
    ".log": as_lines,
}
"""What writes `ROWS` in the formats of the readers that take any table."""
READ_ELSEWHERE = {
    ".json": "events/readers/test_spans.py::test_the_sdk_writes_and_we_read",
    ".otlp": "events/readers/test_spans.py::test_the_sdk_writes_and_we_read",
    ".jaeger": "events/readers/test_spans.py::test_the_sdk_writes_and_we_read",
    ".jsonocel": "events/readers/test_ocel.py::test_the_independent_program_reads_the_same",
    ".xmlocel": "events/readers/test_ocel.py::test_the_independent_program_reads_the_same",
    ".sqlite": "events/readers/test_ocel.py::test_the_independent_program_reads_the_same",
}
COUNTED = {
    ".graphml": lambda path: nx.read_graphml(path).number_of_edges(),
    ".gexf": lambda path: nx.read_gexf(path).number_of_edges(),
    ".json": lambda path: len(json.loads(path.read_text(encoding="utf-8"))["edges"]),
    ".csv": lambda path: len(list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))) - 1,
    ".parquet": lambda path: pq.read_table(path).num_rows,
}
"""What counts the edges of a file."""
WRITTEN_ELSEWHERE = {
    ".dot": "graphs/test_exports.py::test_graphviz_reads_dot_and_shows_the_names_as_they_are",
    ".gv": "graphs/test_exports.py::test_graphviz_reads_dot_and_shows_the_names_as_they_are",
    ".cypher": "graphs/test_exports.py::test_a_database_that_runs_the_cypher_holds_the_graph_and_nothing_else",
    ".xlsx": "graphs/test_exports.py::test_a_workbook_holds_the_edges_and_no_formula",
    ".xes": "graphs/test_exports.py::test_xes_reads_back_with_the_causes",
    ".jsonocel": "graphs/test_exports.py::test_ocel_reads_back_with_links_as_objects",
    ".otlp.json": "graphs/test_exports.py::test_otlp_is_what_the_protocol_reads_with_a_link_for_each_cause",
}


def test_every_format_is_in_a_table():
    assert set(WRITTEN) | set(READ_ELSEWHERE) == set(READERS)
    assert set(COUNTED) | set(WRITTEN_ELSEWHERE) == set(GRAPH_WRITERS) | set(LOG_WRITERS)
    for where in {**READ_ELSEWHERE, **WRITTEN_ELSEWHERE}.values():
        file, _, name = where.partition("::")
        assert f"def {name}(" in (HERE / file).read_text(encoding="utf-8"), where


def read(path):
    if path.suffix == ".log":
        return read_log(path, lines=r"(?P<time>\d+) (?P<case>\w+) (?P<event>.+)", case="case", event="event")
    return read_log(path, case="case:case" if path.suffix == ".xes" else "case", event="event", time="time")


@pytest.mark.parametrize("suffix", WRITTEN)
def test_rows_that_another_library_wrote_are_all_read(suffix, tmp_path):
    rows = ROWS + [(f"c{number % 7}", f"e{number % 5}", str(number)) for number in range(300)]
    path = tmp_path / f"log{suffix}"
    path.write_bytes(WRITTEN[suffix](rows))
    log = read(path)
    got = sorted((case, event, f"{time:g}") for case, event, time in log.frame.select("case", "event", "time").rows())
    expected = [(case, repr(event) if suffix == ".log" else event, time) for case, event, time in rows]
    assert got == sorted(expected)
    assert log.n_events == len(rows)


@pytest.mark.parametrize("suffix", sorted(set(WRITTEN) - {".log"}))
def test_rows_that_cannot_be_taken_are_reported_by_number(suffix, tmp_path):
    """The fourth row has no event: nothing is left out in silence."""
    rows = [*ROWS[:3], ("b", "", "3.5"), *ROWS[3:]]
    path = tmp_path / f"log{suffix}"
    path.write_bytes(WRITTEN[suffix](rows))
    with pytest.raises(LogFormatError, match="row 4"):
        read(path)


@pytest.mark.parametrize("suffix", COUNTED)
def test_edges_are_all_in_the_file(suffix, tmp_path):
    world = SoftmaxWorld.random(5, horizon=2, decay=0.2, seed=0)
    found = discover_log(world, read_log(world.to_log(world.sample(20, 8, seed=1))), delta=0.001, progress=False)
    for hierarchy_level, graph in ((None, found.summary()), (None, found.case(found.events["case"][0]))):
        export(graph, tmp_path / f"graph{suffix}", hierarchy_level=hierarchy_level)
        assert COUNTED[suffix](tmp_path / f"graph{suffix}") == graph.edges.height > 0


def test_rows_of_a_frame_are_all_read():
    frame = pl.DataFrame(ROWS, schema=["case", "event", "time"], orient="row")
    for given in (frame, frame.lazy(), frame.to_pandas()):
        assert read_log(given, case="case", event="event", time="time").n_events == len(ROWS)
