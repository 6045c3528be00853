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

from collections.abc import Iterator, Sequence

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
            score, information = np.zeros((2, len(self.pairs), self.horizon))
            for low, law in blocks:
                for lag, place, values in self._of_block(one, low, law):
                    score[place, lag - 1] += values[0]
                    information[place, lag - 1] += values[1]
            self._total += np.stack([to_units(each) for each in (score, information, score**2)])
        check_scaled(self._total)

    def table(self) -> tuple[Codes, Integers]:
        """Return codes ``pair * horizon + lag - 1`` (int64, ``[C]``) and the sums in units of 2^-32 (``[3, C]``)."""
        pair, lag = np.nonzero(self._total[1])
        return self.pairs[pair] * self.horizon + lag, self._total[:, pair, lag]

    def _of_block(self, one: Scored, low: int, law: Floats) -> Iterator[tuple[int, NDArray[np.int64], Floats]]:
        """Yield each lag, the pairs met by the slots from ``low`` on, their score and their information."""
        n, ids = len(one.case.ids), one.case.ids
        chance = np.exp(law)
        spread, left = chance * (1 - chance), -chance
        left[np.arange(len(law)), ids[low : low + len(law)]] += 1.0
        high = min(low + _rows(self.n_types), n - 1)
        for lag in range(1, self.horizon + 1):
            slots = np.arange(low, min(high, n - lag))
            if not len(slots):
                continue
            types, kept = one.types[slots], one.real[slots] & one.real[slots, :1]
            if self.seconds is not None and one.case.times is not None:
                kept &= (one.case.times[slots + lag] - one.case.times[slots] <= self.seconds)[:, None]
            weight = normal(np.where(kept, one.log_weight(slots, lag), -np.inf))
            after = slots + lag - low
            yield lag, *self._products(types, kept, weight, left[after], spread[after])

    def _products(
        self, types: NDArray[np.int32], kept: NDArray[np.bool_], weight: Floats, left: Floats, spread: Floats
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return places among the pairs and the sums of both products (float64, ``[2, k]``)."""
        n, width = types.shape
        observed = np.arange(width) == 0
        plain = (observed - weight) * kept
        kinds, column = np.unique(types, return_inverse=True)
        column = column.reshape(types.shape)
        shape = (len(kinds), n)
        row = np.broadcast_to(np.arange(n)[:, None], types.shape)
        into = (column.ravel(), row.ravel())
        sums = np.stack([
            csr_array((plain.ravel(), into), shape=shape) @ left,
            csr_array(((plain**2).ravel(), into), shape=shape) @ spread,
        ])  # fmt: skip
        # Where the effect asked for is itself among the types of a slot, the law is that of the slot not holding it.
        effect = types[:, None, :]
        without = np.maximum(1 - weight[:, None, :] * kept[:, None, :], 1e-6)
        right = np.where(observed[None, None, :], 0.0, (observed[None, :, None] - weight[:, :, None] / without))
        right = right * kept[:, :, None]
        change = np.stack([right - plain[:, :, None], right**2 - plain[:, :, None] ** 2])
        change *= kept[:, None, :]
        rows = np.broadcast_to(np.arange(n)[:, None, None], change.shape[1:])
        effect = np.broadcast_to(effect, change.shape[1:])
        flat = np.broadcast_to(column[:, :, None], effect.shape) * self.n_types + effect
        for each, factor, total in zip(change, (left, spread), sums, strict=True):
            added = np.bincount(flat.ravel(), weights=(each * factor[rows, effect]).ravel(), minlength=total.size)
            np.add(total, added.reshape(total.shape), out=total)
        low = np.searchsorted(self.pairs, kinds.astype(np.int64) * self.n_types)
        high = np.searchsorted(self.pairs, (kinds.astype(np.int64) + 1) * self.n_types)
        place = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)])
        kind = np.repeat(np.arange(len(kinds)), high - low)
        found: Floats = sums[:, kind, self.pairs[place] % self.n_types]
        return place, found


def _rows(n_types: int) -> int:
    return max(1, _CELLS // n_types)


def _forecasts(density: Density, cases: Sequence[Case], horizon: int) -> list[Iterator[tuple[int, Floats]]]:
    """Return for each case its blocks: the first slot, and the law of the events from there on (``[k, n_types]``)."""
    if len(cases) > 1:
        places = [np.arange(len(case.ids)) for case in cases]
        laws = density.conditional_many([case.ids for case in cases], places, [case.times for case in cases])
        return [iter([(0, law)]) for law in laws]
    return [_blocks(density, case, horizon) for case in cases]


def _blocks(density: Density, case: Case, horizon: int) -> Iterator[tuple[int, Floats]]:
    n, size = len(case.ids), _rows(density.vocabulary.n_types)
    for low in range(0, n - 1, size):
        places = np.arange(low, n)[: size + horizon]
        yield low, density.conditional(case.ids, places, case.times)
