"""simulate, evaluate and experiment on the command line."""

from __future__ import annotations

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.events.log import read_log

runner = CliRunner()


def test_a_simulated_log_is_evaluated_against_its_own_truth(tmp_path):
    log, truth = tmp_path / "log.csv", tmp_path / "truth.parquet"
    command = ["simulate", "diagnostic_log", "--types", "20", "--cases", "6", "--length", "10-15", "--out", str(log)]
    result = runner.invoke(app, [*command, "--truth", str(truth), "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    table = pl.read_csv(log)
    assert record["n_events"] == table.height
    assert record["n_true_edges"] == pl.read_parquet(truth).height > 0
    assert {"case", "event", "time", "component"} <= set(table.columns)
    again = runner.invoke(app, [*command[:-1], str(tmp_path / "again.csv")])
    assert again.exit_code == 0
    assert (tmp_path / "again.csv").read_bytes() == log.read_bytes()
    fresh = runner.invoke(app, [*command[:-1], str(tmp_path / "fresh.csv"), "--draw", "1"])
    assert fresh.exit_code == 0
    assert (tmp_path / "fresh.csv").read_bytes() != log.read_bytes()

    same = runner.invoke(app, ["evaluate", str(truth), str(truth), "--json"])
    assert json.loads(same.stdout)["edges"]["f1"] == 1.0
    shown = runner.invoke(app, ["evaluate", str(truth), str(truth)])
    assert "Recall by lag" in shown.output


def test_a_log_of_fault_codes_comes_with_its_truth_and_how_to_read_it(tmp_path):
    log, truth = tmp_path / "log.csv", tmp_path / "truth.parquet"
    command = ["simulate", "fault_codes", "--cases", "30", "--out", str(log), "--truth", str(truth)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "--case vehicle --event component --event code --time time" in result.stdout
    table = read_log(log, case="vehicle", event=["component", "code"], time="time")
    assert table.n_events == pl.read_parquet(tmp_path / "truth-events.parquet").height
    assert pl.read_parquet(tmp_path / "truth-links.parquet").height == 25
    same = runner.invoke(app, ["evaluate", str(truth), str(truth), "--json"])
    assert json.loads(same.stdout)["events"]["f1"] == 1.0
    shown = runner.invoke(app, ["evaluate", str(truth), str(truth)])
    assert "within a tick" in shown.output
    (tmp_path / "truth-events.parquet").unlink()
    lost = runner.invoke(app, ["evaluate", str(truth), str(truth)])
    assert lost.exit_code == 1
    assert "truth-events.parquet" in lost.stderr


def test_a_network_comes_with_its_topology(tmp_path):
    log, truth = tmp_path / "log.csv", tmp_path / "truth.parquet"
    command = ["simulate", "topology", "--cases", "10", "--out", str(log), "--truth", str(truth)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    for name in ("log-neighbours.csv", "log-components.csv", "truth-events.parquet", "truth-links.parquet"):
        assert (tmp_path / name).exists()
        assert name in result.stdout
    assert set(pl.read_csv(tmp_path / "log-neighbours.csv")["entity"]) == set(pl.read_csv(log)["entity"])
    same = runner.invoke(app, ["evaluate", str(truth), str(truth), "--json"])
    scores = json.loads(same.stdout)
    assert (scores["edges"] if "edges" in scores else scores["events"])["f1"] == 1.0


def test_traces_of_services_come_with_their_truth(tmp_path):
    log, truth = tmp_path / "log.parquet", tmp_path / "truth.parquet"
    command = ["simulate", "services", "--cases", "20", "--out", str(log), "--truth", str(truth), "--json"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["read_with"] == "--case trace --event operation --event outcome --time time"
    assert record["n_true_edges"] == pl.read_parquet(truth).height > 0
    few = json.loads(runner.invoke(app, [*command, "--delta", "0.5"]).stdout)
    assert few["n_true_edges"] < record["n_true_edges"]
    same = runner.invoke(app, ["evaluate", str(truth), str(truth), "--json"])
    assert json.loads(same.stdout)["edges"]["f1"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "fault_codes", "--out", "x.csv", "--delta", "0.1"], "--delta is not for 'fault_codes'"),
        (["simulate", "linear", "--out", "x.csv", "--cases", "0"], "n_cases"),
        (["simulate", "services", "--out", "x.csv", "--cases", "0"], "n_cases"),
        (["simulate", "linear", "--out", "x.csv", "--option", "seed=3"], "--seed"),
        (["simulate", "fault_codes", "--out", "x.csv", "--length", "9"], "--length is not for 'fault_codes'"),
        (["simulate", "fault_codes", "--out", "x.csv", "--option", "tide=1"], "'tied'"),
        (["simulate", "fault_codes", "--out", "x.csv", "--truth", "x.csv"], "different names"),
        (["simulate", "linear", "--out", "x.csv", "--truth", "x.txt"], "must end in .csv or .parquet"),
        (["simulate", "lineer", "--out", "x.csv"], "did you mean 'linear'"),
        (["simulate", "linear", "--out", "x.txt"], "must end in .csv or .parquet"),
        (["simulate", "linear", "--out", "x.csv", "--length", "9-"], "LOW-HIGH"),
        (["simulate", "linear", "--out", "x.csv", "--option", "decay"], "NAME=NUMBER"),
        (["simulate", "linear", "--out", "x.csv", "--option", "decoy=1"], "decay"),
        (["evaluate", "nothing.parquet", "nothing.parquet"], "cannot be read"),
        (["experiment", "partikles"], "did you mean 'particles'"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_experiments_are_listed_and_run():
    listing = runner.invoke(app, ["experiment"])
    assert "oracle-score" in listing.output
    result = runner.invoke(app, ["experiment", "context", "--seeds", "1", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["rows"]) == 10
    table = runner.invoke(app, ["experiment", "context", "--seeds", "1", "--quiet"])
    assert "is the bound kept?" in table.output
