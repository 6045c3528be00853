"""Evidence from counts: does one event type come with another, whatever third type is there? No density plays a part.

An *episode* is a run of events of a case with no gap above a window (`sequela.evidence.direction.burst_seconds`).
For a pair ``u -> v`` and a third type ``w``, episodes with ``w`` and those without it are two tables of ``u`` (there or
not) against ``v`` (there or not; where it came before ``u``, it was not brought by it and counts as not there). Where
``v`` has nothing to do with ``u``, given ``w``, the number of episodes with both is hypergeometric in each table, as in
the test of Mantel and Haenszel (1959). `log_e_tables` turns it into an e-value, and that of the pair is the least over
all third types that come with both: what goes through one other type, on the way from ``u`` to ``v`` or before both,
has none.

Counts can also speak *against* a pair (`Counted.against`): where they would show a link of half the strength that can
be, and are less likely with one than without.

It says nothing of the order (`sequela.evidence.direction` does), and two ways from ``u`` to ``v`` at once are not seen
through. Where every episode holds every type it has nothing to tell. It is for cascades in logs whose events share
their time: there a density knows least of what lies between a cause and its effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import logsumexp

from sequela.density.base import Floats
from sequela.events.sequences import SequenceSet
from sequela.evidence.pairs import Codes

Counts = NDArray[np.int64] | Any
LOG_ODDS = (0.5, 1.0, 2.0, 4.0)
"""Log odds ratios of "effect there" that are bet on: from 1.6 to 55 times the odds."""
_CELLS = 2**22
"""Cells of pairs and third types held at once."""


class Counted(NamedTuple):
    """What counts say of some pairs (float64, ``[P]`` each).

    Attributes:
        log_e: Log e-value, the least over third types.
        log_e_half: What it would be if the pair were together half as often as it can be, beyond chance: where that is
            small, counts have nothing to tell.
    """

    log_e: Floats
    log_e_half: Floats

    def against(self, alpha: float) -> NDArray[np.bool_]:
        """Return where counts speak against a link: an e-value below 1, and ``1 / alpha`` at half of what can be.

        Example:
            >>> Counted(np.array([-1.0, -1.0, 1.0]), np.array([4.0, 2.0, 4.0])).against(0.05).tolist()
            [True, False, False]
        """
        against: NDArray[np.bool_] = (self.log_e < 0) & (self.log_e_half >= -np.log(alpha))
        return against


def log_e_episodes(sequences: SequenceSet, n_types: int, window: float | None, pairs: Codes) -> Counted:
    """Return what counts say of each pair.

    Args:
        sequences: Cases with times; ids below ``n_types``.
        n_types: Types, or groups.
        window: Longest gap in an episode in seconds; None for the whole case.
        pairs: Codes of the pairs (int64, ``[P]``).

    Example:
        >>> import polars as pl
        >>> cases = [[0, 1, 2]] * 10 + [[0, 1]] * 10 + [[2]] * 10 + [[3]] * 10  # 1 comes after 0, and only then
        >>> ids, lengths = np.concatenate(cases).astype(np.int32), [len(case) for case in cases]
        >>> times = np.concatenate([np.arange(n) for n in lengths]).astype(float)
        >>> names = pl.Series([f"c{i}" for i in range(40)])
        >>> log = SequenceSet(ids, np.cumsum([0, *lengths]), names, times)
        >>> log_e_episodes(log, 4, None, np.array([1, 4])).log_e.round(1).tolist()  # 0 -> 1; 1 -> 0
        [12.2, 0.0]
    """
    episode, kind, first = _first_times(sequences, window)
    n = int(episode.max(initial=-1)) + 1
    there = csr_array((np.ones(len(kind), np.int64), (episode, kind)), shape=(n, n_types))
    starts = np.searchsorted(kind, np.arange(n_types + 1))
    found = np.zeros((2, len(pairs)))
    size = max(1, _CELLS // max(n_types, 1))
    for low in range(0, len(pairs), size):
        causes, effects = np.divmod(pairs[low : low + size], n_types)
        came, both = _columns(causes, effects, episode, first, starts, n)
        found[:, low : low + size] = _least(there, causes, effects, came, both)
    return Counted(*found)


def _first_times(
    sequences: SequenceSet, window: float | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return episode, type and time of each first event of a type in an episode, sorted by type, then episode."""
    assert sequences.times is not None
    case = np.repeat(np.arange(sequences.n_cases), sequences.lengths)
    new = np.diff(case, prepend=-1) != 0
    if window is not None:
        new |= np.diff(sequences.times, prepend=-np.inf) > window
    episode = np.cumsum(new) - 1
    n = int(episode[-1]) + 1 if len(episode) else 0
    code, row = np.unique(sequences.ids.astype(np.int64) * n + episode, return_index=True)
    kind, own = np.divmod(code, max(n, 1))
    return own, kind, sequences.times[row]


def _columns(
    causes: NDArray[np.int64],
    effects: NDArray[np.int64],
    episode: NDArray[np.int64],
    first: NDArray[np.float64],
    starts: NDArray[np.int64],
    n: int,
) -> tuple[csr_array, csr_array]:
    """Return in which episodes each effect came, not before the cause; and in which of these the cause is there.

    Both int64, ``[n_episodes, P]``.
    """
    rows: list[list[NDArray[np.int64]]] = [[], []]
    for cause, effect in zip(causes.tolist(), effects.tolist(), strict=True):
        u, v = slice(starts[cause], starts[cause + 1]), slice(starts[effect], starts[effect + 1])
        _, at_u, at_v = np.intersect1d(episode[u], episode[v], assume_unique=True, return_indices=True)
        before = first[v][at_v] < first[u][at_u]
        rows[0].append(np.delete(episode[v], at_v[before]))
        rows[1].append(episode[v][at_v[~before]])
    found = []
    for some in rows:
        column = np.repeat(np.arange(len(some)), [len(own) for own in some])
        row = np.concatenate([np.zeros(0, np.int64), *some])
        found.append(csr_array((np.ones(len(row), np.int64), (row, column)), shape=(n, len(some))))
    return found[0], found[1]


def _least(
    there: csr_array, causes: NDArray[np.int64], effects: NDArray[np.int64], came: csr_array, both: csr_array
) -> Floats:
    """Return the least log e-values over third types, and without any; and the same at half (float64, ``[2, P]``)."""
    own = np.arange(len(causes))
    kinds, place = np.unique(causes, return_inverse=True)
    # Episodes with the third type: all, with the cause, with the effect, with both (int64, [n_types, P]).
    with_cause = (there.T @ there[:, kinds]).toarray()[:, place]
    with_effect, with_both = (there.T @ came).toarray(), (there.T @ both).toarray()
    n_with = there.sum(axis=0)
    tables = (np.broadcast_to(n_with[:, None], with_both.shape), with_cause, with_effect, with_both)
    totals = (there.shape[0], n_with[causes], came.sum(axis=0), both.sum(axis=0))
    # A third type can explain only what it comes with itself, on both sides.
    explains = (totals[0] * with_cause > n_with[:, None] * totals[1]) & (
        totals[0] * with_effect > n_with[:, None] * totals[2]
    )
    explains[causes, own] = explains[effects, own] = False
    sides = [tables, tuple(whole - part for whole, part in zip(totals, tables, strict=True))]
    found = []
    for change in (lambda table: table, _half):
        by_third = np.where(explains, log_e_tables([change(side) for side in sides]), np.inf)
        found.append(np.minimum(by_third.min(axis=0), log_e_tables([change(totals)])))
    return np.stack(found)


def _half(table: tuple[Counts, Counts, Counts, Counts]) -> tuple[Counts, Counts, Counts, Counts]:
    """Return a table with as many together as lies halfway between chance and the most there can be."""
    size, cause, effect, _ = table
    return size, cause, effect, (cause * effect / np.maximum(size, 1) + np.minimum(cause, effect)) / 2


def log_e_tables(tables: Sequence[tuple[Counts, Counts, Counts, Counts]]) -> Floats:
    """Return log e-values against "no association" in several tables of one pair, for one that is positive.

    Given the margins of a table, the number with both is hypergeometric, ``A``, and the likelihood ratio of a log odds
    ratio ``b`` to 0 is ``exp(b A) / E exp(b A)``. The e-value is the mean over ``b`` in `LOG_ODDS` of the product over
    tables, with an upper bound in place of the expectation, so that it can only be smaller.

    Args:
        tables: Of each table the counts: all, with the cause, with the effect, with both (any shape).

    Returns:
        float64, the shape of the counts.

    Example:
        >>> log_e_tables([(40, 20, 20, 18)]).round(2).item(), log_e_tables([(40, 20, 20, 10)]).round(2).item()
        (6.24, -1.85)
    """
    sums = [sum(b * table[3] - _log_expectation(b, *table[:3]) for table in tables) for b in LOG_ODDS]
    mean: Floats = logsumexp(np.stack(np.broadcast_arrays(*sums)), axis=0) - np.log(len(LOG_ODDS))
    return mean


def _log_expectation(b: float, size: Counts, cause: Counts, effect: Counts) -> Floats:
    """Return an upper bound of ``log E exp(b A)``, ``A`` hypergeometric.

    Of any convex function the expectation is at most that of as many draws *with* replacement (Hoeffding 1963). What is
    drawn are the episodes with the effect, or those with the cause, or those without the one or the other, of which
    ``A`` is the rest. The least of the four bounds is taken.
    """
    size = np.maximum(size, 1)

    def drawn(number: Counts, of: Counts, sign: float) -> Floats:
        bound: Floats = number * np.log1p(of / size * np.expm1(sign * b))
        return bound

    bounds = (
        drawn(effect, cause, 1), drawn(cause, effect, 1),
        b * effect + drawn(size - cause, effect, -1), b * cause + drawn(size - effect, cause, -1),
    )  # fmt: skip
    least: Floats = np.minimum.reduce(bounds)
    return least
