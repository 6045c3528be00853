"""sequela incident: folders in, a ranking out."""

import json

import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.worlds.incidents import simulate_incident

RUN = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("incident")
    log = simulate_incident("exception")
    for name in ("normal", "window", "all"):
        (folder / name).mkdir()
    log.normal_spans.write_parquet(folder / "normal" / "spans.parquet")
    log.normal_logs.write_csv(folder / "normal" / "logs.csv")
    log.window_spans.rename({"PodName": "host"}).write_parquet(folder / "window" / "spans.parquet")
    log.window_logs.rename({"PodName": "host"}).write_csv(folder / "window" / "logs.csv")
    return folder


@pytest.fixture(scope="module")
def same_names(folder):
    log = simulate_incident("exception")
    log.window_spans.write_csv(folder / "all" / "spans.csv")
    log.window_logs.write_parquet(folder / "all" / "logs.parquet")
    return folder


def test_a_ranking_with_evidence_and_notes(same_names):
    result = RUN.invoke(app, ["incident", "--normal", str(same_names / "normal"), "--window", str(same_names / "all")])
    assert result.exit_code == 0, result.output
    assert "1. price" in result.stdout
    assert "60 of 80 calls, 0 of 120 in normal operation" in result.stdout
    assert "Traces: w20, w21, w22" in result.stdout


def test_json_is_all_of_it(same_names):
    words = ["incident", "--normal", str(same_names / "normal"), "--window", str(same_names / "all"), "--json"]
    found = json.loads(RUN.invoke(app, words).stdout)
    assert found["suspects"][0]["service"] == "price"
    assert found["suspects"][0]["evidence"][0]["kind"] == "behaviour"


def test_rows_are_chosen_by_a_pattern(same_names):
    folder = str(same_names / "all")
    words = ["incident", "--normal", folder, "--window", folder, "--json"]
    words += ["--normal-rows", "TraceID=w?", "--window-rows", "TraceID=w[2-7]?"]
    found = json.loads(RUN.invoke(app, words).stdout)
    assert found["suspects"][0]["service"] == "price"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--window", "window"], "spans has no column 'PodName'; it has"),
        (["--window", "none"], "there is no file or folder"),
        (["--window", "window", "--column", "host=PodName"], "--column must begin with one of trace, span"),
        (["--window", "window", "--column", "instance"], "--column must be NAME=VALUE; got 'instance'"),
        (["--window", "window", "--window-rows", "window=x"], "has no column 'window'"),
        (["--window", "normal", "--window-rows", "TraceID=x*"], "no row has TraceID like 'x*'"),
    ],
)
def test_errors_are_one_line(folder, more, says, monkeypatch):
    monkeypatch.chdir(folder)
    result = RUN.invoke(app, ["incident", "--normal", "normal", *more])
    assert result.exit_code == 1
    assert says in " ".join(result.stderr.split())
    assert len(result.stderr.strip().splitlines()) == 1


def put_otlp(path, spans):
    """Write spans as the OpenTelemetry Collector does: one document for each service."""
    documents = []
    for (pod,), rows in spans.group_by("PodName", maintain_order=True):
        found = [
            {
                "traceId": row["TraceID"], "spanId": row["SpanID"], "parentSpanId": row["ParentID"],
                "name": row["OperationName"], "startTimeUnixNano": str(row["StartTimeUnixNano"]),
                "endTimeUnixNano": str(row["EndTimeUnixNano"]),
            }
            for row in rows.rows(named=True)
        ]  # fmt: skip
        about = {"service.name": pod.partition("-")[0], "k8s.pod.name": pod}
        resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in about.items()]}
        documents.append({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": found}]}]})
    path.write_text("".join(json.dumps(each) + "\n" for each in documents))


def test_files_of_opentelemetry_are_the_same_spans(tmp_path):
    log = simulate_incident("cpu_contention")
    for name, spans in (("normal", log.normal_spans), ("window", log.window_spans)):
        spans.write_parquet(tmp_path / f"{name}.parquet")
        put_otlp(tmp_path / f"{name}.jsonl", spans)
    told = []
    for suffix in ("parquet", "jsonl"):
        words = ["incident", "--normal", f"{tmp_path}/normal.{suffix}", "--window", f"{tmp_path}/window.{suffix}"]
        result = RUN.invoke(app, [*words, "--json"])
        assert result.exit_code == 0, result.output
        told.append(json.loads(result.stdout))
    assert told[0]["suspects"][0]["service"] == told[1]["suspects"][0]["service"] == "shop"
    assert [each["service"] for each in told[0]["suspects"]] == [each["service"] for each in told[1]["suspects"]]
    words = ["incident", "--normal", f"{tmp_path}/normal.parquet", "--window", f"{tmp_path}/window.jsonl"]
    assert "give both periods" in RUN.invoke(app, words).output
