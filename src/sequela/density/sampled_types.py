"""Sampled softmax: where there are many thousands of types, a training batch is compared with some of them.

Frequent types and the targets of the batch always count; of the others a uniform sample does, each member for as many
types as it stands for. The sum of ``exp(logits)`` over all types is then estimated without bias. Only training uses it:
losses that choose or judge a model are exact.

Source: Bengio and Senecal (2003), "Quick training of probabilistic neural nets by importance sampling"; the strata are
ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_TYPES = 10_000
"""From so many types on training samples them."""
_FREQUENT = 2048
_SAMPLED = 1024


class TypeSample(NamedTuple):
    """Types that a batch is compared with.

    Attributes:
        types: Their ids (int64, ``[n]``).
        log_weights: Log of the number of types that each stands for (float32, ``[n]``).
        targets: Place of each target among them (int64, ``[B]``).
    """

    types: Tensor
    log_weights: Tensor
    targets: Tensor


class TypeSampler:
    """Draws the types that batches are compared with.

    Args:
        counts: How often each type occurs where the model is trained (``[n_types]``).
        n_frequent: Types that are in every sample.
        n_sampled: Types drawn from the others.
    """

    def __init__(self, counts: NDArray[np.int64], *, n_frequent: int = _FREQUENT, n_sampled: int = _SAMPLED) -> None:
        self._frequent = np.sort(np.argsort(-counts, kind="stable")[:n_frequent])
        self._n_types, self._n_sampled = len(counts), n_sampled

    def draw(self, targets: NDArray[np.int32], rng: np.random.Generator, device: Any = "cpu") -> TypeSample:
        """Return the types for a batch with these targets (``[B]``).

        Example:
            >>> sampler = TypeSampler(np.array([9, 1, 1, 1, 8]), n_frequent=2, n_sampled=1)
            >>> found = sampler.draw(np.array([2, 0], np.int32), np.random.default_rng(0))
            >>> found.types[:3].tolist(), found.targets.tolist(), found.log_weights.exp().tolist()
            ([0, 2, 4], [1, 0], [1.0, 1.0, 1.0, 2.0])
        """
        certain = np.union1d(self._frequent, targets)
        others = np.ones(self._n_types, dtype=bool)
        others[certain] = False
        rest = np.flatnonzero(others)
        drawn = rng.choice(rest, min(self._n_sampled, len(rest)), replace=False, shuffle=False)
        log_weights = np.zeros(len(certain) + len(drawn), dtype=np.float32)
        log_weights[len(certain) :] = np.log(len(rest) / max(1, len(drawn))) if len(rest) else 0.0
        found = np.concatenate([certain, drawn]), log_weights, np.searchsorted(certain, targets)
        return TypeSample(*(torch.from_numpy(each).to(device) for each in found))
