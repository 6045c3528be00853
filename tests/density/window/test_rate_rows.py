"""Rates kept one by one equal the table of them; what training samples equals all types, or estimates them."""

import json

import numpy as np
import pytest
import torch
from scipy import sparse

from conftest import tiny_window, vocabulary_of
from sequela.density.checkpoint import load_density, save_density
from sequela.density.sampled_types import TypeSampler
from sequela.density.training import size
from sequela.density.training.fit import fit
from sequela.density.window import additive, backbone, objective
from sequela.density.window.density import WindowDensity
from sequela.errors import CheckpointError
from sequela.events.log import read_log
from sequela.worlds.diagnostic import DiagnosticWorld

V, MEMORY = 7, 3
RNG = np.random.default_rng(0)
EFFECTS = sparse.csr_array(RNG.exponential(1.0, (V + 3, V)) * (RNG.random((V + 3, V)) < 0.4))
WINDOWS = RNG.integers(0, V + 3, (9, MEMORY)).astype(np.int32)
TARGETS = RNG.integers(0, V, 9).astype(np.int32)
GAPS = RNG.random((9, MEMORY)).astype(np.float32) * 2
LOG = read_log((world := DiagnosticWorld.random(12, seed=0)).to_log(world.sample(80, 15, seed=1)), time=False)


def twins(n_knots):
    """The same network with a table and with rates one by one."""
    sizes = {"memory": MEMORY, "head": 0.5, "n_knots": n_knots, "additive": True}
    whole = tiny_window(vocabulary_of(V), **sizes)
    rows = tiny_window(vocabulary_of(V), n_rates=EFFECTS.nnz, **sizes)
    with torch.no_grad():
        torch.nn.init.normal_(whole.network.rate_source, std=0.5)
        rows.network.rate_source.copy_(whole.network.rate_source)
    whole.network.set_rates(EFFECTS)
    rows.network.set_rates(EFFECTS)
    return whole, rows


@pytest.mark.parametrize("n_knots", [0, 4])
def test_they_score_as_the_table_does(n_knots):
    whole, rows = twins(n_knots)
    gaps = GAPS if n_knots else None
    conditional = rows.timed_conditional(WINDOWS, gaps)
    np.testing.assert_allclose(conditional, whole.timed_conditional(WINDOWS, gaps), atol=1e-5)
    np.testing.assert_allclose(np.exp(conditional).sum(axis=1), 1.0, rtol=1e-5)
    found = rows.timed_log_prob(WINDOWS, gaps, TARGETS)
    np.testing.assert_allclose(found, whole.timed_log_prob(WINDOWS, gaps, TARGETS), atol=1e-5)
    np.testing.assert_allclose(found, conditional[np.arange(9), TARGETS], atol=1e-5)


@pytest.mark.parametrize("n_rates", [0, EFFECTS.nnz])
def test_training_asks_for_what_scoring_gives(n_rates):
    density = twins(4)[n_rates > 0]
    network, windows, targets = density.network, torch.from_numpy(WINDOWS).long(), torch.from_numpy(TARGETS).long()
    gaps = torch.from_numpy(GAPS)
    expected = torch.from_numpy(density.timed_log_prob(WINDOWS, GAPS, TARGETS)).float()
    torch.testing.assert_close(network(windows, gaps, targets=targets), expected, atol=1e-5, rtol=0)
    everything = TypeSampler(np.ones(V), n_frequent=2, n_sampled=V).draw(TARGETS, RNG)
    torch.testing.assert_close(network(windows, gaps, targets=targets, sample=everything), expected, atol=1e-5, rtol=0)


def test_a_sample_estimates_the_sum_over_all_types_without_bias():
    logits = torch.from_numpy(RNG.normal(size=40))
    sampler, targets = TypeSampler(RNG.integers(0, 9, 40), n_frequent=5, n_sampled=6), np.array([3, 17, 3], np.int32)
    sums = []
    for _ in range(3000):
        sample = sampler.draw(targets, RNG)
        assert (sample.types[sample.targets].numpy() == targets).all()
        assert len(sample.types.unique()) == len(sample.types)
        sums.append(float((logits[sample.types] + sample.log_weights).exp().sum()))
    assert abs(np.mean(sums) - float(logits.exp().sum())) < 4 * np.std(sums) / np.sqrt(len(sums))


def test_fit_keeps_them_one_by_one_and_samples_where_there_are_many_types(tmp_path, monkeypatch):
    quick = {"memory": 4, "width": 8, "max_steps": 60, "device": "cpu", "progress": False, "additive": True}
    plain = fit(LOG, **quick)
    monkeypatch.setattr(backbone, "_MAX_WIDE_TYPES", 2)
    monkeypatch.setattr(objective, "LEAST_TYPES", 2)
    monkeypatch.setattr(TypeSampler.__init__, "__kwdefaults__", {"n_frequent": 3, "n_sampled": 4})
    density = fit(LOG, out=tmp_path / "m", **quick)
    assert density.network.config.n_rates > 0
    loss, known = (each.info["report"]["cross_entropy"] for each in (density, plain))
    assert loss < known + 0.05
    again = load_density(tmp_path / "m", device="cpu")
    assert isinstance(again, WindowDensity)
    ids = np.array([0, 1, 2, 3], np.int32)
    assert (again.score(ids) == density.score(ids)).all()


def test_many_types_are_counted_before_a_width_is_chosen(monkeypatch):
    monkeypatch.setattr(backbone.WindowBackbone, "most_table_types", 2)
    monkeypatch.setattr(size, "LEAST_STEPS", 5)
    info = fit(LOG, max_steps=40, n_blocks=1, device="cpu", progress=False).info
    assert info["arguments"]["additive"]
    assert info["additive_choice"]["counted"] < info["additive_choice"]["trained"]
    assert min(info["width_choice"]["validation_loss"].values()) < info["additive_choice"]["trained"]


def test_where_nothing_adds_anything_no_table_is_made(monkeypatch):
    monkeypatch.setattr(backbone, "_MAX_WIDE_TYPES", 2)
    monkeypatch.setattr(additive, "PENALTY", 1e9)
    density = fit(LOG, memory=2, width=8, max_steps=3, device="cpu", progress=False, additive=True)
    assert density.network.config.n_rates == 1
    assert density.network.rate_values.tolist() == [0.0]
    assert np.isfinite(density.score(np.array([0, 1], np.int32))).all()


@pytest.mark.parametrize("change", ["starts", "types", "order"])
def test_rows_that_are_none_are_refused(change, tmp_path):
    density = twins(0)[1]
    with torch.no_grad():
        if change == "starts":
            density.network.rate_starts[3] = 10**12
        elif change == "order":
            row = int(density.network.rate_starts.diff().argmax())
            low, high = density.network.rate_starts[row : row + 2].tolist()
            density.network.rate_types[low:high] = density.network.rate_types[low:high].flip(0)
        else:
            density.network.rate_types[0] = V
    save_density(density, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "density.json").read_text())["settings"]["n_rates"] == EFFECTS.nnz
    with pytest.raises(CheckpointError, match="its rates are not those of its event types"):
        load_density(tmp_path / "m", device="cpu")
