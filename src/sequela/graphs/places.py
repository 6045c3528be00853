"""Places: how often each pair of event types was tested, edge or not. Counted from the ids alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density
from sequela.events.hierarchy import siblings
from sequela.events.sequences import SequenceSet
from sequela.graphs.records import Arguments
from sequela.graphs.schemas import PLACES

_MOST_DENSE = 1 << 22
"""Up to this many pairs of types their counts are held as one array (32 MiB)."""
_BLOCK = 1 << 20
"""Events that are counted at a time, or one case."""


def count_places(density: Density, sequences: SequenceSet, arguments: Arguments) -> pl.DataFrame:
    """Return how many places of each pair of event types a discovery tests (columns `PLACES`, sorted).

    Args:
        density: What is asked.
        sequences: Its cases.
        arguments: Of the discovery: horizon, time horizon, context and proposal decide what is tested.
    """
    can_cause = None
    if arguments.proposal == "siblings":
        can_cause = siblings(density.vocabulary, arguments.kept_components or 1).size > 1
    return pair_counts(
        np.asarray(sequences.ids), np.asarray(sequences.offsets), sequences.times,
        names=list(density.vocabulary.names), arguments=arguments, can_cause=can_cause,
    )  # fmt: skip


def pair_counts(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    times: NDArray[np.float64] | None,
    *,
    names: list[str],
    arguments: Arguments,
    can_cause: NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """Count pairs of positions of each pair of types within the horizon, in cases given one after the other.

    Args:
        ids: Event types (int32, ``[n]``).
        offsets: Where each case begins, and the end of the last (int64, ``[n_cases + 1]``).
        times: Seconds (float64, ``[n]``), or None.
        names: Of the event types, by id.
        arguments: See `count_places`.
        can_cause: Which types can be causes (bool, by id); None for all.

    Example:
        >>> ids, offsets = np.array([0, 1, 0], dtype=np.int32), np.array([0, 3])
        >>> pair_counts(ids, offsets, None, names=["a", "b"], arguments=Arguments(horizon=2)).rows()
        [('a', 'a', 1), ('a', 'b', 1), ('b', 'a', 1)]
    """
    n_types = len(names)
    dense = np.zeros(n_types**2 if n_types**2 <= _MOST_DENSE else 0, dtype=np.int64)
    sparse: list[pl.DataFrame] = []
    groups = np.searchsorted(offsets, np.arange(0, max(1, len(ids)), _BLOCK))
    for low, high in pairwise([*np.unique(groups).tolist(), len(offsets) - 1]):
        at = slice(int(offsets[low]), int(offsets[high]))
        own_times = None if times is None or arguments.horizon_seconds is None else times[at]
        for codes in _codes(ids[at], offsets[low : high + 1] - offsets[low], own_times, n_types, arguments, can_cause):
            if len(dense):
                dense += np.bincount(codes, minlength=len(dense))
            else:
                sparse.append(pl.DataFrame({"code": codes}).group_by("code").agg(pl.len().cast(pl.Int64).alias("n")))
    if sparse:
        counted = pl.concat(sparse).group_by("code").agg(pl.col("n").sum()).sort("code")
        codes, counts = counted["code"].to_numpy(), counted["n"].to_numpy()
    else:
        codes = np.flatnonzero(dense)
        counts = dense[codes]
    known = pl.Series(names, dtype=pl.String)
    found = pl.DataFrame(
        {"cause": known.gather(codes // n_types), "effect": known.gather(codes % n_types), "n_places": counts},
        schema=PLACES.schema,
    )
    return found.sort("cause", "effect")


def _codes(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    times: NDArray[np.float64] | None,
    n_types: int,
    arguments: Arguments,
    can_cause: NDArray[np.bool_] | None,
) -> Iterator[NDArray[np.int64]]:
    """Yield ``cause * n_types + effect`` of all tested places of some cases, a lag at a time."""
    lengths = np.diff(offsets)
    end = np.repeat(offsets[1:], lengths)
    at = np.arange(len(ids))
    may = at - np.repeat(offsets[:-1], lengths) >= arguments.context
    if can_cause is not None:
        may &= can_cause[ids]
    for lag in range(1, min(arguments.horizon or 1, int(lengths.max(initial=1)) - 1) + 1):
        tested = may & (at + lag < end)
        if times is not None:
            tested[:-lag] &= times[lag:] - times[:-lag] <= (arguments.horizon_seconds or 0.0)
        cause = np.flatnonzero(tested)
        yield ids[cause].astype(np.int64) * n_types + ids[cause + lag]
