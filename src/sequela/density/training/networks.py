"""From a recipe to a network that can be trained, and from its trained weights to a density."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sequela.density.base import Density
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.training.objectives import DecoderTask, Task, WindowTask
from sequela.density.training.recipe import Recipe
from sequela.density.window.network import WindowConfig, WindowDensity, WindowNetwork
from sequela.density.window.time_features import time_scale
from sequela.errors import ConfigError
from sequela.events.hierarchy import shared_components
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary

BACKBONES = ("window", "llama")
_KNOTS = 12
_MAX_WIDE_TYPES = 2000
"""Up to this many types the window network has a table of direct effects: 16 MB."""


def build(
    recipe: Recipe, vocabulary: Vocabulary, train_set: SequenceSet, start: Density | None = None
) -> torch.nn.Module:
    """Return a network to train.

    Args:
        recipe: Its settings.
        vocabulary: Its event types.
        train_set: The scale of times is taken from it.
        start: A density of the same recipe and vocabulary, from whose weights training goes on.
    """
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network: torch.nn.Module = (
            _window(recipe, vocabulary, train_set, start)
            if recipe.backbone == "window"
            else _llama(vocabulary, recipe.memory, recipe.width, recipe.n_blocks)
        )
    if start is not None:
        _take_weights(network, start)
    return network


def task(recipe: Recipe, vocabulary: Vocabulary, sequences: SequenceSet) -> Task:
    """Return what a step of training or validation does on some sequences."""
    if recipe.backbone == "window":
        return WindowTask(sequences, vocabulary, memory=recipe.memory, hide=recipe.hide, times=recipe.times)
    return DecoderTask(sequences, vocabulary, context=recipe.memory, hide=recipe.hide)


def frozen(network: torch.nn.Module, recipe: Recipe, vocabulary: Vocabulary, device: str) -> Density:
    """Return a trained network as a density."""
    if isinstance(network, WindowNetwork):
        return WindowDensity(network, vocabulary, knows_hidden=recipe.hide > 0, device=device)
    return HuggingFaceDensity(
        network,
        vocabulary,
        tokens=np.arange(vocabulary.n_types),
        begin_token=vocabulary.begin_id,
        hidden_token=vocabulary.hidden_id if recipe.hide > 0 else None,
        context=recipe.memory,
        device=device,
    )


def _window(recipe: Recipe, vocabulary: Vocabulary, train_set: SequenceSet, start: Density | None) -> WindowNetwork:
    sizes = WindowConfig(
        vocabulary.n_types, vocabulary.n_inputs, recipe.memory, min(recipe.width // 2, 128), recipe.width,
        recipe.n_blocks, recipe.dropout, wide=vocabulary.n_types <= _MAX_WIDE_TYPES,
    )  # fmt: skip
    if recipe.times:
        if isinstance(start, WindowDensity):
            old = start.network.config
            shortest, longest = old.shortest_seconds, old.longest_seconds
        else:
            shortest, longest = time_scale(train_set, recipe.memory)
        sizes = replace(sizes, n_knots=_KNOTS, shortest_seconds=shortest, longest_seconds=longest)
    if recipe.components:
        shared = shared_components(vocabulary)
        assert shared is not None
        network = WindowNetwork(replace(sizes, n_component_values=shared.n_values), torch.from_numpy(shared.of))
    else:
        network = WindowNetwork(sizes)
    # Starts as the frequencies of the types, so that no training goes into unlearning what the first weights say.
    counts = np.bincount(train_set.ids, minlength=vocabulary.n_types) + 0.5
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.from_numpy(np.log(counts) - np.log(counts).mean()))
    return network


def _llama(vocabulary: Vocabulary, context: int, width: int, n_layers: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = max(1, width // 32)
    config = LlamaConfig(
        vocab_size=vocabulary.n_inputs,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2 * context + 2,  # a block and the longest tail after it
        bos_token_id=vocabulary.begin_id,
        eos_token_id=None,
        pad_token_id=vocabulary.pad_id,
        tie_word_embeddings=False,
    )
    model: torch.nn.Module = LlamaForCausalLM(config)
    return model


@torch.no_grad()
def _take_weights(network: torch.nn.Module, start: Density) -> None:
    """Set a network's weights to those of a density.

    A density of components holds their sums; what they share starts anew at 0, so that the function is the same.
    """
    source: Any = start.network if isinstance(start, WindowDensity) else getattr(start, "model", None)
    weights = {} if source is None else source.state_dict()
    own = network.state_dict()
    shared = [name for name in own if "component" in name]
    same = {name: value.shape for name, value in own.items() if name not in shared}
    if same != {name: value.shape for name, value in weights.items()}:
        raise ConfigError("training can only go on from a density of the same settings and event types")
    network.load_state_dict(weights, strict=False)
    for name in shared:
        own[name].zero_()
