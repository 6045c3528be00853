"""Bets on the cause: valid where the law of the cause is right, whatever the forecast of the effect is worth.

The bets of `sequela.evidence.bets` compare two forecasts of the effect, and a hidden forecast that is wrong looks like
evidence. Here the effect ``x_q = v`` is given, and the bet is on what stood ``lag`` places before it, at ``j``. Let
``S`` be the observed event there and a few types drawn at random, without ``v``. With

    prior      w_u  proportional to  P(u | x_<j) * product over j < k < q of P(x_k | …, u, …)
    posterior  pi_u proportional to  w_u * P(v | …, u, …)

(both normalised over ``S``), the bet on the pair ``u -> v`` pays ``pi_u / w_u`` where ``x_j`` is ``u`` and
``(1 - pi_u) / (1 - w_u)`` where it is another of ``S``. If ``u`` there tells nothing of ``v``, its expectation given
all but ``x_j`` is 1, for any ``pi``. A slot that holds ``v`` is left out: what a type does to itself is no evidence for
others.

At one lag the bets of a case multiply over places ``q`` whose windows ``j … q`` do not overlap, chosen from left to
right: whether a place is chosen does not depend on what stands in its slot, as long as that is not ``v``. Over cases
they multiply, over lags they are averaged.

Where states are asked for (`docs/method.md`, section 10), ``S`` is the observed event and its other states, and the
effect is how the later event went, given what acted there, which counts as a mediator: ``w_u`` takes in
``P(what acted | …, u, …)``, and ``pi_u`` is proportional to ``w_u P(v | what acted, …, u, …)``.

Sources: Grünwald, Henzi and Lardy (2023); Shaer, Maman and Romano (2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids
from sequela.effects.knowledge import PairLimits
from sequela.effects.proposals import draw_siblings, draw_uniform
from sequela.effects.state_law import StateLaw
from sequela.events.hierarchy import Siblings
from sequela.events.sequences import Case, case_hash
from sequela.evidence.fixed_point import Integers, add_units, from_units, to_units
from sequela.evidence.pairs import Codes

N_DRAWS = 7
"""Types drawn beside the observed one."""
MIXTURE = 0.1
"""Share of the stake that is kept: the law of the cause is an estimate."""
_CELLS = 2**21
"""Probabilities held at once."""
_BRANCH_CELLS = 2**18
"""Steps of branches of a long case that are asked for at once: each takes about 500 bytes."""
_LARGEST = 50.0
"""Largest bet; to cut it only lowers its expectation."""


def cause_bets(
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    seconds: float | None = None,
    *,
    seed: int = 0,
    n_draws: int = N_DRAWS,
    forecast: Density | None = None,
    limits: PairLimits | None = None,
    states: Siblings | None = None,
) -> tuple[Codes, Integers]:
    """Return the log bets of some cases, added up by pair and lag.

    Args:
        density: The law of the causes.
        cases: Cases that it has not seen, in order (no ticks).
        horizon: Largest lag.
        seconds: Longest time between cause and effect.
        seed: Of the draws.
        n_draws: Types drawn at random beside the observed one.
        forecast: Forecasts the effects; by default the density.
        limits: Which pairs are bet on; what is excluded may still stand in a slot beside others.
        states: Which types are states of the same, to bet on the states of the causes and effects; None for the types.

    Returns:
        Sorted codes ``(cause * n_types + effect) * horizon + lag - 1`` (int64, ``[C]``), and their log bets in units of
        2^-32, each rounded down (int64, ``[C]``).
    """
    scored = score_slots(
        density, cases, horizon, seed=seed, n_draws=n_draws, forecast=forecast, limits=limits, states=states
    )
    return add_bets(*place_bets((one for some in scored for one in some), density.vocabulary.n_types, seconds))


class Scored(NamedTuple):
    """The slots of a case, and how well each type in them goes with what comes after.

    Attributes:
        case: The case, of ``n + 1`` events; its last has no slot.
        types: What may have stood in each slot: the observed type, then those drawn (int32, ``[n, N]``).
        real: Whether that is a type to bet on; ``<rare>`` is none (bool, ``[n, N]``).
        law: Log-probability of each type in its slot (float64, ``[n, N]``).
        scores: Log-probability of the events after each slot with each type in it (float64, ``[n, N, m]``).
        effects: The same by the forecast of the effects.
        placed: Which bets are placed (bool, ``[n, N, m]``); None for all.
        acted: Log-probability of what acted after each slot, whatever its state, where the effects are given that
            (float64, ``[n, N, m]``); else None.
    """

    case: Case
    types: Ids
    real: NDArray[np.bool_]
    law: Floats
    scores: Floats
    effects: Floats
    placed: NDArray[np.bool_] | None
    acted: Floats | None = None

    def log_weights(self, low: int = 0, high: int | None = None) -> Floats:
        """Return the log prior of each type at each lag (float64, ``[n, N, m]``) of some slots, not normalised."""
        scores = self.scores[low:high]
        between = np.cumsum(scores[:, :, :-1], axis=2)
        before = np.concatenate([np.zeros_like(scores[:, :, :1]), between], axis=2)
        weights: Floats = self.law[low:high, :, None] + before
        return weights


def score_slots(
    density: Density,
    cases: Iterable[Case],
    horizon: int,
    *,
    seed: int = 0,
    n_draws: int = N_DRAWS,
    forecast: Density | None = None,
    limits: PairLimits | None = None,
    states: Siblings | None = None,
) -> Iterator[list[Scored]]:
    """Yield cases with their slots scored, as many together as may be held; the arguments are those of `cause_bets`."""
    own_law = None if states is None else StateLaw(density, states)
    if states is not None and forecast is not None:
        forecast = StateLaw(forecast, states)
    for some in _together(cases, density.vocabulary.n_types):
        slots = [_drawn(density, case, seed, n_draws, states) for case in some]
        laws = _laws(density, some, slots)
        placed = [_placed(case, own, horizon, limits) for case, own in zip(some, slots, strict=True)]
        scores = _scores(density, some, slots, placed, horizon)
        went = scores if own_law is None else _scores(own_law, some, slots, placed, horizon)
        effects = went if forecast is None else _scores(forecast, some, slots, placed, horizon)
        yield [
            Scored(case, own.types, own.real, law, score, effect, bets, None if own_law is None else score - after)
            for case, own, law, score, after, effect, bets in zip(
                some, slots, laws, scores, went, effects, placed, strict=True
            )
        ]


def place_bets(scored: Iterable[Scored], n_types: int, seconds: float | None = None) -> tuple[Codes, Integers]:
    """Return the codes and log bets of all cases, as `cause_bets` does, but for adding them up."""
    codes, units = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for one in scored:
        for code, unit in _of_case(one, n_types, seconds):
            many = len(code) > _CELLS // 8
            for each, more in zip((codes, units), add_bets(code, unit) if many else (code, unit), strict=True):
                each.append(more)
    return np.concatenate(codes), np.concatenate(units)


def _together(cases: Iterable[Case], n_types: int) -> Iterator[list[Case]]:
    """Yield cases of two events or more, as many together as may be held: short ones would not fill a call."""
    waiting: list[Case] = []
    size = 0
    for case in cases:
        if len(case.ids) < 2:
            continue
        if waiting and size + len(case.ids) * n_types > _CELLS:
            yield waiting
            waiting, size = [], 0
        waiting.append(case)
        size += len(case.ids) * n_types
    if waiting:
        yield waiting


def add_bets(codes: Codes, units: Integers) -> tuple[Codes, Integers]:
    """Add up the log bets of the same pair and lag."""
    keys, rows = add_rows(codes, units[None])
    return keys, rows[0]


def add_rows(codes: Codes, rows: Integers) -> tuple[Codes, Integers]:
    """Add up the columns (int64, ``[k, C]``) that have the same code; return sorted codes and their sums."""
    order = np.argsort(codes, kind="stable")
    keys, starts = np.unique(codes[order], return_index=True)
    return keys, add_units(rows[:, order], starts.astype(np.int64))


def mean_over_lags(codes: Codes, units: Integers, horizon: int) -> tuple[Codes, Floats]:
    """Return the log e-value of each pair: of the mean over all lags; a lag without bets counts 1.

    Example:
        >>> log_e = np.log(np.array([8.0, 2.0]))
        >>> pairs, found = mean_over_lags(np.array([12, 14]), to_units(log_e), 4)  # lags 1 and 3 of pair 3
        >>> pairs.tolist(), np.exp(found).round(6).tolist()
        ([3], [3.0])
    """
    pairs, place = np.unique(codes // horizon, return_inverse=True)
    values = np.zeros((len(pairs), horizon))
    values[place, codes % horizon] = from_units(units, down=True)
    top = values.max(axis=1, initial=0.0)
    return pairs, top + np.log(np.exp(values - top[:, None]).mean(axis=1))


class _Slots(NamedTuple):
    """What may have stood at each place but the last: the observed type, then those drawn (``[n, N]`` each)."""

    types: Ids
    real: NDArray[np.bool_]


def _drawn(density: Density, case: Case, seed: int, n_draws: int, states: Siblings | None) -> _Slots:
    slots, rare = np.arange(len(case.ids) - 1), density.vocabulary.rare_id
    n_real = density.vocabulary.n_types - (rare is not None)
    observed = case.ids[slots]
    key = case_hash(case.name, seed)
    if states is None:
        draws = draw_uniform(observed, slots, n_real, n_draws, key)
    else:
        draws = draw_siblings(observed, slots, states, n_draws, key)
    types = np.concatenate([observed[:, None], draws.types], axis=1).astype(np.int32)
    return _Slots(
        types, np.concatenate([(observed < n_real)[:, None], draws.weight > 0], axis=1)
    )  # <rare> is not drawn


def _laws(density: Density, cases: Sequence[Case], slots: Sequence[_Slots]) -> list[Floats]:
    """Return the log-probability of each type in its slot (float64, ``[n, N]`` each)."""
    if len(cases) > 1:
        places = [np.arange(len(own.types)) for own in slots]
        whole = density.conditional_many([case.ids for case in cases], places, [case.times for case in cases])
        return [
            np.take_along_axis(law, own.types.astype(np.int64), axis=1) for law, own in zip(whole, slots, strict=True)
        ]
    (case,), (own,) = cases, slots
    size = max(1, _CELLS // density.vocabulary.n_types)  # a long case is asked for in pieces
    pieces = []
    for low in range(0, len(own.types), size):
        types = own.types[low : low + size].astype(np.int64)
        law = density.conditional(case.ids, np.arange(low, low + len(types)), case.times)
        pieces.append(np.take_along_axis(law, types, axis=1))
    return [np.concatenate(pieces)]


def _placed(case: Case, slots: _Slots, horizon: int, limits: PairLimits | None) -> NDArray[np.bool_] | None:
    """Return which bets are placed (bool, ``[n, N, m]``); None for all."""
    if limits is None:
        return None
    after = np.minimum(np.arange(len(slots.types))[:, None] + np.arange(1, horizon + 1), len(case.ids) - 1)
    longest = limits.seconds(slots.types[:, :, None], case.ids[after][:, None])
    placed: NDArray[np.bool_] = longest >= 0
    if limits.has_delays and case.times is not None:
        placed &= (case.times[after] - case.times[:-1, None])[:, None] <= longest
    return placed


def _scores(
    density: Density,
    cases: Sequence[Case],
    slots: Sequence[_Slots],
    placed: Sequence[NDArray[np.bool_] | None],
    horizon: int,
) -> list[Floats]:
    """Return the log-probability of the events after each slot with each type in it (float64, ``[n, N, m]`` each).

    Those after the last bet of a slot are 0: nothing is asked of them.
    """
    if len(cases) == 1:  # a long case is asked for in pieces
        (case,), (own,), (bets,) = cases, slots, placed
        size = max(1, _BRANCH_CELLS // (own.types.shape[1] * horizon))
        pieces = [range(low, min(low + size, len(own.types))) for low in range(0, len(own.types), size)]
        branches = ([_branches(case, own, bets, horizon, piece)] for piece in pieces)
        found = [np.concatenate([density.score_branches_many(some)[0] for some in branches])]
    else:
        found = density.score_branches_many(
            [
                _branches(case, own, bets, horizon, range(len(own.types)))
                for case, own, bets in zip(cases, slots, placed, strict=True)
            ]
        )
    return [
        np.nan_to_num(each.reshape(*own.types.shape, horizon), copy=False, neginf=-700.0)
        for each, own in zip(found, slots, strict=True)
    ]


def _branches(case: Case, slots: _Slots, bets: NDArray[np.bool_] | None, horizon: int, some: range) -> Branches:
    """Return what to score for some slots of a case: each of their types, followed by what came after."""
    types, n_each = slots.types[some.start : some.stop], slots.types.shape[1]
    place = np.array(some)[:, None] + np.arange(horizon)
    tails = np.repeat(case.ids[np.minimum(place, len(case.ids) - 1)], n_each, axis=0)
    tails[:, 0] = types.ravel()
    wanted = None
    if bets is not None:  # all of a slot is needed up to its last bet: what lies between speaks of the cause
        steps: NDArray[np.bool_] = np.any(bets[some.start : some.stop], axis=1)
        wanted = np.logical_or.accumulate(steps[:, ::-1], axis=1)[:, ::-1].repeat(n_each, axis=0)
    return Branches(case.ids, np.repeat(np.array(some), n_each), tails, case.times, wanted)


def _of_case(one: Scored, n_types: int, seconds: float | None) -> Iterator[tuple[Codes, Integers]]:
    """Yield the codes and log bets of each lag."""
    case, ids, n, horizon = one.case, one.case.ids, len(one.case.ids), one.scores.shape[2]
    log_w = one.law.copy()
    for lag in range(1, min(horizon, n - 1) + 1):
        rows = np.arange(n - lag)
        v, types, real = ids[rows + lag], one.types[rows], one.real[rows]
        kept = real & real[:, :1] & (types != v[:, None]) & (types[:, :1] != v[:, None])
        if seconds is not None and case.times is not None:
            kept &= (case.times[rows + lag] - case.times[rows] <= seconds)[:, None]
        chosen = _apart(v, lag, kept[:, 0])
        prior, effect = log_w[rows], one.effects[rows, :, lag - 1]
        if one.acted is not None:
            prior = prior + one.acted[rows, :, lag - 1]
        log_bet, row, column = _bets(prior, effect, kept)
        there = chosen[row] if one.placed is None else chosen[row] & one.placed[row, column, lag - 1]
        code = (types[row, column].astype(np.int64) * n_types + v[row]) * horizon + lag - 1
        yield code[there], to_units(log_bet[there], down=True)
        log_w[rows] += one.scores[rows, :, lag - 1]


def _apart(effects: Ids, lag: int, fair: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which places are bet on (bool, ``[n]``): of each effect type, windows that do not overlap.

    Args:
        effects: Type of the effect ``lag`` places after each slot (int32, ``[n]``).
        lag: Width of a window, less 1.
        fair: Whether the slot holds another type than the effect. A window is taken whether or not it does.
    """
    chosen = np.zeros(len(effects), dtype=bool)
    last: dict[int, int] = {}
    for slot, effect in enumerate(effects.tolist()):
        if slot > last.get(effect, -1):
            last[effect] = slot + lag
            chosen[slot] = True
    return chosen & fair


def _bets(log_w: Floats, log_f: Floats, kept: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the log bet of each kept type, and its row and column (``[n_kept]`` each); column 0 is what was observed.

    Args:
        log_w: Prior, not normalised (float64, ``[n, N]``).
        log_f: Log-probability of the effect with each type (float64, ``[n, N]``).
        kept: Which types take part (bool, ``[n, N]``).
    """
    prior, posterior = (normal(np.where(kept, values, -np.inf)) for values in (log_w, log_w + log_f))
    observed = np.arange(log_w.shape[1]) == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        bet = np.where(observed, posterior / prior, (1 - posterior) / (1 - prior))
    bet = np.where(np.isfinite(bet) & (prior > 1e-12) & (prior < 1 - 1e-9), np.minimum(bet, _LARGEST), 1.0)
    row, column = np.nonzero(kept)
    return np.log(MIXTURE + (1 - MIXTURE) * bet[row, column]), row, column


def normal(log_values: Floats) -> Floats:
    """Return probabilities (float64, ``[n, N]``) in proportion to the exponentials of values; 0 in empty rows."""
    top = log_values.max(axis=1, keepdims=True)
    mass = np.exp(log_values - np.where(np.isfinite(top), top, 0.0))
    total = mass.sum(axis=1, keepdims=True)
    normal: Floats = mass / np.where(total > 0, total, 1.0)
    return normal
