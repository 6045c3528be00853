"""Places: how often each pair of event types was tested, edge or not. Counted from the ids alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density
from sequela.effects.contrasts import state_groups
from sequela.effects.knowledge import PairLimits
from sequela.effects.settings import Settings
from sequela.events.hierarchy import siblings
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.graphs.records import Arguments
from sequela.graphs.schemas import PLACES

_SIDES = ("cause", "effect")
_MOST_DENSE = 1 << 22
"""Up to this many pairs of types their counts are held as one array (32 MiB)."""
_MOST_SPARSE = 1 << 23
"""Counts that wait to be added up (128 MiB), or as many as there are pairs."""
_BLOCK = 1 << 20
"""Events that are counted at a time, or one case."""


def count_places(
    density: Density, sequences: SequenceSet, arguments: Arguments, settings: Settings | None = None
) -> pl.DataFrame:
    """Return how many places each pair of event types has within the horizon (columns `PLACES`, sorted).

    In a log whose ties have an order these are the pairs of positions that are tested. Where ties have none, the
    horizon counts ticks, and a density of short memory may not reach all of these places.

    Args:
        density: What is asked.
        sequences: Its cases.
        arguments: Of the discovery: horizon, time horizon, context and proposal decide what is tested.
        settings: Of the discovery, where its knowledge, or its causes and effects, decide that too. Pairs that are
            excluded keep their number of places, and required ones are there without any.
    """
    limits = None if settings is None else settings.limits(density)
    can_cause = has_alternative(density.vocabulary, arguments)
    names = density.vocabulary.names
    counted = pair_counts(
        np.asarray(sequences.ids), np.asarray(sequences.offsets), sequences.times,
        names=list(names), arguments=arguments, can_cause=can_cause,
        unordered_ties=sequences.unordered_ties, limits=limits,
    )  # fmt: skip
    if settings is None or limits is None:
        return counted
    number = {name: place for place, name in enumerate(names)}
    cause, effect = (counted[side].replace_strict(number, return_dtype=pl.Int64).to_numpy() for side in _SIDES)
    tested = ~limits.excluded(cause, effect)
    if settings.knowledge is None:
        return counted.filter(pl.Series(tested))
    excluded = settings.knowledge.limits(names).excluded(cause, effect)
    status = pl.when(pl.Series(excluded)).then(pl.lit("excluded", pl.String)).alias("knowledge")
    counted = counted.with_columns(status).filter(pl.Series(tested | excluded))
    must = settings.knowledge.required(names)
    required = pl.DataFrame(must, schema=dict.fromkeys(_SIDES, pl.String), orient="row")
    required = required.with_columns(n_places=pl.lit(0, pl.Int64), knowledge=pl.lit("required", pl.String))
    joined = pl.concat([counted, required]).group_by(*_SIDES).agg(pl.col("n_places").sum(), pl.col("knowledge").last())
    return joined.sort(*_SIDES)


def has_alternative(vocabulary: Vocabulary, arguments: Arguments) -> NDArray[np.bool_] | None:
    """Return which types have another to be replaced by (bool, by id), and so can be causes; None for all.

    With the proposal ``siblings``, or where the contrast of states decides, a type alone in its group has none.
    """
    if arguments.contrast == "state":
        return state_groups(vocabulary).size > 1
    if arguments.proposal == "siblings":
        return siblings(vocabulary, arguments.kept_components or 1).size > 1
    return None


def pair_counts(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    times: NDArray[np.float64] | None,
    *,
    names: list[str],
    arguments: Arguments,
    can_cause: NDArray[np.bool_] | None = None,
    unordered_ties: bool = False,
    limits: PairLimits | None = None,
    effects: NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """Count pairs of positions of each pair of types within the horizon, in cases given one after the other.

    Args:
        ids: Event types (int32, ``[n]``).
        offsets: Where each case begins, and the end of the last (int64, ``[n_cases + 1]``).
        times: Seconds (float64, ``[n]``), or None.
        names: Of the event types, by id.
        arguments: See `count_places`.
        can_cause: Which types can be causes (bool, by id); None for all.
        unordered_ties: Whether events of one case at one time have no order: the horizon then counts time stamps, and
            a place within one counts for the types in the order of their names, unless a population told directions,
            or one of them is excluded.
        limits: Pairs that are excluded, and which places are too far apart in time. The excluded are counted too.
        effects: Which events count as effects (bool, ``[n]``); None for all.

    Example:
        >>> ids, offsets = np.array([0, 1, 0], dtype=np.int32), np.array([0, 3])
        >>> pair_counts(ids, offsets, None, names=["a", "b"], arguments=Arguments(horizon=2)).rows()
        [('a', 'a', 1), ('a', 'b', 1), ('b', 'a', 1)]
    """
    n_types = len(names)
    dense = np.zeros(n_types**2 if n_types**2 <= _MOST_DENSE else 0, dtype=np.int64)
    sparse: list[pl.DataFrame] = []
    most = _MOST_SPARSE
    rank = np.argsort(np.argsort(np.array(names, dtype=object))) if names else np.zeros(0, dtype=np.int64)
    both_ways = arguments.population is not None
    groups = np.searchsorted(offsets, np.arange(0, max(1, len(ids)), _BLOCK))
    for low, high in pairwise([*np.unique(groups).tolist(), len(offsets) - 1]):
        at = slice(int(offsets[low]), int(offsets[high]))
        block = _Block(
            ids[at], offsets[low : high + 1] - offsets[low], None if times is None else times[at], unordered_ties
        )
        for causes, reached, same in _places(block, arguments, can_cause):
            chosen = slice(None) if effects is None else effects[at][reached]
            cause, effect, within = causes[chosen], reached[chosen], same[chosen]
            one, two = block.ids[cause].astype(np.int64), block.ids[effect].astype(np.int64)
            turned = within & (rank[one] > rank[two]) & (not both_ways)
            if limits is not None:
                there, back = limits.seconds(one, two), limits.seconds(two, one)
                turned = np.where(within & ((there < 0) != (back < 0)) & (not both_ways), there < 0, turned)
                if limits.has_delays and block.times is not None:
                    longest = np.where(turned, back, there)
                    kept = (longest < 0) | (block.times[effect] - block.times[cause] <= longest)
                    one, two, turned, within = one[kept], two[kept], turned[kept], within[kept]
            one, two = np.where(turned, two, one), np.where(turned, one, two)
            codes = one * n_types + two
            if both_ways:
                codes = np.concatenate([codes, (two * n_types + one)[within & (one != two)]])
            if len(dense):
                dense += np.bincount(codes, minlength=len(dense))
            else:
                sparse.append(pl.DataFrame({"code": codes, "n": np.ones(len(codes), np.int64)}))
                if sum(part.height for part in sparse) > most:
                    sparse = [_added(sparse)]
                    most = max(_MOST_SPARSE, 2 * sparse[0].height)
    if sparse:
        counted = _added(sparse).sort("code")
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


def added_places(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the places of disjoint cases together, each from `count_places` with knowledge."""
    return (
        pl.concat(tables)
        .group_by(*_SIDES)
        .agg(pl.col("n_places").sum(), pl.col("knowledge").drop_nulls().first())
        .sort(*_SIDES)
    )


def _added(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("code").agg(pl.col("n").sum())


class _Block(NamedTuple):
    """Some cases, one after the other."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.float64] | None
    unordered_ties: bool

    def ticks(self) -> NDArray[np.int64] | None:
        """Return the number of the tick of each event, over all cases; None where ties have an order."""
        if not self.unordered_ties or self.times is None or not len(self.ids):
            return None
        starts = np.zeros(len(self.ids), dtype=bool)
        starts[self.offsets[:-1][np.diff(self.offsets) > 0]] = True
        starts[1:] |= np.diff(self.times) > 0
        return np.cumsum(starts)


def _places(
    block: _Block, arguments: Arguments, can_cause: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield causes, effects (positions in the block) and whether they share a tick, a distance in events at a time."""
    lengths = np.diff(block.offsets)
    end = np.repeat(block.offsets[1:], lengths)
    at = np.arange(len(block.ids))
    position = at - np.repeat(block.offsets[:-1], lengths)
    may = position >= arguments.context
    if can_cause is not None:
        may &= can_cause[block.ids]
    ticks, horizon, seconds = block.ticks(), arguments.horizon or 1, arguments.horizon_seconds
    for distance in range(1, int(lengths.max(initial=1))):
        tested = may & (at + distance < end)
        if ticks is None:
            tested &= distance <= horizon
        else:
            tested[:-distance] &= ticks[distance:] - ticks[:-distance] <= horizon
        if not tested.any():
            return
        if seconds is not None and block.times is not None:
            tested[:-distance] &= block.times[distance:] - block.times[:-distance] <= seconds
        cause = np.flatnonzero(tested)
        effect = cause + distance
        same = np.zeros(len(cause), dtype=bool) if ticks is None else ticks[cause] == ticks[effect]
        yield cause, effect, same
