"""What any method has to beat: the event just before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet

Ids = NDArray[np.int32]
Bools = NDArray[np.bool_]


def adjacent_pairs(ids: Ids, horizon: int) -> Bools:
    """Call every event a cause of the next one.

    Args:
        ids: Event ids (int32, ``[L]``).
        horizon: Columns of the result.

    Returns:
        Edges (bool, ``[L, horizon]``, cause position and lag - 1): column 0 is True except in the last row.

    Raises:
        ConfigError: `horizon` is below 1.

    Source:
        In the paper-like world 83 to 85 % of edges have lag 1 (METHOD section 6): a strong baseline there.

    Example:
        >>> adjacent_pairs(np.array([4, 4, 7], np.int32), 2).tolist()
        [[True, False], [True, False], [False, False]]
    """
    check_range("horizon", horizon, low=1, whole=True)
    edges = np.zeros((len(ids), horizon), dtype=np.bool_)
    edges[: max(len(ids) - 1, 0), 0] = True
    return edges


def adjacent_pairs_pmi(
    train: SequenceSet,
    ids: Ids,
    horizon: int,
    n_types: int,
    threshold: float = 0.0,
    *,
    smoothing: float = 0.5,
) -> Bools:
    """Call an event a cause of the next one when that pair is more frequent in training than by chance.

    Args:
        train: Sequences whose neighbours are counted (never across two cases).
        ids: Event ids (int32, ``[L]``) of the sequence to explain.
        horizon: Columns of the result.
        n_types: Event types.
        threshold: Nats the smoothed pointwise mutual information has to exceed.
        smoothing: Added to the observed and to the expected count; pairs of rare events shrink to 0, a pair
            of events never seen is exactly 0.

    Returns:
        Edges (bool, ``[L, horizon]``), all in column 0.

    Raises:
        ConfigError: An argument is out of range, or an id is not an event type.

    Source:
        ``log((observed + 1/2) / (expected + 1/2))``, the shrunk observed-to-expected ratio of Norén,
        Hopstadius and Bate (2013), with ``expected = n(u, ·) n(·, v) / n`` over neighbouring pairs.

    Example:
        >>> import polars as pl
        >>> train = SequenceSet(np.array([0, 1] * 8, np.int32), np.array([0, 16]), pl.Series(["a"]))
        >>> adjacent_pairs_pmi(train, np.array([0, 1, 1], np.int32), 1, 2).ravel().tolist()
        [True, False, False]
    """
    check_range("n_types", n_types, low=2, whole=True)
    check_range("smoothing", smoothing, low=0, above=True)
    check_range("threshold", threshold)
    for name, values in (("train", train.ids), ("ids", ids)):
        if len(values) and not 0 <= values.min() <= values.max() < n_types:
            raise ConfigError(f"{name} must lie in 0 … {n_types - 1}; got {values.min()} … {values.max()}")
    edges = adjacent_pairs(ids, horizon)
    same_case = np.ones(max(train.n_events - 1, 0), dtype=np.bool_)
    ends = train.offsets[1:-1] - 1
    same_case[ends[(ends >= 0) & (ends < len(same_case))]] = False
    first, second = train.ids[:-1][same_case].astype(np.int64), train.ids[1:][same_case].astype(np.int64)
    # Codes of pairs instead of a table: 30,000 types would need 7 GB.
    seen, counts = np.unique(first * n_types + second, return_counts=True)
    wanted = ids[:-1].astype(np.int64) * n_types + ids[1:]
    place = np.minimum(np.searchsorted(seen, wanted), max(len(seen) - 1, 0))
    observed = np.where(seen[place] == wanted, counts[place], 0) if len(seen) else np.zeros(len(wanted))
    n_first = np.bincount(first, minlength=n_types)[ids[:-1]]
    n_second = np.bincount(second, minlength=n_types)[ids[1:]]
    expected = n_first * n_second / max(len(first), 1)
    edges[: len(wanted), 0] = np.log((observed + smoothing) / (expected + smoothing)) > threshold
    return edges
