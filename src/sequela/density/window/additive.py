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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sequela.density.base import Floats, Ids
from sequela.events.vocabulary import Vocabulary

PENALTY = 0.3
"""Events taken off what each pair of types explains, as a Dirichlet prior of 0.7 does."""
_DECAY = 0.3
_SPONTANEOUS = 0.01
_LEAST = 1e-9
_BLOCK = 2**21
"""Events of windows that are gone through at once."""


@dataclass(frozen=True)
class AdditiveEffects:
    """Rates of event types, relative to that of all spontaneous events together, which is 1.

    Attributes:
        spontaneous: ``b`` (float64, ``[n_types]``).
        effects: ``A`` (sparse, float64, ``[n_inputs, n_types]``). What a hidden event adds is the mean over all events.
        lag_scale: ``g`` (float64, ``[memory]``, the oldest event first; the largest is 1).
        curve: What ``g`` is multiplied by at each knot of the time scale (float64, ``[n_knots]``; the largest is 1),
            linear between knots; empty where no times are used.
    """

    spontaneous: Floats
    effects: sparse.csr_array
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
        log = _Log.of(windows, targets, vocabulary, places, n_knots)
        counts = np.bincount(targets, minlength=vocabulary.n_types)
        b = (counts + 0.5) / (counts + 0.5).sum()
        a = np.where(log.source < vocabulary.n_types, 0.5 * b[log.target], 0.0)
        lag = np.exp(-_DECAY * np.arange(windows.shape[1] - 1, -1, -1.0))
        curve = np.ones(log.n_knots)
        for _ in range(iterations):
            b, a, lag, curve = _improved(log, b, a, lag, curve)
        some, shape = a > 0, (vocabulary.n_inputs, vocabulary.n_types)
        effects = sparse.csr_array((a[some], (log.source[some], log.target[some])), shape=shape)
        is_hidden = np.zeros((vocabulary.n_inputs, 1))
        is_hidden[vocabulary.hidden_id] = 1.0
        share = np.append(counts / counts.sum(), np.zeros(vocabulary.n_inputs - vocabulary.n_types))[None]
        effects = effects + sparse.csr_array(is_hidden) @ (sparse.csr_array(share) @ effects)
        return cls(b, effects, lag, curve if places is not None else np.zeros(0))


@dataclass(frozen=True)
class _Log:
    """Events with what came before them, and the pairs of types that occur.

    Attributes:
        windows, targets: See `AdditiveEffects.count`.
        pair: Which pair of types each event of each window makes with the target (``[n, memory]``).
        source, target: The types of each pair (``[n_pairs]``).
        places: Where the gaps to the events of the windows lie among the knots (``[n, memory]``), or None.
        n_inputs, n_knots: Sizes; without times there is one knot.
    """

    windows: Ids
    targets: Ids
    pair: NDArray[np.int32]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    places: Floats | None
    n_inputs: int
    n_knots: int

    @classmethod
    def of(cls, windows: Ids, targets: Ids, vocabulary: Vocabulary, places: Floats | None, n_knots: int) -> _Log:
        n_types = vocabulary.n_types
        pairs, pair = np.unique(windows.astype(np.int64) * n_types + targets[:, None], return_inverse=True)
        return cls(
            windows, targets, pair.reshape(windows.shape).astype(np.int32), pairs // n_types, pairs % n_types, places,
            vocabulary.n_inputs, 1 if places is None else n_knots,
        )  # fmt: skip

    def blocks(self) -> Iterator[slice]:
        """Yield the events in parts, so that what is computed of each event of each window stays small."""
        size = max(1, _BLOCK // self.windows.shape[1])
        for low in range(0, len(self.targets), size):
            yield slice(low, low + size)

    def knots(self, part: slice) -> list[tuple[NDArray[np.int64], Floats]]:
        """Return the knots beside each gap of a part, one without times, and their weights (``[n, memory]`` each)."""
        if self.places is None:
            shape = self.windows[part].shape
            return [(np.zeros(shape, dtype=np.int64), np.ones(shape))]
        # A place on a knot has it above, the first below.
        left = np.maximum(np.ceil(self.places[part]).astype(np.int64) - 1, 0)
        above = self.places[part] - left
        return [(left, 1 - above), (left + 1, above)]

    def of_sources(self, effects: Floats) -> Floats:
        """Return what each input adds to all types together, but for lag and time (``[n_inputs]``)."""
        found: Floats = np.bincount(self.source, effects, self.n_inputs).astype(np.float64)
        return found


def _improved(log: _Log, b: Floats, a: Floats, lag: Floats, curve: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return better ``b``, ``A`` (of the pairs that occur), ``g`` and curve."""
    adds = log.of_sources(a)
    own, explained, tangents = np.zeros(len(b)), np.zeros(len(a)), 0.0
    by_lag, by_knot = np.zeros(len(lag)), np.zeros(len(curve))
    # How long each input was there, at each lag and knot: times what it adds, the events to expect of it.
    there = np.zeros((len(lag), len(curve), log.n_inputs))
    for part in log.blocks():
        windows, targets, pair, knots = log.windows[part], log.targets[part], log.pair[part], log.knots(part)
        time = sum(curve[knot] * weight for knot, weight in knots)
        scale = lag * time
        added = scale * a[pair]
        rate = b[targets] + added.sum(axis=1)
        tangent = 1.0 / (b.sum() + (scale * adds[windows]).sum(axis=1))[:, None]
        share = added / rate[:, None]
        own += np.bincount(targets, weights=b[targets] / rate, minlength=len(b))
        explained += np.bincount(pair.ravel(), weights=share.ravel(), minlength=len(a))
        tangents += float(tangent.sum())
        by_lag += share.sum(axis=0)
        of_time = share / np.maximum(time, _LEAST)
        for knot, weight in knots:
            by_knot += np.bincount(knot.ravel(), (of_time * curve[knot] * weight).ravel(), len(curve))
            cell = (np.arange(len(lag)) * len(curve) + knot) * log.n_inputs + windows
            there += np.bincount(cell.ravel(), (tangent * weight).ravel(), there.size).reshape(there.shape)
    exposure = np.einsum("k,j,kju->u", lag, curve, there)
    a = np.where(a > 0, np.maximum(explained - PENALTY, 0.0) / np.maximum(exposure[log.source], _LEAST), 0.0)
    b = (own + _SPONTANEOUS) / tangents
    expected = there @ log.of_sources(a)
    lag = by_lag / np.maximum(expected @ curve, _LEAST)
    if len(curve) > 1:
        curve = (by_knot + _SPONTANEOUS) / (lag @ expected + _SPONTANEOUS)
    lag_top, curve_top, total = max(float(lag.max()), _LEAST), float(curve.max()), float(b.sum())
    return b / total, a * (lag_top * curve_top / total), lag / lag_top, curve / curve_top
