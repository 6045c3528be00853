"""What densities share that run the observed events of a block once and let branches go on from there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats, Ids, Times, check_branches, check_sequence
from sequela.density.runtime.network_density import Batches, NetworkDensity


class BlockScoring(NetworkDensity):
    """A density that cuts long sequences into blocks (`sequela.density.blocks`) and shares the prefix of branches.

    Attributes:
        context: Most past events one event is predicted from.
    """

    context: int

    @property
    def max_tail(self) -> int:  # type: ignore[override]
        """Half a context: a branch then spans at most two blocks."""
        return self.context // 2

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        nothing = np.zeros(0, np.int64), np.zeros((0, 1), np.int32)
        own = times if times is not None else [None] * len(sequences)
        asked = [Branches(ids, *nothing, seconds) for ids, seconds in zip(sequences, own, strict=True)]
        return self._run(asked, observed=True)[0]

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return self._run(branches, observed=False)[1]

    def score_both(self, branches: Sequence[Branches]) -> tuple[list[Floats], list[Floats]]:
        """See `Density.score_both`; the observed events run once for both."""
        return self._run(branches, observed=True)

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        return self.conditional_many([ids], [np.asarray(positions)], [times])[0]

    @torch.inference_mode()
    def _run(self, branches: Sequence[Branches], *, observed: bool) -> tuple[list[Floats], list[Floats]]:
        """Return the scores of the observed events (empty unless asked for) and of the branches."""
        for one in branches:
            check_sequence(one.ids, self.vocabulary)
            check_branches(one, self.vocabulary, self.max_tail)
        scores = [np.full(len(one.ids) if observed else 0, np.nan) for one in branches]
        results = [np.full(one.tails.shape, np.nan) for one in branches]
        self._score(branches, scores if observed else None, results)
        return scores, results

    @abstractmethod
    def _score(self, branches: Sequence[Branches], scores: list[Floats] | None, results: list[Floats]) -> None:
        """Fill the scores of the observed events, where they are asked for, and of the branches."""

    def batches_within(self, limit: int, longest: int, horizon: int) -> Batches:
        """See `NetworkDensity.batches_within`."""
        found, least = self._fastest_batches(), self._least_batches(longest, horizon)
        while found != least and self._held_bytes(longest, horizon, found) > limit:
            found = Batches(
                max(found.n_tokens // 2, least.n_tokens),
                max(found.n_held // 2, least.n_held),
                max(found.n_rows // 2, least.n_rows),
            )
        return found

    def _batch_bytes(self, longest: int, horizon: int) -> tuple[int, int]:
        """Return the bytes that the smallest and the fastest batches hold, see `Cost`."""
        least = self._held_bytes(longest, horizon, self._least_batches(longest, horizon))
        return least, max(least, self._held_bytes(longest, horizon, self._fastest_batches()))

    @abstractmethod
    def _fastest_batches(self) -> Batches:
        """Return the batches that are fastest on the device."""

    @abstractmethod
    def _least_batches(self, longest: int, horizon: int) -> Batches:
        """Return the smallest batches there are, for some longest sequence and tail."""

    @abstractmethod
    def _held_bytes(self, longest: int, horizon: int, batches: Batches) -> int:
        """Return the bytes that some batches hold."""
