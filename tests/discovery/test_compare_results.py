"""compare: known changes are found and named, two halves of a log differ in nothing, and what is wrong is refused."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.discovery import compare as module
from sequela.errors import ConfigError, LogFormatError
from sequela.graphs.schemas import CHANGED_LINKS, CHANGED_TYPES
from sequela.worlds.softmax import SoftmaxWorld

NAMES = ("a", "b", "c", "d", "<b>e</b>")


def world(doubled=2.0, new=0.0, bias=0.0):
    weights = np.zeros((5, 5))
    weights[0, 1], weights[1, 2], weights[3, 4] = 1.0 * doubled / 2, 2.0, new
    return SoftmaxWorld([0, 0, 0, bias, 0], weights, horizon=2, decay=0.5, names=NAMES)


def discovered(which, seed, n_cases=250):
    return sq.discover_log(which, sq.read_log(which.to_log(which.sample(n_cases, 20, seed=seed))), progress=False)


@pytest.fixture(scope="module")
def results():
    return {
        "before": discovered(world(), 1), "same": discovered(world(), 2),
        "after": discovered(world(doubled=5, new=2.0, bias=1.0), 3),
    }  # fmt: skip


def test_known_changes_are_found_and_named(results):
    found = sq.compare(results["before"], results["after"])
    assert {(u, v): c for u, v, c in found.changed.select("cause", "effect", "change").iter_rows()} == {
        ("a", "b"): "grew", ("d", "<b>e</b>"): "appeared",
    }  # fmt: skip
    grew = found.links.filter(cause="a", effect="b").row(0, named=True)
    assert grew["gain_a_nats"] < 1.1 < 1.6 < grew["gain_b_nats"]
    assert found.types.filter(event="d")["change"].item() == "more"
    assert found.types.filter(event="d")["root_change"].item() == "more"
    back = sq.compare(results["after"], results["before"])
    assert set(back.changed["change"]) == {"fell", "vanished"}
    np.testing.assert_allclose(back.links["q_value"].sort(), found.links["q_value"].sort(), rtol=1e-6)
    for table, frame in ((CHANGED_LINKS, found.links), (CHANGED_TYPES, found.types)):
        assert table.check(frame, "x").columns == list(table.columns)


def test_two_logs_of_one_process_differ_in_nothing(results):
    found = sq.compare(results["before"], results["same"])
    assert found.changed.is_empty()
    assert found.changed_types.is_empty()
    assert found.links.height >= 2
    assert any("case names are in both logs" in note for note in found.notes)


def test_types_that_come_and_go(results):
    gone = results["before"]
    events = gone.events.filter(pl.col("event") != "d")
    without = sq.Discovery(gone.edges.filter((pl.col("cause") != "d") & (pl.col("effect") != "d")),
                           gone.nodes.filter(pl.col("event") != "d"), gone.run, events)  # fmt: skip
    assert sq.compare(gone, without).types.filter(event="d")["change"].item() == "vanished"
    assert sq.compare(without, gone).types.filter(event="d")["change"].item() == "new"
    assert sq.compare(without, gone).changed.is_empty()


def test_ticks_count_as_lags():
    ticked = [
        sq.discover_log(w, sq.read_log(w.to_log(w.sample(120, 16, seed=s)), tick="90s"), particles=4, progress=False)
        for w, s in ((world(), 1), (world(new=2.5), 3))
    ]
    assert ("d", "<b>e</b>", "appeared") in sq.compare(*ticked).changed.select("cause", "effect", "change").rows()


def test_links_beyond_the_limit_are_told(results, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINKS", 1)
    found = sq.compare(results["before"], results["same"])
    assert any("were not tested" in note for note in found.notes)


def test_without_edges_there_is_nothing_to_compare_but_types(results):
    bare = [sq.Discovery(one.edges.clear(), one.nodes, one.run, one.events) for one in results.values()]
    found = sq.compare(bare[0], bare[2])
    assert found.links.is_empty()
    assert found.types.filter(event="d")["change"].item() == "more"


def test_what_is_wrong_is_refused(results, tmp_path):
    one = results["before"]
    with pytest.raises(LogFormatError, match="does not hold the events"):
        sq.compare(one, sq.Discovery(one.edges, one.nodes, one.run))
    other = SoftmaxWorld(np.zeros(2), np.zeros((2, 2)), horizon=1, names=("x", "y"))
    with pytest.raises(ConfigError, match="no event type in common"):
        sq.compare(one, discovered(other, 1, 5))
    with pytest.raises(ConfigError, match="fdr must be a number, above 0"):
        sq.compare(one, one, fdr=0)
    with pytest.raises(ConfigError, match="takes no population"):
        sq.report(sq.compare(one, one), tmp_path / "page.html", anonymise=True)


def test_the_command_and_its_page(results, tmp_path):
    for name in ("before", "after"):
        results[name].save(tmp_path / name)
    page = tmp_path / "changes.html"
    words = ["compare", str(tmp_path / "before"), str(tmp_path / "after")]
    shown = CliRunner().invoke(app, [*words, "--out", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "2 of 8 links changed" in shown.output
    text = page.read_text()
    assert "&lt;b&gt;e&lt;/b&gt;" in text
    assert "<b>e</b>" not in text
    assert "<script" not in text
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told == json.loads(json.dumps(sq.compare(results["before"], results["after"]).to_dict()))
    nothing = CliRunner().invoke(app, ["compare", str(tmp_path / "before"), str(tmp_path / "nowhere")])
    assert nothing.exit_code == 1
    assert nothing.output.startswith("error: ")
