"""How an event went, given what acted: the law that the contrast of states asks of a density.

Whether an operation runs at all is mostly the plan's doing, which the log does not hold. Its outcome, given that it
runs, is what the outcomes before it act on (`docs/method.md`, section 10).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids, Times, check_branches, check_sequence, has_target
from sequela.density.window.finite_memory import FiniteMemoryDensity, branch_windows
from sequela.density.window.time_features import branch_gaps
from sequela.events.hierarchy import Siblings

_BYTES = 32 * 2**20
"""Size of the conditional distributions that are held at once."""


class StateLaw(Density):
    """A density of the states: ``log P(x_t | x_<t, what acted at t)``; where there is one state, ``log P(x_t | x_<t)``.

    Args:
        density: The density of the events.
        groups: Which types are states of the same (`sequela.effects.contrasts.state_groups`).

    Example:
        >>> from sequela.effects.contrasts import state_groups
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld([0.0, 0.0, 9.0], np.zeros((3, 3)), horizon=1, names=["a|ok", "a|no", "b|ok"])
        >>> law = StateLaw(world, state_groups(world.vocabulary))
        >>> np.exp(law.score(np.array([0, 1], np.int32))).round(6).tolist()
        [0.5, 0.5]
    """

    def __init__(self, density: Density, groups: Siblings) -> None:
        self.density = density
        self.vocabulary, self.memory, self.uses_times = density.vocabulary, density.memory, density.uses_times
        self.max_tail, self.knows_hidden = density.max_tail, density.knows_hidden
        place = np.arange(int(groups.size.max()))
        real = place < groups.size[:, None]
        self._states = groups.types[np.where(real, groups.low[:, None] + place, groups.low[:, None])]  # [V, S]
        self._others = real & (self._states != np.arange(len(real))[:, None]) & (groups.size > 1)[:, None]
        self._alone = groups.size == 1
        self._rows = max(256, _BYTES // (8 * density.vocabulary.n_types))

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """Return whole conditionals of the density itself; see `Density.conditional`."""
        return self.density.conditional(ids, positions, times)

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        results = []
        for ids, seconds in zip(sequences, times if times is not None else [None] * len(sequences), strict=True):
            check_sequence(ids, self.vocabulary)
            result = np.empty(len(ids))
            for low in range(0, len(ids), self._rows):
                place = np.arange(low, min(low + self._rows, len(ids)))
                result[place] = self._given(self.density.conditional(ids, place, seconds), ids[place])
            results.append(result)
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        for one in branches:
            check_branches(one, self.vocabulary, self.max_tail)
        if isinstance(self.density, FiniteMemoryDensity):
            return [self._by_windows(self.density, one) for one in branches]
        return [self._by_pasts(one) for one in branches]

    def _by_windows(self, density: FiniteMemoryDensity, branches: Branches) -> Floats:
        windows, targets = branch_windows(branches, density.memory, self.vocabulary.begin_id)
        gaps = branch_gaps(branches, density.memory) if self.uses_times else None
        values = np.empty(len(targets))
        for low in range(0, len(targets), self._rows):
            part = slice(low, low + self._rows)
            law = density.timed_conditional(windows[part], None if gaps is None else gaps[part])
            values[part] = self._given(law, targets[part])
        result = np.full(branches.tails.shape, np.nan)
        result[has_target(branches)] = values
        return result

    def _by_pasts(self, branches: Branches) -> Floats:
        """Score each branch as a sequence of its own: exact for any density, and slow."""
        wanted = has_target(branches)
        result = np.full(branches.tails.shape, np.nan)
        rows = np.flatnonzero(wanted.any(axis=1))
        each = max(1, self._rows // branches.tails.shape[1])
        for low in range(0, len(rows), each):
            some = rows[low : low + each]
            steps = [np.flatnonzero(wanted[row]) for row in some]
            places = [branches.starts[row] + 1 + own for row, own in zip(some, steps, strict=True)]
            pasts = [
                np.concatenate([branches.ids[: branches.starts[row]], branches.tails[row, : own[-1] + 1]]).astype(
                    np.int32
                )
                for row, own in zip(some, steps, strict=True)
            ]
            seconds = branches.times
            times = None if seconds is None else [seconds[: own[-1] + 1] for own in places]
            laws = self.density.conditional_many(pasts, places, times)
            for row, own, place, law in zip(some, steps, places, laws, strict=True):
                result[row, own] = self._given(law, branches.ids[place])
        return result

    def _given(self, law: Floats, targets: Ids) -> Floats:
        """Return the score of each target (``[n]``) from the conditionals (``[n, n_types]``)."""
        own = np.take_along_axis(law, targets[:, None].astype(np.int64), axis=1)
        others = np.where(self._others[targets], np.take_along_axis(law, self._states[targets], axis=1), -np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            given = -np.log1p(np.exp(others - own).sum(axis=1))
        impossible = np.isneginf(own[:, 0])
        result: Floats = np.where(self._alone[targets] | impossible, own[:, 0], given)
        return result
