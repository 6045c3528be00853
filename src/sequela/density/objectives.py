"""What training asks of a backbone: which examples there are, and the loss of a batch of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sequela.events.vocabulary import Vocabulary


class Task(Protocol):
    """Examples of a training set and their loss."""

    vocabulary: Vocabulary
    n_examples: int
    n_targets: int

    def loss(self, model: Any, examples: NDArray[np.int64], rng: np.random.Generator | None, device: Any) -> Tensor:
        """Return the summed ``-log P`` of the targets of some examples and their number, as a tensor ``[2]``.

        With a generator some of the past is hidden, as in training; without one nothing is.
        """


def hide_some(inputs: NDArray[np.int32], hidden_id: int, n_types: int, hide: float, rng: np.random.Generator) -> None:
    """Replace past events by the hidden id, in place (masked history, `docs/method.md`, section 3).

    Half of the rows stay as they are, so that the density stays sharp on complete histories; the others lose a share
    of their events drawn from 0 to ``hide`` for each row.
    """
    share = rng.uniform(0, hide, len(inputs)) * (rng.random(len(inputs)) < 0.5)
    gone = (rng.random(inputs.shape, dtype=np.float32) < share[:, None]) & (inputs < n_types)
    inputs[gone] = hidden_id
