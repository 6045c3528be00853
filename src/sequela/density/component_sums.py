"""Event types that share components learn from each other: a type's row of weights is its own plus its components'.

Only training knows of it. `share_components` puts the sum in the place of a layer's weight, and `keep_sums` leaves the
sums as plain weights, so that a trained network costs nothing more and is saved as any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from sequela.events.hierarchy import SharedComponents

_OWN, _SHARED = ".parametrizations.weight.original", ".parametrizations.weight.0.rows"


def component_rows(of: Tensor, rows: Tensor) -> Tensor:
    """Add up the rows of the components of each id.

    Args:
        of: Components of each id (int64, ``[n, n_columns]``; 0 is none).
        rows: A row for each component (``[n_values, d]``).

    Returns:
        ``[n, d]``.

    Example:
        >>> component_rows(torch.tensor([[1, 2], [2, 0]]), torch.tensor([[9.0], [1.0], [10.0]])).tolist()
        [[11.0], [10.0]]
    """
    return F.embedding_bag(of, rows, mode="sum", padding_idx=0)


class _Sums(nn.Module):
    """A weight (``[n, d]``) plus rows of components, which start with a standard deviation."""

    of: Tensor

    def __init__(self, of: Tensor, n_values: int, width: int, std: float) -> None:
        super().__init__()
        self.register_buffer("of", of, persistent=False)  # derived from the names of the types
        self.rows = nn.Parameter(torch.randn(n_values, width) * std)

    def forward(self, own: Tensor) -> Tensor:
        return own + component_rows(self.of, self.rows)


def share_components(embedding: nn.Embedding, head: nn.Linear, shared: SharedComponents) -> None:
    """Let types share what embeds them and what predicts them, in place.

    The rows of components start like the embedding; in the head all start at 0, so that what is a type's own comes
    after what it shares.

    Args:
        embedding: Has a row for each input id.
        head: Has a row for each type, in the same order.
        shared: Components of the types.
    """
    of = torch.from_numpy(shared.of)
    nn.init.zeros_(head.weight)
    for layer in (embedding, head):
        n, width = layer.weight.shape
        sums = _Sums(of[:n].contiguous(), shared.n_values, width, layer.weight.std().item())
        parametrize.register_parametrization(layer, "weight", sums)


def keep_sums(network: nn.Module) -> None:
    """Make the sums plain weights of the network, in place; nothing to do where no components are shared."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def take_weights(network: Any, weights: dict[str, Tensor]) -> bool:
    """Give a network the weights of one of the same sizes, whose sums are kept; what types share starts anew at 0.

    Returns:
        Whether the sizes are the same; nothing is changed where they are not.
    """
    named = {name.replace(_OWN, ".weight"): weight for name, weight in network.state_dict().items()}
    rows = [named.pop(name) for name in list(named) if name.endswith(_SHARED)]
    if {name: own.shape for name, own in named.items()} != {name: given.shape for name, given in weights.items()}:
        return False
    with torch.no_grad():
        for name, own in named.items():
            own.copy_(weights[name])
        for own in rows:
            own.zero_()
    return True
