"""Simple models every density is compared with: how often each event occurs, and what follows the last two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.events.sequences import SequenceSet


class NGram:
    """Interpolated n-gram of order 0, 1 or 2 past events, with Witten-Bell weights (no setting to tune).

    Source: Witten and Bell (1991), method C: ``P(v|c) = (n(c,v) + T(c) P(v|shorter c)) / (n(c) + T(c))`` with ``T(c)``
    the number of different events seen after ``c``; below order 0 lies the uniform law.

    Args:
        train: Sequences to count.
        n_types: Event types.
        order: Past events it looks at.

    Example:
        >>> import polars as pl
        >>> ids = np.array([0, 1, 0, 1], np.int32)
        >>> train = SequenceSet(ids, np.array([0, 4]), pl.Series(["a"]))
        >>> model = NGram(train, n_types=2, order=1)
        >>> float(model.log_prob(train).sum()) > float(NGram(train, n_types=2, order=0).log_prob(train).sum())
        True
    """

    def __init__(self, train: SequenceSet, *, n_types: int, order: int) -> None:
        self.n_types = n_types
        self.order = order
        self._tables = []
        for length in range(order + 1):
            contexts, targets = self._contexts(train, length), train.ids.astype(np.int64)
            pairs, counts = np.unique(contexts * n_types + targets, return_counts=True)
            owner, first = np.unique(pairs // n_types, return_index=True)
            totals = np.add.reduceat(counts, first)
            kinds = np.diff(np.append(first, len(pairs)))
            self._tables.append((pairs, counts, owner, totals, kinds))

    def log_prob(self, sequences: SequenceSet) -> NDArray[np.float64]:
        """Return ``log P(x_t | last events)`` in nats of every event (float64, ``[n_events]``)."""
        targets = sequences.ids.astype(np.int64)
        probability = np.full(len(targets), 1.0 / self.n_types)
        for length, (pairs, counts, owner, totals, kinds) in enumerate(self._tables):
            contexts = self._contexts(sequences, length)
            n_pair = _lookup(pairs, counts, contexts * self.n_types + targets)
            n_context = _lookup(owner, totals, contexts)
            n_kinds = _lookup(owner, kinds, contexts)
            seen = n_context > 0
            weight = np.divide(n_kinds, n_context + n_kinds, out=np.ones(len(targets)), where=seen)
            own = np.divide(n_pair, n_context, out=np.zeros(len(targets)), where=seen)
            probability = (1 - weight) * own + weight * probability
        log_probability: NDArray[np.float64] = np.log(probability)
        return log_probability

    def cross_entropy(self, sequences: SequenceSet) -> float:
        """Return the mean of ``-log P`` in nats per event."""
        return float(-self.log_prob(sequences).mean())

    def _contexts(self, sequences: SequenceSet, length: int) -> NDArray[np.int64]:
        """Code the last ``length`` events before each event as one number; before the start stands ``n_types``."""
        ids = sequences.ids.astype(np.int64)
        place = np.arange(len(ids)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
        code = np.zeros(len(ids), dtype=np.int64)
        for back in range(1, length + 1):
            past = np.concatenate([np.full(back, self.n_types), ids[:-back]])[: len(ids)]
            code = code * (self.n_types + 1) + np.where(place >= back, past, self.n_types)
        return code


def _lookup(keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[place] == wanted, values[place], 0)
    return found
