"""A long case, cut into stretches that are estimated one after the other, so that not all its pairs are held at once.

A density of finite memory needs no more than the events around some causes to score them: as far back as it looks, and
as far ahead as effects are tested. Draws are keyed by the position in the whole case, so the stretches give what the
case gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sequela.events.sequences import Case

MOST_PAIRS = 1 << 20
"""Pairs of positions of one case that are held at once (about 500 bytes each where ties have no order)."""


class Stretch(NamedTuple):
    """Some neighbouring events of a case.

    Attributes:
        case: They, and the events around them that matter.
        causes: Which of these are tested as causes (places in ``case``).
    """

    case: Case
    causes: range


def stretches(case: Case, horizon: int, memory: int) -> Iterator[Stretch]:
    """Cut a case; one with few pairs is one stretch.

    Args:
        case: The case.
        horizon: Largest lag, in ticks where the case has them.
        memory: Events that the density looks back.

    Example:
        >>> case = Case("a", np.arange(5, dtype=np.int32), None)
        >>> [len(stretch.causes) for stretch in stretches(case, 2, 3)]
        [5]
    """
    length = len(case.ids)
    if length * min(horizon if case.ticks is None else length, length) <= MOST_PAIRS:
        yield Stretch(case, range(length))
        return
    ticks = np.arange(length) if case.ticks is None else case.ticks
    starts = np.searchsorted(ticks, np.arange(ticks[-1] + 2))  # of every tick, and the end
    furthest = np.minimum(np.arange(len(starts) - 1) + horizon + 1, len(starts) - 1)
    width = max(1, int((starts[furthest] - starts[:-1]).max()) - 1)
    every = np.arange(0, length, max(1, MOST_PAIRS // width))
    for low, high in pairwise(np.unique(np.append(starts[ticks[every]], length)).tolist()):
        back = max(0, int(starts[max(0, ticks[low] - horizon)]) - memory)
        first = int(starts[ticks[back]])
        end = int(starts[min(ticks[high - 1] + horizon + 2, len(starts) - 1)])
        part = slice(first, end)
        some = Case(
            case.name,
            case.ids[part],
            None if case.times is None else case.times[part],
            None if case.ticks is None else ticks[part] - ticks[first],
            first,
        )
        yield Stretch(some, range(low - first, high - first))
