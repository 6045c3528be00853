"""The recurrent density: branches from copied states equal whole runs; trained, saved and loaded like any other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sequela as sq
from conftest import vocabulary_of
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.density.checkpoint import load_density
from sequela.density.recurrent.density import RecurrentDensity
from sequela.density.recurrent.network import RecurrentConfig, RecurrentNetwork
from sequela.density.runtime.network_density import Batches, within_memory
from sequela.density.runtime.precision import with_precision
from sequela.errors import CheckpointError, ConfigError
from sequela.worlds.softmax import SoftmaxWorld

V, LENGTH = 7, 26
VOCABULARY = vocabulary_of(V)
WORLD = SoftmaxWorld.random(5, horizon=2, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(60, 12, seed=1)))


def density_of(context):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = RecurrentNetwork(RecurrentConfig(V, V + 3, context, 16, 2, dropout=0.5))
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return RecurrentDensity(network, VOCABULARY, knows_hidden=True)


DENSITIES = {context: density_of(context) for context in (64, 10)}
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)


def task(n=30, steps=5):
    rng = np.random.default_rng(1)
    tails = rng.integers(0, V, (n, steps)).astype(np.int32)
    tails[::3, 0] = VOCABULARY.hidden_id
    return Branches(IDS, rng.integers(0, LENGTH, n), tails)


def whole_log_probs(density, past):
    """The twin: a plain run of the layers over one whole past, from nothing."""
    (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
    network = density.network
    x = network.embedding(torch.tensor([[VOCABULARY.begin_id, *past[block.begin :]]]))
    for layer in network.layers:
        x, _ = layer(x)
    return network.head(network.norm(x[0, -1])).double().log_softmax(0).numpy()


@pytest.mark.parametrize("context", DENSITIES)
def test_scores_equal_whole_runs(context):
    density, one = DENSITIES[context], task()
    scores, found = (own[0] for own in density.score_both([one]))
    whole = density.conditional(IDS, np.arange(LENGTH + 1))
    for position in range(LENGTH + 1):
        expected = whole_log_probs(density, IDS[:position])
        assert np.allclose(whole[position], expected, atol=1e-5)
        if position < LENGTH:
            assert scores[position] == pytest.approx(expected[IDS[position]], abs=1e-5)
    for k, start in enumerate(one.starts):
        for step in range(one.tails.shape[1]):
            target = start + step + 1
            if target >= LENGTH:
                assert np.isnan(found[k, step])
                continue
            past = np.concatenate([IDS[:start], one.tails[k, : step + 1]])
            assert found[k, step] == pytest.approx(whole_log_probs(density, past)[IDS[target]], abs=1e-5)


@pytest.mark.parametrize("context", DENSITIES)
def test_company_wanted_steps_and_batches_change_nothing(context):
    density, one = DENSITIES[context], task()
    found, score = density.score_branches(*one), density.score(IDS)
    few = Branches(IDS[:4], np.array([0, 3]), IDS[:4].reshape(2, 2))
    together = density.score_branches_many([few, one, task(1), Branches(IDS[:0], np.zeros(0, np.int64), one.tails[:0])])
    assert np.array_equal(together[1], found, equal_nan=True)
    assert np.array_equal(together[0], density.score_branches(*few), equal_nan=True)
    assert np.array_equal(density.score_many([IDS[:3], IDS, IDS[:0]])[1], score)
    wanted = np.random.default_rng(2).random(one.tails.shape) < 0.3
    some = density.score_branches(*one._replace(wanted=wanted))
    assert np.allclose(some[wanted], found[wanted], atol=1e-6, equal_nan=True)
    assert np.isnan(some[~wanted]).all()
    small = density.with_runtime(replace(density.runtime, batches=Batches(n_tokens=16, n_held=16, n_rows=16)))
    assert np.allclose(small.score_branches(*one), found, atol=1e-6, equal_nan=True)
    assert np.allclose(small.score(IDS), score, atol=1e-6)
    tight = within_memory(density, density.cost(LENGTH, 5).least_bytes, longest=LENGTH, horizon=5)
    assert tight._held_bytes(LENGTH, 5, tight.runtime.batches) <= density.cost(LENGTH, 5).least_bytes
    assert np.allclose(tight.score_branches(*one), found, atol=1e-6, equal_nan=True)
    assert not density.reruns


def test_states_do_not_run_the_observed_events_again(monkeypatch):
    density, ran, own = DENSITIES[64], [], RecurrentNetwork.states
    monkeypatch.setattr(RecurrentNetwork, "states", lambda self, x, *more: ran.append(x.shape) or own(self, x, *more))
    density.score_branches(*task(40))
    assert ran[0][1] <= LENGTH
    assert [shape[1] for shape in ran[1:]] == [5]


def test_it_is_trained_saved_loaded_and_used(tmp_path):
    density = sq.fit(LOG, backbone="gru", max_steps=150, out=tmp_path / "m", progress=False, device="cpu")
    report = density.info["report"]
    assert report["cross_entropy"] < np.log(5) - 0.02
    again = load_density(tmp_path / "m", device="cpu")
    assert again.fingerprint == density.fingerprint
    ids = np.array([0, 3, 2, 4, 1, 1], np.int32)
    assert np.array_equal(again.score(ids), density.score(ids))
    assert len(sq.discover(again, LOG.case(LOG.case_names[0]), horizon=2, delta=0.001)) > 0
    assert np.allclose(with_precision(again, "bfloat16").score(ids), again.score(ids), atol=0.1)
    with pytest.raises(ConfigError, match="go on only from a recurrent density"):
        sq.density.registry.trained_backbone("gru").go_on(RecurrentNetwork(RecurrentConfig(5, 8, 9, 4, 1)), density)


def test_settings_that_do_not_fit_the_weights_are_refused(tmp_path):
    from sequela.density.recurrent import backbone
    from sequela.density.registry import Saved

    kind, density = backbone.RecurrentBackbone(), DENSITIES[64]
    settings = kind.save(density, tmp_path)
    for change in ({"width": 17}, {"width": 0}, {"n_types": 6}, {"context": 1}, {"n_layers": 3}):
        with pytest.raises(ValueError, match=r"settings|predicts"):
            kind.load(tmp_path, Saved(settings | change, VOCABULARY, True, "cpu"))
    assert CheckpointError
