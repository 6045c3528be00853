"""Evidence for type pairs from many sequences, without labels (`docs/method.md`, section 7).

For a pair ``u -> v`` and an event at ``q`` that has ``u`` among the ``m`` events before it, two forecasts of "the next
event is ``v``" bet against each other: ``p`` from the whole past, ``q`` from the past with *every* ``u`` of the last
``m`` events hidden. The bet pays ``p / q`` when ``v`` comes and ``(1 - p) / (1 - q)`` when it does not. If ``u`` tells
nothing about ``v`` beyond the rest and ``q`` is the true forecast, each bet has expectation 1 given what came before,
so their product over the events of a case, and over cases, is an e-value. Hiding all occurrences at once leaves one bet
an event: overlapping occurrences are not counted twice, and repeated events cannot explain each other away.

Betting on the occurrences of ``v`` alone (summing ``log p - log q`` over them) is *not* an e-value: its factor has
expectation ``1 + p - q``, which exceeds 1 for every pair whose forecast rises.

The forecast with hidden events is a model's; `sequela.evidence.calibration` removes its bias for a type as a whole.

Which of many pairs the evidence suffices for is decided in `sequela.evidence.multiplicity`.

Source: e-values and their product, Vovk and Wang (2021).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Density, Floats, Ids
from sequela.effects.knowledge import PairLimits
from sequela.events.sequences import Case
from sequela.evidence.fixed_point import UNIT_BITS, Integers, check_scaled, to_units
from sequela.evidence.forecasts import Rows, forecasts_many
from sequela.evidence.pairs import SMALLEST, Codes, Groups


def sum_bets(
    pairs: Codes,
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    shift: Floats,
    seconds: float | None = None,
    groups: Groups | None = None,
    limits: PairLimits | None = None,
) -> Integers:
    """Return the log bets of some cases on some pairs, each rounded down, added up (int64, ``[P]``, units of 2^-32).

    The logarithm of an e-value is the sum over all cases. Rounding down makes it smaller by at most 2^-32 a bet.

    Args:
        pairs: Sorted codes of the pairs to bet on (int64, ``[P]``).
        density: A density that knows hidden events.
        cases: Held-out cases.
        horizon: Largest lag.
        shift: From `sequela.evidence.calibration`.
        seconds: Longest time between cause and effect.
        groups: Types taken together; pairs are then of groups.
        limits: Of a pair that is limited in time, those places are no bet where the cause lies further back; that is
            known before the effect.
    """
    n_types = density.vocabulary.n_types if groups is None else len(groups.names)
    total = np.zeros(len(pairs), np.int64)
    some = _causes_of(pairs, n_types)
    for rows in forecasts_many(density, cases, horizon, seconds, groups, within_ticks=True, kinds=some):
        kinds = np.unique(rows.causes)
        order = np.argsort(rows.causes, kind="stable")
        starts = np.searchsorted(rows.causes[order], kinds)
        by_kind = np.add.reduceat(_gains(rows, shift, limits)[order], starts, axis=0)  # [kinds, n_types]
        for kind, units in zip(kinds.tolist(), by_kind, strict=True):
            low, high = np.searchsorted(pairs, [kind * n_types, (kind + 1) * n_types])
            total[low:high] += units[pairs[low:high] - kind * n_types]
        check_scaled(total)
    return total


def sum_bets_without(
    pairs: Codes,
    absent: Ids,
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    shift: Floats,
    seconds: float | None = None,
    groups: Groups | None = None,
    limits: PairLimits | None = None,
) -> Integers:
    """Return the sums of those bets of `sum_bets` that are placed where another type is not in reach.

    Whether it is in reach is known before the bet, so these products are e-values too. Where a pair is associated only
    through a third type (on the way from the one to the other, or a cause of both), no evidence is left without it.

    Args:
        pairs: Sorted codes of the pairs, each as often as there are types to do without (int64, ``[P]``).
        absent: Those types, or groups (int32, ``[P]``).
        density: As for `sum_bets`, as all others.
        cases: Held-out cases.
        horizon: Largest lag.
        shift: From `sequela.evidence.calibration`.
        seconds: Longest time between cause and effect.
        groups: Types taken together.
        limits: As for `sum_bets`.
    """
    n_types = density.vocabulary.n_types if groups is None else len(groups.names)
    total = np.zeros(len(pairs), np.int64)
    some = _causes_of(pairs, n_types)
    for rows in forecasts_many(density, cases, horizon, seconds, groups, within_ticks=True, kinds=some):
        gains = _gains(rows, shift, limits)
        for kind in np.unique(rows.causes).tolist():
            low, high = np.searchsorted(pairs, [kind * n_types, (kind + 1) * n_types])
            own = np.flatnonzero(rows.causes == kind)
            for number in range(low, high):
                chosen = own[~rows.present[own, absent[number]]]
                total[number] += gains[chosen, pairs[number] - kind * n_types].sum()
        check_scaled(total)
    return total


def _causes_of(pairs: Codes, n_types: int) -> NDArray[np.bool_]:
    """Return which types are the cause of a pair (bool, ``[n_types]``)."""
    found = np.zeros(n_types, bool)
    found[pairs // n_types] = True
    return found


def _gains(rows: Rows, shift: Floats, limits: PairLimits | None) -> Integers:
    """Return the log bet of each row on each type, rounded down (int64, ``[n, n_types]``, units of 2^-32)."""
    gain = _log1m(rows.log_p)
    gain -= log1m_shifted(rows.log_q, shift)  # v did not come
    row, came = np.arange(len(rows.targets)), rows.targets
    gain[row, came] = rows.log_p[row, came] - shifted(rows.log_q[row, came], shift[came])
    if limits is not None and limits.has_delays and rows.gaps is not None:
        gain[rows.gaps[:, None] > limits.seconds(rows.causes[:, None], np.arange(gain.shape[1]))] = 0.0
    check_scaled(len(gain) * max(gain.max(), -gain.min()) * 2.0**UNIT_BITS)  # their sums do not wrap around
    return to_units(gain, down=True)


def shifted(log_q: Floats, shift: Floats) -> Floats:
    """Return log-probabilities whose logits are moved by ``shift``.

    Example:
        >>> float(np.exp(shifted(np.log(np.array([[0.5]])), np.array([np.log(3)])))[0, 0].round(3))
        0.75
    """
    log_q = np.clip(log_q, np.log(SMALLEST), np.log1p(-SMALLEST))
    moved: Floats = -np.logaddexp(0.0, _log1m(log_q) - log_q - shift)
    return moved


def log1m_shifted(log_q: Floats, shift: Floats) -> Floats:
    """Return ``log(1 - q)`` of what `shifted` gives: minus the log of 1 plus the odds."""
    q = np.exp(np.clip(log_q, np.log(SMALLEST), np.log1p(-SMALLEST)))
    odds = q * np.exp(shift)
    odds /= 1 - q
    result: Floats = np.negative(np.log1p(odds, out=odds), out=odds)
    return result


def _log1m(log_p: Floats) -> Floats:
    """Return ``log(1 - p)``."""
    p = np.minimum(log_p, np.log1p(-SMALLEST))
    np.negative(np.exp(p, out=p), out=p)
    result: Floats = np.log1p(p, out=p)
    return result
