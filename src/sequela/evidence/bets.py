"""Evidence for type pairs from many sequences, without labels (`docs/method.md`, section 7).

For a pair ``u -> v`` and an event at ``q`` that has ``u`` among the ``m`` events before it, two forecasts of "the next
event is ``v``" bet against each other: ``p`` from the whole past, ``q`` from the past with *every* ``u`` of the last
``m`` events hidden. The bet pays ``p / q`` when ``v`` comes and ``(1 - p) / (1 - q)`` when it does not. If ``u`` tells
nothing about ``v`` beyond the rest and ``q`` is the true forecast, each bet has expectation 1 given what came before,
so their product over the events of a case, and over cases, is an e-value. Hiding all occurrences at once leaves one bet
an event: overlapping occurrences are not counted twice, and repeated events cannot explain each other away.

Betting on the occurrences of ``v`` alone (summing ``log p - log q`` over them) is *not* an e-value: its factor has
expectation ``1 + p - q``, which exceeds 1 for every pair whose forecast rises.

The forecast with hidden events is a model's. Where it is biased for a type as a whole, every pair with that effect
would gain. `calibration` removes this: over all hidden types together the hidden forecast of ``v`` must come true as
often as it says, whatever causes what.

Which of many pairs the evidence suffices for is decided in `sequela.evidence.multiplicity`.

Source: e-values and their product, Vovk and Wang (2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density, Floats, Ids
from sequela.effects.cmi import CMIEstimate, bernoulli_kl
from sequela.effects.knowledge import PairLimits
from sequela.effects.scorer import too_late
from sequela.errors import ConfigError, check_range
from sequela.events.log import event_at_level, event_components
from sequela.events.sequences import Case, SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.fixed_point import UNIT_BITS, Integers, check_scaled, from_units, to_units

_CELLS = 2**22
"""Probabilities held at once."""
_FLOOR = 1e-9
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
        return np.log(np.clip(total, _FLOOR, 1.0))

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


def check_evidence(density: Density) -> None:
    """Raise `ConfigError` for a density that cannot forecast from a past with hidden events."""
    if not density.knows_hidden:
        raise ConfigError(
            "evidence compares forecasts with and without a type of past events, so it needs a density trained with "
            "hidden events: fit with hide > 0 (the default is 0.5)"
        )


@dataclass(frozen=True)
class Rows:
    """Forecasts of one event each, with and without one type of its recent past.

    Attributes:
        causes: The hidden type, or group (int32, ``[n]``).
        positions: Where in the case (int64, ``[n]``).
        targets: What came (int32, ``[n]``).
        log_p: Log forecast from the whole past (float64, ``[n, n_types]``, or groups).
        log_q: The same with the type hidden.
        present: Which types, or groups, are among the events in reach (bool, ``[n, n_types]``).
        gaps: Seconds from the last hidden event (float64, ``[n]``); None without times.
    """

    causes: Ids
    positions: NDArray[np.int64]
    targets: Ids
    log_p: Floats
    log_q: Floats
    present: NDArray[np.bool_]
    gaps: Floats | None = None


def forecasts(
    density: Density,
    case: Case,
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
    *,
    within_ticks: bool = False,
) -> Iterator[Rows]:
    """Yield the forecasts of every event without each type among the ``horizon`` events before it.

    With ``seconds`` only those count that are no further back in time either; with ``groups`` all types of a group are
    hidden together, and what is forecast is the group of the event. An event ``q`` and a type ``u`` are
    served by the first ``u`` in reach of ``q``, at ``j``: one sequence a cause, with all ``u`` from ``j`` on hidden, is
    asked for all its ``q``. That is one branch a cause, as many as the design ``"masked"`` has.

    Where ties have no order there are two ways. By default the hidden events must stand in earlier ticks than ``q``.
    With ``within_ticks`` only the last event of each tick (in the order given) is forecast, from all the rest of its
    tick, and hidden are the events of the tick as well. What goes between cause and effect is then always known, also
    where it shares the time of the effect; which of two events of one tick came first is not.
    """
    yield from forecasts_many(density, [case], horizon, seconds, groups, within_ticks=within_ticks)


def forecasts_many(
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
    *,
    within_ticks: bool = False,
    kinds: NDArray[np.bool_] | None = None,
) -> Iterator[Rows]:
    """Yield the `forecasts` of several cases, as many together as may be held: short cases would not fill a call.

    ``kinds`` says which types, or groups, are hidden (bool, ``[n_types]``); None for all.
    """
    groups = groups or Groups.at_level(density.vocabulary, None)
    waiting: list[_Asked] = []
    size = 0
    for case in cases:
        for one in _asked(density, case, horizon, seconds, groups, within_ticks):
            if kinds is not None and not kinds[one.kind]:
                continue
            waiting.append(one)
            size += len(one.positions)
            if size * density.vocabulary.n_types >= _CELLS:
                yield _answer(density, waiting, groups)
                waiting, size = [], 0
    if waiting:
        yield _answer(density, waiting, groups)


class _Asked(NamedTuple):
    """A past with one type hidden, and the events to forecast from it."""

    case: Case
    kind: int
    hidden: Ids
    positions: NDArray[np.int64]
    present: NDArray[np.bool_]
    gaps: Floats | None


def _asked(
    density: Density, case: Case, horizon: int, seconds: float | None, groups: Groups, within_ticks: bool
) -> Iterator[_Asked]:
    ids, n = case.ids, len(case.ids)
    own = groups.of[ids]
    furthest = _furthest(density, case, horizon, seconds)
    before = np.zeros((n + 1, len(groups.names)), np.int32)  # how many of each type stand before a position
    before[np.arange(1, n + 1), own] = 1
    before = before.cumsum(axis=0, dtype=np.int32)
    last: dict[int, int] = {}
    for cause in range(n - 1):
        kind = int(own[cause])
        # The first in reach: an earlier one of the same type still serves the effects it reaches.
        low = max(cause, int(furthest[last[kind]]) if kind in last else -1) + 1
        high = int(furthest[cause])
        last[kind] = cause
        if low <= high:
            changed = ids[: high + 1].copy()
            reach = changed[cause:]
            reach[own[cause : high + 1] == kind] = density.vocabulary.hidden_id
            effects = np.arange(low, high + 1)
            hidden = cause + np.flatnonzero(own[cause : high + 1] == kind)
            if case.ticks is not None and within_ticks:
                effects = effects[np.append(np.diff(case.ticks) > 0, True)[effects]]
            elif case.ticks is not None:  # the hidden type must stand in earlier ticks only
                latest = hidden[np.searchsorted(hidden, effects) - 1]
                effects = effects[case.ticks[latest] < case.ticks[effects]]
            if len(effects):
                present = before[effects] > before[np.searchsorted(furthest, effects)]
                gaps = None
                if case.times is not None:
                    gaps = case.times[effects] - case.times[hidden[np.searchsorted(hidden, effects) - 1]]
                yield _Asked(case, kind, changed, effects, present, gaps)


def _furthest(density: Density, case: Case, horizon: int, seconds: float | None) -> NDArray[np.int64]:
    """Return the last event in reach of each (int64, ``[L]``, never decreasing)."""
    n, times = len(case.ids), case.times
    furthest = np.minimum(np.arange(n) + horizon, n - 1)
    if case.ticks is not None:
        furthest = np.searchsorted(case.ticks, case.ticks + horizon, side="right") - 1
        if density.memory is not None:
            furthest = np.minimum(furthest, np.arange(n) + density.memory)
    if seconds is not None and times is not None:
        furthest = np.minimum(furthest, np.searchsorted(times, times + seconds, side="right") - 1)
    return furthest.astype(np.int64)


def _answer(density: Density, asked: list[_Asked], groups: Groups) -> Rows:
    """Ask for all forecasts at once; the whole past of an event is asked for once, whatever is hidden in others."""
    places = [one.positions for one in asked]
    of_case, cases = [], [asked[0].case]
    for one in asked:
        if one.case is not cases[-1]:
            cases.append(one.case)
        of_case.append(len(cases) - 1)
    owner = np.repeat(of_case, [len(some) for some in places])
    effects = np.concatenate(places)
    starts = np.cumsum([0, *(len(case.ids) for case in cases)])
    wanted, row = np.unique(starts[owner] + effects, return_inverse=True)
    cuts = np.searchsorted(wanted, starts)
    whole = [wanted[low:high] - start for low, high, start in zip(cuts[:-1], cuts[1:], starts[:-1], strict=True)]
    answers = density.conditional_many(
        [*(one.hidden for one in asked), *(case.ids for case in cases)],
        [*places, *whole],
        [*(one.case.times for one in asked), *(case.times for case in cases)],
    )
    log_q = groups.sum(np.concatenate(answers[: len(asked)]))
    log_p = groups.sum(np.concatenate(answers[len(asked) :]))[row]
    own = np.concatenate([groups.of[case.ids] for case in cases])
    causes = np.repeat(np.array([one.kind for one in asked], np.int32), [len(some) for some in places])
    present = np.concatenate([one.present for one in asked])
    gaps = None if asked[0].gaps is None else np.concatenate([one.gaps for one in asked if one.gaps is not None])
    return Rows(causes, effects, own[starts[owner] + effects], log_p, log_q, present, gaps)


def group_estimate(density: Density, case: Case, horizon: int, seconds: float | None, groups: Groups) -> CMIEstimate:
    """Return the effect of a group on the group of each event, all of its events in reach hidden at once.

    Every pair of positions of the two groups has the same value; NaN for pairs out of reach.
    """
    n, n_groups = len(case.ids), len(groups.names)
    width, lags = horizon, None
    if case.ticks is not None:
        width = max(1, int((np.searchsorted(case.ticks, case.ticks + horizon, side="right") - 1 - np.arange(n)).max()))
        later = np.minimum(np.arange(n)[:, None] + np.arange(1, width + 1), n - 1)
        lags = case.ticks[later] - case.ticks[:, None]
    effect = np.arange(n)[:, None] + np.arange(1, width + 1)
    result = np.full((2, n, width), np.nan)
    late = too_late(case, width, seconds)
    for rows in forecasts(density, case, horizon, seconds, groups):
        keys = rows.positions * n_groups + rows.causes
        order = np.argsort(keys)
        wanted = effect * n_groups + groups.of[case.ids][:, None]
        place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        there = (keys[order][place] == wanted) & (effect < n)
        if lags is not None:
            there &= (lags > 0) & (lags <= horizon)
        if late is not None:
            there &= ~late
        row = order[place[there]]
        for values, log_x in zip(result, (rows.log_p, rows.log_q), strict=True):
            values[there] = np.clip(log_x[row, rows.targets[row]], np.log(_FLOOR), np.log1p(-_FLOOR))
    log_p, log_q = result
    with np.errstate(invalid="ignore"):
        cmi = bernoulli_kl(log_p, log_q)
    return CMIEstimate(cmi, np.where(np.isnan(cmi), np.nan, 0.0), log_p - log_q, log_p, log_q, None, lags=lags)


class CalibrationSums(NamedTuple):
    """What `calibration` needs of some cases, by type; sums of disjoint cases are added.

    Attributes:
        came: How often the type came where another was hidden (int64, ``[n_types]``).
        expected: Sum of its hidden forecasts, in units of 2^-32 (int64, ``[n_types]``).
        spread: Sum of their variances, in units of 2^-32 (int64, ``[n_types]``).
    """

    came: Integers
    expected: Integers
    spread: Integers

    def shift(self) -> Floats:
        """Return what to add to the logit of each type's hidden forecast; see `calibration`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # One Newton step of the intercept of a logistic regression.
            step = (self.came - from_units(self.expected)) / from_units(self.spread)
        return np.where((self.came >= 10) & np.isfinite(step), np.clip(step, -1, 1), 0.0)


def calibration(
    density: Density,
    sequences: SequenceSet,
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
    *,
    n_events: int = 20_000,
) -> Floats:
    """Return what to add to the logit of each type's hidden forecast (float64, ``[n_types]``).

    With it the hidden forecasts of a type sum to how often it came, over all hidden types together. That holds for a
    true forecast whatever causes what, so no effect is taken away by it. A type seen less than 10 times keeps 0.

    Args:
        density: A density that knows hidden events.
        sequences: Held-out cases.
        horizon: Largest lag.
        seconds: Longest time between cause and effect.
        groups: Types taken together.
        n_events: Cases of about this many events are used, see `calibration_cases`.
    """
    some = calibration_cases(sequences, n_events)
    return calibration_sums(density, some, horizon, seconds, groups).shift()


def calibration_cases(sequences: SequenceSet, n_events: int = 20_000) -> SequenceSet:
    """Return cases spread evenly over all, of about ``n_events`` events; every tick in a random order."""
    n_all = sequences.n_cases
    n_cases = min(n_all, math.ceil(n_events * n_all / max(1, sequences.n_events)))
    return shuffle_ticks(sequences.take([i * n_all // n_cases for i in range(n_cases)]), 0)


def calibration_sums(
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    seconds: float | None = None,
    groups: Groups | None = None,
) -> CalibrationSums:
    """Return the sums of `calibration` over some cases."""
    n_types = density.vocabulary.n_types if groups is None else len(groups.names)
    came, expected, spread = (np.zeros(n_types, np.int64) for _ in range(3))
    for rows in forecasts_many(density, cases, horizon, seconds, groups, within_ticks=True):
        q = np.exp(rows.log_q)
        q[np.arange(len(q)), rows.causes] = 0.0  # a type's own past is no pair
        came += np.bincount(rows.targets[rows.targets != rows.causes], minlength=n_types)
        expected += to_units(q).sum(axis=0)
        spread += to_units(q * (1 - q)).sum(axis=0)
    return CalibrationSums(came, expected, spread)


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
        shift: From `calibration`.
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
        shift: From `calibration`.
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
    gain -= _log1m_shifted(rows.log_q, shift)  # v did not come
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
    log_q = np.clip(log_q, np.log(_FLOOR), np.log1p(-_FLOOR))
    moved: Floats = -np.logaddexp(0.0, _log1m(log_q) - log_q - shift)
    return moved


def _log1m_shifted(log_q: Floats, shift: Floats) -> Floats:
    """Return ``log(1 - q)`` of what `shifted` gives: minus the log of 1 plus the odds."""
    q = np.exp(np.clip(log_q, np.log(_FLOOR), np.log1p(-_FLOOR)))
    odds = q * np.exp(shift)
    odds /= 1 - q
    result: Floats = np.negative(np.log1p(odds, out=odds), out=odds)
    return result


def _log1m(log_p: Floats) -> Floats:
    """Return ``log(1 - p)``."""
    p = np.minimum(log_p, np.log1p(-_FLOOR))
    np.negative(np.exp(p, out=p), out=p)
    result: Floats = np.log1p(p, out=p)
    return result
