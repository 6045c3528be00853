"""Outcomes: exact with an exact model, learned from data, saved safely, and shown."""

import json

import numpy as np
import polars as pl
import pytest

import sequela as sq
from conftest import tiny_window
from sequela.density.outcomes.base import count_types
from sequela.density.outcomes.model import MARKER
from sequela.errors import CheckpointError, ConfigError, LogFormatError
from sequela.events.vocabulary import Vocabulary
from sequela.graphs.schemas import OUTCOME_CAUSES, OUTCOME_EFFECTS, OUTCOME_PAIRS, OUTCOME_SETS
from sequela.reports.page import outcomes_data, render
from sequela.reports.payload import page_data
from sequela.worlds.outcomes import OutcomeRule, OutcomeWorld
from sequela.worlds.softmax import SoftmaxWorld

NAMES = ("a", "b|1", "b|2", "c", "</script>")


def small_world():
    weights = np.zeros((5, 5))
    weights[0, 1], weights[1, 2] = 2.5, 1.5
    base = SoftmaxWorld([0, -1, -1, 0.5, 0], weights, horizon=2, decay=0.3, names=NAMES)
    return OutcomeWorld(base, [OutcomeRule("one", ("b|1",)), OutcomeRule("two", ("a", "b|2"), k=2)])


def log_of(world, n, seed=1, length=8):
    events, table = world.simulate(n, length, seed=seed)
    return sq.read_log(events, outcomes=table)


@pytest.fixture(scope="module")
def world():
    return small_world()


@pytest.fixture(scope="module")
def trained(world):
    log = log_of(world, 600)
    density = tiny_window(Vocabulary(NAMES, (1,) * 5))  # its forecasts play no part in training
    return density, log, sq.fit_outcomes(density, log, max_steps=150, progress=False)


def test_direct_effects_are_those_of_the_definition(world):
    for seed in range(3):
        ids = world.world.sample(1, 6, seed=seed)[0].ids
        found = sq.explain_outcome(world, [NAMES[i] for i in ids], simulations=0)
        np.testing.assert_allclose(found["direct_effect"].to_numpy().reshape(6, 2), world.truth(ids), atol=1e-12)
        assert OUTCOME_EFFECTS.check(found, "x").columns == list(OUTCOME_EFFECTS.columns)
        assert found["direct_std_error"].max() == 0
        assert found["total_effect"].null_count() == found.height


def test_total_effects_are_those_of_all_continuations(world):
    ids = np.array([0, 3, 3], np.int32)

    def chance(first):  # of both labels, over all continuations
        total = np.zeros(2)
        for u in range(5):
            for v in range(5):
                path = np.array([first, u, v], np.int32)
                total += np.exp(world.world.score(path)[1:].sum()) * world.probabilities(count_types([path], 5, -1))[0]
        return total

    exact = chance(0) - np.mean([chance(u) for u in range(1, 5)], axis=0)
    found = sq.explain_outcome(world, [NAMES[i] for i in ids], simulations=4000).filter(position=0)
    off = (found["total_effect"].to_numpy() - exact) / found["total_std_error"].to_numpy()
    assert np.abs(off).max() < 4
    # By itself 'a' keeps 'b|1' from its place, and acts on the labels only through what it brings about.
    assert found["direct_effect"].to_list() == pytest.approx([-0.85 / 4, 0.0])
    assert found["total_effect"][0] > 0.1


def test_few_replacements_have_an_error_and_designs_differ(world, trained):
    case = ["a", "b|1", "c", "b|2"]
    some = sq.explain_outcome(world, ["c"] * 6, particles=2, simulations=0)
    assert some["direct_std_error"].max() > 0
    assert some.equals(sq.explain_outcome(world, ["c"] * 6, particles=2, simulations=0))
    structured = sq.explain_outcome(world, case, design="structured", labels="one", simulations=0)
    assert structured["direct_effect"].is_null().to_list() == [True, False, True, False]
    assert structured["direct_effect"][1] == pytest.approx(0.85)  # b|2 in the place of b|1
    assert sq.explain_outcome(world, case, design="masked")["direct_effect"].null_count() == 8
    masked = sq.explain_outcome(trained[2], case, design="masked", simulations=2)
    assert masked["direct_effect"].null_count() == masked["total_effect"].null_count() == 0
    with pytest.raises(ConfigError, match=r"no label 'on'.*'one'"):
        sq.explain_outcome(world, case, labels="on")


def test_an_exact_model_finds_the_direct_causes_and_no_others(world):
    found = sq.discover_outcomes(world, log_of(world, 1000), progress=False)
    assert set(found.links.select("event", "label").iter_rows()) == world.direct_causes
    sets = {(label, tuple(causes)) for label, causes in found.sets.select("label", "causes").iter_rows()}
    assert sets == {("one", ("b|1",)), ("two", ("a", "b|2"))}
    assert found.pairs.filter(label="two")["interaction"].item() == pytest.approx(0.85)
    for table, frame in ((OUTCOME_CAUSES, found.causes), (OUTCOME_SETS, found.sets), (OUTCOME_PAIRS, found.pairs)):
        assert table.check(frame, "x").columns == list(table.columns)


def test_a_trained_model_tells_more_than_the_frequency(trained):
    _, log, model = trained
    assert model.labels == ("one", "two")
    for each in model.report:
        assert each.is_useful
        assert each.loss < each.frequency_loss
    found = sq.discover_outcomes(model, log, progress=False)
    assert ("b|1", "one") in found.links.select("event", "label").rows()
    again = sq.fit_outcomes(trained[0], log, max_steps=150, progress=False)
    counts = np.eye(6)
    np.testing.assert_array_equal(model.probabilities(counts), again.probabilities(counts))


def test_labels_without_causes_bring_nothing(trained):
    density, log, _ = trained
    names = pl.Series(log.case_names)
    table = pl.DataFrame({"case": names.sample(300, seed=3), "label": ["chance"] * 300})
    random = sq.read_log(log.frame, outcomes=table)
    model = sq.fit_outcomes(density, random, max_steps=150, progress=False)
    assert sq.discover_outcomes(model, random, progress=False).links.is_empty()


def test_models_are_saved_and_damage_is_told(trained, tmp_path):
    _, log, model = trained
    folder = model.save(tmp_path / "model")
    loaded = sq.load_outcomes(folder, device="cpu")
    counts = np.eye(6)
    np.testing.assert_array_equal(loaded.probabilities(counts), model.probabilities(counts))
    assert (loaded.labels, loaded.report) == (model.labels, model.report)
    weights = folder / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"weights.safetensors has changed"):
        sq.load_outcomes(folder)
    weights.write_bytes(kept)
    record = folder / MARKER
    record.write_text(record.read_text().replace('"one"', '"ono"'))
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        sq.load_outcomes(folder)
    with pytest.raises(CheckpointError, match="holds no model of outcomes"):
        sq.load_outcomes(tmp_path / "nowhere")
    found = sq.discover_outcomes(model, log, progress=False)
    graph = found.save(tmp_path / "causes")
    assert sq.load_outcome_graph(graph).causes.equals(found.causes)
    (graph / "sets.parquet").unlink()
    with pytest.raises(LogFormatError, match=r"sets.parquet is missing"):
        sq.load_outcome_graph(graph)


def test_what_cannot_be_learned_is_refused(trained):
    density, log, model = trained
    with pytest.raises(ConfigError, match="has no outcomes"):
        sq.fit_outcomes(density, sq.read_log(log.frame))
    with pytest.raises(ConfigError, match="has no outcomes"):
        sq.discover_outcomes(model, sq.read_log(log.frame))
    few = sq.read_log(log.frame, outcomes=pl.DataFrame({"case": log.case_names[:3], "label": ["x"] * 3}))
    with pytest.raises(ConfigError, match="at least 10 cases"):
        sq.fit_outcomes(density, few)


def test_the_page_has_a_tab_and_names_stay_text(world):
    found = sq.discover_outcomes(world, log_of(world, 300), progress=False)
    discovery = sq.discover_log(world.density, log_of(world, 5), progress=False)
    data = page_data(discovery) | {"outcomes": outcomes_data(found)}
    text = render(data)
    assert json.dumps("</script>")[1:-1] not in text.split('id="data"')[1].split("</script>")[0]
    assert 'id="tab-outcomes"' in text
    assert data["outcomes"]["labels"][0].keys() == {"label", "n_cases", "causes", "sets", "pairs"}
    assert page_data(discovery)["outcomes"] is None
