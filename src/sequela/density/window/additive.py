"""Effects that add up: how much each event type adds to the rate of each other one, counted before training.

``P(v | past) = (b_v + sum_k g_k A[u_k, v]) / (the same summed over v)``: an event is either spontaneous, or the
consequence of one of the last events, as in a Hawkes process. Every event of the log is shared out among what may have
brought it about, in proportion to what each adds, and what each adds is estimated anew from the shares (expectation
conditional maximisation). Shares of a pair of types that come to less than `PENALTY` events are set to 0: most pairs
have nothing to do with each other, and so their effects are exactly 0. Where times are used, what an event adds also
fades with time, along a curve that all types share.

Sources: the mixture transition model: Raftery (1985), "A model for high-order Markov chains"; the algorithm: Lewis and
Mohler (2011), "A nonparametric EM algorithm for multiscale Hawkes processes"; the normaliser is replaced by its
tangent, as in Hunter and Lange (2004), "A tutorial on MM algorithms".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Floats, Ids
from sequela.events.vocabulary import Vocabulary

PENALTY = 0.3
"""Events taken off what each pair of types explains, as a Dirichlet prior of 0.7 does."""
_DECAY = 0.3
_SPONTANEOUS = 0.01
_LEAST = 1e-9


@dataclass(frozen=True)
class AdditiveEffects:
    """Rates of event types, relative to that of all spontaneous events together, which is 1.

    Attributes:
        spontaneous: ``b`` (float64, ``[n_types]``).
        effects: ``A`` (float64, ``[n_inputs, n_types]``). What a hidden event adds is the mean over all events.
        lag_scale: ``g`` (float64, ``[memory]``, the oldest event first; the largest is 1).
        curve: What ``g`` is multiplied by at each knot of the time scale (float64, ``[n_knots]``; the largest is 1),
            linear between knots; empty where no times are used.
    """

    spontaneous: Floats
    effects: Floats
    lag_scale: Floats
    curve: Floats

    @classmethod
    def count(
        cls,
        windows: Ids,
        targets: Ids,
        vocabulary: Vocabulary,
        *,
        places: Floats | None = None,
        n_knots: int = 0,
        iterations: int = 40,
    ) -> AdditiveEffects:
        """Estimate them from some events.

        Args:
            windows: What came before each event (int32, ``[n, memory]``, the oldest first).
            targets: The events (int32, ``[n]``).
            vocabulary: Event types.
            places: Where the gaps from the events of the windows lie among the knots, 0 to ``n_knots - 1`` (float64,
                ``[n, memory]``); None without times.
            n_knots: How many knots there are, at least 2 with times.
            iterations: How often they are improved. Few are a prior too: what is left to gain is mostly noise.

        Example:
            >>> vocabulary = Vocabulary(("a", "b", "c"), (50, 50, 50))
            >>> cases = np.array([[0, 1, 2], [1, 0, 1], [2, 0, 1]] * 50, np.int32)  # b follows a
            >>> found = AdditiveEffects.count(cases[:, :2], cases[:, 2], vocabulary)
            >>> bool(found.effects[0, 1] > 1.0), float(found.effects[2, 0])
            (True, 0.0)
        """
        log = _Log.of(windows.astype(np.int64), targets.astype(np.int64), vocabulary, places)
        counts = np.bincount(targets, minlength=vocabulary.n_types)
        b = (counts + 0.5) / (counts + 0.5).sum()
        a = np.where(log.source < vocabulary.n_types, 0.5 * b[log.target], 0.0)
        lag = np.exp(-_DECAY * np.arange(windows.shape[1] - 1, -1, -1.0))
        curve = np.ones(n_knots if places is not None else 2)
        for _ in range(iterations):
            b, a, lag, curve = _improved(log, b, a, lag, curve)
        effects = np.zeros((vocabulary.n_inputs, vocabulary.n_types))
        effects[log.source, log.target] = a
        effects[vocabulary.hidden_id] = counts @ effects[: vocabulary.n_types] / counts.sum()
        return cls(b, effects, lag, curve if places is not None else np.zeros(0))


@dataclass(frozen=True)
class _Log:
    """Events with what came before them, and the pairs of types that occur.

    Attributes:
        windows, targets: See `AdditiveEffects.count`.
        pair: Which pair of types each event of each window makes with the target (``[n, memory]``).
        source, target: The types of each pair (``[n_pairs]``).
        left: The knot below the gap to each event of the windows (``[n, memory]``).
        weight: Share of the knot above it.
    """

    windows: NDArray[np.int64]
    targets: NDArray[np.int64]
    pair: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    left: NDArray[np.int64]
    weight: Floats
    n_inputs: int

    @classmethod
    def of(
        cls, windows: NDArray[np.int64], targets: NDArray[np.int64], vocabulary: Vocabulary, places: Floats | None
    ) -> _Log:
        n_types = vocabulary.n_types
        pairs, pair = np.unique(windows * n_types + targets[:, None], return_inverse=True)
        places = np.zeros(windows.shape) if places is None else places
        left: NDArray[np.int64] = np.maximum(
            np.ceil(places).astype(np.int64) - 1, 0
        )  # a place on a knot has it above, the first below
        return cls(
            windows, targets, pair.reshape(windows.shape), pairs // n_types, pairs % n_types, left, places - left,
            vocabulary.n_inputs,
        )  # fmt: skip

    def of_sources(self, effects: Floats) -> Floats:
        """Return what each event of each window adds to all types together, but for lag and time (``[n, memory]``)."""
        found: Floats = np.bincount(self.source, effects, self.n_inputs).astype(np.float64)[self.windows]
        return found


def _improved(log: _Log, b: Floats, a: Floats, lag: Floats, curve: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return better ``b``, ``A`` (of the pairs that occur), ``g`` and curve."""
    below, above = curve[log.left] * (1 - log.weight), curve[log.left + 1] * log.weight
    time = below + above
    scale = lag * time
    added = scale * a[log.pair]
    rate = b[log.targets] + added.sum(axis=1)
    tangent = 1.0 / (b.sum() + (scale * log.of_sources(a)).sum(axis=1))[:, None]
    share = added / rate[:, None]
    own = np.bincount(log.targets, weights=b[log.targets] / rate, minlength=len(b))
    explained = np.bincount(log.pair.ravel(), weights=share.ravel(), minlength=len(a))
    exposure = np.bincount(log.windows.ravel(), weights=(scale * tangent).ravel(), minlength=log.n_inputs)
    a = np.where(a > 0, np.maximum(explained - PENALTY, 0.0) / np.maximum(exposure[log.source], _LEAST), 0.0)
    b = (own + _SPONTANEOUS) / tangent.sum()
    expected = log.of_sources(a) * tangent
    lag = share.sum(axis=0) / np.maximum((expected * time).sum(axis=0), _LEAST)
    if len(curve) > 2 or log.weight.any():
        ends = np.concatenate([log.left.ravel(), log.left.ravel() + 1])
        part, expected = share / np.maximum(time, _LEAST), expected * lag
        found = np.concatenate([(part * below).ravel(), (part * above).ravel()])
        chance = np.concatenate([(expected * (1 - log.weight)).ravel(), (expected * log.weight).ravel()])
        curve = (np.bincount(ends, found, len(curve)) + _SPONTANEOUS) / (
            np.bincount(ends, chance, len(curve)) + _SPONTANEOUS
        )
    lag_top, curve_top, total = max(float(lag.max()), _LEAST), float(curve.max()), float(b.sum())
    return b / total, a * (lag_top * curve_top / total), lag / lag_top, curve / curve_top
