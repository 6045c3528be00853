"""Times for a density: how long ago each past event was, the scale to read that on, and whether it tells anything.

A density with times predicts *what* comes from the past events and from how long each of them lies before the event
that is predicted. When that event comes is given, not predicted: idle gaps and bursts are then no riddle to it, and an
intervention replaces what happened, not when.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats, has_target
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet

Gaps = NDArray[np.float32]
_BINS = 8
_LEAST_SHARE = 1e-12
_LEAST_SECONDS = 1e-30
_MOST_EVENTS = 200_000


def observed_gaps(times: Floats, positions: NDArray[np.int64], memory: int) -> Gaps:
    """Return how long each event before each position lies before it (float32 seconds, ``[n, memory]``).

    Oldest first, as `observed_windows`; 0 before the start.

    Example:
        >>> observed_gaps(np.array([0.0, 2.0, 7.0]), np.array([0, 2]), 3).tolist()
        [[0.0, 0.0, 0.0], [0.0, 7.0, 5.0]]
    """
    place = positions[:, None] + np.arange(-memory, 0)
    gaps = times[positions][:, None] - times[np.maximum(place, 0)]
    return np.where(place >= 0, gaps, 0.0).astype(np.float32)


def branch_gaps(branches: Branches, memory: int) -> Gaps:
    """Return the gaps before each scored event of each branch, in the order of `branch_windows`.

    A tail stands in the places of observed events and has their times.
    """
    branch, step = np.nonzero(has_target(branches))
    targets = branches.starts[branch] + step + 1
    assert branches.times is not None
    return observed_gaps(branches.times, targets, memory)


def check_times(times: Sequence[Floats | None] | None, lengths: Sequence[int]) -> list[Floats]:
    """Return the times of all sequences; raise `ConfigError` where a density that uses times lacks them."""
    found = [] if times is None else [one for one in times if one is not None]
    if len(found) != len(lengths) or any(len(own) < n for own, n in zip(found, lengths, strict=True)):
        raise ConfigError(
            "this density was trained with times and needs the time of every event: give a log with a time column "
            "(time=..., --time), or fit with times=False (--no-times)"
        )
    return found


def time_scale(sequences: SequenceSet, memory: int) -> tuple[float, float]:
    """Return the shortest and the longest gap, in seconds, that a density need tell apart.

    Gaps are read on a log scale from the one (the 5 % quantile of the gaps between neighbours that are not 0) to the
    other (the 99.5 % quantile of the gaps over a whole window), over twelve decades at most.
    """
    assert sequences.times is not None
    case = np.repeat(np.arange(sequences.n_cases), sequences.lengths)
    near = _lagged(sequences.times, case, 1)
    far = _lagged(sequences.times, case, max(1, min(memory, int(sequences.lengths.max()) - 1)))
    near, far = near[near > 0], far[far > 0]
    if not len(near) or not len(far):
        return 1.0, 2.0
    longest = float(np.quantile(far, 0.995))
    # Gaps are float32 in the network: their share of the shortest must be finite.
    unit = max(float(np.quantile(near, 0.05)), _LEAST_SHARE * longest, _LEAST_SECONDS)
    return unit, max(longest, 2 * unit)


def _lagged(times: Floats, case: NDArray[np.int64], lag: int) -> Floats:
    gaps: Floats = (times[lag:] - times[:-lag])[case[lag:] == case[:-lag]]
    return gaps


def time_gain(sequences: SequenceSet, n_types: int, groups: NDArray[np.int64] | None = None) -> tuple[float, float]:
    """Return what the time since the last event tells of the next event beyond the last event, and its chance level.

    The mutual information of the next event with the gap (in eight bins of equal size), given the last event, by
    counting; and the largest of the same over ten shuffles of the gaps among events that follow the same type. Both in
    nats per event, less the mean over the shuffles, which is what counting finds where there is nothing.

    Args:
        sequences: Cases with times.
        n_types: Event types.
        groups: Group of each type (int64, ``[n_types]``), such as what acted, in whichever state: the group of the next
            event is then given too.
    """
    given, after, bins = _neighbours(sequences)
    if groups is not None:
        given = given * n_types + groups[after]
    order = np.argsort(given, kind="stable")
    given, after, bins = given[order], after[order], bins[order]
    pair = given * n_types + after

    def information(bins: NDArray[np.int64]) -> float:
        # I(next; gap | given) = H(next, given) + H(gap, given) - H(all) - H(given): the first and the last are fixed.
        return _entropy(given * _BINS + bins) - _entropy(pair * _BINS + bins)

    if not len(bins):
        return 0.0, 0.0
    rng = np.random.default_rng(0)
    shuffled = [information(bins[np.lexsort((rng.random(len(bins)), given))]) for _ in range(10)]
    nothing = float(np.mean(shuffled))
    return information(bins) - nothing, max(shuffled) - nothing


def gap_gain(sequences: SequenceSet) -> float:
    """Return what an event tells of the time until the next one, in nats: how far times may carry its effects.

    The mutual information of the type of an event with the gap after it (in eight bins of equal size), by counting,
    less the mean of the same over ten shuffles of the gaps.
    """
    before, _, bins = _neighbours(sequences)
    if not len(bins):
        return 0.0
    rng = np.random.default_rng(0)
    joint = [_entropy(before * _BINS + each) for each in (bins, *(rng.permutation(bins) for _ in range(10)))]
    return float(np.mean(joint[1:])) - joint[0]


def _neighbours(sequences: SequenceSet) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the types of neighbouring events, the earlier and the later ones, and the bin of the gap between them."""
    nothing = np.zeros(0, dtype=np.int64)
    if sequences.times is None:
        return nothing, nothing, nothing
    gaps = np.diff(sequences.times[:_MOST_EVENTS], prepend=0.0)
    inner = np.ones(len(gaps), dtype=bool)
    starts = sequences.offsets[:-1]
    inner[starts[starts < len(gaps)]] = False  # no event before the first
    after = sequences.ids[: len(gaps)].astype(np.int64)
    before, after, gaps = np.roll(after, 1)[inner], after[inner], gaps[inner]
    if not len(gaps):
        return nothing, nothing, nothing
    bins = np.searchsorted(np.unique(np.quantile(gaps, np.linspace(0, 1, _BINS + 1)[1:-1])), gaps)
    return before, after, bins.astype(np.int64)


def _entropy(codes: NDArray[np.int64]) -> float:
    share = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(share * np.log(share)).sum())
