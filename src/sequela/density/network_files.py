"""Networks of our own as files: safetensors, checked against the sizes in their settings first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file

from sequela.events.vocabulary import Vocabulary

WEIGHTS = "weights.safetensors"
Network = TypeVar("Network", bound=torch.nn.Module)


def save_network(network: torch.nn.Module, folder: Path) -> None:
    """Write the weights of a network."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)


def load_network(
    build: Callable[[], Network], folder: Path, vocabulary: Vocabulary, *, n_layers: int, n_types: int, n_inputs: int
) -> Network:
    """Build a network and read its weights.

    Args:
        build: Makes it, with sizes that a stranger's file may have set.
        folder: Where `save_network` wrote.
        vocabulary: What it must predict.
        n_layers: Layers it would have, each with a weight at least.
        n_types: Types it predicts.
        n_inputs: Ids it takes.

    Raises:
        ValueError: The weights are of other sizes, or the vocabulary is.
    """
    if (n_types, n_inputs) != (vocabulary.n_types, vocabulary.n_inputs):
        raise ValueError(f"the model predicts {n_types} types, the vocabulary has {vocabulary.n_types}")
    weights = load_file(folder / WEIGHTS)
    misfit = ValueError("the weights are not of the sizes in its settings")
    if n_layers > len(weights):  # before that many are made
        raise misfit
    with torch.device("meta"):  # sizes that do not fit the weights are found before they take memory
        shapes = {name: tensor.shape for name, tensor in build().state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise misfit
    network = build()
    network.load_state_dict(weights)
    return network
