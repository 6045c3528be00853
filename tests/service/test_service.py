"""The service as a client meets it: answers are those of the library, limits hold, errors say what to do."""

import json
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from conftest import run_world

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import sequela as sq
from sequela.cli.app import app as command_line
from sequela.service.app import Limits, create_app
from sequela.service.explainer import Explainer, NewCase


@pytest.fixture(scope="module")
def world():
    return run_world()


@pytest.fixture(scope="module")
def explainer(small_run):
    return Explainer(small_run.folder)


@pytest.fixture(scope="module")
def client(explainer):
    with TestClient(create_app(explainer)) as found:
        yield found


@pytest.fixture(scope="module")
def cases(world):
    """New cases, as the library and as a client have them."""
    log = sq.read_log(world.to_log(world.sample(6, (3, 9), seed=7)))
    return [(name, log.case(name)) for name in log.case_names]


def test_the_answer_is_that_of_the_library(client, explainer, cases):
    name, log = cases[0]
    expected = sq.explain(explainer.run, log, case=name).explanation.to_dict()
    times = log.frame["time"].to_list()
    found = client.post("/explain", json={"events": log.events, "times": times, "name": name})
    assert found.status_code == 200
    assert found.json() == json.loads(json.dumps(expected | {"n_unknown": 0}))
    assert client.post("/explain", json={"events": log.events, "name": name, "event": 1}).json()["position"] == 1


def test_a_batch_is_its_cases(client, cases):
    given = [{"events": log.events, "name": name} for name, log in cases]
    one_by_one = [client.post("/explain", json=case).json() for case in given]
    assert client.post("/explain", json={"cases": given}).json() == {"cases": one_by_one}


def test_requests_at_the_same_time_are_answered_as_one_by_one(client, explainer, cases, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    given = [{"events": log.events, "name": name} for name, log in cases] * 3
    given.insert(4, {"events": ["x", "y"]})  # refused, and no other with it
    alone = [client.post("/explain", json=case) for case in given]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda case: client.post("/explain", json=case), given))
    assert [each.json() for each in together] == [each.json() for each in alone]
    assert [each.status_code for each in together] == [200] * 4 + [422] + [200] * (len(given) - 5)


def test_an_error_of_the_model_reaches_all_that_wait(explainer, monkeypatch):
    from sequela.errors import OutOfMemoryBudgetError

    def broken(cases):
        raise OutOfMemoryBudgetError("too little memory")

    monkeypatch.setattr(explainer, "answer", broken)
    with TestClient(create_app(explainer)) as client:
        found = client.post("/explain", json={"events": ["e0"]})
        again = client.post("/explain", json={"events": ["e0"]})
    assert found.status_code == again.status_code == 413
    assert found.json() == {"error": "too little memory"}


def test_positions_are_those_of_the_client(explainer, cases):
    name, log = cases[1]
    events, times = log.events, log.frame["time"].to_numpy()
    plain = explainer.explain([NewCase(events, times.tolist(), 2, name)])[0].explanation
    order = np.random.default_rng(0).permutation(len(events))
    shuffled = NewCase([events[i] for i in order], times[order].tolist(), int(np.flatnonzero(order == 2)[0]), name)
    found = explainer.explain([shuffled])[0].explanation
    assert order[found["position"]] == 2
    assert [order[step["cause_position"]] for step in found["chain"]] == [s["cause_position"] for s in plain["chain"]]
    assert [order[root["position"]] for root in found["roots"]] == [root["position"] for root in plain["roots"]]
    assert found["sentence"] == plain["sentence"]


def test_times_may_be_text(explainer, cases):
    _, log = cases[1]
    seconds = log.frame["time"]
    text = pl.Series((seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))).dt.to_string("iso").to_list()
    one = explainer.explain([NewCase(log.events, text)])[0]
    ids = explainer.density.vocabulary.encode(pl.Series(log.events))[0]
    times = seconds.to_numpy() if explainer.density.uses_times else None
    assert one.log_likelihood == float(explainer.density.score(ids, times).sum())
    assert one == explainer.explain([NewCase(log.events, seconds.to_list())])[0]


def test_messages_become_the_types_of_the_model(small_run, monkeypatch):
    """Of a model whose log was read with `template`: a message, or its template, is the same event."""
    one = Explainer(small_run.folder)
    known = one.explain([NewCase(["e0", "e1", "e1"], [1, 2, 3])])[0]
    read_as = one.density.info["log"]["columns"]
    monkeypatch.setitem(read_as, "template", "event")
    monkeypatch.setitem(read_as, "learned", {"templates": ["e0", "e1"]})
    two = Explainer(small_run.folder)
    monkeypatch.setattr(two, "density", one.density)
    two.columns = dict(read_as)
    assert two.explain([NewCase([" e0 ", "e1", ["e1"]], [1, 2, 3])])[0] == known
    assert two.explain([NewCase(["e0", "e2", "e1"], [1, 2, 3])])[0].n_unknown == 1


def test_cases_of_the_run(client, explainer):
    listed = client.get("/cases", params={"contains": "0004", "limit": 3}).json()
    assert listed["n_cases"] == 11
    assert [case["case"] for case in listed["cases"]] == ["case-00004", "case-00040", "case-00041"]
    assert listed["cases"][0]["n_events"] == 10
    graph = explainer.run.discovery.case("case-00003")
    found = client.get("/cases/case-00003", params={"event": 4}).json()
    assert [event["event"] for event in found["events"]] == list(graph.events)
    assert len(found["edges"]) == len(graph)
    assert found["explanation"] == json.loads(json.dumps(graph.explain(4).to_dict()))
    page = client.get("/cases/case-00003/page")
    assert page.status_code == 200
    assert "case-00003" in page.text
    assert "<title>" in client.get("/").text


def test_links_health_and_openapi(client, explainer):
    links = client.get("/links").json()["links"]
    assert [(row["cause"], row["effect"]) for row in links] == explainer.population.edges.select(
        "cause", "effect"
    ).rows()
    assert client.get("/health").json()["status"] == "ok"
    assert "/explain" in client.get("/openapi.json").json()["paths"]


def test_metrics_count_what_changes(explainer):
    with TestClient(create_app(explainer)) as client:
        client.post("/explain", json={"events": ["e0", "e1", "nonsense", "e2"]})
        text = client.get("/metrics").text
    found = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}
    assert found["sequela_events_total"] == 4
    assert found["sequela_unknown_events_total"] == 1
    assert found["sequela_cases_total"] == 1
    assert found["sequela_surprise_nats_total"] > 0
    assert found["sequela_training_surprise_nats"] == explainer.density.info["report"]["cross_entropy"]
    assert found['sequela_requests_total{path="/explain",status="200"}'] == 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"events": []}, 422, "cases[0] has no events: give at least one"),
        ({"events": ["x", "y"]}, 422, "types the density has never seen"),
        ({"events": ["e0", "e1"], "times": [1.0]}, 422, "2 events and 1 times: give one for each event"),
        ({"events": ["e0", "e1"], "times": [1.0, "now"]}, 422, "all numbers (seconds since 1970) or all text"),
        ({"events": ["e0", "e1"], "times": ["now", "then"]}, 422, "cases[0]"),
        ({"events": ["e0", "e1"], "event": 7}, 422, "position must be a whole number from -2 to 1"),
        ({"events": ["e0", "e1"], "event": "e4"}, 422, "the case has no event 'e4'"),
        ({"events": [["e0", "e1"]]}, 422, "has 2 texts, and the log's event has 1 columns"),
        ({"event": 3}, 422, "events"),
        ({"events": [1, 2]}, 422, "events"),
        ({"cases": []}, 422, "at least one case"),
        ({"cases": [{"events": ["e0"]}] * 4}, 413, "3 cases at most; got 4"),
        ({"events": ["e0"] * 21}, 413, "cases[0] has 21 events; at most 20 are allowed"),
        ({"events": ["e" * 2100]}, 413, "2,000 bytes at most"),
    ],
)
def test_errors_say_what_to_do(explainer, body, status, says):
    with TestClient(create_app(explainer, limits=Limits(body_bytes=2_000, events=20, cases=3))) as client:
        found = client.post("/explain", json=body)
    assert found.status_code == status
    assert says in found.json()["error"]
    assert set(found.json()) == {"error"}


def test_what_is_not_there_is_404(client):
    assert "no case 'nobody'" in client.get("/cases/nobody").json()["error"]
    assert client.get("/cases/nobody").status_code == 404
    assert client.get("/nothing").status_code == 404
    for content, kind in ((b"{", "application/json"), (b'{"events": ["e0"]}', "application/x-www-form-urlencoded")):
        broken = client.post("/explain", content=content, headers={"Content-Type": kind})
        assert broken.status_code == 422
        assert "the body is not JSON" in broken.json()["error"]
    assert client.get("/cases", params={"limit": 0}).status_code == 422


def test_time_and_queue_are_limited(explainer, monkeypatch):
    def slow(cases):
        time.sleep(0.3)
        return []

    monkeypatch.setattr(explainer, "answer", slow)
    with TestClient(create_app(explainer, limits=Limits(seconds=0.05))) as client:
        found = client.post("/explain", json={"events": ["e0"]})
    assert found.status_code == 503
    assert "no answer within 0.05 s" in found.json()["error"]


def test_a_token_is_asked_for(explainer):
    with TestClient(create_app(explainer, token="secret")) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/links").status_code == 401
        assert client.get("/links", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/links", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_other_machines_need_a_token(explainer, monkeypatch):
    monkeypatch.delenv("SEQUELA_TOKEN", raising=False)
    refused = CliRunner().invoke(command_line, ["serve", str(explainer.run.folder), "--host", "0.0.0.0"])
    assert refused.exit_code == 1
    assert "needs a token: set the environment variable SEQUELA_TOKEN" in refused.stderr


def test_the_command_serves_and_stops(explainer):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-c", "from sequela.cli import main; main()", "serve", str(explainer.run.folder), "--port", str(port)]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as found:
                    assert json.load(found)["status"] == "ok"
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode in (0, -signal.SIGTERM)
