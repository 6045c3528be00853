"""Files for other programs: what they read back is what was found, whatever the names hold."""

import base64
import importlib.util
import json
import math
import shutil
import subprocess
import xml.etree.ElementTree as ET

import networkx as nx
import numpy as np
import polars as pl
import pytest

from sequela.discovery.discover import discover_log
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError, LogFormatError, MissingExtraError
from sequela.events.log import read_log
from sequela.graphs.exports import LOG_WRITERS, export
from sequela.graphs.exports.annotate import annotate
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.summary import SummaryGraph
from sequela.worlds.softmax import SoftmaxWorld

NAMES = [
    '<script>alert("x")</script>',
    "a & b &amp; &lt;i&gt;",
    "back\\slash \\N \\",
    "=HYPERLINK(1)",
    "bell\x07 ünï\ufffe",
    "two\nlines\r",
    "[red]x[/red] $a_b$",
]
HAS_R4PM = pytest.mark.skipif(importlib.util.find_spec("r4pm") is None, reason="the extra 'xes' is not installed")
HAS_DOT = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz (dot) is not installed")
EDGES = pl.DataFrame(
    {
        "cause_position": [0, 1, 0, 4, 2],
        "effect_position": [1, 2, 3, 5, 6],
        "lag": [1, 1, 3, 1, 4],
        "cmi_nats": [0.5, 0.25, 0.125, 1.5, 0.0625],
        "std_error": [0.0, 0.01, math.nan, 0.02, 0.0],
        "pointwise_nats": [0.4, -0.2, 0.1, 1.0, 0.3],
    }
).with_columns(
    pl.Series("cause", [NAMES[i] for i in (0, 1, 0, 4, 2)]), pl.Series("effect", [NAMES[i] for i in (1, 2, 3, 5, 6)])
)
INSTANCE = InstanceGraph("case <1>", tuple(NAMES), EDGES, times=tuple(1.7e9 + 0.25 * i for i in range(7)))
SUMMARY = INSTANCE.summary()
POPULATION = PopulationGraph(
    pl.DataFrame(
        [
            (NAMES[0], NAMES[1], 9, 20, 1, 0.5, 0.1, math.inf, -0.3, 3.0, 0.001, True, None),
            (NAMES[2], NAMES[4], 1, 2, 2, 0.4, 0.2, 0.6, 0.3, 2.0, 0.01, True, "uncertain: \x1b[2J"),
            (NAMES[3], NAMES[5], 1, 2, 2, 0.01, 0.0, 0.1, 0.3, -2.0, 1.0, False, None),
        ],
        schema=POPULATION_SCHEMA,
        orient="row",
    ),
    SUMMARY.nodes,
)
GRAPHS = {"instance": INSTANCE, "summary": SUMMARY, "population": POPULATION}
SPELLED = {NAMES[4]: "bell\\x07 ünï\\ufffe", NAMES[5]: "two\nlines\\x0d"}


def spelled(name):
    return SPELLED.get(name, name)


@pytest.mark.parametrize("which", GRAPHS)
def test_graphml_has_labels_and_weights_and_reads_back(which, tmp_path):
    graph = GRAPHS[which]
    graph.to_graphml(tmp_path / "g.graphml")
    ET.parse(tmp_path / "g.graphml")  # well-formed whatever the names hold
    read = nx.read_graphml(tmp_path / "g.graphml", node_type=int if which == "instance" else str)
    whole = graph.to_networkx()
    assert read.number_of_edges() == len(graph) > 0
    assert read.number_of_nodes() == 7
    for node, data in whole.nodes(data=True):
        assert read.nodes[spelled(node)]["label"] == spelled(data.get("event", node))
    for cause, effect, data in whole.edges(data=True):
        found = read.edges[spelled(cause), spelled(effect)]
        assert found["weight"] == data.get("cmi_nats_total", data["cmi_nats"])
        for name, value in data.items():
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                assert name not in found
            else:
                assert found[name] == (spelled(value) if name != "mark" else "uncertain: \\x1b[2J")
    header = (tmp_path / "g.graphml").read_text(encoding="utf-8")
    assert 'attr.name="weight" attr.type="double"' in header
    assert 'attr.name="label" attr.type="string"' in header
    assert "True" not in header


@pytest.mark.parametrize("which", GRAPHS)
def test_gexf_reads_back_and_holds_no_date(which, tmp_path):
    graph = GRAPHS[which]
    graph.to_gexf(tmp_path / "g.gexf")
    read = nx.read_gexf(tmp_path / "g.gexf", node_type=int if which == "instance" else str)
    whole = graph.to_networkx()
    assert (read.number_of_nodes(), read.number_of_edges()) == (7, len(graph))
    for node, data in whole.nodes(data=True):
        assert read.nodes[spelled(node)]["label"] == spelled(data.get("event", node))
    for cause, effect, data in whole.edges(data=True):
        found = read.edges[spelled(cause), spelled(effect)]
        assert found["weight"] == data.get("cmi_nats_total", data["cmi_nats"])
        assert found["pointwise_nats"] == data["pointwise_nats"]
    meta = ET.parse(tmp_path / "g.gexf").find("{*}meta")
    assert meta is not None
    assert meta.attrib == {}


INJECTIONS = [
    "'}) DETACH DELETE (n) //",
    "\\'}) DETACH DELETE (n) //",
    "\\u0027}) //",
    "\\\\u0027",
    "x'; DROP TABLE Event;",
    "`",
    "*/",
]


@pytest.mark.parametrize("which", ["instance", "summary", "names"])
def test_a_database_that_runs_the_cypher_holds_the_graph_and_nothing_else(which, tmp_path):
    ladybug = pytest.importorskip("ladybug")
    graph = GRAPHS.get(which)
    if graph is None:
        n = len(INJECTIONS)
        edges = EDGES.head(1).with_columns(lag=pl.lit(1))
        edges = pl.concat([edges.with_columns(cause_position=i, effect_position=i + 1) for i in range(n - 1)])
        graph = InstanceGraph(INJECTIONS[0], tuple(INJECTIONS), edges)
    graph.to_cypher(tmp_path / "g.cypher")
    constraint, *statements = (tmp_path / "g.cypher").read_text(encoding="utf-8").splitlines()
    whole = graph.to_networkx()
    assert len(statements) == whole.number_of_nodes() + whole.number_of_edges()  # no name begins a line of its own
    assert constraint.startswith("CREATE CONSTRAINT")
    of_case = isinstance(graph, InstanceGraph)
    label, edge = ("Event", "CAUSED") if of_case else ("EventType", "CAUSES")
    keys = (
        "case_name STRING, position INT64, key SERIAL PRIMARY KEY, event STRING, time DOUBLE"
        if of_case
        else "name STRING PRIMARY KEY, count INT64"
    )
    kinds = {str: "STRING", bool: "BOOLEAN", int: "INT64", float: "DOUBLE"}
    (*_, data), *_ = whole.edges(data=True)
    columns = "".join(f", {name} {kinds[type(value)]}" for name, value in data.items() if value is not None)
    with ladybug.Database(":memory:") as database, ladybug.Connection(database) as connection:
        connection.execute(f"CREATE NODE TABLE {label}({keys})")
        connection.execute(f"CREATE REL TABLE {edge}(FROM {label} TO {label}{columns})")
        for _ in range(2):  # twice gives the same
            for statement in statements:
                connection.execute(statement)
        asked = "n.position, n.event" if of_case else "n.name"
        found = sorted(connection.execute(f"MATCH (n:{label}) RETURN {asked}").get_all())
        if of_case:
            assert found == [[position, cypher_spelled(name)] for position, name in enumerate(graph.events)]
        else:
            assert found == sorted([cypher_spelled(name)] for name in whole)
        asked = "a.position, b.position" if of_case else "a.name, b.name"
        edges = connection.execute(f"MATCH (a)-[r:{edge}]->(b) RETURN {asked}, r.cmi_nats, r.pointwise_nats").get_all()
    expected = [(data["cmi_nats"], data["pointwise_nats"]) for *_, data in whole.edges(data=True)]
    assert sorted(row[2:] for row in edges) == sorted(map(list, expected))


def cypher_spelled(name):
    return {NAMES[4]: "bell\\x07 ünï\\ufffe"}.get(name, name)


@pytest.mark.parametrize("which", GRAPHS)
def test_a_workbook_holds_the_edges_and_no_formula(which, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    graph = GRAPHS[which]
    graph.to_xlsx(tmp_path / "g.xlsx")
    (sheet,) = openpyxl.load_workbook(tmp_path / "g.xlsx").worksheets
    heading, *rows = sheet.iter_rows()
    assert [cell.value for cell in heading] == graph.edges.columns
    assert len(rows) == len(graph)
    for cells, row in zip(rows, graph.edges.iter_rows(named=True), strict=True):
        for cell, (name, value) in zip(cells, row.items(), strict=True):
            assert cell.data_type != "f"
            assert cell.hyperlink is None
            lost = isinstance(value, float) and not math.isfinite(value)
            assert cell.value == (
                None if lost else "uncertain: \\x1b[2J" if name == "mark" and value else spelled(value)
            )
            if isinstance(value, str):
                assert cell.quotePrefix


def test_a_workbook_that_excel_would_cut_is_refused(tmp_path):
    pytest.importorskip("xlsxwriter")
    edges = SUMMARY.edges.head(1).with_columns(pl.lit("x" * 40_000).alias("cause"))
    with pytest.raises(ConfigError, match=r"40,000 characters do not fit.*\.csv"):
        SummaryGraph(edges, SUMMARY.nodes).to_xlsx(tmp_path / "g.xlsx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", GRAPHS)
def test_json_is_strict_and_reads_back(which, tmp_path):
    graph = GRAPHS[which]
    graph.to_json(tmp_path / "g.json")

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"), parse_constant=refuse)
    read = nx.node_link_graph(data, edges="edges")
    whole = graph.to_networkx()
    assert list(read.nodes(data=True)) == list(whole.nodes(data=True))
    for cause, effect, values in whole.edges(data=True):
        for name, value in values.items():
            lost = isinstance(value, float) and not math.isfinite(value)
            assert read.edges[cause, effect][name] == (None if lost else value)


def test_csv_does_not_run_in_a_spreadsheet_and_reads_back_without_the_guard(tmp_path):
    SUMMARY.to_csv(tmp_path / "g.csv")
    read = pl.read_csv(tmp_path / "g.csv")
    expected = [f"'{name}" if name[0] in "=+-@\t\r" else name for name in SUMMARY.edges["effect"]]
    assert read["effect"].to_list() == expected
    assert "'=HYPERLINK(1)" in expected
    assert read["cmi_nats"].to_list() == SUMMARY.edges["cmi_nats"].to_list()
    SUMMARY.to_csv(tmp_path / "raw.csv", guard=False)
    assert pl.read_csv(tmp_path / "raw.csv", schema=SUMMARY.edges.schema).equals(SUMMARY.edges)
    POPULATION.to_parquet(tmp_path / "g.parquet")
    assert pl.read_parquet(tmp_path / "g.parquet").equals(POPULATION.edges)


@pytest.mark.parametrize(
    "start", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
)
def test_every_start_of_a_formula_is_guarded(start, tmp_path):
    edges = SUMMARY.edges.head(1).with_columns(pl.lit(start).alias("cause"))
    SummaryGraph(edges, SUMMARY.nodes).to_csv(tmp_path / "g.csv")
    assert pl.read_csv(tmp_path / "g.csv")["cause"][0] == "'" + start


@HAS_DOT
@pytest.mark.parametrize("which", GRAPHS)
def test_graphviz_reads_dot_and_shows_the_names_as_they_are(which, tmp_path):
    graph = GRAPHS[which]
    graph.to_dot(tmp_path / "g.dot")
    drawn = subprocess.run(["dot", "-Tsvg", tmp_path / "g.dot"], capture_output=True, text=True, check=True)
    assert drawn.stderr == ""
    svg = ET.fromstring(drawn.stdout)
    groups = {kind: svg.findall(f".//{{*}}g[@class='{kind}']") for kind in ("node", "edge")}
    assert len(groups["edge"]) == len(graph)
    shown = ["\n".join(text.text or "" for text in group.findall("{*}text")) for group in groups["node"]]
    expected = [spelled(name) for name in NAMES]
    if which == "instance":
        expected = [f"{name}\n{position}" for position, name in enumerate(expected)]
    assert sorted(shown) == sorted(expected)
    plain = subprocess.run(["dot", "-Tjson", tmp_path / "g.dot"], capture_output=True, text=True, check=True)
    values = sorted(float(edge["cmi_nats"]) for edge in json.loads(plain.stdout)["edges"])
    assert values == sorted(graph.edges["cmi_nats"])


def test_dot_of_an_empty_graph(tmp_path):
    InstanceGraph("a", (), EDGES.clear()).to_dot(tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text().splitlines()[-1] == "}"


def test_annotation_by_hand():
    events, edges = INSTANCE._log()
    more = pl.concat(
        [
            edges,
            edges.filter(pl.col("cause_position") == 1).with_columns(
                cause_position=pl.lit(0, pl.Int64), cause=pl.lit(NAMES[0]), cmi_nats=pl.lit(0.3)
            ),
        ]
    )
    found = annotate(events, more)
    assert found.select("n_causes", "n_effects", "causes").rows() == [
        (0, 3, ""), (1, 1, "0"), (2, 1, "0 1"), (1, 0, "0"), (0, 1, ""), (1, 0, "4"), (1, 0, "2"),
    ]  # fmt: skip
    assert found["main_cause"].to_list() == [None, NAMES[0], NAMES[0], NAMES[0], None, NAMES[4], NAMES[2]]
    assert found["main_cause_nats"].to_list() == [None, 0.5, 0.3, 0.125, None, 1.5, 0.0625]


def two_cases():
    events, edges = INSTANCE._log()
    other = events.with_columns(pl.lit("b").alias("case"))
    return Discovery(edges, SUMMARY.nodes, {}, pl.concat([events, other]))


@HAS_R4PM
@pytest.mark.parametrize("with_times", [True, False])
def test_xes_reads_back_with_the_causes(with_times, tmp_path):
    import r4pm

    found = two_cases()
    if not with_times:
        found = Discovery(found.edges, found.nodes, {}, found.events.drop("time"))
    found.to_xes(tmp_path / "log.xes")
    assert [path.name for path in tmp_path.iterdir()] == ["log.xes"]
    read = r4pm.df.import_xes(str(tmp_path / "log.xes"))[0]
    expected = annotate(found.events, found.edges)
    assert read["case:concept:name"].to_list() == expected["case"].to_list()
    assert read["concept:name"].to_list() == [spelled(name) for name in expected["event"]]
    for name in ("position", "n_causes", "n_effects", "causes", "main_cause_nats"):
        assert read[f"sequela:{name}"].to_list() == expected[name].to_list()
    assert ("time:timestamp" in read.columns) == with_times
    log = read_log(tmp_path / "log.xes")  # and by our own reader, as any log
    if with_times:
        assert np.allclose(log.frame["time"], found.events.sort("case", "time", maintain_order=True)["time"], atol=1e-3)


@HAS_R4PM
def test_ocel_reads_back_with_links_as_objects(tmp_path):
    import r4pm

    found = two_cases()
    found.to_ocel(tmp_path / "log.jsonocel")
    read = r4pm.df.import_ocel_json(str(tmp_path / "log.jsonocel"))
    events = read["events"].sort("ocel:eid")
    assert events["ocel:activity"].to_list() == NAMES * 2
    assert events["ocel:eid"].to_list() == [f"{case}/{i}" for case in ("b", "case <1>") for i in range(7)]
    links = read["objects"].filter(pl.col("ocel:type") == "causal link").sort("ocel:oid")
    assert links["cmi_nats"].sort().to_list() == found.edges["cmi_nats"].sort().to_list()
    ends = read["relations"].filter(pl.col("ocel:type") == "causal link")
    pairs = {
        (cause, effect)
        for _, group in ends.group_by("ocel:oid")
        for cause in group.filter(pl.col("ocel:qualifier") == "cause")["ocel:eid"]
        for effect in group.filter(pl.col("ocel:qualifier") == "effect")["ocel:eid"]
    }
    assert pairs == {
        (f"case <1>/{a}", f"case <1>/{b}") for a, b in EDGES.select("cause_position", "effect_position").rows()
    }
    assert read["objects"].filter(pl.col("ocel:type") == "case").height == 2


def test_otlp_is_what_the_protocol_reads_with_a_link_for_each_cause(tmp_path):
    trace = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")
    found, kept = two_cases(), "4BF92F3577B34DA6A3CE929D0E0E4736"
    events = found.events.with_columns(pl.col("case").replace("b", kept))
    Discovery(found.edges, found.nodes, {}, events).to_otlp(tmp_path / "log.otlp.json")
    plain = json.loads((tmp_path / "log.otlp.json").read_text(encoding="utf-8"))
    for span in plain["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for each in (span, *span["links"]):  # plain protobuf JSON has identifiers in base 64
            each |= {name: base64.b64encode(bytes.fromhex(each[name])).decode() for name in ("traceId", "spanId")}
    read = json_format.ParseDict(plain, trace.TracesData())
    spans = read.resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans] == NAMES * 2
    assert {span.trace_id.hex() for span in spans[7:]} == {kept.lower()}
    assert len({span.trace_id for span in spans}) == 2
    assert {(len(span.trace_id), len(span.span_id)) for span in spans} == {(16, 8)}
    assert len({span.span_id for span in spans}) == 14
    assert [span.start_time_unix_nano for span in spans[:7]] == [round(1.7e18 + 2.5e8 * i) for i in range(7)]
    position = {span.span_id: number for number, span in enumerate(spans[:7])}
    links = {
        (position[link.span_id], number): {each.key: each.value for each in link.attributes}
        for number, span in enumerate(spans) for link in span.links
    }  # fmt: skip
    assert {pair: round(known["sequela.cmi_nats"].double_value, 9) for pair, known in links.items()} == {
        (row["cause_position"], row["effect_position"]): row["cmi_nats"] for row in EDGES.iter_rows(named=True)
    }
    assert links[2, 6]["sequela.lag"].int_value == 4
    assert links[2, 6]["sequela.cause"].string_value == NAMES[2]
    assert all(link.trace_id == span.trace_id for span in spans for link in span.links)


@pytest.mark.parametrize("trace", [None, "4BF92F3577B34DA6A3CE929D0E0E4736"])
def test_otlp_links_lead_to_the_spans_that_events_were(trace, tmp_path):
    found = two_cases()
    spans = [f"{number:016X}" for number in range(1, 15)]
    spans[3], spans[4] = "no identifier", None
    events = found.events.with_columns(pl.Series("span", spans), pl.lit(trace).alias("trace"))
    events = events if trace else events.drop("trace").with_columns(pl.col("case").replace("b", "a" * 32))
    Discovery(found.edges, found.nodes, {}, events).to_otlp(tmp_path / "log.otlp.json")
    written = json.loads((tmp_path / "log.otlp.json").read_text(encoding="utf-8"))
    made = written["resourceSpans"][0]["scopeSpans"][0]["spans"]
    known = [i for i in range(14) if i not in (3, 4) and (trace or i >= 7)]  # "case <1>" is no trace
    assert [i for i, span in enumerate(made) if "parentSpanId" in span] == known
    for i in known:
        assert made[i]["parentSpanId"] == spans[i].lower() != made[i]["spanId"]
        assert made[i]["traceId"] == (trace.lower() if trace else "a" * 32)
    for effect, cause, *_ in EDGES.select("effect_position", "cause_position").rows():
        causes = {link["spanId"] for link in made[effect]["links"]}
        assert (spans[cause].lower() if cause in known else made[cause]["spanId"]) in causes


def test_logs_that_cannot_be_written_say_so(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="needs a time"):
        InstanceGraph("a", ("x",), EDGES.clear()).to_ocel(tmp_path / "x.jsonocel")
    with pytest.raises(ConfigError, match="after 1970"):
        InstanceGraph("a", ("x",), EDGES.clear(), times=(-1.0,)).to_otlp(tmp_path / "x.otlp.json")
    with pytest.raises(ConfigError, match="holds no events"):
        export(SUMMARY, tmp_path / "x.xes")
    with pytest.raises(LogFormatError, match="run discover again"):
        Discovery(EDGES, SUMMARY.nodes, {}).to_xes(tmp_path / "x.xes")
    with pytest.raises(ConfigError, match=r"\.graphml.*did you mean '\.json'"):
        export(SUMMARY, tmp_path / "x.jsn")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"sequela\[xes\]"):
        INSTANCE.to_xes(tmp_path / "x.xes")
    with pytest.raises(MissingExtraError, match=r"sequela\[xlsx\]"):
        INSTANCE.to_xlsx(tmp_path / "x.xlsx")
    with pytest.raises(MissingExtraError, match=r"sequela\[pandas\]"):
        INSTANCE.to_pandas()
    assert list(tmp_path.iterdir()) == []


def test_pandas_has_the_same_edges():
    pytest.importorskip("pandas")
    assert pl.from_pandas(SUMMARY.to_pandas()).equals(SUMMARY.edges)
    assert two_cases().to_pandas()["effect"].tolist() == EDGES["effect"].to_list()


@pytest.mark.parametrize(
    "suffix", [".graphml", ".gexf", ".dot", ".gv", ".cypher", ".json", ".csv", ".parquet", ".jsonocel", ".otlp.json"]
)
def test_the_suffix_chooses_and_a_folder_gives_what_memory_gives(suffix, tmp_path):
    world = SoftmaxWorld.random(5, horizon=2, decay=0.2, sparsity=0.3, weight_scale=2.0, seed=3)
    log = read_log(world.to_log(world.sample(4, 8, seed=1)))
    saved = discover_to(world, log, tmp_path / "out", progress=False)
    found = discover_log(world, log, progress=False)
    written = export(saved, tmp_path / f"a{suffix}")
    assert written is (saved if suffix in LOG_WRITERS else saved.summary())
    export(found if suffix in LOG_WRITERS else saved.summary(), tmp_path / f"b{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert len(saved.summary()) > 3
