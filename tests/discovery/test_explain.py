"""The verb explain: cases of a run and new ones, by the command and in Python."""

import json

import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from conftest import run_world
from sequela.cli.app import app
from sequela.errors import ConfigError, LogFormatError

RUN = CliRunner()


@pytest.fixture(scope="module")
def world():
    return run_world()


@pytest.fixture(scope="module")
def answer(small_run):
    return small_run


def test_it_is_the_explanation_of_the_graph_of_the_case(answer):
    found = sq.explain(answer, case="case-00003")
    assert found.explanation.to_dict() == answer.discovery.case("case-00003").explain(-1).to_dict()
    assert sq.explain(answer.folder, case="case-00003", event=2).explanation.position == 2
    assert sq.explain(answer.folder / "results", case="case-00003", event="-3").explanation.position == 7
    assert found.population is not None


def test_a_new_case_is_found_as_those_of_the_run(answer, world):
    log = sq.read_log(world.to_log(world.sample(80, 10, seed=2)))
    name = "case-00004"
    old, new = answer.discovery.case(name), sq.explain(answer, log, case=name).graph
    assert new.edges.equals(old.edges)
    assert new.events == old.events
    assert sq.explain(answer, log.case(name)).explanation.case == name


def test_what_lacks_is_named(answer, world):
    log = sq.read_log(world.to_log(world.sample(3, 6, seed=9)))
    with pytest.raises(ConfigError, match="--case NAME"):
        sq.explain(answer)
    with pytest.raises(ConfigError, match="--case NAME"):
        sq.explain(answer, log)
    with pytest.raises(ConfigError, match="need the model of a run"):
        sq.explain(answer.folder / "results", log)
    with pytest.raises(LogFormatError, match="no case 'case-3'"):
        sq.explain(answer, case="case-3")
    with pytest.raises(ConfigError, match="no event"):
        sq.explain(answer, case="case-00003", event="nonsense")


def test_the_command(answer, world, tmp_path):
    words = ["explain", str(answer.folder), "--case", "case-00003"]
    shown = RUN.invoke(app, words)
    assert shown.exit_code == 0, shown.output
    expected = answer.discovery.case("case-00003").explain(-1)
    assert shown.stdout.rstrip("\n") == str(expected)
    as_json = RUN.invoke(app, [*words, "--event", "4", "--json", "--page", str(tmp_path / "case.html")])
    assert json.loads(as_json.stdout)["position"] == 4
    assert "case-00003" in (tmp_path / "case.html").read_text(encoding="utf-8")
    frame = world.to_log(world.sample(2, 6, seed=9))
    frame.filter(pl.col("case") == "case-00001").write_csv(tmp_path / "new.csv")
    new = RUN.invoke(app, ["explain", str(answer.folder), str(tmp_path / "new.csv"), "--json"])
    assert new.exit_code == 0, new.output
    assert json.loads(new.stdout)["position"] == 5
    refused = RUN.invoke(app, ["explain", str(tmp_path), "--case", "a"])
    assert refused.exit_code == 1
    assert "is not a folder of discovery results" in refused.stderr
