"""A new backbone is one class and one registration: it is trained, saved, loaded and used like the others."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sequela as sq
from sequela.density.checkpoint import load_density, save_density
from sequela.density.registry import (
    Steps,
    TrainedBackbone,
    backbone_names,
    backbone_of,
    load_backbone,
    register,
    trained_backbone,
    unregister,
)
from sequela.density.runtime.network_density import Runtime, runtime_of, within_memory
from sequela.density.runtime.precision import with_precision
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.density.window.objective import WindowTask
from sequela.errors import CheckpointError, ConfigError, DensityError
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=1, decay=0.2, sparsity=0.3, weight_scale=3.0, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(200, 12, seed=1)))


class Bigram(FiniteMemoryDensity):
    """A table of logits: what follows one event."""

    backbone = "bigram"
    memory = 1

    def __init__(self, table, vocabulary, knows_hidden):
        self.table = table
        self.vocabulary = vocabulary
        self.knows_hidden = knows_hidden

    def window_conditional(self, windows):
        return self.table[torch.from_numpy(windows[:, 0].astype(np.int64))].double().log_softmax(1).numpy()

    def window_log_prob(self, windows, targets):
        return np.take_along_axis(self.window_conditional(windows), targets.astype(np.int64)[:, None], 1)[:, 0]


class Table(torch.nn.Module):
    def __init__(self, n_inputs, n_types):
        super().__init__()
        self.logits = torch.nn.Embedding(n_inputs, n_types)

    def forward(self, windows, targets, sample=None):
        assert sample is None  # few types
        return self.logits(windows[:, -1]).log_softmax(1).gather(1, targets[:, None])[:, 0]


@dataclass
class BigramBackbone(TrainedBackbone):
    """How it is sized, trained, saved and loaded."""

    name = "bigram"

    def default_memory(self, longest):
        return 2

    def default_width(self, n_events, n_types):
        return n_types

    def steps(self, train_set, n_types, memory, batch_size):
        return Steps(batch_size or 64, train_set.n_events / 64, learning_rate=0.1, most=300)

    def network(self, sizes, train_set):
        return Table(sizes.vocabulary.n_inputs, sizes.vocabulary.n_types)

    def task(self, cases, sizes):
        return WindowTask(cases, sizes.vocabulary, memory=sizes.memory, hide=sizes.hide)

    def density(self, network, sizes):
        return Bigram(network.logits.weight.detach(), sizes.vocabulary, sizes.hide > 0)

    def save(self, density, folder):
        save_file({"table": density.table}, folder / "weights.safetensors")
        return {}

    def load(self, folder, saved):
        return Bigram(load_file(folder / "weights.safetensors")["table"], saved.vocabulary, saved.knows_hidden)


@pytest.fixture
def bigram():
    register(BigramBackbone(), summary="what follows one event")
    yield
    unregister("bigram")


def test_a_throwaway_backbone_does_everything(bigram, tmp_path):
    density = sq.fit(LOG, backbone="bigram", max_steps=120, out=tmp_path / "m", progress=False, device="cpu")
    assert density.info["report"]["beats_references"] or density.info["report"]["cross_entropy"] < np.log(6)
    again = load_density(tmp_path / "m")
    ids = np.array([0, 3, 2, 5, 1, 1, 4], np.int32)
    assert np.array_equal(again.score(ids), density.score(ids))
    assert again.knows_hidden
    assert json.loads((tmp_path / "m" / "density.json").read_text())["backbone"] == "bigram"
    graph = sq.discover(again, LOG.case(LOG.case_names[0]), delta=0.01)
    assert len(graph) > 0
    assert set(graph.edges["lag"]) == {1}
    found = sq.discover_population(again, LOG, progress=False, horizon=1)
    assert found.run.density.backbone == "bigram"


def test_a_model_whose_backbone_is_not_registered_says_so(bigram, tmp_path):
    density = sq.fit(LOG, backbone="bigram", max_steps=2, progress=False, device="cpu")
    save_density(density, tmp_path / "m")
    unregister("bigram")
    with pytest.raises(CheckpointError, match=r"needs a backbone that is not here: .*'bigram'.*register it first"):
        load_density(tmp_path / "m")
    with pytest.raises(ConfigError, match="Bigram cannot be saved"):
        save_density(density, tmp_path / "other")


def test_names(bigram):
    assert list(backbone_names()) == ["window", "llama", "gru", "huggingface", "bigram"]
    assert list(backbone_names(trained=True)) == ["window", "llama", "gru", "bigram"]
    assert all(backbone_names().values())
    for name in backbone_names():
        assert load_backbone(name).name == name
    with pytest.raises(ConfigError, match="did you mean 'window'"):
        sq.fit(LOG, backbone="windwo")
    with pytest.raises(ConfigError, match="backbone must be one of 'window', 'llama', 'gru', 'bigram'"):
        trained_backbone("huggingface")
    with pytest.raises(ConfigError, match="is taken"):
        register(load_backbone("llama"))
    with pytest.raises(ConfigError, match="SoftmaxWorld cannot be saved"):
        backbone_of(WORLD)


@pytest.mark.parametrize("setting", ["times", "components"])
def test_what_a_backbone_cannot_use_is_refused_or_said(bigram, setting):
    with pytest.raises(ConfigError, match=f"{setting}=True needs a backbone that uses {setting}"):
        sq.fit(LOG, backbone="bigram", progress=False, **{setting: True})


class NoNumbers(Table):
    """Its logits are no numbers, as those of a network that was trained with too high a rate."""

    def forward(self, windows, targets, sample=None):
        return super().forward(windows, targets, sample) * torch.nan


class SickBackbone(BigramBackbone):
    name = "sick"

    def network(self, sizes, train_set):
        return NoNumbers(sizes.vocabulary.n_inputs, sizes.vocabulary.n_types)


def test_training_without_a_finite_loss_is_an_error(tmp_path):
    register(SickBackbone())
    try:
        with pytest.raises(DensityError, match=r"loss was nan.*lower learning_rate"):
            sq.fit(LOG, backbone="sick", max_steps=3, progress=False, device="cpu", out=tmp_path / "m")
    finally:
        unregister("sick")
    assert not (tmp_path / "m").exists()


def test_a_memory_limit_and_a_wish_mean_nothing_to_it(bigram):
    density = sq.fit(LOG, backbone="bigram", max_steps=2, progress=False, device="cpu")
    assert within_memory(density, 1, longest=10, horizon=2) is density
    assert runtime_of(density) == Runtime()
    with pytest.raises(ConfigError, match="it has no network"):
        with_precision(density, "bfloat16")
