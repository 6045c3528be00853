"""What brought about which event, from types and times alone: a Hawkes process, counted (`docs/method.md`, 13).

Alarms come in cascades and repeat themselves. Most places of a pair of types then show no effect, however surely the
one brings about the other, and the mean effect over all places is small. Here each event is shared out among what may
have brought it about: the events of its case shortly before it, earlier ones of its own type included, or nothing that
was recorded. What each adds is estimated anew from the shares, `ROUNDS` times over (expectation maximisation; Lewis and
Mohler 2011, "A nonparametric EM algorithm for multiscale Hawkes processes"). Repetition is so explained by itself, and
an indirect effect by what lies between; a hidden common cause leaves shares in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Floats
from sequela.events.sequences import SequenceSet
from sequela.evidence.direction import log_e_direction
from sequela.evidence.edge_probability import linked

MAX_TYPES = 2000
"""Vocabularies up to this size: a share is kept for every pair of types."""
N_BEFORE = 20
"""Events before each event that may have brought it about."""
ROUNDS = 20
"""How often the shares are estimated."""
PENALTY = 0.3
"""Events taken off what each pair of types explains: most pairs have nothing to do with each other."""
_BINS = 14
"""Steps of the curve of an effect over time: the last half of the reach, the half before that, and so on."""
_EVENTS = 2**16
"""Events shared out together."""
_START = 0.05
_ORDER_PRIOR = 3.0
"""Of the Beta distribution of the share in one direction where there is a link: chosen on simulated cascades."""


@dataclass(frozen=True)
class _Before:
    """Some events, and for each event that may have brought one of them about: which, of what type, how long before."""

    low: int
    high: int
    of: NDArray[np.int64]
    cause: NDArray[np.int64]
    bin: NDArray[np.int64]


def attributed(sequences: SequenceSet, n_types: int, reach: float) -> Floats:
    """Return how many events of each type each other type brought about (float64, ``[n_types, n_types]``).

    Args:
        sequences: Cases with times; ids below ``n_types``.
        n_types: Types, or groups.
        reach: Longest time from a cause to its effect, in seconds, above 0.

    Example:
        >>> import polars as pl
        >>> times = np.arange(40.0).repeat(2) * 1000 + np.tile([0.0, 5.0], 40)  # 1 follows 0 by five seconds
        >>> ids, offsets = np.tile([0, 1], 40).astype(np.int32), np.array([0, 80])
        >>> attributed(SequenceSet(ids, offsets, pl.Series(["a"]), times), 2, 60.0).round().tolist()
        [[0.0, 40.0], [0.0, 0.0]]
    """
    ids = np.asarray(sequences.ids, np.int64)
    times, lengths = np.asarray(sequences.times, np.float64), sequences.lengths
    case = np.repeat(np.arange(sequences.n_cases), lengths)
    cells, cell = np.unique(case * n_types + ids, return_inverse=True)
    counts = np.maximum(np.bincount(ids, minlength=n_types), 1)
    edges = np.concatenate([[0.0], reach * 0.5 ** np.arange(_BINS - 1, -1, -1)])
    start, end = sequences.offsets[:-1], np.maximum(sequences.offsets[1:] - 1, 0)
    span = np.where(lengths > 0, times[np.minimum(end, len(times) - 1)] - times[np.minimum(start, len(times) - 1)], 0.0)
    span = np.maximum(span, reach / 10) * (1 + 1 / np.maximum(lengths - 1, 1))
    effects, curves = np.full((n_types, n_types), _START), np.full((2, _BINS), 1 / _BINS) / np.diff(edges)
    spontaneous = np.bincount(cell, minlength=len(cells)).astype(np.float64)
    shares = np.zeros(n_types * n_types)
    for _ in range(ROUNDS):
        rate = _rates(cells, spontaneous, n_types, span)[cell]
        shares, by_gap, left = np.zeros(n_types * n_types), np.full(2 * _BINS, 0.1), np.zeros(len(ids))
        for some in _before(sequences, ids, times, case, edges):
            effect = ids[some.low + some.of]
            curve = (some.cause == effect) * _BINS + some.bin
            added = effects[some.cause, effect] * curves.ravel()[curve]
            total = rate[some.low : some.high] + np.bincount(some.of, added, some.high - some.low)
            share = added / total[some.of]
            left[some.low : some.high] = rate[some.low : some.high] / total
            shares += np.bincount(some.cause * n_types + effect, share, n_types * n_types)
            by_gap += np.bincount(curve, share, 2 * _BINS)
        effects = np.maximum(shares.reshape(n_types, n_types) - PENALTY, 0.0) / counts[:, None]
        curves = by_gap.reshape(2, _BINS) / by_gap.reshape(2, _BINS).sum(axis=1, keepdims=True) / np.diff(edges)
        spontaneous = np.bincount(cell, left, len(cells)).astype(np.float64)
    return shares.reshape(n_types, n_types)


def order_probability(shares: Floats) -> Floats:
    """Return the probability that each type causes each other one (float64, ``[n_types, n_types]``) from `attributed`.

    What two types have in common leaves shares in both directions, so the evidence of a pair is that of their order:
    the likelihood ratio of an unknown share of the events in one direction to one half. The direction with less has 0.
    The odds beforehand are those of the share of linked pairs that these ratios show (`linked`).

    Example:
        >>> order_probability(np.array([[0.0, 40.0, 9.0], [1.0, 0.0, 0.0], [7.0, 0.0, 0.0]])).round(2).tolist()
        [[0.0, 1.0, 0.25], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    low, high = np.triu_indices(len(shares), 1)
    forth, back = shares[low, high], shares[high, low]
    probability, _ = linked(log_e_direction(forth, forth + back, prior=_ORDER_PRIOR))
    found = np.zeros_like(shares)
    found[low, high] = np.where(forth > back, probability, 0.0)
    found[high, low] = np.where(back > forth, probability, 0.0)
    return found


def _rates(cells: NDArray[np.int64], spontaneous: Floats, n_types: int, span: Floats) -> Floats:
    """Return the rate of spontaneous events of each type in each case where it occurs (float64, ``[cells]``).

    What a case has of a type is drawn towards what its size and the commonness of the type say, by one event.
    """
    case, kind = np.divmod(cells, n_types)
    of_case, of_type = (np.bincount(one, spontaneous) for one in (case, kind))
    expected = of_case[case] * of_type[kind] / max(spontaneous.sum(), 1e-12)
    rate: Floats = expected * (spontaneous + 1) / (expected + 1) / span[case] + 1e-12
    return rate


def _before(
    sequences: SequenceSet, ids: NDArray[np.int64], times: Floats, case: NDArray[np.int64], edges: Floats
) -> Iterator[_Before]:
    """Yield the events block by block, each with what may have brought it about: earlier, within reach, of its case."""
    for low in range(0, len(ids), _EVENTS):
        high = min(low + _EVENTS, len(ids))
        event = np.arange(low, high)
        of, earlier = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for back in range(1, N_BEFORE + 1):
            place = np.maximum(event - back, 0)
            gap = times[event] - times[place]
            kept = (event >= back) & (case[event] == case[place]) & (gap > 0) & (gap <= edges[-1])
            of.append(event[kept] - low)
            earlier.append(place[kept])
        which, cause = np.concatenate(of), np.concatenate(earlier)
        steps = np.searchsorted(edges, times[low + which] - times[cause]) - 1
        yield _Before(low, high, which, ids[cause], steps)
