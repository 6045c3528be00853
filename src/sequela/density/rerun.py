"""Densities that score a branch by running its whole past again: exact for any model, and slow.

A sequence longer than the context is cut into blocks as for a decoder (`sequela.density.blocks`): an
event in block ``b`` is predicted from the events since the start of block ``b - 1``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids, Times, check_branches, check_sequence, n_targets
from sequela.density.blocks import blocks

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows and columns of a batch (int64, ``[n]`` each): what is asked for stands after the event in that column."""


class Row(NamedTuple):
    """One past that a model is run on.

    Attributes:
        past: Events since the start of the block (int32, ``[n]``).
        seen: After how many of them a prediction is wanted (int64, ``[m]``, increasing).
        targets: Events whose probability is asked for (int32, ``[m]``); empty where whole distributions are.
    """

    past: Ids
    seen: NDArray[np.int64]
    targets: Ids


class _Piece(NamedTuple):
    """What one row of a batch is for."""

    row: int
    which: slice  # of the predictions of that row
    n_events: int


class RerunDensity(Density):
    """A density that runs the whole past of every branch anew.

    Attributes:
        context: Most past events one event is predicted from.
        every_position: Whether one run predicts after every event of a row; otherwise only after the last, and each
            prediction is a row of its own.
    """

    reruns = True
    context: int
    every_position: bool = True

    @abstractmethod
    def _target_log_probs(self, inputs: Ids, places: Places, targets: Ids) -> Floats:
        """Return the log-probability of one event after each place (float64, ``[n]``).

        Args:
            inputs: ``begin_id`` and the events after it (int32, ``[B, L]``); whatever stands after a place does not
                belong to its past.
            places: Where; only the last column unless `every_position`.
            targets: Events (int32, ``[n]``).
        """

    @abstractmethod
    def _log_probs(self, inputs: Ids, places: Places) -> Floats:
        """Return whole distributions after each place (float64, ``[n, n_types]``)."""

    @abstractmethod
    def _rows_a_call(self, n_inputs: int) -> int:
        """Return how many rows of so many inputs run in one call (at least 1)."""

    def _padded(self, n_inputs: int) -> int:
        """Return to how many inputs a row is filled up: rows of equal length share a batch."""
        return n_inputs

    @property
    def max_tail(self) -> int:  # type: ignore[override]
        """Half a context: a branch then spans at most two blocks."""
        return self.context // 2

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        rows, results = [], []
        for ids in sequences:
            check_sequence(ids, self.vocabulary)
            results.append(np.empty(len(ids)))
            for block in blocks(len(ids), self.context) if len(ids) else ():
                seen = np.arange(block.low, block.high) - block.begin
                rows.append(Row(ids[block.begin : block.high - 1], seen, ids[block.low : block.high]))
        values = self._scored(rows)
        for result in results:
            done = 0
            while done < len(result):
                part = values.pop(0)
                result[done : done + len(part)] = part
                done += len(part)
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        rows: list[Row] = []
        places: list[tuple[int, int, NDArray[np.int64]]] = []
        for index, one in enumerate(branches):
            check_branches(one, self.vocabulary, self.max_tail)
            wanted = np.ones(one.tails.shape, bool) if one.wanted is None else one.wanted
            parts = list(blocks(len(one.ids), self.context)) if len(one.ids) else []
            for row, (start, n) in enumerate(zip(one.starts.tolist(), n_targets(one).tolist(), strict=True)):
                for block in parts:
                    targets = start + 1 + np.flatnonzero(wanted[row, :n])
                    targets = targets[(targets >= block.low) & (targets < block.high)]
                    if len(targets):
                        past = np.concatenate([one.ids[block.begin : start], one.tails[row, :n]])
                        rows.append(Row(past, targets - block.begin, one.ids[targets]))
                        places.append((index, row, targets - start - 1))
        results = [np.full(one.tails.shape, np.nan) for one in branches]
        for (index, row, steps), values in zip(places, self._scored(rows), strict=True):
            results[index][row, steps] = values
        return results

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        return self.conditional_many([ids], [positions])[0]

    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """See `Density.conditional_many`."""
        results = [np.empty((len(where), self.vocabulary.n_types)) for where in positions]
        rows, places = [], []
        for index, (ids, own) in enumerate(zip(sequences, positions, strict=True)):
            where = np.asarray(own)
            for block in blocks(len(ids) + 1, self.context):
                wanted = np.flatnonzero((where >= block.low) & (where < block.high))
                if len(wanted):
                    seen, which = np.unique(where[wanted] - block.begin, return_inverse=True)
                    rows.append(Row(ids[block.begin : block.high], seen, np.zeros(0, np.int32)))
                    places.append((index, wanted, which))
        for (index, wanted, which), values in zip(places, self.distributions(rows), strict=True):
            results[index][wanted] = values[which]
        return results

    def distributions(self, rows: list[Row]) -> list[Floats]:
        """Return whole distributions after the events that each row asks for (float64, ``[m, n_types]`` each)."""
        found = [np.empty((len(row.seen), self.vocabulary.n_types)) for row in rows]
        for batch, inputs, at in self._batches_of(rows):
            self._put(found, batch, self._log_probs(inputs, at))
        return found

    def _scored(self, rows: list[Row]) -> list[Floats]:
        """Return the log-probabilities of the targets of each row."""
        results = [np.empty(len(row.seen)) for row in rows]
        for batch, inputs, at in self._batches_of(rows):
            targets = np.concatenate([rows[piece.row].targets[piece.which] for piece in batch])
            self._put(results, batch, self._target_log_probs(inputs, at, targets))
        return results

    @staticmethod
    def _put(results: list[Floats], batch: list[_Piece], values: Floats) -> None:
        done = 0
        for piece in batch:
            target = results[piece.row][piece.which]
            target[:] = values[done : done + len(target)]
            done += len(target)

    def _batches_of(self, rows: list[Row]) -> Iterator[tuple[list[_Piece], Ids, Places]]:
        """Yield batches of rows of one padded length: what each is for, the inputs, and where to look."""
        by_length: dict[int, list[_Piece]] = {}
        for index, row in enumerate(rows):
            if self.every_position:
                pieces = [_Piece(index, slice(None), int(row.seen[-1]))]
            else:
                pieces = [_Piece(index, slice(i, i + 1), int(n)) for i, n in enumerate(row.seen)]
            for piece in pieces:
                by_length.setdefault(self._padded(1 + piece.n_events), []).append(piece)
        for length, same in sorted(by_length.items()):
            size = max(1, self._rows_a_call(length))
            for low in range(0, len(same), size):
                batch = same[low : low + size]
                inputs = np.full((len(batch), length), self.vocabulary.begin_id, np.int32)
                for line, piece in zip(inputs, batch, strict=True):
                    line[1 : 1 + piece.n_events] = rows[piece.row].past[: piece.n_events]
                seen = [rows[piece.row].seen[piece.which] for piece in batch]
                row_of = np.repeat(np.arange(len(batch)), [len(part) for part in seen])
                yield batch, inputs, (row_of, np.concatenate(seen))
