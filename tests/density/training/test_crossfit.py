"""Who was trained on what: nobody is scored by a density that saw it, whatever part of the log is asked about."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from conftest import tiny_window, vocabulary_of
from sequela.density.checkpoint import load_density, save_density
from sequela.density.registry import trained_backbone
from sequela.density.training import crossfit
from sequela.density.training.crossfit import CrossFit, cross_fit, held_out_cases, load_cross_fit
from sequela.density.training.fit import fit
from sequela.density.training.recipe import Recipe
from sequela.errors import CheckpointError, ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.files import write_record
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=2, decay=0.2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, (4, 15), seed=1)))
QUICK = {"max_steps": 20, "width": 8, "progress": False, "device": "cpu"}


class Recorded:
    """Remembers, for every density that `train` made, the cases that trained it or chose its weights."""

    def __init__(self, monkeypatch):
        self.seen = []
        real = crossfit.train_recipe

        def train_recipe(recipe, log, vocabulary, sequences, parts, **settings):
            self.seen.append({str(name) for part in parts[:2] for name in part.case_names})
            return real(recipe, log, vocabulary, sequences, parts, **settings)

        monkeypatch.setattr(crossfit, "train_recipe", train_recipe)
        monkeypatch.setattr("sequela.density.training.fit.train_recipe", train_recipe)


def state(density):
    return density.state()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(state(one).values(), state(other).values(), strict=True))


@pytest.mark.parametrize("scheme", ["leave-one-out", "forward"])
def test_no_case_is_scored_by_a_density_that_saw_it(scheme, monkeypatch):
    recorded = Recorded(monkeypatch)
    found = cross_fit(LOG, folds=4, scheme=scheme, **QUICK)
    assert len(recorded.seen) == len(found.densities) == (4 if scheme == "leave-one-out" else 3)
    seen = recorded.seen
    if scheme == "forward":  # each goes on from the weights of the one before
        seen = [set.union(*seen[: i + 1]) for i in range(3)]
    new = read_log(WORLD.to_log(WORLD.sample(9, 5, seed=2)).with_columns(case=pl.lit("new ") + pl.col("case")))
    for log in (LOG, LOG.cases(LOG.case_names[5:44]), LOG.cases(LOG.case_names[:1]), new):
        scored = []
        for density, part in found.held_out(log):
            own = seen[[density is each for each in found.densities].index(True)]
            assert not own & set(part.case_names)
            scored += part.case_names
        assert len(scored) == len(set(scored))
        unseen_by_one = [name for name in log.case_names if any(name not in own for own in seen)]
        assert sorted(scored) == unseen_by_one
    if scheme == "leave-one-out":
        assert sum(part.n_cases for _, part in found.held_out(LOG)) == LOG.n_cases


def test_a_subset_of_39_cases_is_scored_as_in_the_whole_log():
    found = cross_fit(LOG, folds=2, **QUICK)
    some = LOG.case_names[10:49]
    whole = {name: density for density, part in found.held_out(LOG) for name in part.case_names}
    part = {name: density for density, part in found.held_out(LOG.cases(some)) for name in part.case_names}
    assert len(part) == 39
    assert all(part[name] is whole[name] for name in some)


@pytest.mark.parametrize("n_cases", [1, 2, 3, 4, 12, 60])
def test_no_case_of_training_is_called_held_out(n_cases, tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    events = np.random.default_rng(0).integers(0, 4, n_cases * 40)
    log = read_log(pl.DataFrame({"case": [f"c{i // 40}" for i in range(n_cases * 40)], "event": events}))
    density = fit(log, **QUICK)
    save_density(density, tmp_path / "m")
    (seen,) = recorded.seen
    for one in (density, load_density(tmp_path / "m", device="cpu")):
        if n_cases < 3:  # cut along time: every case was trained on
            with pytest.raises(ConfigError, match="no case of this log is held out"):
                held_out_cases(one, log)
        else:
            assert set(held_out_cases(one, log).case_names) == set(log.case_names) - seen


def test_only_a_world_has_seen_nothing_without_saying_so():
    assert held_out_cases(WORLD, LOG).n_cases == LOG.n_cases
    density = fit(LOG, **QUICK)
    density.info = {}
    with pytest.raises(ConfigError, match="not known which cases"):
        held_out_cases(density, LOG)
    density.info = {"split": {"seen": "not base64!"}}
    with pytest.raises(ConfigError, match="damaged"):
        held_out_cases(density, LOG)


@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_folds_are_trained_with_the_settings_of_the_density_they_are_like(backbone):
    like = fit(
        LOG, backbone=backbone, max_steps=30, batch_size=17, learning_rate=3e-3, patience=4, precision="bfloat16",
        memory=3, width=32, dropout=0.2, hide=0.3, n_blocks=1, min_count=3, progress=False, device="cpu",
    )  # fmt: skip
    found = cross_fit(LOG, folds=2, like=like, seed=5, progress=False, device="cpu")
    for density in found.densities:
        ignored = {"seed", "best_step", "validation_loss"}
        for group in ("arguments", "training"):
            own = {name: value for name, value in density.info[group].items() if name not in ignored}
            assert own == {name: value for name, value in like.info[group].items() if name not in ignored}
            assert density.info[group]["seed"] == 5
        assert density.vocabulary.names == like.vocabulary.names
        assert sum(density.vocabulary.counts) == density.info["log"]["n_events"]
    with pytest.raises(ConfigError, match="no settings of its own; got width"):
        cross_fit(LOG, folds=2, like=like, width=8)
    with pytest.raises(ConfigError, match="does not say how it was trained"):
        cross_fit(LOG, folds=2, like=WORLD)


@pytest.mark.parametrize("scheme", ["leave-one-out", "forward"])
def test_interrupted_cross_fitting_goes_on_to_the_same_densities(scheme, tmp_path, monkeypatch):
    settings = QUICK | {"folds": 3, "scheme": scheme}
    whole = cross_fit(LOG, **settings)
    real, calls = crossfit.train_recipe, []

    def die_at_the_last(*arguments, **others):
        calls.append(1)
        if len(calls) == len(whole.densities):
            raise KeyboardInterrupt
        return real(*arguments, **others)

    monkeypatch.setattr(crossfit, "train_recipe", die_at_the_last)
    monkeypatch.setattr("sequela.density.training.fit.train_recipe", die_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        cross_fit(LOG, out=tmp_path / "c", **settings)
    with pytest.raises(CheckpointError, match="interrupted"):
        load_cross_fit(tmp_path / "c")
    found = cross_fit(LOG, out=tmp_path / "c", **settings)
    assert len(calls) == len(whole.densities) + 1  # what was finished was not trained again
    loaded = load_cross_fit(tmp_path / "c", device="cpu")
    assert loaded.scheme == scheme
    for one, other, third in zip(whole.densities, found.densities, loaded.densities, strict=True):
        assert same(one, other)
        assert same(one, third)
    with pytest.raises(ConfigError, match="overwrite"):
        cross_fit(LOG, out=tmp_path / "c", **settings)
    other = cross_fit(LOG, out=tmp_path / "c", overwrite=True, seed=3, **settings)
    assert not same(other.densities[0], whole.densities[0])


def test_other_settings_do_not_take_up_what_an_interrupted_call_left(tmp_path):
    settings = QUICK | {"folds": 2}
    cross_fit(LOG, out=tmp_path / "c", **settings)
    marker = tmp_path / "c" / crossfit.MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"complete": False}))
    found = cross_fit(LOG, out=tmp_path / "c", **(settings | {"max_steps": 25}))
    assert {density.info["training"]["max_steps"] for density in found.densities} == {25}
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"complete": False}))
    changed = LOG.frame.with_columns(event=pl.col("event").reverse())
    marker.write_text("[")
    with pytest.raises(ConfigError, match="overwrite"):
        cross_fit(LOG, out=tmp_path / "c", **settings)
    with pytest.raises(CheckpointError, match="not a folder of cross-fitted densities"):
        load_cross_fit(tmp_path / "c")
    again = cross_fit(read_log(changed), out=tmp_path / "c", overwrite=True, **(settings | {"max_steps": 25}))
    assert not same(again.densities[0], found.densities[0])


def test_forward_goes_on_from_the_weights_before_and_costs_about_one_training(monkeypatch):
    like = fit(LOG, **(QUICK | {"max_steps": 400}))
    found = cross_fit(LOG, folds=4, scheme="forward", like=like, progress=False, device="cpu")
    assert [density.info["training"]["max_steps"] for density in found.densities] == [100, 100, 100]
    sizes = [density.info["log"]["n_cases"] for density in found.densities]
    assert sizes == [15, 30, 45]
    # Going on without a step: the same function as before.
    first, kind = found.densities[0], trained_backbone("window")
    sizes = Recipe.of_info(first.info).sizes(first.vocabulary, "cpu")
    network = kind.network(sizes, SequenceSet.from_log(LOG, first.vocabulary))
    kind.go_on(network, first)
    weights = network.folded().state_dict().items()
    assert all(torch.allclose(weight, state(first)[name], atol=1e-6) for name, weight in weights)


def test_training_goes_on_from_the_same_function_with_components_and_times():
    frame = LOG.frame.with_columns(unit=pl.col("event").str.slice(1).cast(pl.Int64) // 3)
    frame = frame.with_columns(at=pl.Series(np.cumsum(np.random.default_rng(0).exponential(5.0, frame.height))))
    log = read_log(frame, case="case", event=["unit", "event"], time="at")
    first = fit(log, components=True, times=True, seed=1, **QUICK)
    kind, recipe = trained_backbone("window"), Recipe.of_info(first.info)
    sizes = recipe.sizes(first.vocabulary, "cpu")
    longer = log.cases(log.case_names[:20])
    network = kind.network(sizes, SequenceSet.from_log(longer, first.vocabulary))
    kind.go_on(network, first)
    case = SequenceSet.from_log(log, first.vocabulary)[3]
    np.testing.assert_allclose(
        kind.density(network, sizes).score(case.ids, case.times), first.score(case.ids, case.times), atol=1e-6
    )
    other = kind.network(Recipe.of_info(fit(LOG, **QUICK).info).sizes(first.vocabulary, "cpu"), case_set(log, first))
    with pytest.raises(ConfigError, match="of the same sizes"):
        kind.go_on(other, first)


def case_set(log, density):
    return SequenceSet.from_log(log, density.vocabulary)


def test_save_and_load(tmp_path):
    found = cross_fit(LOG, folds=2, seed=4, **QUICK)
    found.save(tmp_path / "c")
    loaded = load_cross_fit(tmp_path / "c", device="cpu")
    assert (loaded.scheme, loaded.seed) == (found.scheme, found.seed)
    ids = WORLD.sample(1, 8, seed=9)[0].ids
    for one, other in zip(found.densities, loaded.densities, strict=True):
        np.testing.assert_array_equal(one.score(ids), other.score(ids))
    assert isinstance(loaded, CrossFit)
    with pytest.raises(CheckpointError, match="not a folder of cross-fitted densities"):
        load_cross_fit(tmp_path)


def test_a_folder_that_was_changed_is_refused(tmp_path):
    """Found by fuzzing: no checksum, and numbers that no code expects."""
    CrossFit((tiny_window(vocabulary_of(3)),)).save(tmp_path / "out")
    marker = tmp_path / "out" / "crossfit.json"
    marker.write_text(marker.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(CheckpointError, match="has changed"):
        load_cross_fit(tmp_path / "out", device="cpu")
    for forged in ({"seed": 2**70}, {"n_densities": 0}, {"seed": float("inf")}, {"scheme": "x" * 5000}):
        write_record(tmp_path / "out", "crossfit.json", json.loads(marker.read_text()) | {"seed": 0} | forged)
        with pytest.raises(CheckpointError, match="not a folder of cross-fitted densities") as caught:
            load_cross_fit(tmp_path / "out", device="cpu")
        assert len(str(caught.value)) < 500
