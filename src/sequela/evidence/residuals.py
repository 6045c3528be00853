"""What the forecasts leave over: by how much the effect of a pair at a lag is off, in log-odds (`docs/method.md`, 13).

A density that was trained on a small log shows weaker effects than there are, and some that are not there. On cases it
has not seen, the residual of the effect, ``R_y = 1{x_q = v} - p``, ``p`` its forecast from the *whole* past, is set
against the residual of the cause, ``R_x = 1{x_j = u} - w_u``, ``w_u`` the law of the slot given all but the effect.
With

    theta = sum R_x R_y / sum R_x^2 p (1 - p)

the log-odds of the effect are off by about ``theta``. Where one of the two forecasts is right, its expectation is 0 for
a pair without an error, however wrong the other is: their errors enter as a product. Slots that hold ``v`` are left out
and ``w`` is that of the slot not holding it. The law of a slot is over the types drawn for the bets on the cause
(`sequela.evidence.cause_bets`). Source: the residual-on-residual estimate, Robinson (1988); Chernozhukov and others
(2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sequela.density.base import Density, Floats
from sequela.events.sequences import Case
from sequela.evidence.cause_bets import Scored, normal
from sequela.evidence.fixed_point import Integers, check_scaled, to_units
from sequela.evidence.pairs import Codes

MAX_TYPES = 2000
"""Vocabularies up to this size are corrected: the cost of an event grows with the number of types."""
_CELLS = 2**21
"""Probabilities held at once."""
_LAGS = 2**15
"""Lags of slots that are added at once: each takes about 3,000 bytes."""
ROWS = ("score", "information", "score_squared")
"""Sums over cases: ``R_x R_y``, ``R_x^2 p (1 - p)``, and the square of a case's first."""


class ResidualSums:
    """Sums of `ROWS` for pairs at each lag.

    Args:
        pairs: Sorted codes ``cause * n_types + effect`` (int64, ``[P]``).
        n_types: Of the density.
        horizon: Largest lag.
        seconds: Longest time between cause and effect.
    """

    def __init__(self, pairs: Codes, n_types: int, horizon: int, seconds: float | None = None) -> None:
        self.n_types, self.horizon, self.seconds = n_types, horizon, seconds
        self.pairs = pairs if n_types <= MAX_TYPES else pairs[:0]
        self._total = np.zeros((len(ROWS), len(self.pairs), horizon), np.int64)

    def add(self, density: Density, scored: Sequence[Scored]) -> None:
        """Add some cases; the sums of each are rounded, once."""
        if not len(self.pairs):
            return
        laws = _forecasts(density, [one.case for one in scored], self.horizon)
        for one, blocks in zip(scored, laws, strict=True):
            kinds = np.unique(one.types)
            place, kind = self._pairs_of(kinds)
            sums = np.zeros((2, self.horizon, len(kinds), self.n_types))
            for low, law in blocks:
                self._add_block(sums, one, kinds, low, law)
            score, information = sums[:, :, kind, self.pairs[place] % self.n_types].transpose(0, 2, 1)
            self._total[:, place] += np.stack([to_units(each) for each in (score, information, score**2)])
        check_scaled(self._total)

    def table(self) -> tuple[Codes, Integers]:
        """Return codes ``pair * horizon + lag - 1`` (int64, ``[C]``) and the sums in units of 2^-32 (``[3, C]``)."""
        pair, lag = np.nonzero(self._total.any(axis=0))  # where one case rounds to 0 another may not
        return self.pairs[pair] * self.horizon + lag, self._total[:, pair, lag]

    def _add_block(self, sums: Floats, one: Scored, kinds: NDArray[np.int32], low: int, law: Floats) -> None:
        """Add score and information of the slots from ``low`` on to ``sums`` (float64, ``[2, m, kinds, n_types]``)."""
        n, ids = len(one.case.ids), one.case.ids
        chance = np.exp(law)
        spread, left = chance * (1 - chance), -chance
        left[np.arange(len(law)), ids[low : low + len(law)]] += 1.0
        # One row a slot and lag.
        high = min(low + _rows(self.n_types, self.horizon), n - 1)
        slot, lag = np.meshgrid(np.arange(low, high), np.arange(self.horizon))
        slot, lag = (each[slot + lag + 1 < n] for each in (slot, lag))
        types, kept = one.types[slot], one.real[slot] & one.real[slot, :1]
        if self.seconds is not None and one.case.times is not None:
            kept &= (one.case.times[slot + lag + 1] - one.case.times[slot] <= self.seconds)[:, None]
        weight = normal(np.where(kept, one.log_weights(low, high)[slot - low, :, lag], -np.inf))
        observed = np.arange(types.shape[1]) == 0
        plain = (observed - weight) * kept
        row, after = lag[:, None] * len(kinds) + np.searchsorted(kinds, types), slot + lag + 1 - low
        for total, values, factor in zip(sums, (plain, plain**2), (left, spread), strict=True):
            into = (row.ravel(), np.repeat(after, types.shape[1]))
            shape = (self.horizon * len(kinds), len(law))
            np.add(total, (csr_array((values.ravel(), into), shape=shape) @ factor).reshape(total.shape), out=total)
        # Where the effect asked for is itself among the types of a slot, the law is that of the slot not holding it.
        both = kept[:, :, None] & kept[:, None, :]
        without = np.maximum(1 - weight[:, None, :], 1e-6)
        right = np.where(observed, 0.0, observed[:, None] - weight[:, :, None] / without)
        flat = (row[:, :, None] * self.n_types + types[:, None, :])[both]
        event = np.broadcast_to(after[:, None, None], both.shape)[both]
        effect = np.broadcast_to(types[:, None, :], both.shape)[both]
        for total, power, factor in zip(sums, (1, 2), (left, spread), strict=True):
            change = (right**power - plain[:, :, None] ** power)[both] * factor[event, effect]
            np.add(total, np.bincount(flat, weights=change, minlength=total.size).reshape(total.shape), out=total)

    def _pairs_of(self, kinds: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the pairs that have one of some types as cause, and the place of that type."""
        first = kinds.astype(np.int64) * self.n_types
        low, high = (np.searchsorted(self.pairs, first + more) for more in (0, self.n_types))
        place = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)])
        return place, np.repeat(np.arange(len(kinds)), high - low)


def _rows(n_types: int, horizon: int) -> int:
    return max(1, min(_CELLS // n_types, _LAGS // horizon))


def _forecasts(density: Density, cases: Sequence[Case], horizon: int) -> list[Iterator[tuple[int, Floats]]]:
    """Return for each case its blocks: the first slot, and the law of the events from there on (``[k, n_types]``)."""
    size = _rows(density.vocabulary.n_types, horizon)
    if len(cases) > 1:
        places = [np.arange(len(case.ids)) for case in cases]
        laws = density.conditional_many([case.ids for case in cases], places, [case.times for case in cases])
        return [_blocks(len(law), size, horizon, law.__getitem__) for law in laws]
    (case,) = cases
    return [_blocks(len(case.ids), size, horizon, lambda some: density.conditional(case.ids, some, case.times))]


def _blocks(
    n: int, size: int, horizon: int, law: Callable[[NDArray[np.int64]], Floats]
) -> Iterator[tuple[int, Floats]]:
    for low in range(0, n - 1, size):
        yield low, law(np.arange(low, min(low + size + horizon, n)))
