"""Pairs of event types, or of groups of types, and which of them occur near each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Floats, Ids
from sequela.effects.knowledge import PairLimits
from sequela.errors import ConfigError, check_range
from sequela.events.log import event_at_level, event_components
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary

SMALLEST = 1e-9
"""Smallest probability of a forecast, and of its complement."""
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Event types taken together, as all codes of a component: pairs are then pairs of groups.

    Attributes:
        names: Of the groups.
        of: Group of each event type (int32, ``[n_types]``).
    """

    names: tuple[str, ...]
    of: Ids

    @classmethod
    def at_level(cls, vocabulary: Vocabulary, hierarchy_level: int | None) -> Groups:
        """Group types by their first ``hierarchy_level`` components; None leaves each by itself.

        Raises:
            ConfigError: No type has components.
        """
        if hierarchy_level is None:
            return cls(vocabulary.names, np.arange(vocabulary.n_types, dtype=np.int32))
        check_range("hierarchy_level", hierarchy_level, low=1, whole=True)
        if all(len(event_components(name)) == 1 for name in vocabulary.names):
            raise ConfigError(
                "hierarchy_level needs event types with components: name several columns as the event "
                "(event=['component', 'code'], "
                "--event component --event code)"
            )
        names, of = np.unique([event_at_level(name, hierarchy_level) for name in vocabulary.names], return_inverse=True)
        return cls(tuple(names.tolist()), of.astype(np.int32))

    def sum(self, log_p: Floats) -> Floats:
        """Return the log-probability of each group (float64, ``[n, n_groups]``) from that of each type."""
        if np.array_equal(self.of, np.arange(len(self.names))):
            return log_p
        total = np.zeros((len(log_p), len(self.names)))
        np.add.at(total.T, self.of, np.exp(log_p).T)
        return np.log(np.clip(total, SMALLEST, 1.0))

    def excluded(self, limits: PairLimits) -> NDArray[np.bool_]:
        """Return which pairs of groups are excluded: all pairs of their types are (bool, ``[n_groups, n_groups]``)."""
        n, (n_causes, n_effects) = len(self.names), limits.longest.shape
        cause, effect = np.zeros((n, n_causes), np.int64), np.zeros((n, n_effects), np.int64)
        cause[self.of, limits.cause_class] = 1
        effect[self.of, limits.effect_class] = 1
        found: NDArray[np.bool_] = cause @ (limits.longest >= 0) @ effect.T == 0
        return found

    def cases(self, sequences: SequenceSet) -> SequenceSet:
        """Return sequences of groups."""
        return replace(sequences, ids=self.of[sequences.ids])


def pair_names(codes: Codes, names: Sequence[str]) -> pl.DataFrame:
    """Return ``cause`` and ``effect`` of some codes."""
    series = pl.Series(list(names), dtype=pl.String)
    cause, effect = np.divmod(codes, len(names))
    return pl.DataFrame({"cause": series[cause], "effect": series[effect]})


def pair_codes(causes: Ids, effects: Ids, n_types: int) -> Codes:
    """Return one number a pair of types."""
    codes: Codes = causes.astype(np.int64) * n_types + effects
    return codes


def co_occurring(sequences: SequenceSet, horizon: int, n_types: int, seconds: float | None = None) -> Codes:
    """Return the sorted codes of all pairs of different types that occur within ``horizon`` events of each other.

    With ``seconds`` they must also lie no further apart in time. Where ties have no order, ``horizon`` counts ticks,
    and two events of one tick are no pair.
    """
    found = np.zeros(0, np.int64)
    case = np.repeat(np.arange(sequences.n_cases), sequences.lengths)
    ids = np.asarray(sequences.ids)
    tick = np.arange(len(ids))
    if sequences.unordered_ties and sequences.times is not None:
        tick = np.cumsum((np.diff(sequences.times, prepend=-np.inf) != 0) | (np.diff(case, prepend=-1) != 0))
    for lag in range(1, len(ids)):
        near = (case[:-lag] == case[lag:]) & (tick[lag:] - tick[:-lag] <= horizon)
        if not near.any():
            break
        same = near & (ids[:-lag] != ids[lag:]) & (tick[lag:] > tick[:-lag])
        if seconds is not None and sequences.times is not None:
            same &= sequences.times[lag:] - sequences.times[:-lag] <= seconds
        found = np.union1d(found, pair_codes(ids[:-lag][same], ids[lag:][same], n_types))
    return found
