"""Which components event types share: ``engine|P0A|fault`` and ``engine|P0B|info`` share their component."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sequela.errors import ConfigError
from sequela.events.log import event_at_level, event_components
from sequela.events.vocabulary import Vocabulary


@dataclass(frozen=True)
class SharedComponents:
    """Parts that several event types share, numbered from 1 on.

    A part is the value of a column, or of the first two columns together, of the first three, … A part that only one
    type has says nothing of other types and has no number; a column that tells the same types apart as an earlier one
    is left out.

    Attributes:
        of: Parts of each input id (int64, ``[n_inputs, n_columns]``); 0 is none. ``<rare>`` and the ids that are no
            event type have one part each, which nothing else has.
        n_values: Numbers in use, 0 among them.
        n_shared: Parts that several types share.
    """

    of: NDArray[np.int64]
    n_values: int
    n_shared: int


def shared_components(vocabulary: Vocabulary) -> SharedComponents | None:
    """Return the components that types share; None where there are none, or types differ in their number.

    Example:
        >>> found = shared_components(Vocabulary(("door|a", "door|b", "radio|a", "radio|c"), (1,) * 4))
        >>> found.of[:4].tolist(), found.n_shared
        ([[1, 3], [1, 0], [2, 3], [2, 0]], 3)
    """
    n_real = vocabulary.n_types - vocabulary.has_rare
    components = [event_components(name) for name in vocabulary.names[:n_real]]
    n_parts = len(components[0])
    if n_parts < 2 or any(len(own) != n_parts for own in components):
        return None
    spans = [(i, i + 1) for i in range(n_parts)] + [(0, i) for i in range(2, n_parts)]
    columns: list[NDArray[np.int64]] = []
    n_values = 1
    for low, high in spans:
        numbers: dict[tuple[str, ...], int] = {}
        own = np.array([numbers.setdefault(tuple(each[low:high]), len(numbers)) for each in components])
        shared = np.bincount(own) > 1
        column = np.where(shared[own], (np.cumsum(shared) - 1)[own], -1)
        if shared.any() and not any(np.array_equal(column, other) for other in columns):
            columns.append(column)
    if not columns:
        return None
    of = np.zeros((vocabulary.n_inputs, len(columns)), dtype=np.int64)
    for i, column in enumerate(columns):
        of[:n_real, i] = np.where(column >= 0, column + n_values, 0)
        n_values += int(column.max()) + 1
    n_shared = n_values - 1
    n_special = vocabulary.n_inputs - n_real
    of[n_real:, 0] = n_values + np.arange(n_special)
    return SharedComponents(of, n_values + n_special, n_shared)


@dataclass(frozen=True)
class Siblings:
    """Event types that share their leading components, group by group.

    Attributes:
        types: All types but ``<rare>``, those of a group side by side and sorted (int32, ``[n]``).
        low: Where the group of each type begins in `types` (int64, ``[n_types]``).
        size: Types in it (int64, ``[n_types]``); 1 for a type without siblings and for ``<rare>``.
        place: Place of the type in its group (int64, ``[n_types]``).
    """

    types: NDArray[np.int32]
    low: NDArray[np.int64]
    size: NDArray[np.int64]
    place: NDArray[np.int64]


@lru_cache(maxsize=8)
def siblings(vocabulary: Vocabulary, level: int) -> Siblings:
    """Group the types of a vocabulary that share their first ``level`` components.

    Raises:
        ConfigError: No type has more components than that.

    Example:
        >>> found = siblings(Vocabulary(("b|1", "a|1", "b|2"), (1, 1, 1)), 1)
        >>> found.types.tolist(), found.size.tolist(), found.place.tolist()
        ([0, 2, 1], [2, 1, 2], [0, 0, 1])
    """
    n_real = vocabulary.n_types - vocabulary.has_rare
    most = max(len(event_components(name)) for name in vocabulary.names[:n_real])
    if most <= level:
        raise ConfigError(
            f"the proposal 'siblings' keeps the first {level} component(s) of an event type and replaces the rest, but "
            f"types here have at most {most}: name several columns (event=[...], --event repeated), or use 'uniform'"
        )
    numbers: dict[str, int] = {}
    names = (event_at_level(name, level) for name in vocabulary.names[:n_real])
    group = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    types = np.argsort(group, kind="stable")
    count = np.bincount(group)
    start = np.cumsum(count) - count
    low, size, place = (np.full(vocabulary.n_types, value, dtype=np.int64) for value in (0, 1, 0))
    low[:n_real], size[:n_real] = start[group], count[group]
    place[types] = np.arange(n_real) - start[group[types]]
    return Siblings(types.astype(np.int32), low, size, place)
