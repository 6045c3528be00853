"""Effects that add up: what is counted against a world of known law, the network written out, what `fit` decides."""

import itertools

import numpy as np
import pytest
import torch

from conftest import tiny_window, vocabulary_of
from sequela.density.checkpoint import load_density
from sequela.density.training import size
from sequela.density.training.crossfit import cross_fit
from sequela.density.training.fit import fit
from sequela.density.training.short_runs import ShortRuns
from sequela.density.training.size import AdditiveChoice, WidthChoice
from sequela.density.window import additive
from sequela.density.window.additive import AdditiveEffects
from sequela.density.window.finite_memory import observed_windows
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.diagnostic import DiagnosticWorld

LINKS = np.zeros((5, 5))
LINKS[0, 1] = LINKS[1, 2] = 1.0
LINKS[3, [0, 4]] = 0.5
WORLD = DiagnosticWorld([5.0, 4.0, 3.0, 2.0, 1.0], LINKS, horizon=2, decay=0.7, strength=4.0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, 20, seed=1)), time=False)
SHORT = {"max_steps": 40, "device": "cpu", "progress": False}


def examples(cases, memory, begin):
    windows = [observed_windows(case.ids, np.arange(len(case.ids)), memory, begin) for case in cases]
    return np.concatenate(windows), np.concatenate([case.ids for case in cases])


def test_counted_effects_are_those_of_the_world():
    windows, targets = examples(WORLD.sample(500, 40, seed=2), 3, WORLD.vocabulary.begin_id)
    found = AdditiveEffects.count(windows, targets, WORLD.vocabulary, iterations=200)
    past, effects = np.array(list(itertools.product(range(5), repeat=3)), np.int32), found.effects.toarray()
    rates = found.spontaneous + (found.lag_scale[:, None] * effects[past]).sum(axis=1)
    # The rates themselves are known up to what every event adds alike.
    np.testing.assert_allclose(
        rates / rates.sum(axis=1, keepdims=True), np.exp(WORLD.window_conditional(past[:, 1:])), atol=0.06
    )
    assert effects[WORLD.vocabulary.begin_id].max() == 0
    share = np.bincount(targets) / len(targets)
    np.testing.assert_allclose(effects[WORLD.vocabulary.hidden_id], share @ effects[:5])


def test_events_are_gone_through_in_parts(monkeypatch):
    windows, targets = examples(WORLD.sample(30, 20, seed=2), 3, WORLD.vocabulary.begin_id)
    places, knots = np.random.default_rng(0).uniform(0, 3, windows.shape), {"n_knots": 4}
    whole = AdditiveEffects.count(windows, targets, WORLD.vocabulary, places=places, **knots)
    monkeypatch.setattr(additive, "_BLOCK", 100)
    parts = AdditiveEffects.count(windows, targets, WORLD.vocabulary, places=places, **knots)
    for name in ("spontaneous", "lag_scale", "curve"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)
    np.testing.assert_allclose(parts.effects.toarray(), whole.effects.toarray(), rtol=1e-9)


def test_what_an_event_adds_fades_along_the_counted_curve():
    rng = np.random.default_rng(3)
    n, reach = 5_000, np.array([0.0, 1.0, 2.0])
    windows, places = rng.integers(0, 3, (n, 1)).astype(np.int32), rng.choice(reach, (n, 1))
    adds = np.where(windows == 0, 6.0 * np.exp(-places), 0.0)[:, 0]  # type 0 brings type 1, less and less with time
    targets = np.where(rng.random(n) < adds / (1 + adds), 1, rng.integers(0, 3, n)).astype(np.int32)
    knots = {"n_knots": 3, "iterations": 200}
    found = AdditiveEffects.count(windows, targets, vocabulary_of(3), places=places, **knots)
    np.testing.assert_allclose(found.curve, np.exp(-reach), rtol=0.2)
    assert found.effects[0, 1] == pytest.approx(6.0, rel=0.1)
    between = AdditiveEffects.count(windows, targets, vocabulary_of(3), places=places * 0.999, **knots)
    np.testing.assert_allclose(between.curve, found.curve, rtol=0.02)


@pytest.mark.parametrize("n_knots", [0, 4])
def test_network_equals_its_sums_written_out(n_knots):
    network = tiny_window(
        vocabulary_of(5), memory=3, head=0.5, wide=True, n_knots=n_knots, additive=True
    ).network.eval()
    rng = np.random.default_rng(4)
    with torch.no_grad():
        for weight in (network.rate_lag, network.rate_source, *([network.rate_timing.weight] if n_knots else [])):
            torch.nn.init.normal_(weight, std=0.5)
        windows, gaps = torch.from_numpy(rng.integers(0, 8, (6, 3))), torch.from_numpy(rng.random((6, 3)) * 2)
        plain = network(windows, gaps).exp()  # no rates: nothing is added
        network.rates.copy_(torch.from_numpy(rng.exponential(1.0, (8, 5)) * (rng.random((8, 5)) < 0.5)))
        found = network(windows, gaps).exp()
        knots = network.knots(gaps)
    for row in range(6):
        added = np.zeros(5)
        for place, event in enumerate(windows[row]):
            scale = float((network.rate_lag[place] + network.rate_source[event]).exp())
            if n_knots:
                curve = (network.rate_curve + network.rate_timing.weight[event]).exp().detach().numpy()
                scale *= float(curve @ knots[row, place].numpy())
            added += scale * network.rates[event].numpy()
        np.testing.assert_allclose(found[row].numpy(), plain[row].numpy() + added, rtol=1e-4)


def test_fit_adds_effects_up_where_counting_forecasts_better(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "LEAST_STEPS", 5)
    density = fit(LOG, out=tmp_path / "m", n_blocks=1, **SHORT)
    choice = density.info["additive_choice"]
    assert density.info["arguments"]["additive"]
    assert choice["counted"] < choice["trained"] - choice["std_error"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    again = load_density(tmp_path / "m")
    assert again.network.config.additive
    assert again.fingerprint == density.fingerprint
    ids, where = np.array([0, 1, 2, 3, 4], np.int32), np.arange(5)
    assert (again.conditional(ids, where) == density.conditional(ids, where)).all()


def test_counts_must_be_better_by_more_than_the_noise():
    trained = np.stack([np.array([9.0, 11.0, 10.0, 10.0]), np.full(4, 10.0)], axis=1)
    noisy = trained + np.array([[-1.0, 0.0], [1.0, 0.0], [-0.5, 0.0], [0.0, 0.0]])
    choice = AdditiveChoice.between(noisy, trained)
    assert choice.counted < choice.trained
    assert choice.std_error == pytest.approx(np.std([-1, 1, -0.5, 0], ddof=1) / 2 / 10)
    assert not choice.additive
    assert AdditiveChoice.between(trained - [[0.5, 0.0]], trained).additive


@pytest.mark.parametrize("with_them", [1.9, 2.1])
def test_counts_that_training_spoils_are_left_out(with_them, monkeypatch):
    def choose_width(self, recipe):
        loss = with_them if recipe.additive else 2.0
        pieces = np.array([[loss, 1.0]])
        return WidthChoice(8, 1, {8: loss}, {8: 0.0}, pieces, pieces)

    monkeypatch.setattr(size, "LEAST_STEPS", 5)
    monkeypatch.setattr(ShortRuns, "choose_width", choose_width)
    monkeypatch.setattr(ShortRuns, "choose_additive", lambda *_: AdditiveChoice(1.5, 2.0, 0.1))
    info = fit(LOG, **SHORT).info
    assert info["arguments"]["additive"] == (with_them < 2.0)
    assert info["width_choice"]["validation_loss"] == {"8": min(with_them, 2.0)}


def test_fit_does_as_it_is_told():
    density = fit(LOG, additive=False, width=8, **SHORT)
    assert not density.info["arguments"]["additive"]
    assert "rates" not in density.state()
    assert density.info["additive_choice"] is None


def test_additive_effects_need_the_window_backbone():
    with pytest.raises(ConfigError, match="needs the window backbone"):
        fit(LOG, backbone="gru", additive=True, **SHORT)


def test_forward_densities_each_count_on_their_own_cases():
    densities = cross_fit(LOG, folds=3, scheme="forward", additive=True, width=8, **SHORT).densities
    first, second = (density.network.rates for density in densities)
    assert first.sum() > 0
    assert not torch.equal(first, second)
