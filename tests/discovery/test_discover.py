"""The verb: settings, layout, determinism, streaming to a folder."""

import json

import numpy as np
import polars as pl
import pytest

from conftest import tiny_llama, tiny_window
from sequela.discovery import stream as run
from sequela.discovery.discover import discover, discover_log, estimate, iter_graphs
from sequela.discovery.stream import discover_to
from sequela.effects.encoding import encode_log
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, LogFormatError, VocabularyError
from sequela.events.log import EventLog, read_log
from sequela.events.sequences import Case
from sequela.execution.memory import Allotment
from sequela.graphs.results import Discovery
from sequela.graphs.run_record import Counts
from sequela.graphs.saved import load_discovery
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(12, horizon=3, decay=0.2, sparsity=0.6, seed=0)
FRAME = WORLD.to_log(WORLD.sample(20, (2, 15), seed=1))
LOG = read_log(FRAME)


DENSITIES = {
    "world": WORLD,
    "window": tiny_window(WORLD.vocabulary, head=0.7),
    "llama": tiny_llama(WORLD.vocabulary, knows_hidden=False, intermediate_size=32, num_hidden_layers=1),
}
SETTINGS = {"particles": 4, "delta": 0.01, "horizon": 3}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "staircase"])
def test_same_graph_whatever_the_batch_size_the_order_and_the_company(name, design):
    density = DENSITIES[name]
    reference = discover_log(density, LOG, design=design, progress=False, **SETTINGS).edges
    assert reference.height > 5
    for batch_size in (1, 7, 64):
        found = discover_log(density, LOG, design=design, progress=False, batch_size=batch_size, **SETTINGS).edges
        assert found.equals(reference)
    shuffled = encode_log(density, LOG).take(np.random.default_rng(0).permutation(LOG.n_cases))
    graphs = {graph.case: graph for graph in iter_graphs(density, shuffled, Settings(design=design, **SETTINGS))}
    for case in LOG.case_names:
        own = reference.filter(pl.col("case") == case).drop("case")
        assert graphs[case].edges.equals(own)
        assert discover(density, LOG.case(case), design=design, **SETTINGS).edges.equals(own)


def test_another_seed_gives_other_draws():
    case = LOG.case(LOG.case_names[0])
    one, other = (estimate(WORLD, case, particles=3, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.cmi, other.cmi, equal_nan=True)


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "staircase", "masked"])
@pytest.mark.parametrize("proposal", [None, "model"])
def test_chunks_do_not_matter(design, proposal, monkeypatch):
    density = DENSITIES["window"]
    case = max((LOG.case(name) for name in LOG.case_names), key=len)
    whole = estimate(density, case, design=design, proposal=proposal, particles=4)
    few = Allotment(0, 0, 10**9, 40, 40)
    monkeypatch.setattr(Settings, "allotment", lambda *_: few)
    parts = estimate(density, case, design=design, proposal=proposal, particles=4)
    assert np.allclose(whole.cmi, parts.cmi, atol=1e-6, equal_nan=True)
    assert np.allclose(whole.std_error, parts.std_error, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_layout_is_banded_and_untested_cells_are_nan(length):
    ids = np.arange(length, dtype=np.int32)
    found = estimate(WORLD, Case("x", ids, None))
    effect = np.arange(length)[:, None] + 1 + np.arange(3)
    assert found.cmi.shape == (length, 3)
    assert np.array_equal(np.isfinite(found.cmi), effect < length)
    assert found.n_tested == (effect < length).sum()


def test_horizons():
    case = Case("x", np.arange(10, dtype=np.int32), None)
    assert estimate(WORLD, case).horizon == 3  # the world's memory
    assert estimate(DENSITIES["llama"], case).horizon == 8
    assert estimate(WORLD, case, horizon=2).horizon == 2
    full = estimate(WORLD, case, horizon="full")
    assert full.horizon == 9
    assert np.nanmax(full.cmi[:, 3:]) == 0.0  # beyond the world's memory nothing has an effect
    with pytest.raises(ConfigError, match="at most 8"):
        estimate(DENSITIES["llama"], case, horizon=9)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"design": "atomik"}, "did you mean 'atomic'"),
        ({"proposal": "x"}, "uniform"),
        ({"statistic": "x"}, "kl_of_mean"),
        ({"particles": 1}, "at least 2; got 1"),
        ({"particles": 2.5}, "whole number"),
        ({"horizon": 0}, "at least 1"),
        ({"horizon": "long"}, "'full'"),
        ({"context": -1}, "context"),
        ({"threshold": "fixed"}, "tau"),
        ({"threshold": "otso"}, "otsu"),
        ({"delta": -1}, "delta"),
        ({"confidence_level": 0.2}, "confidence_level"),
        ({"dseign": "atomic"}, "did you mean 'design'"),
        ({"design": "leave-one-out", "proposal": "uniform"}, "model"),
    ],
)
def test_bad_settings_are_refused_with_a_reason(settings, says):
    with pytest.raises(ConfigError, match=says):
        discover(WORLD, ["e0", "e1", "e2"], **settings)


def test_inputs():
    with pytest.raises(ConfigError, match="discover_log"):
        discover(WORLD, LOG)
    with pytest.raises(VocabularyError, match="e1"):
        discover(WORLD, ["e0", "e0", "e0", "e1l"])
    with pytest.raises(ConfigError, match="text"):
        discover(WORLD, [0, 1])
    graph = discover(WORLD, ["e0", "e1", "e1", "e2"])
    assert graph.events == ("e0", "e1", "e1", "e2")
    assert graph.settings.proposal == "uniform"


def test_unknown_types_become_rare_and_are_counted_and_too_many_are_refused():
    from sequela.density.training.fit import fit

    density = fit(LOG, max_steps=5, progress=False)
    graph = discover(density, ["e0", "e1", "new", "e2"])
    assert graph.n_unknown == 1
    assert graph.events[2] == "<rare>"
    with pytest.raises(VocabularyError, match="another vocabulary"):
        discover(density, ["x", "y", "z", "e0"])


def test_folder_holds_what_was_found(tmp_path):
    out = tmp_path / "out"
    saved = discover_to(WORLD, LOG, out, progress=False, **SETTINGS)
    found = discover_log(WORLD, LOG, progress=False, **SETTINGS)
    tables = {"edges.parquet", "summary.parquet", "nodes.parquet", "events.parquet", "places.parquet"}
    assert {p.name for p in out.iterdir()} == tables | {"run.json"}
    assert pl.read_parquet(out / "edges.parquet").equals(found.edges)
    expected = found.summary()
    again = load_discovery(out)
    stored = again.summary()
    assert stored.edges.height == expected.edges.height
    for column in ("cause", "effect", "n_edges", "n_cases", "n_places", "share", "is_link"):
        assert stored.edges[column].equals(expected.edges[column])
    assert np.allclose(stored.edges["cmi_nats_total"], expected.edges["cmi_nats_total"])
    assert stored.nodes.equals(expected.nodes)
    assert again == saved == found
    record = json.loads((out / "run.json").read_text())
    assert record == saved.run.to_dict() == again.run.to_dict()
    assert record["arguments"]["seed"] == 0
    assert record["arguments"]["threshold"] == {"rule": "EffectSize", "delta": 0.01, "confidence_level": 0.95}
    assert record["counts"]["n_edges"] == found.edges.height
    assert record["counts"]["n_pairs_tested"] == found.run.counts.n_pairs_tested == saved.places["n_places"].sum() > 0
    assert {"sequela", "torch", "polars", "numpy"} <= record["versions"].keys()


@pytest.mark.parametrize("with_times", [True, False])
def test_one_case_of_a_folder_is_the_graph_discover_gives(tmp_path, monkeypatch, with_times):
    log = LOG if with_times else EventLog(LOG.frame.drop("time"), LOG.source, 0, LOG.columns)
    monkeypatch.setattr(run, "_EVENTS_A_GROUP", 25)
    saved = discover_to(WORLD, log, tmp_path / "out", progress=False, context=2, **SETTINGS)
    whole = load_discovery(tmp_path / "out")
    assert whole.events.equals(discover_log(WORLD, log, progress=False, context=2, **SETTINGS).events)
    for name in log.case_names:
        alone = discover(WORLD, log.case(name), context=2, **SETTINGS)
        for found in (saved.case(name), whole.case(name)):
            assert found.edges.equals(alone.edges)
            assert (found.events, found.times, found.n_tested) == (alone.events, alone.times, alone.n_tested)
            assert found.settings == alone.settings
            assert found == alone
            assert hash(found) == hash(alone)
    assert whole.summary() == saved.summary()
    with pytest.raises(LogFormatError, match=f"there are {len(log.case_names)}: {log.case_names[0]}, "):
        saved.case(log.case_names[0] + "x")
    with pytest.raises(LogFormatError, match="did you mean"):
        saved.case(log.case_names[0].upper() + " ")
    with pytest.raises(LogFormatError, match="run discover again"):
        Discovery(whole.edges, whole.nodes, whole.run).case(log.case_names[0])
    (tmp_path / "out" / "events.parquet").unlink()
    with pytest.raises(LogFormatError, match=r"events.parquet is missing"):
        load_discovery(tmp_path / "out")


def test_streaming_in_groups_gives_the_same_sums(tmp_path, monkeypatch):
    whole = discover_to(WORLD, LOG, tmp_path / "a", progress=False, **SETTINGS)
    monkeypatch.setattr(run, "_ROWS_A_GROUP", 10)
    parts = discover_to(WORLD, LOG, tmp_path / "b", progress=False, **SETTINGS)
    assert pl.read_parquet(tmp_path / "a" / "edges.parquet").equals(pl.read_parquet(tmp_path / "b" / "edges.parquet"))
    one, other = whole.summary().edges, parts.summary().edges
    assert one["n_cases"].equals(other["n_cases"])
    assert np.allclose(one["cmi_nats_total"], other["cmi_nats_total"])


def test_interrupted_or_refused_runs_leave_nothing(tmp_path, monkeypatch):
    out = tmp_path / "out"

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Counts, "add", broken)
    with pytest.raises(KeyboardInterrupt):
        discover_to(WORLD, LOG, out, progress=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    discover_to(WORLD, LOG, out, progress=False)
    with pytest.raises(ConfigError, match="--overwrite"):
        discover_to(WORLD, LOG, out, progress=False)
    before = (out / "edges.parquet").read_bytes()
    monkeypatch.setattr(Counts, "add", broken)
    with pytest.raises(KeyboardInterrupt):
        discover_to(WORLD, LOG, out, overwrite=True, progress=False)
    assert (out / "edges.parquet").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "json", "parquet"])
def test_damaged_results_are_refused(tmp_path, damage):
    out = tmp_path / "out"
    discover_to(WORLD, LOG, out, progress=False)
    if damage == "missing":
        (out / "edges.parquet").unlink()
    elif damage == "json":
        (out / "run.json").write_text("{")
    else:
        content = (out / "summary.parquet").read_bytes()
        (out / "summary.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(LogFormatError, match="not a folder of discovery results"):
        load_discovery(out)
