"""Ties: events of one case at the same time form a *tick*, a set without an order.

In a log whose ties are unordered nothing may depend on the order of rows within a tick. Its canonical form sorts the
events of a tick by type (`sequela.read_log`); wherever a sequence is needed, an order of each tick is drawn at random,
keyed by seed and case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.events.sequences import SequenceSet, case_hash

Positions = NDArray[np.int64]


def random_order(ticks: Positions, key: int, rotation: int = 0, first: int = 0) -> Positions:
    """Return a random order of the events of each tick.

    The orders of rotations ``0 … k - 1`` put each of the k events of a tick in its first place exactly once, and in
    its last place exactly once.

    Args:
        ticks: Tick of each event (int64, ``[L]``, sorted).
        key: Of the random order, of seed and case.
        rotation: By how many places every tick is rotated after that.
        first: Position of the first of these events in the case, at the start of a tick.

    Returns:
        The event that stands at each place (int64, ``[L]``): place ``i`` holds event ``order[i]``, of the same tick.

    Example:
        >>> ticks = np.array([0, 1, 1, 1])
        >>> orders = [random_order(ticks, 5, rotation) for rotation in range(3)]
        >>> sorted(int(order[1]) for order in orders), sorted(int(order[3]) for order in orders)
        ([1, 2, 3], [1, 2, 3])
    """
    numbers = np.random.PCG64(key).advance(first)  # one a position
    order = np.lexsort((np.random.Generator(numbers).random(len(ticks)), ticks))
    start, size = np.searchsorted(ticks, ticks), np.bincount(ticks)[ticks] if len(ticks) else ticks
    rotated: Positions = order[start + (np.arange(len(ticks)) - start + rotation) % np.maximum(size, 1)]
    return rotated


def shuffle_ticks(sequences: SequenceSet, seed: int) -> SequenceSet:
    """Return the same cases with the events of each tick in a random order, drawn by seed and case.

    A set whose ties have an order, or that has none, is returned as it is.
    """
    if not sequences.unordered_ties or sequences.times is None:
        return sequences
    ids = np.array(sequences.ids)
    for index, (low, high) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)):
        case = sequences[index]
        if case.ticks is not None:
            ids[low:high] = case.ids[random_order(case.ticks, case_hash(case.name, seed))]
    return SequenceSet(
        ids, sequences.offsets, sequences.case_names, sequences.times, sequences.n_unknown, unordered_ties=True
    )
