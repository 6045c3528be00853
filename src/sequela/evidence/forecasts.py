"""Forecasts of every event with and without one type of its recent past (`docs/method.md`, section 7).

An event at ``q`` is forecast from its whole past, and from the past with *every* event of one type among the last ``m``
hidden. Hiding all occurrences at once leaves one comparison an event: overlapping occurrences are not counted twice,
and repeated events cannot explain each other away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Density, Floats, Ids
from sequela.effects.cmi import CMIEstimate, bernoulli_kl
from sequela.effects.scorer import too_late
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.evidence.pairs import SMALLEST, Groups

_CELLS = 2**22
"""Probabilities held at once."""


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
            values[there] = np.clip(log_x[row, rows.targets[row]], np.log(SMALLEST), np.log1p(-SMALLEST))
    log_p, log_q = result
    with np.errstate(invalid="ignore"):
        cmi = bernoulli_kl(log_p, log_q)
    return CMIEstimate(cmi, np.where(np.isnan(cmi), np.nan, 0.0), log_p - log_q, log_p, log_q, None, lags=lags)
