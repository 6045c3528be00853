"""Times for a decoder: how long before the event that a row predicts the one before it lies, added to the embedding.

A gap belongs to a place, not to what stands there: a branch replaces what happened, not when, and has the gaps of the
observed events. Gaps further back are sums of those that attention sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sequela.density.base import Floats
from sequela.density.window.network import knot_weights
from sequela.density.window.time_features import Gaps

_KNOTS = 12
_FIRST_STD = 0.02


def gaps_before(times: Floats) -> Gaps:
    """Return how long before each event the one before it lies (float32 seconds), and a 0 for the place after the last.

    Args:
        times: Seconds of the events (float64, ``[L]``).

    Returns:
        ``[L + 1]``; 0 for the first event.

    Example:
        >>> gaps_before(np.array([5.0, 7.0, 10.0])).tolist()
        [0.0, 2.0, 3.0, 0.0]
    """
    gaps: Gaps = np.concatenate([np.diff(times, prepend=times[:1]), [0.0]]).astype(np.float32)
    return gaps


class Timing(nn.Module):
    """What the gap before an event adds to the embedding that predicts it, by knots on a log scale.

    Args:
        width: Numbers of an embedding.
        shortest: Gap in seconds from which on gaps are told apart.
        longest: Gap up to which they are.
        n_knots: Knots of the scale.
    """

    scale: Tensor

    def __init__(self, width: int, shortest: float = 1.0, longest: float = 2.0, n_knots: int = _KNOTS) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([shortest, longest], dtype=torch.float32))
        self.knots = nn.Linear(n_knots, width, bias=False)
        nn.init.normal_(self.knots.weight, std=_FIRST_STD)

    def forward(self, gaps: Tensor) -> Tensor:
        """Return what gaps in seconds add (``[..., width]`` for ``[...]``)."""
        shortest, longest = self.scale.tolist()
        found: Tensor = self.knots(knot_weights(gaps, self.knots.in_features, shortest, longest))
        return found

    def embedded(self, model: Any, tokens: Tensor, gaps: Tensor) -> Tensor:
        """Return the embeddings of tokens (int64, ``[B, n]``) by a model, with what their gaps add (``[B, n, d]``)."""
        events: Tensor = model.get_input_embeddings()(tokens)
        added: Tensor = self(gaps)
        return events + added.to(events.dtype)


class TimedModel(nn.Module):
    """A causal language model and its `Timing`, to be trained together."""

    def __init__(self, model: Any, timing: Timing) -> None:
        super().__init__()
        self.model = model
        self.timing = timing

    def forward(self, input_ids: Tensor, gaps: Tensor, **settings: Any) -> Any:
        """Run the model on tokens (int64, ``[B, n]``) whose gaps are known (float32 seconds, ``[B, n]``)."""
        return self.model(inputs_embeds=self.timing.embedded(self.model, input_ids, gaps), **settings)
