"""Densities with finite memory: everything they need is a window of the last ``memory`` events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids, Times, check_branches, check_sequence, has_target
from sequela.density.window.time_features import Gaps, branch_gaps, check_times, observed_gaps


def observed_windows(ids: Ids, positions: NDArray[np.int64], memory: int, begin_id: int) -> Ids:
    """Return the events before each position (int32, ``[n, memory]``, oldest first, ``begin_id`` before the start).

    Example:
        >>> observed_windows(np.array([5, 6, 7], np.int32), np.array([0, 2]), 3, begin_id=9).tolist()
        [[9, 9, 9], [9, 5, 6]]
    """
    padded = np.concatenate([np.full(memory, begin_id, np.int32), ids])
    windows: Ids = padded[positions[:, None] + np.arange(memory)]
    return windows


def branch_windows(branches: Branches, memory: int, begin_id: int) -> tuple[Ids, Ids]:
    """Return the window before each scored event of each branch, and that event.

    Returns:
        Windows (int32, ``[n, memory]``) and targets (int32, ``[n]``), branch by branch, step by step, only steps
        that are wanted and have an observed next event.
    """
    branch, step = np.nonzero(has_target(branches))
    start = branches.starts[branch]
    target = start + step + 1
    position = target[:, None] - memory + np.arange(memory)
    in_tail = position >= start[:, None]
    padded = np.concatenate([np.full(memory, begin_id, np.int32), branches.ids])
    before = padded[np.maximum(position + memory, 0)]
    steps = np.clip(position - start[:, None], 0, branches.tails.shape[1] - 1)
    after = branches.tails[branch[:, None], steps]
    windows: Ids = np.where(in_tail, after, before).astype(np.int32)
    return windows, branches.ids[target].astype(np.int32)


class Windows(NamedTuple):
    """Windows to score, of some sequences: ``[n, memory]``, gaps alike or None, targets ``[n]``."""

    windows: list[Ids]
    gaps: list[Gaps] | None
    targets: list[Ids]


class FiniteMemoryDensity(Density):
    """A density that is a function of the last `memory` events; a subclass only scores windows."""

    memory: int

    @abstractmethod
    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """Return ``log P(target | window)`` in nats (float64, ``[n]``) for int32 ``[n, memory]`` and ``[n]``.

        The value of a row must not depend on the other rows.
        """

    @abstractmethod
    def window_conditional(self, windows: Ids) -> Floats:
        """Return ``log P(. | window)`` in nats (float64, ``[n, n_types]``) for int32 ``[n, memory]``."""

    def timed_log_prob(self, windows: Ids, gaps: Gaps | None, targets: Ids) -> Floats:
        """Return `window_log_prob` given how long before the target each event lies (float32 seconds, as windows).

        For a density that uses times to override; others take no notice.
        """
        return self.window_log_prob(windows, targets)

    def timed_conditional(self, windows: Ids, gaps: Gaps | None) -> Floats:
        """Return `window_conditional` given the gaps; see `timed_log_prob`."""
        return self.window_conditional(windows)

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        return self.score_windows([self.windows_of_events(sequences, times)])[0]

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return in_place(branches, self.score_windows([self.windows_of_steps(branches)])[0])

    def windows_of_events(self, sequences: Sequence[Ids], times: Times) -> Windows:
        """Return the window before every event of some sequences."""
        for ids in sequences:
            check_sequence(ids, self.vocabulary)
        where = [np.arange(len(ids)) for ids in sequences]
        targets = [ids.astype(np.int32) for ids in sequences]
        return Windows(self._observed(sequences, where), self._gaps(sequences, where, times), targets)

    def windows_of_steps(self, branches: Sequence[Branches]) -> Windows:
        """Return the window before every step of some branches that is to be scored."""
        for one in branches:
            check_branches(one, self.vocabulary)
        pairs = [branch_windows(one, self.memory, self.vocabulary.begin_id) for one in branches]
        gaps = None
        if self.uses_times:
            check_times([one.times for one in branches], [len(one.ids) for one in branches])
            gaps = [branch_gaps(one, self.memory) for one in branches]
        return Windows([pair[0] for pair in pairs], gaps, [pair[1] for pair in pairs])

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        return self.conditional_many([ids], [positions], [times])[0]

    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """See `Density.conditional_many`."""
        if not sequences:
            return []
        where = [np.asarray(own) for own in positions]
        windows, gaps = self._observed(sequences, where), self._gaps(sequences, where, times)
        values = self.timed_conditional(np.concatenate(windows), None if gaps is None else np.concatenate(gaps))
        return np.split(values, np.cumsum([len(part) for part in windows])[:-1])

    def _observed(self, sequences: Sequence[Ids], positions: list[NDArray[np.int64]]) -> list[Ids]:
        begin = self.vocabulary.begin_id
        return [
            observed_windows(ids, where, self.memory, begin) for ids, where in zip(sequences, positions, strict=True)
        ]

    def _gaps(self, sequences: Sequence[Ids], positions: list[NDArray[np.int64]], times: Times) -> list[Gaps] | None:
        if not self.uses_times:
            return None
        needed = [
            max(len(ids), int(where.max(initial=-1)) + 1) for ids, where in zip(sequences, positions, strict=True)
        ]
        known = check_times(times, needed)
        return [observed_gaps(own, where, self.memory) for own, where in zip(known, positions, strict=True)]

    def score_windows(self, asked: Sequence[Windows]) -> list[list[Floats]]:
        """Score everything in one go, and return it as it was asked for."""
        windows = [rows for one in asked for rows in one.windows]
        if not windows:
            return [[] for _ in asked]
        gaps = [rows for one in asked for rows in one.gaps or []] if self.uses_times else None
        targets = np.concatenate([rows for one in asked for rows in one.targets])
        values = self.timed_log_prob(np.concatenate(windows), None if gaps is None else np.concatenate(gaps), targets)
        parts = iter(np.split(values, np.cumsum([len(rows) for rows in windows])[:-1]))
        return [[next(parts) for _ in one.windows] for one in asked]


def in_place(branches: Sequence[Branches], scores: Sequence[Floats]) -> list[Floats]:
    """Return the scores of the steps of branches as ``[K, S]`` each, NaN where there is nothing to score."""
    results = []
    for one, values in zip(branches, scores, strict=True):
        result = np.full(one.tails.shape, np.nan)
        result[has_target(one)] = values
        results.append(result)
    return results
