"""What any method has to beat, all behind one interface: `Method` scores pairs of positions of one sequence."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Density
from sequela.discovery.discover import estimate
from sequela.effects.thresholds import EffectSize
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import Case, SequenceSet

Ids = NDArray[np.int32]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_NOT_ADJACENT = -50.0
_SMOOTHING = 0.5


class Method(ABC):
    """A way to score pairs of positions of one sequence.

    Attributes:
        name: As shown in tables.
        threshold: Its own cut, chosen without labels: an edge is a score above it.
    """

    name: str
    threshold: float

    @abstractmethod
    def scores(self, ids: Ids, horizon: int) -> Floats:
        """Score every pair.

        Args:
            ids: Event ids (int32, ``[L]``).
            horizon: Largest lag.

        Returns:
            float64 ``[L, horizon]``, row the cause's position, column lag - 1; NaN where there is no effect; higher
            means more likely an edge.
        """

    def edges(self, ids: Ids, horizon: int) -> Bools:
        """Return the pairs that score above the method's own threshold (bool, ``[L, horizon]``)."""
        scores = self.scores(ids, horizon)
        return np.greater(scores, self.threshold, out=np.zeros(scores.shape, dtype=bool), where=~np.isnan(scores))


class AdjacentPairs(Method):
    """Every event causes the next one."""

    name = "adjacent pairs"
    threshold = 0.5

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        band = no_scores(len(ids), horizon, 0.0)
        band[: max(len(ids) - 1, 0), 0] = 1.0
        return band


class AdjacentPMI(Method):
    """Neighbours that follow each other more often than by chance; other lags are never edges.

    Args:
        train: Sequences whose neighbours are counted.
        n_types: Event types.
    """

    name = "adjacent pairs, PMI"
    threshold = 0.0

    def __init__(self, train: SequenceSet, n_types: int) -> None:
        self._counts = _PairCounts(train, 1, n_types)

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        band = no_scores(len(ids), horizon, _NOT_ADJACENT)
        band[: max(len(ids) - 1, 0), 0] = self._counts.log_lift(ids[:-1], ids[1:])
        return band


class LaggedLift(Method):
    """Pairs that stand some lag apart more often than by chance, each lag counted by itself.

    Args:
        train: Sequences that are counted.
        n_types: Event types.
        horizon: Largest lag that is counted.
    """

    name = "lagged co-occurrence"
    threshold = 0.0

    def __init__(self, train: SequenceSet, n_types: int, horizon: int) -> None:
        self._counts = [_PairCounts(train, lag, n_types) for lag in range(1, horizon + 1)]

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        _check_lags(horizon, len(self._counts))
        band = no_scores(len(ids), horizon, 0.0)
        for lag in range(1, min(horizon, len(ids) - 1) + 1):
            band[: len(ids) - lag, lag - 1] = self._counts[lag - 1].log_lift(ids[:-lag], ids[lag:])
        return band


class NGramGranger(Method):
    """How much a past event improves the prediction by counts: Granger causality with n-grams.

    Lag 1: ``log P(v | before) - log P(v)``. Lag k: ``log P(v | before, k before) - log P(v | before)``. Each estimate
    gives its shorter history the weight of as many observations as there are kinds of followers (Witten-Bell).

    Args:
        train: Sequences that are counted.
        n_types: Event types.
        horizon: Largest lag.

    Source: Granger (1969); Witten and Bell (1991).
    """

    name = "n-gram Granger"
    threshold = 0.05

    def __init__(self, train: SequenceSet, n_types: int, horizon: int) -> None:
        self._n_types = n_types
        frequency = np.bincount(train.ids, minlength=n_types) + _SMOOTHING
        self._unigram = frequency / frequency.sum()
        self._pair = _Followers(*_lagged(train, 1, n_types), n_types)
        self._triples = []
        for lag in range(2, horizon + 1):
            near, far, target = _lagged_three(train, lag)
            self._triples.append(_Followers(near.astype(np.int64) * n_types + far, target, n_types))

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        _check_lags(horizon, len(self._triples) + 1)
        band = no_scores(len(ids), horizon, 0.0)
        wide = ids.astype(np.int64)
        if len(ids) < 2:
            return band
        single = self._unigram[ids[1:]]
        pair = self._pair.chance(wide[:-1], wide[1:], single)  # of each event from the second on
        band[:-1, 0] = np.log(pair) - np.log(single)
        for lag in range(2, min(horizon, len(ids) - 1) + 1):
            context = wide[lag - 1 : -1] * self._n_types + wide[:-lag]
            both = self._triples[lag - 2].chance(context, wide[lag:], pair[lag - 1 :])
            band[: len(ids) - lag, lag - 1] = np.log(both) - np.log(pair[lag - 1 :])
        return band


class NeuralGranger(Method):
    """How much a past event improves the prediction of our own density: the gain, not a divergence.

    Args:
        density: Trained density or world. One that knows hidden events hides the cause, another sums it out.
    """

    name = "neural Granger"
    threshold = 0.05

    def __init__(self, density: Density, **settings: Any) -> None:
        self._density = density
        self._settings = {"design": "masked" if density.knows_hidden else "leave-one-out"} | settings

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        return estimate(self._density, Case("", ids, None), horizon=horizon, **self._settings).pointwise


class RandomScores(Method):
    """Chance.

    Args:
        seed: Scores are keyed by it and by the sequence.
        share: Of the pairs that become edges.
    """

    name = "random"

    def __init__(self, seed: int = 0, share: float = 0.5) -> None:
        check_range("share", share, low=0, high=1)
        self._seed, self.threshold = seed, 1.0 - share

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        key = [self._seed, zlib.crc32(np.ascontiguousarray(ids, np.int32).tobytes())]
        return np.random.default_rng(key).random((len(ids), horizon)) + no_scores(len(ids), horizon, 0.0)


class Ours(Method):
    """The conditional mutual information of `sequela.discover`, by its default rule.

    Args:
        density: Trained density or world.
        **settings: As for `discover`.
    """

    threshold = 0.05

    def __init__(self, density: Density, **settings: Any) -> None:
        self._density, self._settings = density, settings
        self.name = f"sequela, {settings.get('design', 'atomic')}"

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        return estimate(self._density, Case("", ids, None), horizon=horizon, **self._settings).cmi

    def edges(self, ids: Ids, horizon: int) -> Bools:
        """See `Method.edges`: by the lower confidence bound."""
        found = estimate(self._density, Case("", ids, None), horizon=horizon, **self._settings)
        return EffectSize(self.threshold).edges(found)


def no_scores(n_events: int, horizon: int, fill: float) -> Floats:
    """Return a band that holds ``fill`` where there is an effect and NaN elsewhere."""
    check_range("horizon", horizon, low=1, whole=True)
    real = np.arange(n_events)[:, None] + np.arange(1, horizon + 1) < n_events
    return np.where(real, fill, np.nan)


def _check_lags(horizon: int, n_lags: int) -> None:
    if horizon > n_lags:
        raise ConfigError(f"horizon must be at most the {n_lags} lags that were counted; got {horizon}")


def _lagged(train: SequenceSet, lag: int, n_types: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of events ``lag`` apart in one case."""
    case = np.repeat(np.arange(train.n_cases), train.lengths)
    same = case[:-lag] == case[lag:] if len(case) > lag else np.zeros(0, dtype=bool)
    ids = np.asarray(train.ids).astype(np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < n_types:
        raise ConfigError(f"train must lie in 0 … {n_types - 1}; got {ids.min()} … {ids.max()}")
    return ids[:-lag][same], ids[lag:][same]


def _lagged_three(train: SequenceSet, lag: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the event before, the event ``lag`` before, and the event, wherever both are in its case."""
    case = np.repeat(np.arange(train.n_cases), train.lengths)
    same = case[:-lag] == case[lag:] if len(case) > lag else np.zeros(0, dtype=bool)
    ids = np.asarray(train.ids).astype(np.int64)
    return ids[lag - 1 : -1][same], ids[:-lag][same], ids[lag:][same]


class _Codes:
    """Counts of whole numbers, most of which never occur."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values, self.counts = np.unique(values, return_counts=True)

    def of(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how often each occurred."""
        if not len(self.values):
            return np.zeros(len(wanted), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.values, wanted), len(self.values) - 1)
        return np.where(self.values[place] == wanted, self.counts[place], 0)


class _PairCounts:
    """How often pairs stand some lag apart. Codes of pairs instead of a table: 30,000 types would need 7 GB."""

    def __init__(self, train: SequenceSet, lag: int, n_types: int) -> None:
        check_range("n_types", n_types, low=2, whole=True)
        first, second = _lagged(train, lag, n_types)
        self._n_types, self._n = n_types, len(first)
        self._pairs = _Codes(first * n_types + second)
        self._first = np.bincount(first, minlength=n_types)
        self._second = np.bincount(second, minlength=n_types)

    def log_lift(self, first: Ids, second: Ids, smoothing: float = _SMOOTHING) -> Floats:
        """Return ``log((observed + smoothing) / (expected + smoothing))`` of pairs (``[n]`` each)."""
        for ids in (first, second):
            if len(ids) and not 0 <= ids.min() <= ids.max() < self._n_types:
                raise ConfigError(f"ids must lie in 0 … {self._n_types - 1}; got {ids.min()} … {ids.max()}")
        observed = self._pairs.of(first.astype(np.int64) * self._n_types + second)
        expected = self._first[first] * self._second[second] / max(self._n, 1)
        result: Floats = np.log((observed + smoothing) / (expected + smoothing))
        return result


class _Followers:
    """What follows a context, with Witten-Bell weights."""

    def __init__(self, context: NDArray[np.int64], target: NDArray[np.int64], n_types: int) -> None:
        self._n_types = n_types
        self._joint = _Codes(context * n_types + target)
        self._total = _Codes(context)
        self._kinds = _Codes(self._joint.values // n_types)

    def chance(self, context: NDArray[np.int64], target: NDArray[np.int64], shorter: Floats) -> Floats:
        """Return ``P(target | context)``, leaning on the estimate of a shorter history."""
        total, kinds = self._total.of(context), self._kinds.of(context)
        seen = self._joint.of(context * self._n_types + target)
        result: Floats = np.where(total > 0, (seen + kinds * shorter) / np.maximum(total + kinds, 1), shorter)
        return result


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
        In the paper-like world 83 to 85 % of edges have lag 1 (`docs/method.md`, section 6): a strong baseline there.

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
    check_range("smoothing", smoothing, low=0, above=True)
    check_range("threshold", threshold)
    edges = adjacent_pairs(ids, horizon)
    lift = _PairCounts(train, 1, n_types).log_lift(ids[:-1], ids[1:], smoothing)
    edges[: len(lift), 0] = lift > threshold
    return edges
