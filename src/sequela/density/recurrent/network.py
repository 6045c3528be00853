"""A small stack of gated recurrent units whose state after every event can be kept and gone on from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RecurrentConfig:
    """Sizes of a `RecurrentNetwork`.

    Attributes:
        n_types: Event types it predicts.
        n_inputs: Ids it reads.
        context: Most past events it was trained on.
        width: Size of the state of each layer.
        n_layers: Layers.
        dropout: Share of numbers dropped between layers in training.
    """

    n_types: int
    n_inputs: int
    context: int
    width: int
    n_layers: int
    dropout: float = 0.0


class Predictions(NamedTuple):
    """What `RecurrentNetwork.forward` gives.

    Attributes:
        logits: Logits of the event after each input (``[B, L, n_types]``).
    """

    logits: Tensor


class RecurrentNetwork(nn.Module):
    """Layers of `torch.nn.GRU` one above the other.

    The output of such a layer at a place is its whole state there, so one run gives the state after every event.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_inputs, config.width)
        self.layers = nn.ModuleList(
            nn.GRU(config.width, config.width, batch_first=True) for _ in range(config.n_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.n_types)

    def states(self, inputs: Tensor, start: Tensor | None = None) -> Tensor:
        """Return the state of every layer after every input.

        Args:
            inputs: Ids (int64, ``[B, L]``).
            start: State before the first (``[n_layers, B, width]``); zero when not given.

        Returns:
            ``[n_layers, B, L, width]``.
        """
        x, found = self.embedding(inputs), []
        for depth, layer in enumerate(self.layers):
            x, _ = layer(self.dropout(x), None if start is None else start[depth, None].contiguous())
            found.append(x)
        return torch.stack(found)

    def hidden(self, states: Tensor) -> Tensor:
        """Return what the head reads (``[..., width]``), from the state of the last layer."""
        hidden: Tensor = self.norm(self.dropout(states))
        return hidden

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Predictions:
        """Return logits of the event after each input (int64, ``[B, L]``); called as a Hugging Face model is."""
        hidden = self.hidden(self.states(input_ids)[-1])
        return Predictions(F.linear(hidden, self.head.weight, self.head.bias))
