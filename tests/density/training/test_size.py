"""The width of a network: the lowest validation loss, few short runs, the same after an interruption."""

from dataclasses import replace

import numpy as np
import pytest

from sequela.density.training import size
from sequela.density.training.fit import fit, train_recipe
from sequela.density.training.loop import TrainingConfig
from sequela.density.training.recipe import Recipe, split_for_training
from sequela.density.training.size import WIDTHS, choose_memory, choose_repeats, choose_width
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.progress import Silent
from sequela.worlds.softmax import SoftmaxWorld

CONFIG = TrainingConfig(max_steps=1600, batch_size=32, learning_rate=1e-3)
WORLD = SoftmaxWorld.random(6, horizon=2, decay=0.2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, (1, 15), seed=1)))


def even(loss):
    """The same loss in each of five pieces of ten targets: a difference without error."""
    return np.array([[10.0 * loss, 10.0]] * 5)


@pytest.mark.parametrize("best", WIDTHS)
def test_the_lowest_of_a_loss_that_falls_and_rises_is_found_in_at_most_four_runs(best):
    tried = []

    def short_run(width, config):
        tried.append(width)
        assert config.max_steps == 400
        return even(abs(WIDTHS.index(width) - WIDTHS.index(best)))

    choice = choose_width(short_run, CONFIG, report=Silent())
    assert choice.width == best == min(choice.losses, key=choice.losses.get)
    assert len(tried) == len(set(tried)) <= 4


def test_of_equal_losses_the_smallest_width_wins():
    assert choose_width(lambda width, config: even(1.0), CONFIG, report=Silent()).width == 16


def test_a_wider_network_must_be_better_by_more_than_the_noise():
    rng = np.random.default_rng(0)
    noise = {width: rng.normal(0, 0.1, 40) for width in WIDTHS}

    def run(gain):
        def short_run(width, config):
            losses = 1.0 + noise[width] - noise[width].mean() - gain * WIDTHS.index(width)
            return np.stack([10 * losses, np.full(40, 10.0)], axis=1)

        return choose_width(short_run, CONFIG, report=Silent())

    assert run(0.001).width == 32  # 256 is lower by 0.003, and the error of that is about 0.1 * sqrt(2 / 40) = 0.022
    far = run(0.1)
    assert far.width == 256
    difference = noise[32] - noise[256]
    assert far.std_errors[32] == pytest.approx(difference.std(ddof=1) / np.sqrt(40))
    assert far.std_errors[256] == 0


def test_an_interrupted_choice_goes_on(tmp_path):
    record, tried = tmp_path / "widths.json", []

    def short_run(width, config):
        tried.append(width)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return even({16: 2.5, 32: 2.0, 64: 1.0, 128: 3.0}[width])

    with pytest.raises(KeyboardInterrupt):
        choose_width(short_run, CONFIG, report=Silent(), record=record, fingerprint="a")
    choice = choose_width(short_run, CONFIG, report=Silent(), record=record, fingerprint="a")
    assert tried == [32, 128, 16, 16, 64]
    assert choice.width == 64
    again = []
    other = choose_width(
        lambda w, c: again.append(w) or even(w), CONFIG, report=Silent(), record=record, fingerprint="b"
    )
    assert other.width == 16
    assert again == [32, 128, 16]
    record.write_text("[1, 2")
    assert choose_width(lambda w, c: even(w), CONFIG, report=Silent(), record=record, fingerprint="b").width == 16


@pytest.mark.parametrize(
    ("losses", "longest", "memory", "tries"),
    [
        ({16: 2.0}, 99, 8, [16]),
        ({16: 1.9, 32: 1.9}, 99, 16, [16, 32]),
        ({16: 1.9, 32: 1.8}, 99, 32, [16, 32]),
        ({12: 1.9}, 12, 12, [12]),
        ({}, 8, 8, []),
    ],
)
def test_memory_is_doubled_as_long_as_that_helps(losses, longest, memory, tries):
    tried = []

    def short_run(memory, config):
        tried.append(memory)
        assert config.max_steps == 400
        return even(losses[memory])

    choice = choose_memory(short_run, CONFIG, first=8, own=even(2.0), longest=longest, report=Silent())
    assert (choice.memory, tried) == (memory, tries)
    assert choice.losses == {8: 2.0, **losses}


def test_a_longer_memory_and_repeats_must_be_better_by_more_than_the_noise():
    noise = np.random.default_rng(0).normal(0, 0.1, 40)

    def run(gain):
        own, longer = (np.stack([10 * loss, np.full(40, 10.0)], axis=1) for loss in (1 + 0 * noise, 1 + noise - gain))
        found = choose_memory(lambda memory, config: longer, CONFIG, first=8, own=own, longest=16, report=Silent())
        apart = choose_repeats(lambda repeats, config: longer, CONFIG, own=own, report=Silent())
        assert apart.repeats == (found.memory == 16)
        assert np.array_equal(apart.own, longer if apart.repeats else own)
        assert apart.std_error == found.std_errors[16]
        return found.memory

    error = noise.std(ddof=1) / np.sqrt(40)
    assert [run(noise.mean() + share * error) for share in (0.9, 1.1)] == [8, 16]


def test_fit_keeps_the_smallest_width_with_about_the_lowest_validation_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "LEAST_STEPS", 5)
    density = fit(LOG, max_steps=40, device="cpu", progress=False, out=tmp_path / "m")
    choice = density.info["width_choice"]
    assert choice["steps"] == 10
    losses, errors = choice["validation_loss"], choice["std_error"]
    near = [int(width) for width in losses if losses[width] <= min(losses.values()) + errors[width]]
    assert density.info["arguments"]["width"] == min(near)
    assert density.network.config.width == choice["width"]
    assert density.network.config.repeats == density.info["repeats_choice"]["repeats"]
    assert density.memory == density.info["memory_choice"]["memory"]
    assert set(density.info["memory_choice"]["validation_loss"]) == {"8", "15"}  # cases have 15 events at most
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert fit(LOG, max_steps=40, memory=3, device="cpu", progress=False).info["memory_choice"] is None
    assert fit(LOG, max_steps=40, width=8, device="cpu", progress=False).info["width_choice"] is None


def test_where_a_short_run_forecast_better_training_is_as_short():
    vocabulary = Vocabulary.build(LOG)
    sequences = SequenceSet.from_log(LOG, vocabulary)
    parts = split_for_training(sequences, 0)
    config = TrainingConfig(max_steps=1400, batch_size=64, learning_rate=1e-2, patience=1, check_every=20)
    recipe = Recipe("window", 0, 2, 2, 8, 1, 0.0, 0.0, times=False, components=False, config=config)
    given = (LOG, vocabulary, sequences, parts)
    settings = {"device": "cpu", "out": None, "overwrite": False, "tell": Silent()}
    short = replace(recipe, config=size.short_config(config))
    assert short.config.max_steps == 350
    whole, alone = (train_recipe(one, *given, **settings) for one in (recipe, short))
    choice = size.WidthChoice(8, 350, {8: 0.0}, {8: 0.0}, even(0.0), even(0.0))
    better = train_recipe(recipe, *given, **settings, choice=choice)
    worse = train_recipe(recipe, *given, **settings, choice=replace(choice, losses={8: 99.0}))
    assert better.fingerprint == alone.fingerprint != whole.fingerprint == worse.fingerprint
    assert better.info["training"] == alone.info["training"]
    assert better.info["fingerprint"] == alone.info["fingerprint"]
