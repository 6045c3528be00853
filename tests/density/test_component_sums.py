"""Components of event types in the backbones llama and gru: sums by hand, training, going on, checkpoints."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from conftest import timely_log
from sequela.density.checkpoint import load_density
from sequela.density.component_sums import keep_sums, share_components
from sequela.density.registry import trained_backbone
from sequela.density.training.fit import fit, fit_further
from sequela.density.training.recipe import Recipe
from sequela.errors import ConfigError
from sequela.events.hierarchy import shared_components
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet

FRAME = timely_log(n_cases=40, length=12).frame.with_columns(
    unit=pl.col("event").str.replace_all(r"\D", "").cast(pl.Int64, strict=False).fill_null(0) % 2,
)
LOG = read_log(FRAME, event=["unit", "event"], time="time")
QUICK = {"memory": 6, "width": 32, "n_blocks": 1, "max_steps": 30, "min_count": 1, "progress": False, "device": "cpu"}
KINDS = {"llama": {"times": False}, "llama with times": {"times": True}, "gru": {}}


@pytest.fixture(scope="module")
def trained():
    return {name: fit(LOG, backbone=name.split()[0], components=True, **more, **QUICK) for name, more in KINDS.items()}


@pytest.fixture(params=KINDS)
def density(request, trained):
    return trained[request.param]


def network_of(density):
    """A network as at the start of training, each weight that components share of some size."""
    recipe = Recipe.of_info(density.info)
    kind, sizes = trained_backbone(recipe.backbone), recipe.sizes(density.vocabulary, "cpu")
    torch.manual_seed(0)
    network = kind.network(sizes, SequenceSet.from_log(LOG, density.vocabulary))
    for name, weight in network.named_parameters():
        if "parametrizations" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return kind, sizes, network


def layers_of(network):
    """Its embedding and its last layer."""
    if hasattr(network, "embedding"):
        return network.embedding, network.head
    model = network if hasattr(network, "get_input_embeddings") else network.model  # of a model with times
    return model.get_input_embeddings(), model.get_output_embeddings()


@torch.no_grad()
def test_sums_are_those_written_out_and_what_is_scored_with(density):
    kind, sizes, network = network_of(density)
    bare = network_of(density)[2]  # the same weights: the seed is the same
    keep_sums(bare)
    assert not any("parametrizations" in name for name in bare.state_dict())
    components = [set(row) - {0} for row in shared_components(density.vocabulary).of.tolist()]
    for layer, kept in zip(layers_of(network), layers_of(bare), strict=True):
        own, shared = layer.parametrizations.weight.original, layer.parametrizations.weight[0].rows
        by_hand = torch.stack([own[i] + sum(shared[c] for c in components[i]) for i in range(len(own))])
        torch.testing.assert_close(kept.weight, by_hand, atol=1e-6, rtol=1e-6)
    case = SequenceSet.from_log(LOG, density.vocabulary)[3]
    given = {"input_ids": torch.from_numpy(case.ids.astype(np.int64))[None]}
    if density.uses_times:
        given["gaps"] = torch.from_numpy(np.diff(case.times, append=case.times[-1]).astype(np.float32))[None]
    expected = bare.eval()(**given, use_cache=False).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(network.eval()(**given, use_cache=False).logits, expected, atol=1e-4, rtol=1e-4)
    scores = [kind.density(each, sizes).score(case.ids, case.times) for each in (network, bare)]
    np.testing.assert_allclose(*scores, atol=1e-5, rtol=1e-5)


def test_what_types_share_is_learnt_and_nothing_of_it_is_left(density, tmp_path):
    assert density.info["arguments"]["components"] is True
    _, _, network = network_of(density)
    ids = torch.arange(5)[None]
    given = {"gaps": torch.ones(ids.shape)} if density.uses_times else {}
    network(ids, **given, use_cache=False).logits[..., 1].sum().backward()
    for layer in layers_of(network):
        grown = layer.parametrizations.weight[0].rows.grad.abs().sum(1)
        assert grown[0] == 0  # no component
        assert grown[1:].any()
    again = fit(LOG, backbone=density.info["arguments"]["backbone"], out=tmp_path / "m",
                times=density.info["arguments"]["times"], **QUICK)  # fmt: skip
    assert again.fingerprint == density.fingerprint  # components are used where there are any
    assert load_density(tmp_path / "m", device="cpu").fingerprint == density.fingerprint


def test_training_goes_on_from_the_same_function(density):
    kind, sizes, network = network_of(density)
    case = SequenceSet.from_log(LOG, density.vocabulary)[3]
    kind.go_on(network, density)
    found = kind.density(network, sizes).score(case.ids, case.times)
    np.testing.assert_allclose(found, density.score(case.ids, case.times), atol=1e-6)
    other = kind.network(replace(sizes, width=64), SequenceSet.from_log(LOG, density.vocabulary))
    with pytest.raises(ConfigError, match="of the same sizes"):
        kind.go_on(other, density)
    further = fit_further(density, LOG, device="cpu", progress=False)
    assert further.info["report"]["cross_entropy"] < density.info["report"]["cross_entropy"]


def test_components_start_like_the_embedding_and_the_head_at_nothing(density):
    shared = shared_components(density.vocabulary)
    n_inputs, n_types = density.vocabulary.n_inputs, density.vocabulary.n_types
    embedding, head = torch.nn.Embedding(n_inputs, 400), torch.nn.Linear(400, n_types)
    share_components(embedding, head, shared)
    assert (head.weight == 0).all()
    assert embedding.parametrizations.weight[0].rows.std().item() == pytest.approx(1.0, abs=0.1)
