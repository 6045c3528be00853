"""The page's file: self-contained, complete, and safe whatever the event names are."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError, LogFormatError
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.summary import SummaryGraph
from sequela.reports.page import render, report
from sequela.reports.payload import DEFAULT_CASES, MAX_CANDIDATES, page_data
from sequela.reports.words import made_by, trust
from sequela.worlds.softmax import SoftmaxWorld

NASTY = [
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(2)">',
    "<b onclick=alert(3)> & \u2028 %%DATA%%",
    "</script><script>alert(4)//'\"\\",
]


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.text = [], [], []
        self.inside = None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append([dict(attrs).get("type"), ""])

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside == "script":
            self.scripts[-1][1] += text
        elif self.inside != "style":
            self.text.append(text)


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def data_of(text):
    (data,) = [json.loads(content) for kind, content in read(text).scripts if kind == "application/json"]
    return data


@pytest.fixture(scope="module")
def world():
    return SoftmaxWorld.random(4, horizon=3, decay=0.2, sparsity=0.3, seed=3, names=NASTY)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("found") / "results"
    log = sq.read_log(world.to_log(world.sample(15, (8, 20), seed=1), seed=1))
    discover_to(world, log, out, progress=False)
    return out


def test_page_holds_what_was_found(folder, tmp_path):
    path = report(folder, tmp_path / "page.html")
    data = data_of(path.read_text(encoding="utf-8"))
    saved = sq.load_discovery(folder)
    assert data["types"]["names"] == saved.nodes["event"].to_list()
    assert data["types"]["counts"] == saved.nodes["count"].to_list()
    names = data["types"]["names"]
    links = data["links"]
    assert [(names[c], names[e]) for c, e in zip(links["cause"], links["effect"], strict=True)] == list(
        saved.summary.edges.select("cause", "effect").iter_rows()
    )
    assert links["values"]["cmi_nats"] == pytest.approx(saved.summary.edges["cmi_nats"].to_list(), rel=1e-3)
    assert links["n_links"] == len(saved.summary)
    assert len(data["cases"]) == DEFAULT_CASES
    first = data["cases"][0]
    graph = saved.case(first["name"])
    assert [names[i] for i in first["events"]] == list(graph.events)
    assert first["times"] == pytest.approx(graph.times, abs=1e-3)
    assert first["cause"] == graph.edges["cause_position"].to_list()
    assert first["std_error"] == pytest.approx(graph.edges["std_error"].to_list(), rel=1e-3)
    counts = saved.edges.collect().group_by("case").len()
    assert first["n_edges"] == counts["len"].max()


def test_names_cannot_leave_the_data(folder, tmp_path):
    text = report(folder, tmp_path / "page.html", title="<b>x</b> & %%SCRIPTS%%").read_text(encoding="utf-8")
    reader = read(text)
    assert "<script>alert" not in text
    assert not [attributes for tag, attributes in reader.tags if tag in ("img", "b")]
    assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
    names = set(data_of(text)["types"]["names"])
    assert len(names) >= 2
    assert names <= set(NASTY)
    assert "<b>x</b> & %%SCRIPTS%%" in reader.text


def test_policy_allows_our_scripts_only_and_no_network(folder, tmp_path):
    text = report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    reader = read(text)
    (policy,) = [
        attributes["content"]
        for tag, attributes in reader.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [content for kind, content in reader.scripts if kind is None]
    assert {base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in code} == allowed
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert not [tag for tag, attributes in reader.tags if "src" in attributes or tag in ("link", "iframe")]


def test_size_of_2000_links_is_under_3_mb(tmp_path):
    names = [f"component {i % 40}|{i:05d}|warning" for i in range(500)]
    rows = [(names[i % 500], names[(i * 7 + i // 500) % 500], 3, 2, 1.5, 0.123456, 0.4, -0.3) for i in range(2000)]
    edges = pl.DataFrame(
        rows,
        schema=["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats"],
        orient="row",
    )
    graph = SummaryGraph(edges, pl.DataFrame({"event": names, "count": [5] * 500}))
    path = report(graph, tmp_path / "page.html")
    assert path.stat().st_size < 3e6
    data = data_of(path.read_text(encoding="utf-8"))
    assert data["types"]["parts"] == 3
    assert data["trust"][0]["text"] == "How this graph was made is not recorded in it."


def population(rows):
    columns = {
        "support_cases": 9, "support": 20, "lag": 1, "cmi_low_nats": 0.1, "cmi_high_nats": 0.3, "pointwise_nats": 0.5,
        "log10_e": 3.0, "q_value": 0.01, "mark": None,
    }  # fmt: skip
    pairs = pl.DataFrame([row | columns for row in rows], schema=POPULATION_SCHEMA)
    run = {"arguments": {"fdr": 0.05, "delta": 0.05, "design": "atomic", "seed": 0}, "counts": {"n_cases": 9}}
    return PopulationGraph(pairs, pl.DataFrame({"event": ["a", "b"], "count": [5, 6]}), run)


def test_population_page_has_links_and_the_strongest_other_pairs():
    edge = {"cause": "a", "effect": "b", "cmi_nats": 0.2, "is_edge": True}
    other = {"cause": "b", "effect": "a", "cmi_nats": 0.01, "is_edge": False}
    untested = {"cause": "b", "effect": "b", "cmi_nats": math.nan, "is_edge": False}
    data = page_data(population([edge] * 3 + [other] * (MAX_CANDIDATES + 5) + [untested]), max_links=2)
    assert data["links"]["values"]["is_edge"] == [True] * 2 + [False] * MAX_CANDIDATES
    assert data["links"]["n_links"] == 3
    assert data["links"]["q"] == "q_value"
    assert any("at most 5 %" in sentence["text"] for sentence in data["trust"])
    assert data["cases"] == []


def test_cases_by_name(folder):
    saved = sq.load_discovery(folder)
    assert [case["name"] for case in page_data(saved, cases=["case-00003"])["cases"]] == ["case-00003"]
    with pytest.raises(LogFormatError, match="no case 'nobody'"):
        page_data(saved, cases=["nobody"])
    with pytest.raises(ConfigError, match="cases can be shown only"):
        page_data(saved.summary, cases=["case-00003"])
    with pytest.raises(ConfigError, match="list of names"):
        report(saved, "x.html", cases="case-00003")


def test_one_case_and_a_discovery(world, tmp_path):
    log = sq.read_log(world.to_log(world.sample(3, 10, seed=1), seed=1))
    graph = sq.discover(world, log.case("case-00001"))
    data = page_data(graph)
    assert data["title"] == "Case case-00001"
    assert data["cases"][0]["n_edges"] == len(graph)
    found = sq.discover_log(world, log, progress=False)
    assert len(page_data(found)["cases"]) == 3
    assert report(found, tmp_path / "a" / "page.html").is_file()


def test_case_without_edges():
    graph = InstanceGraph("", ("a", "b"), pl.DataFrame(schema=INSTANCE_SCHEMA), n_tested=1)
    data = data_of(render(page_data(graph)))
    assert data["links"]["cause"] == []
    assert data["cases"][0]["cause"] == []


@pytest.mark.parametrize(
    ("report_of_density", "level", "words"),
    [
        ((2.0, 2.5, 2.3, 2.2, 0.05), "good", "better than simple counting"),
        ((2.0, 2.5, 2.3, 2.02, 0.05), "warning", "only a little better"),
        ((2.3, 2.5, 2.3, 2.2, 0.05), "warning", "not to be trusted"),
    ],
)
def test_trust_says_whether_the_model_is_any_good(report_of_density, level, words):
    keys = ("cross_entropy", "unigram", "bigram", "trigram", "gain_std_error")
    record = dict(zip(keys, report_of_density, strict=True)) | {"n_events": 100, "n_cases": 1}
    first = trust({"density": {"report": record}})[0]
    assert (first.level, words in first.text) == (level, True)


def test_trust_tells_what_was_folded_skipped_and_tied():
    run = {
        "arguments": {"horizon": 8, "context": 1, "design": "masked", "threshold": {"rule": "Fixed", "tau": 0.1}},
        "counts": {"n_rare_events": 1, "n_unknown_events": 3, "n_cases_skipped": 2, "n_clamped": 4},
        "log": {"n_ties": 20, "n_events": 100},
    }
    text = " ".join(sentence.text for sentence in trust(run))
    for part in (
        "8 events",
        "first 1 event ",
        "1 event of rare",
        "3 events of types",
        "2 cases have",
        "4 prob",
        "20 %",
    ):
        assert part in text
    assert "hiding an event passed the rule Fixed (tau 0.1)" in text
    assert [sentence.level for sentence in trust(run)].count("warning") == 2
    assert made_by({"arguments": {"seed": 3}, "versions": {"torch": "2"}}) == "seed 3, torch 2"


def test_command(folder, tmp_path):
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(folder), "--out", str(out), "--case", "case-00002"])
    assert result.exit_code == 0, result.output
    assert [case["name"] for case in data_of(out.read_text(encoding="utf-8"))["cases"]] == ["case-00002"]
    result = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / "no.html")])
    assert result.exit_code == 1
    assert "not a folder of" in result.stderr
    assert not (tmp_path / "no.html").exists()


def test_libraries_are_what_was_recorded():
    from sequela.reports.page import _read

    for each in json.loads(_read("vendor/vendor.json")):
        assert each["license"] == "MIT"
        assert "MIT" in _read(f"vendor/{each['package'].replace('/', '-')}.LICENSE") or "Permission" in _read(
            f"vendor/{each['package'].replace('/', '-')}.LICENSE"
        )
        if each["file"]:
            assert hashlib.sha256(_read(f"vendor/{each['file']}").encode()).hexdigest() == each["sha256"]
