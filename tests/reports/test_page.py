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
from sequela.evidence.words import link_sentence
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.summary import SummaryGraph
from sequela.reports.page import render, report
from sequela.reports.payload import MAX_CANDIDATES, page_data
from sequela.reports.words import Badge, badge, made_by, trust
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
        saved.summary().edges.select("cause", "effect").iter_rows()
    )
    assert links["values"]["cmi_nats"] == pytest.approx(saved.summary().edges["cmi_nats"].to_list(), rel=1e-3)
    assert links["n_links"] == len(saved.summary())
    assert {case["name"] for case in data["cases"]} == set(saved.events["case"])
    assert data["counts"] == {
        "n_cases": 15, "n_events": int(saved.nodes["count"].sum()), "n_types": len(names),
        "n_links": len(saved.summary()), "n_edges": saved.edges.height, "has_evidence": False,
        "is_one_case": False,
    }  # fmt: skip
    for shown in data["cases"][:4]:
        graph = saved.case(shown["name"])
        assert [names[i] for i in shown["events"]] == list(graph.events)
        assert [shown["start"] + time for time in shown["times"]] == pytest.approx(graph.times, abs=2e-3)
        assert shown["cause"] == graph.edges["cause_position"].to_list()
        assert shown["std_error"] == pytest.approx(graph.edges["std_error"].to_list(), rel=1e-3)
        assert shown["n_edges"] == len(graph)
        likelier = graph.edges.filter(pl.col("pointwise_nats") > 0)
        assert shown["n_caused"] == likelier["effect_position"].n_unique()
        assert sum(shown["explains"]) == likelier.height


def test_examples_of_the_findings_are_in_the_page(folder):
    data = page_data(sq.load_discovery(folder))
    assert data["findings"]["roots"]
    for root in data["findings"]["roots"]:
        case, position = root["examples"][0]
        assert data["cases"][case]["events"][position] == root["chain"][-1]


def test_as_many_cases_as_fit_and_the_page_says_how_many(folder, tmp_path):
    data = page_data(sq.load_discovery(folder), max_megabytes=0.004)
    assert 1 <= len(data["cases"]) < 15
    assert data["counts"]["n_cases"] == 15
    with pytest.raises(ConfigError, match="max_megabytes"):
        report(folder, tmp_path / "page.html", max_megabytes=-1)


def test_anonymous(folder, tmp_path):
    text = report(folder, tmp_path / "page.html", anonymise=True).read_text(encoding="utf-8")
    data = data_of(text)
    saved = sq.load_discovery(folder)
    assert "case-000" not in text
    assert {case["name"] for case in data["cases"]} == {f"case {i}" for i in range(1, 16)}
    assert min(case["start"] for case in data["cases"]) == 0
    assert data["title"] == "Event log"
    first = next(case for case in data["cases"] if case["name"] == "case 1")
    events = saved.case("case-00000")
    assert [data["types"]["names"][i] for i in first["events"]] == list(events.events)
    assert [first["start"] + time for time in first["times"]] == pytest.approx(
        [time - saved.events["time"].min() for time in events.times], abs=2e-3
    )
    asked = page_data(saved, cases=["case-00003"], anonymise=True)
    assert [case["name"] for case in asked["cases"]] == ["case 4"]


def test_an_earlier_page_is_kept_on_request(folder, tmp_path):
    path = report(folder, tmp_path / "page.html", overwrite=False)
    with pytest.raises(ConfigError, match="exists already"):
        report(folder, path, overwrite=False)
    assert report(folder, path) == path


def test_evidence_decides_what_counts():
    """a -> b has evidence, b -> a has none: it is a candidate, and explains nothing."""
    events = pl.DataFrame(
        {"case": ["1"] * 4 + ["2"] * 2, "position": [0, 1, 2, 3, 0, 1], "event": ["a", "b", "a", "c", "a", "b"]}
    )
    rows = [
        ("1", 0, 1, "a", "b", 1, True, 0.5, 0.01, 1.0), ("1", 1, 2, "b", "a", 1, True, 0.4, 0.01, 1.0),
        ("1", 2, 3, "a", "c", 1, True, 0.3, 0.01, -1.0), ("2", 0, 1, "a", "b", 1, True, 0.5, 0.01, 1.0),
    ]  # fmt: skip
    edges = pl.DataFrame(rows, schema={"case": pl.String, **INSTANCE_SCHEMA}, orient="row")
    nodes = pl.DataFrame({"event": ["a", "b", "c"], "count": [3, 2, 1]})
    run = {"arguments": {"context": 0, "horizon": 3}, "counts": {"n_cases": 2}}
    found = sq.Discovery(edges, nodes, run, events)
    evidence = population([{"cause": "a", "effect": "b", "cmi_nats": 0.2, "is_edge": True}])
    data = page_data(found, population=evidence)
    names, links = data["types"]["names"], data["links"]
    pairs = [(names[c], names[e]) for c, e in zip(links["cause"], links["effect"], strict=True)]
    assert pairs[0] == ("a", "b")
    assert set(pairs[1:]) == {("b", "a"), ("a", "c")}
    assert links["values"]["is_edge"] == [True, False, False]
    assert links["values"]["cmi_nats"][0] == 0.2
    assert links["values"]["n_edges"] == [2, 1, 1]
    assert links["sentences"] == [link_sentence(evidence.pairs.row(0, named=True)), None, None]
    assert page_data(found)["links"]["sentences"] is None
    (root,) = data["findings"]["roots"]
    assert (names[root["type"]], root["n_explained"], root["q_value"]) == ("a", 2, 0.01)
    (case,) = (case for case in data["cases"] if case["name"] == "1")
    assert case["has_evidence"] == [1, 0, 0]
    assert case["explains"] == [1, 1, 0]
    assert page_data(found)["findings"]["n_caused"] == 3
    inhibiting = type(evidence)(evidence.pairs.with_columns(pointwise_nats=-0.5), evidence.nodes, evidence.run)
    assert page_data(found, population=inhibiting)["findings"]["n_caused"] == 0
    assert data["badge"]["grade"] == "fair"
    other = population([{"cause": "a", "effect": "b", "cmi_nats": 0.2, "is_edge": True}])
    strange = type(other)(other.pairs, pl.DataFrame({"event": ["x"], "count": [1]}), other.run)
    with pytest.raises(ConfigError, match="no event type in common"):
        page_data(found, population=strange)
    with pytest.raises(ConfigError, match="a population graph already"):
        page_data(evidence, population=evidence)


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
    assert data["types"]["n_components"] == 3
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


@pytest.mark.parametrize("objective", ["f1", "cascades"])
def test_links_by_probability_promise_no_rate(objective):
    edge = {"cause": "a", "effect": "b", "cmi_nats": 0.2, "is_edge": True}
    found = population([edge])
    pairs = found.pairs.with_columns(probability=pl.lit(0.9))
    run = found.run.to_dict()
    run["arguments"] |= {"objective": objective}
    data = page_data(PopulationGraph(pairs, found.nodes, run))
    assert data["links"]["values"]["confidence"] == [0.9]
    text = " ".join(sentence["text"] for sentence in data["trust"])
    assert "not bounded" in text
    assert "at most" not in text


def test_cases_by_name(folder):
    saved = sq.load_discovery(folder)
    assert [case["name"] for case in page_data(saved, cases=["case-00003"])["cases"]] == ["case-00003"]
    with pytest.raises(LogFormatError, match="no case 'nobody'"):
        page_data(saved, cases=["nobody"])
    with pytest.raises(ConfigError, match="cases can be shown only"):
        page_data(saved.summary(), cases=["case-00003"])
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


def test_trust_of_a_discovery_with_a_population():
    rule = {"rule": "EffectSize", "delta": 0.05, "confidence_level": 0.95}
    run = {"arguments": {"population": "fb50", "fdr": 0.1, "threshold": rule}}
    text = " ".join(sentence.text for sentence in trust(run, {"arguments": {"fdr": 0.05, "delta": 0.05}}))
    assert "of those on a true link at most 10 % are expected to be false" in text
    assert "Of the links shown, at most 5 %" in text


def test_badge():
    keys = ("cross_entropy", "unigram", "bigram", "trigram", "gain_std_error")
    good = dict(zip(keys, (2.0, 2.5, 2.3, 2.2, 0.05), strict=True))
    weak, bad = good | {"cross_entropy": 2.15}, good | {"cross_entropy": 2.4}
    run = {"density": {"report": good}}
    assert badge(run, {"arguments": {"fdr": 0.05}}, True).reason.endswith("at most 5 % false links expected")
    assert badge(run, None, True).grade == "good"
    assert badge(run | {"counts": {"n_unknown_events": 1}, "log": {"n_events": 100}}, None, True).grade == "good"
    assert badge({"density": {"report": bad}}, None, True).grade == "poor"
    near = {"density": {"report": good | {"cross_entropy": 2.21}}}
    assert badge(near, None, False).grade == "poor"
    assert badge(near, None, True) == Badge(
        "fair", "the model predicts new cases no better than simple counting, within the noise"
    )
    for record, has_evidence, words in (
        ({"density": {"report": weak}}, True, "only a little better"),
        (run, False, "no evidence over cases"),
        (run | {"log": {"n_ties": 60, "n_events": 100}}, True, "60 % of the events share"),
        (
            run | {"counts": {"n_unknown_events": 2}, "log": {"n_events": 100}},
            True,
            "2 events of types the model has never seen",
        ),
        ({"arguments": {}}, True, "not compared"),
        ({}, True, "not recorded"),
    ):
        assert badge(record, None, has_evidence).grade == "fair"
        assert words in badge(record, None, has_evidence).reason


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


@pytest.mark.parametrize("arguments", [{"fdr": 0.05}, {"fdr": 0.0, "delta": 0.05, "control": "each"}])
def test_trust_of_a_forged_record_is_no_error(arguments):
    assert all(sentence.text for sentence in trust({"arguments": arguments}))


def test_trust_tells_what_was_folded_skipped_and_tied():
    run = {
        "arguments": {"horizon": 8, "context": 1, "design": "masked", "threshold": {"rule": "Fixed", "tau": 0.1}},
        "counts": {"n_rare_events": 1, "n_unknown_events": 3, "n_cases_skipped": 2, "n_clamped": 4},
        "log": {"n_ties": 60, "n_events": 100},
    }
    text = " ".join(sentence.text for sentence in trust(run))
    for part in (
        "8 events",
        "first 1 event ",
        "<rare>: 1.",
        "count as <rare>: 3.",
        "2 cases have",
        "4 prob",
        "60 %",
        "--ties order",
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


def test_command_with_a_population_and_without_names(folder, tmp_path):
    names = sq.load_discovery(folder).nodes["event"].to_list()
    pair = {"cause": names[0], "effect": names[1], "cmi_nats": 0.2, "is_edge": True}
    evidence = population([pair])
    evidence = type(evidence)(evidence.pairs, pl.DataFrame({"event": names[:2], "count": [5, 6]}), evidence.run)
    evidence.save(tmp_path / "population")
    population([pair | {"cause": "a", "effect": "b"}]).save(tmp_path / "other")
    out = tmp_path / "report.html"
    command = ["report", str(folder), "--out", str(out), "--anonymise", "--max-megabytes", "0.001", "--population"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "population")])
    assert result.exit_code == 0, result.output
    data = data_of(out.read_text(encoding="utf-8"))
    assert data["anonymised"]
    assert data["counts"]["has_evidence"]
    assert data["links"]["n_links"] == 1
    assert len(data["cases"]) < 15
    result = CliRunner().invoke(app, [*command, str(tmp_path / "other")])
    assert result.exit_code == 1
    assert "no event type in common" in " ".join(result.stderr.split())


def test_libraries_are_what_was_recorded():
    from sequela.reports.page import _read

    for each in json.loads(_read("vendor/vendor.json")):
        assert each["license"] == "MIT"
        assert "MIT" in _read(f"vendor/{each['package'].replace('/', '-')}.LICENSE") or "Permission" in _read(
            f"vendor/{each['package'].replace('/', '-')}.LICENSE"
        )
        if each["file"]:
            assert hashlib.sha256(_read(f"vendor/{each['file']}").encode()).hexdigest() == each["sha256"]
