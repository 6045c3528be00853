"""What a model must answer to be used here: how likely is the observed event after this past?

Whoever brings a model writes a subclass of `Density`: the facts it must tell are class or instance attributes, and the
one method it must write is `conditional`. The three others have defaults; a model overrides those it can do faster or
that it can answer (`fingerprint`). How a network is run (device, precision, batches) is in `sequela.density.runtime`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Floats = NDArray[np.float64]
Times = Sequence[Floats | None] | None
"""Seconds of the events of several sequences."""


class Branches(NamedTuple):
    """Alternative continuations of one observed sequence.

    Attributes:
        ids: Observed events (int32, ``[L]``).
        starts: Where each branch leaves the observed sequence (int64, ``[K]``, ``0 <= start < L``).
        tails: What is fed from there on instead (int32, ``[K, S]``); any event type or the hidden id.
        times: Seconds of each observed event (float64, ``[L]``), needed by a density that uses times. A tail replaces
            what happened, not when.
        wanted: Steps whose log-probability is asked for (bool, ``[K, S]``); None for all. The others may be left NaN,
            and cost nothing where a density can leave them out.
    """

    ids: Ids
    starts: NDArray[np.int64]
    tails: Ids
    times: Floats | None = None
    wanted: NDArray[np.bool_] | None = None


class Density(ABC):
    """A frozen model of ``P(x_t | x_<t)``.

    Attributes:
        vocabulary: Its event types. Ids ``0 … n_types - 1`` are predicted; inputs may also hold `hidden_id`.
        memory: How many past events it looks at; None when it looks at all of them.
        knows_hidden: Whether it was trained with hidden events, so that `hidden_id` in the past means
            "something happened here that is not shown" (`docs/method.md`, section 3, masked history).
        uses_times: Whether it predicts what comes from how long ago each past event was; it then needs the times of
            every sequence it scores. Densities that do not use times take and ignore them.
        max_tail: The longest tail `score_branches` can take; None when there is no limit.
        reruns: Whether each branch is scored by running its whole past again, which is exact and slow.
        info: How it was trained and judged, as plain JSON values; empty for a density that was not trained here.
        backbone: Its name in `sequela.density.registry`, by which it is saved and loaded; None when it is in no
            registry (a world, a model that somebody brought).

    Example:
        A model that only answers `conditional` can do everything, slowly.

        >>> class Coin(Density):
        ...     vocabulary = Vocabulary(("heads", "tails"), (1, 1))
        ...     memory = 1
        ...
        ...     def conditional(self, ids, positions, times=None):
        ...         return np.log(np.full((len(positions), 2), 0.5))
        >>> Coin().score(np.array([0, 1, 1], np.int32)).round(3).tolist()
        [-0.693, -0.693, -0.693]
        >>> import sequela as sq
        >>> len(sq.discover(Coin(), ["heads", "tails", "tails"]))
        0
    """

    vocabulary: Vocabulary
    memory: int | None = None
    knows_hidden: bool = False
    uses_times: bool = False
    max_tail: int | None = None
    reruns: bool = False
    info: Mapping[str, Any] = MappingProxyType({})
    backbone: str | None = None

    def __repr__(self) -> str:
        looks = "all past events" if self.memory is None else f"the last {self.memory:,} events"
        return f"{type(self).__name__}({self.vocabulary.n_types:,} event types, looks at {looks})"

    @property
    def fingerprint(self) -> str | None:
        """A hash that is equal only for densities that score alike; None for a density that cannot tell (a world).

        Without one, a run that was interrupted starts anew.
        """
        return None

    @abstractmethod
    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """Return whole conditional distributions.

        Args:
            ids: Event ids (int32, ``[L]``), hidden ones allowed.
            positions: Where (int64, ``[n]``, ``0 <= position <= L``).
            times: Seconds of the events, that of the position asked for included (float64, ``[L]``, or ``[L + 1]``
                to ask for position ``L``), needed by a density that uses times.

        Returns:
            ``log P(. | x_<position)`` in nats (float64, ``[n, n_types]``). Memory grows with ``n * n_types``: ask in
            chunks when both are large.
        """

    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """Return `conditional` of several sequences, together where that is cheaper."""
        own = times if times is not None else [None] * len(sequences)
        return [self.conditional(*one) for one in zip(sequences, positions, own, strict=True)]

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """Score observed sequences.

        Args:
            sequences: Event ids (int32, ``[L]`` each).
            times: Seconds of their events (float64, ``[L]`` each), needed by a density that uses times.

        Returns:
            ``log P(x_t | x_<t)`` in nats for each (float64, ``[L]`` each). The result of one sequence does not
            depend on the others.
        """
        results = []
        for ids, seconds in zip(sequences, times if times is not None else [None] * len(sequences), strict=True):
            check_sequence(ids, self.vocabulary)
            results.append(_log_prob_at(self, ids, np.arange(len(ids)), seconds, ids))
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """Score branches of several sequences (`docs/method.md`, section 2).

        Returns:
            For each, ``log P(x_{s+k+1} | x_<s, y_0 … y_k)`` in nats (float64, ``[K, S]``): the observed next event
            after each tail step; NaN where the sequence has no such event. The result of one sequence does not
            depend on the others.
        """
        results = []
        for one in branches:
            check_branches(one, self.vocabulary, self.max_tail)
            result = np.full(one.tails.shape, np.nan)
            for row, (start, n) in enumerate(zip(one.starts, n_targets(one), strict=True)):
                past = np.concatenate([one.ids[:start], one.tails[row, :n]])
                targets = np.arange(start + 1, start + 1 + n)
                seconds = None if one.times is None else one.times[: start + 1 + n]
                result[row, :n] = _log_prob_at(self, past, targets, seconds, one.ids[targets])
            results.append(result)
        return results

    def score_both(self, branches: Sequence[Branches]) -> tuple[list[Floats], list[Floats]]:
        """Return `score_many` of the sequences and `score_branches_many`, in one go where that is cheaper."""
        times = [one.times for one in branches]
        return self.score_many([one.ids for one in branches], times), self.score_branches_many(branches)

    def score(self, ids: Ids, times: Floats | None = None) -> Floats:
        """Return ``log P(x_t | x_<t)`` in nats (float64, ``[L]``) of one sequence (int32, ``[L]``)."""
        return self.score_many([ids], [times])[0]

    def score_branches(
        self,
        ids: Ids,
        starts: NDArray[np.int64],
        tails: Ids,
        times: Floats | None = None,
        wanted: NDArray[np.bool_] | None = None,
    ) -> Floats:
        """Score the branches of one sequence; see `score_branches_many` and `Branches` for the shapes."""
        return self.score_branches_many([Branches(ids, starts, tails, times, wanted)])[0]

    def with_info(self, info: Mapping[str, Any]) -> Self:
        """Return the same density with another `info` (plain JSON values); this one stays as it is."""
        other = copy.copy(self)
        other.info = dict(info)
        return other


def has_target(branches: Branches) -> NDArray[np.bool_]:
    """Return which tail steps are wanted and have an observed next event (bool, ``[K, S]``).

    Example:
        >>> ids, starts, tails = np.arange(3, dtype=np.int32), np.array([0, 1]), np.zeros((2, 3), np.int32)
        >>> has_target(Branches(ids, starts, tails)).tolist()
        [[True, True, False], [True, False, False]]
    """
    left = len(branches.ids) - 1 - branches.starts
    inside: NDArray[np.bool_] = np.arange(branches.tails.shape[1]) < left[:, None]
    return inside if branches.wanted is None else inside & branches.wanted


def _log_prob_at(
    density: Density, ids: Ids, positions: NDArray[np.int64], times: Floats | None, targets: Ids
) -> Floats:
    """Return the log-probability of one event at each position (float64, ``[n]``), from `Density.conditional`."""
    if not len(positions):
        return np.zeros(0)
    whole = density.conditional(ids.astype(np.int32), positions, times)
    found: Floats = np.take_along_axis(whole, targets.astype(np.int64)[:, None], axis=1)[:, 0]
    return found


def n_targets(branches: Branches) -> NDArray[np.int64]:
    """Return how many tail steps of each branch are needed: up to the last of `has_target` (int64, ``[K]``)."""
    left = len(branches.ids) - 1 - branches.starts
    counts: NDArray[np.int64] = np.clip(left, 0, branches.tails.shape[1]).astype(np.int64)
    if branches.wanted is not None:
        steps = np.arange(1, branches.tails.shape[1] + 1)
        counts = (has_target(branches) * steps).max(axis=1, initial=0).astype(np.int64)
    return counts


def check_sequence(ids: Ids, vocabulary: Vocabulary) -> None:
    """Raise `ConfigError` unless ``ids`` is a sequence a density can score."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ConfigError(f"ids must be one sequence of whole numbers; got shape {ids.shape}, type {ids.dtype}")
    if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary.n_types):
        raise ConfigError(f"ids must lie in 0 … {vocabulary.n_types - 1} (event types); got {ids.min()} … {ids.max()}")


def check_branches(branches: Branches, vocabulary: Vocabulary, max_tail: int | None = None) -> None:
    """Raise `ConfigError` unless the branches fit their sequence and the density."""
    check_sequence(branches.ids, vocabulary)
    starts, tails = branches.starts, branches.tails
    if starts.ndim != 1 or tails.ndim != 2 or len(starts) != len(tails) or tails.shape[1] < 1:
        raise ConfigError(f"starts must be [K] and tails [K, S >= 1]; got {starts.shape} and {tails.shape}")
    if len(starts) and (starts.min() < 0 or starts.max() >= len(branches.ids)):
        raise ConfigError(f"starts must lie in 0 … {len(branches.ids) - 1}; got {starts.min()} … {starts.max()}")
    real = (tails >= 0) & (tails < vocabulary.n_types)
    if not (real | (tails == vocabulary.hidden_id)).all():
        raise ConfigError("tails must hold event types or the hidden id only")
    if branches.wanted is not None and branches.wanted.shape != tails.shape:
        raise ConfigError(f"wanted must have the shape of tails, {tails.shape}; got {branches.wanted.shape}")
    if max_tail is not None and tails.shape[1] > max_tail:
        raise ConfigError(f"tails of {tails.shape[1]} steps exceed the {max_tail} this density can take: lower horizon")
