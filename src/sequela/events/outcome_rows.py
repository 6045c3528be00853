"""What of each case counts for its labels: how often each event type came before the outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from sequela.events.sequences import SequenceSet, case_hash


@dataclass(frozen=True)
class OutcomeRows:
    """Cases as far as they count for their labels, one row for each case and number of events that count.

    Attributes:
        case: Number of the case of each row (int64, ``[n]``).
        n_events: Leading events that count (int64, ``[n]``).
        counts: How often each type is among them (sparse float32, ``[n, n_inputs]``).
        labels: Whether the case has each label (bool, ``[n, n_labels]``).
        asked: Whether the row is the one that counts for the label (bool, ``[n, n_labels]``); one row a case is.
    """

    case: NDArray[np.int64]
    n_events: NDArray[np.int64]
    counts: sparse.csr_array
    labels: NDArray[np.bool_]
    asked: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> OutcomeRows:
        """Return some of the rows."""
        return OutcomeRows(
            self.case[rows], self.n_events[rows], self.counts[np.flatnonzero(rows)], self.labels[rows], self.asked[rows]
        )


def outcome_rows(sequences: SequenceSet, outcomes: pl.DataFrame, labels: tuple[str, ...], n_inputs: int) -> OutcomeRows:
    """Return what counts for each label of each case.

    Where a label has times, the events before it count. A case without the label is cut as long after its first event
    as a case with it, drawn by a hash of its name: otherwise cases without it would be longer for that alone.

    Args:
        sequences: Cases.
        outcomes: With the columns of `SCHEMA`.
        labels: Which labels; others are left aside.
        n_inputs: Columns of the counts: event types and the hidden one, see `Vocabulary`.
    """
    n_cases, names = sequences.n_cases, sequences.case_names.to_list()
    index = {name: i for i, name in enumerate(names)}
    has = np.zeros((n_cases, len(labels)), dtype=bool)
    cut = np.tile(sequences.lengths[:, None], (1, len(labels)))
    for column, label in enumerate(labels):
        own = outcomes.filter(pl.col("label") == label)
        at = np.array([index[name] for name in own["case"] if name in index], dtype=np.int64)
        times = own.filter(pl.col("case").is_in(names))["time"].to_numpy()
        has[at, column] = True
        known = np.isfinite(times.astype(np.float64))
        if sequences.times is None or not known.any():
            continue
        starts = sequences.times[sequences.offsets[:-1]]
        elapsed = np.sort(times[known] - starts[at[known]])
        ends = np.full(n_cases, np.inf)
        ends[at[known]] = times[known]
        for i in np.flatnonzero(~has[:, column]).tolist():
            drawn = case_hash(f"cut of {label} in {names[i]}", 0) % len(elapsed)
            ends[i] = starts[i] + elapsed[drawn]
        case = np.repeat(np.arange(n_cases), sequences.lengths)
        before = np.bincount(case[sequences.times < ends[case]], minlength=n_cases)
        cut[:, column] = before
    pairs, inverse = np.unique(
        np.stack([np.repeat(np.arange(n_cases), len(labels)), cut.ravel()], axis=1), axis=0, return_inverse=True
    )
    row_of = inverse.reshape(n_cases, len(labels))
    asked = np.zeros((len(pairs), len(labels)), dtype=bool)
    asked[row_of, np.arange(len(labels))] = True
    position = np.concatenate([np.arange(n) for n in pairs[:, 1]]) if len(pairs) else np.zeros(0, np.int64)
    rows = np.repeat(np.arange(len(pairs)), pairs[:, 1])
    ids = sequences.ids[sequences.offsets[pairs[rows, 0]] + position.astype(np.int64)]
    counts = sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, ids.astype(np.int64))), shape=(len(pairs), n_inputs)
    )
    counts.sum_duplicates()
    return OutcomeRows(pairs[:, 0], pairs[:, 1], counts, has[pairs[:, 0]], asked)
