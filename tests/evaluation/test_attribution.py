"""Attribution baselines against enumeration and against the model itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from conftest import tiny_window
from sequela.density.training.fit import fit
from sequela.errors import ConfigError
from sequela.evaluation import attribution
from sequela.evaluation.attribution import AttentionRollout, InputTimesGradient, OneHotWindow, ShapleySampling
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

pytest.importorskip("captum")
WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.2, seed=0)


def _fit(**arguments):
    log = read_log(WORLD.to_log(WORLD.sample(60, 12, seed=1)), case="case", event="event", time="time")
    return fit(log, max_steps=40, width=16, memory=3, progress=False, **arguments)


@pytest.fixture(scope="module")
def window():
    return _fit()


@pytest.fixture(scope="module")
def llama():
    density = _fit(backbone="llama", n_blocks=2)
    density.context = 16
    return density


IDS = np.array([0, 2, 1, 1, 3, 4, 0], np.int32)


def whole_network():
    """A network with every part that may be chosen: repeats that count apart, and rates that add up."""
    network = tiny_window(WORLD.vocabulary, memory=3, head=0.5, direct=0.5, wide=True, repeats=True, additive=True)
    weights = network.network
    with torch.no_grad():
        for weight in (weights.repeat.weight, weights.table_repeat.weight, weights.rate_source, weights.rate_lag):
            torch.nn.init.normal_(weight, std=0.5)
        weights.rates.uniform_(0, 2)
    return network


@pytest.mark.parametrize("kind", ["as fit makes it", "with every part"])
def test_one_hot_windows_give_the_same_numbers(window, kind):
    window = window if kind == "as fit makes it" else whole_network()
    windows = torch.randint(0, window.vocabulary.n_inputs, (20, 3), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % window.vocabulary.n_types
    one_hot = torch.nn.functional.one_hot(windows, window.vocabulary.n_inputs).float()
    expected = window.network(windows).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    assert window.network.config.wide
    torch.testing.assert_close(OneHotWindow(window.network)(one_hot, targets), expected, atol=1e-5, rtol=0)


def test_gradients_are_finite_differences(window):
    band = InputTimesGradient(window).scores(IDS, 3)
    model, n_inputs = OneHotWindow(window.network).double(), window.vocabulary.n_inputs
    try:
        one_hot = torch.nn.functional.one_hot(torch.tensor([[0, 2, 1]]), n_inputs).double()
        target = torch.tensor([1])
        for place, lag in ((2, 1), (1, 2), (0, 3)):
            moved = []
            for step in (1e-5, -1e-5):
                other = one_hot.clone()
                other[0, place] *= 1 + step
                moved.append(float(model(other, target)))
            assert band[3 - lag, lag - 1] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-3)
    finally:
        window.network.float()


def test_shapley_values_are_those_of_all_orders(window):
    band = ShapleySampling(window, n_samples=600, seed=0).scores(IDS, 3)
    np.testing.assert_array_equal(band, ShapleySampling(window, n_samples=600, seed=0).scores(IDS, 3))

    def value(kept):
        places = torch.tensor([[IDS[p] if p in kept else window.vocabulary.hidden_id for p in range(3)]]).long()
        return float(window.network(places).log_softmax(-1)[0, IDS[3]])

    for place in range(3):
        exact, others = 0.0, [p for p in range(3) if p != place]
        for size in range(3):
            for kept in itertools.combinations(others, size):
                weight = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                exact += weight * (value({*kept, place}) - value(kept))
        assert band[place, 2 - place] == pytest.approx(exact, abs=0.05)


def test_rollout_is_the_product_of_mean_attentions(llama):
    method = AttentionRollout(llama)
    flow = method.rollout(IDS)
    np.testing.assert_allclose(flow.sum(axis=1), 1.0, atol=1e-6)
    assert np.triu(flow, 1).max() == 0.0  # nothing flows from the future
    band = method.scores(IDS, 3)
    assert band[2, 0] == flow[3, 3]
    assert band[1, 1] == flow[3, 2]
    assert np.isnan(band[-1]).all()
    with pytest.raises(ConfigError, match="context"):
        method.scores(np.zeros(20, np.int32), 3)


def test_wrong_densities_are_refused(window, llama):
    for method in (InputTimesGradient, ShapleySampling):
        with pytest.raises(ConfigError, match="window density"):
            method(llama)
    with pytest.raises(ConfigError, match="Hugging Face"):
        AttentionRollout(window)


def test_a_missing_captum_names_the_extra(window, monkeypatch):
    import builtins

    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"sequela\[attribution\]"):
        attribution._captum()
