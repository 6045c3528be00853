"""Which of two event types comes first: votes on the order, without any density (`docs/method.md`, section 12).

A *burst* of two types in a case is a run of their events with no gap above a window. Each burst that holds both has one
vote: one event of each type is drawn at random, and the one that comes first has it; two events of one tick give none.
Where the order tells nothing (both belong to an incident that caused them, or to a state that changes slowly), each
vote is a fair coin, whatever the number of events of either type. To take the *first* event of each would not be fair:
the commoner type comes first more often.

`log_e_direction` turns votes into an e-value. What is symmetric is seen so, and is no evidence for a direction; a
hidden clock that goes round always in the same sense is not symmetric, and passes for a cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from sequela.density.base import Floats
from sequela.events.sequences import SequenceSet, case_hash
from sequela.evidence.fixed_point import Integers
from sequela.evidence.pairs import Codes

_ROWS = 2**22
"""Rows held at once: an event is one for each other type of its case."""


@dataclass(frozen=True)
class Votes:
    """Votes on the order of unordered pairs of types.

    Attributes:
        pairs: Sorted codes ``u * n_types + v``, ``u < v`` (int64, ``[P]``).
        first: Votes that ``u`` comes first (int64, ``[P]``).
        total: Votes (int64, ``[P]``).
    """

    pairs: Codes
    first: Integers
    total: Integers

    def of(self, codes: Codes, n_types: int) -> tuple[Integers, Integers]:
        """Return the votes for the cause of ordered pairs, and their votes in all (int64, same shape each).

        Example:
            >>> votes = Votes(np.array([1]), np.array([7]), np.array([10]))  # of types 0 and 1
            >>> [one.tolist() for one in votes.of(np.array([1, 2, 3]), 2)]  # 0 -> 1, 1 -> 0, 1 -> 1
            [[7, 3, 0], [10, 10, 0]]
        """
        cause, effect = np.divmod(codes, n_types)
        wanted = np.minimum(cause, effect) * n_types + np.maximum(cause, effect)
        place = np.minimum(np.searchsorted(self.pairs, wanted), max(len(self.pairs) - 1, 0))
        if not len(self.pairs):
            return np.zeros_like(wanted), np.zeros_like(wanted)
        there = self.pairs[place] == wanted
        total = np.where(there, self.total[place], 0)
        first = np.where(there, self.first[place], 0)
        return np.where(cause < effect, first, total - first), total


def burst_seconds(sequences: SequenceSet) -> float | None:
    """Return the longest gap in time within a burst: where the logs of all gaps fall apart best; None without times.

    The split has the largest variance between the two sides (Otsu 1979): in a log of cascades, between the delays
    within them and the waiting times from one to the next.
    """
    if sequences.times is None:
        return None
    inside = np.ones(max(sequences.n_events - 1, 0), dtype=bool)
    inside[
        sequences.offsets[1:-1][(sequences.offsets[1:-1] > 0) & (sequences.offsets[1:-1] < sequences.n_events)] - 1
    ] = False
    gaps = np.diff(sequences.times)[inside]
    gaps = np.sort(np.log(gaps[gaps > 0]))
    if len(gaps) < 2:
        return float(np.exp(gaps[0])) if len(gaps) else 0.0
    n_low = np.arange(1, len(gaps))
    total = np.cumsum(gaps)
    low, high = total[:-1] / n_low, (total[-1] - total[:-1]) / (len(gaps) - n_low)
    best = int(np.argmax(n_low * (len(gaps) - n_low) * (low - high) ** 2))
    return float(np.exp((gaps[best] + gaps[best + 1]) / 2))


def order_votes(
    sequences: SequenceSet, n_types: int, horizon: int, seconds: float | None = None, *, pairs: Codes, seed: int = 0
) -> Votes:
    """Return the votes of all bursts.

    Args:
        sequences: Cases; ids below ``n_types``.
        n_types: Types, or groups.
        horizon: Longest gap within a burst, in ticks (events, where each has a tick of its own).
        seconds: Longest gap in time, too.
        pairs: Codes of the pairs asked for, in either direction (int64, ``[P]``).
        seed: Of the draws; with it, the case and its events they are the same whatever else is in the log.
    """
    cause, effect = np.divmod(pairs, n_types)
    wanted = np.unique(np.minimum(cause, effect) * n_types + np.maximum(cause, effect))
    wanted = wanted[wanted // n_types != wanted % n_types]
    first, total = (np.zeros(len(wanted), np.int64) for _ in range(2))
    lengths = sequences.lengths
    low = 0
    while low < len(lengths):
        size = np.cumsum(lengths[low:] * np.minimum(lengths[low:], n_types))
        high = low + max(1, int(np.searchsorted(size, _ROWS, side="right")))
        some = sequences.take(range(low, high))
        for part in _parts(wanted, n_types, some):
            of_block = _votes(some, n_types, horizon, seconds, wanted[part], seed)
            first[part] += of_block[0]
            total[part] += of_block[1]
        low = high
    return Votes(wanted, first, total)


def _parts(wanted: Codes, n_types: int, cases: SequenceSet) -> Iterator[slice]:
    """Cut the pairs where one long case has too many rows for all of them: by the first type of each."""
    if cases.n_cases > 1 or cases.n_events * n_types <= _ROWS:
        yield slice(0, len(wanted))
        return
    size = max(1, _ROWS // cases.n_events)  # first types of a part
    for low in range(0, n_types, size):
        yield slice(*np.searchsorted(wanted, [low * n_types, (low + size) * n_types]).tolist())


def _votes(
    cases: SequenceSet, n_types: int, horizon: int, seconds: float | None, wanted: Codes, seed: int
) -> tuple[Integers, Integers]:
    """Return votes for the first type of each wanted pair, and all votes."""
    ids = np.asarray(cases.ids, dtype=np.int64)
    case = np.repeat(np.arange(cases.n_cases), cases.lengths)
    tick = np.arange(len(ids))
    if cases.unordered_ties and cases.times is not None:
        tick = np.cumsum((np.diff(cases.times, prepend=-np.inf) != 0) | (np.diff(case, prepend=-1) != 0))
    rank = np.concatenate([np.zeros(0, np.int64), *map(_ranks, cases.case_names, cases.lengths, [seed] * len(cases))])
    # One row an event and other type of its case, where one of the two is the first of a wanted pair.
    is_first = np.zeros(n_types, bool)
    is_first[wanted // n_types] = True
    types, owner = np.divmod(np.unique(ids * cases.n_cases + case), max(cases.n_cases, 1))
    order = np.lexsort((~is_first[types], owner))
    types, n_own = types[order], np.bincount(owner, minlength=cases.n_cases)
    n_first = np.bincount(owner[order][is_first[types]], minlength=cases.n_cases)
    starts = np.cumsum(n_own) - n_own
    n_rows = np.where(is_first[ids], n_own[case], n_first[case])
    event = np.repeat(np.arange(len(ids)), n_rows)
    column = np.arange(len(event)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    other = types[starts[case[event]] + column]
    code = np.minimum(ids[event], other) * n_types + np.maximum(ids[event], other)
    place = np.searchsorted(wanted, code)
    there = np.isin(code, wanted)
    event, place, other = event[there], place[there], other[there]
    if not len(event):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
    order = np.lexsort((event, place, case[event]))
    event, place, other = event[order], place[order], other[order]
    new = (np.diff(place, prepend=-1) != 0) | (np.diff(case[event], prepend=-1) != 0)
    new |= np.diff(tick[event], prepend=0) > horizon
    if seconds is not None and cases.times is not None:
        new |= np.diff(cases.times[event], prepend=0.0) > seconds
    bursts = np.flatnonzero(new)
    none = np.int64(2**62)
    key = rank[event] * 2**31 + (tick[event] - tick[0])  # the least rank of a burst brings its tick along
    by_first = ids[event] < other
    chosen = [np.minimum.reduceat(np.where(side, key, none), bursts) for side in (by_first, ~by_first)]
    ticks = [one % 2**31 for one in chosen]
    valid = (chosen[0] < none) & (chosen[1] < none) & (ticks[0] != ticks[1])
    pair = place[bursts][valid]
    ahead = (ticks[0] < ticks[1])[valid]
    return (
        np.bincount(pair[ahead], minlength=len(wanted)).astype(np.int64),
        np.bincount(pair, minlength=len(wanted)).astype(np.int64),
    )


def _ranks(name: str, length: int, seed: int) -> NDArray[np.int64]:
    """Return a random order of the events of a case (int64, ``[L]``), keyed by seed and case."""
    return np.random.default_rng([case_hash(name, seed), 12]).permutation(int(length)).astype(np.int64)


def log_e_direction(first: Integers | Floats, total: Integers | Floats, *, prior: float = 0.5) -> Floats:
    """Return log e-values against "each vote is a fair coin" (float64, same shape).

    The e-value is the likelihood ratio of the Beta(a, a) mixture of coins (Krichevsky and Trofimov 1981) to the fair
    coin: ``2^n B(a + k, a + n - k) / B(a, a)``, with ``a`` the prior.

    Args:
        first: Votes for one of the two (int64).
        total: All votes (int64, same shape).
        prior: Of the mixture, above 0: the larger, the nearer to one half the coins that it expects.

    Example:
        >>> np.exp(log_e_direction(np.array([10, 5, 0]), np.array([10, 10, 0]))).round(2).tolist()
        [180.43, 0.25, 1.0]
    """
    first, total = np.asarray(first, np.float64), np.asarray(total, np.float64)
    value: Floats = total * np.log(2.0) + betaln(prior + first, prior + total - first) - betaln(prior, prior)
    return value
