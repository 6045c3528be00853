"""Effects in cases whose events at one time have no order (`docs/method.md`, section 9).

A case with ties is scored in several random orders of its ticks. Order ``r`` rotates every tick by ``r`` places, so
each event is first in its tick in one of them and last in another:

- *lagged* effects, from an earlier tick: read where the effect stands first in its tick, so that the forecast sees
  strictly earlier ticks only. ``p`` and ``q`` are averaged over the orders, the same on both sides.
- effects *within* a tick: read where the effect stands last, so that the forecast sees all the rest of its tick. Which
  of two events came first is not known: the mean of both directions is the strength of an undirected edge.

Where it is known which types precede which (`Precedence`: links of a population), the causes of an event that stand in
its own tick are shown to its forecast too, in their order, and nothing else of the tick is. No event is then credited
with what a tied mediator did, and effects within the tick have a direction. Pairs of one tick that are not linked, even
by a chain, are not tested.

Lags and the horizon count ticks; the memory of a density counts events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequela.effects.cmi import CMIEstimate, bernoulli_kl, clamp, slope_in_q
from sequela.effects.knowledge import PairLimits
from sequela.events.sequences import Case, case_hash
from sequela.events.ties import random_order

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """One order of the events of a case.

    Attributes:
        case: The case in that order, without ticks.
        events: Which event of the case stands at each place (int64, ``[L]``).
        wanted: Whether the effects in each tick are read in this order (bool, ``[n_ticks]``).
        reads: Place at which the effects of what stands before it are read in each tick (int64, ``[n_ticks]``).
        causes: Places of the causes that are needed for that (int64, ``[P]``, sorted).
    """

    case: Case
    events: Positions
    wanted: NDArray[np.bool_]
    reads: Positions
    causes: Positions


@dataclass(frozen=True)
class Precedence:
    """Which event types are known to cause which, to order the events of a tick.

    Attributes:
        codes: Sorted ``cause * n_types + effect`` (int64, ``[P]``); of types that cause each other neither precedes.
        n_types: Event types.

    Example:
        >>> known = Precedence.of(np.array([0, 1, 2, 1]), np.array([1, 2, 1, 3]), n_types=4)
        >>> known.ancestors(np.array([3, 1, 0])).astype(int).tolist()
        [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    """

    codes: Positions
    n_types: int

    @classmethod
    def of(cls, causes: Positions, effects: Positions, n_types: int) -> Precedence:
        """Build from linked pairs of type ids (int64, ``[P]`` each)."""
        forward, backward = causes * n_types + effects, effects * n_types + causes
        return cls(np.unique(forward[~np.isin(forward, backward)]), n_types)

    def ancestors(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return which events (columns) precede which (rows), directly or by a chain of them (bool, ``[k, k]``)."""
        one, other = np.meshgrid(ids.astype(np.int64), ids.astype(np.int64), indexing="ij")
        behind = np.isin(other * self.n_types + one, self.codes)
        while True:
            longer = behind | ((behind.astype(np.int64) @ behind.astype(np.int64)) > 0)
            if (longer == behind).all():
                return behind & ~behind.T  # round a circle nothing precedes
            behind = longer


class TiedCase:
    """The estimate of one case with ties, gathered from its orders.

    Args:
        case: A case with ticks.
        horizon: Largest lag in ticks.
        context: Leading events that are never causes.
        seed: Of the random orders.
        limit: Most events that the density looks back, or that a tail may have; None for no limit.
        precedence: Which types are known to precede which.
        limits: Which pairs of types are tested. Of a pair within a tick one direction alone may be: it then has that
            direction.
        causes: Positions to test, whole ticks.
    """

    def __init__(
        self,
        case: Case,
        *,
        horizon: int,
        context: int,
        seed: int,
        limit: int | None,
        causes: range,
        precedence: Precedence | None = None,
        limits: PairLimits | None = None,
    ) -> None:
        assert case.ticks is not None
        self.precedence, self.limits = precedence, limits
        self.case, self.ticks, self.horizon, self.context = case, case.ticks, horizon, context
        self.key, self.causes = case_hash(case.name, seed), causes
        self.first = np.searchsorted(self.ticks, np.arange(self.ticks[-1] + 1))  # [n_ticks]
        self.size = np.bincount(self.ticks)
        ends = self.first + self.size
        earliest = self.first[np.maximum(np.arange(len(self.first)) - horizon, 0)]
        self.width = max(1, int((ends - earliest).max()) - 1)
        self.reach = self.width if limit is None else min(self.width, limit)
        # An effect in a tick of its own is averaged over two orders where the ticks before it have ties.
        tied = np.concatenate([[0], np.cumsum(self.size > 1)])
        near = tied[np.arange(len(self.size))] > tied[np.maximum(np.arange(len(self.size)) - horizon, 0)]
        self.n_orders = np.where(self.size > 1, self.size, 1 + near)
        length = len(case.ids)
        self.lagged, self.forward, self.backward = (_Sums(length, self.width) for _ in range(3))

    def orders(self) -> Iterator[Order]:
        """Yield the orders to score."""
        for rotation in range(int(self.n_orders.max())):
            events, reads = random_order(self.ticks, self.key, rotation, self.case.first), self.first
            if self.precedence is not None:
                events, reads = self._preceded(events)
            wanted = self.n_orders > rotation
            near = np.zeros(len(wanted) + 1, dtype=np.int64)  # ticks from which a wanted one can be reached
            numbers = np.flatnonzero(wanted)
            np.add.at(near, np.maximum(numbers - self.horizon, 0), 1)
            np.add.at(near, numbers + 1, -1)
            places = np.flatnonzero((np.cumsum(near)[:-1] > 0)[self.ticks] & (events + self.case.first >= self.context))
            places = places[(places >= self.causes.start) & (places < min(self.causes.stop, len(events) - 1))]
            if not len(places):
                continue
            case = Case(self.case.name, self.case.ids[events], self.case.times, first=self.case.first)
            yield Order(case, events, wanted, reads, places)

    def _preceded(self, events: Positions) -> tuple[Positions, Positions]:
        """Put what precedes the first event of each tick before it; return the order, and that event's place."""
        assert self.precedence is not None
        events, reads = events.copy(), self.first.copy()
        for tick in np.flatnonzero(self.size > 1):
            places = slice(self.first[tick], self.first[tick] + self.size[tick])
            members = events[places]
            ancestors = self.precedence.ancestors(self.case.ids[members])
            shown = np.flatnonzero(ancestors[0])
            shown = shown[np.argsort(ancestors[shown].sum(axis=1), kind="stable")]  # each after its own ancestors
            rest = np.setdiff1d(np.arange(1, len(members)), shown)
            events[places] = members[np.concatenate([shown, [0], rest])]
            reads[tick] += len(shown)
        return events, reads

    def add(self, order: Order, found: CMIEstimate) -> None:
        """Take the cells of one order that are read in it."""
        place, column = np.nonzero(np.isfinite(found.cmi))
        effect_place = place + column + 1
        tick, effect_tick = self.ticks[place], self.ticks[effect_place]
        lag = effect_tick - tick
        is_read = effect_place == order.reads[effect_tick]
        within_read = is_read
        if self.precedence is None:
            within_read = effect_place == self.first[effect_tick] + self.size[effect_tick] - 1
        wanted = order.wanted[effect_tick]
        cause, effect = order.events[place], order.events[effect_place]
        lagged = wanted & (lag >= 1) & (lag <= self.horizon) & is_read
        within = wanted & (lag == 0) & within_read
        for sums, chosen, low, high in (
            (self.lagged, lagged, cause, effect),
            (self.forward, within & (cause < effect), cause, effect),
            (self.backward, within & (cause > effect), effect, cause),
        ):
            sums.add(found, place[chosen], column[chosen], low[chosen], (high - low - 1)[chosen])

    def estimate(self) -> CMIEstimate:
        """Return the estimate of all pairs, by positions in the case."""
        lagged, forward, backward = (sums.means() for sums in (self.lagged, self.forward, self.backward))
        if self.precedence is not None:
            return self._directed(lagged, forward, backward)
        within = np.isfinite(forward.cmi) & np.isfinite(backward.cmi)
        if self.limits is not None:
            lagged = self._one_way(lagged, forward, backward, self.limits)

        def joined(name: str) -> Floats:
            one, two, other = (getattr(each, name) for each in (forward, backward, lagged))
            values: Floats = np.where(within, (one + two) / 2, other)
            return values

        std_error = np.where(within, np.hypot(forward.std_error, backward.std_error) / 2, lagged.std_error)
        columns = {
            name: np.where(within, (forward.columns[name] + backward.columns[name]) / 2, values)
            for name, values in lagged.columns.items()
        }
        own_kl = None if lagged.mean_of_kl is None else joined("mean_of_kl")
        n_particles = np.where(within, np.minimum(forward.n_particles, backward.n_particles), lagged.n_particles)
        return CMIEstimate(
            cmi=joined("cmi"),
            std_error=std_error,
            pointwise=joined("pointwise"),
            log_p=joined("log_p"),
            log_q=joined("log_q"),
            # The mean of two divergences is no divergence of one q.
            q_std_error=None if lagged.q_std_error is None else np.where(within, np.nan, lagged.q_std_error),
            mean_of_kl=own_kl,
            n_particles=n_particles,
            n_clamped=lagged.n_clamped,
            columns=columns,
            counts=lagged.counts,
            lags=self._lags(),
            directions=None if lagged.directions is None else np.where(within, 0, lagged.directions),
        )

    def _one_way(
        self, lagged: CMIEstimate, forward: CMIEstimate, backward: CMIEstimate, limits: PairLimits
    ) -> CMIEstimate:
        """Add to the lagged effects those within a tick whose other direction is excluded."""
        lags, ids = self._lags(), self.case.ids
        effect = np.minimum(np.arange(len(ids))[:, None] + 1 + np.arange(self.width), len(ids) - 1)
        ahead = np.isfinite(forward.cmi) & limits.excluded(ids[effect], ids[:, None])
        back = np.isfinite(backward.cmi) & limits.excluded(ids[:, None], ids[effect])
        towards = np.where(lags > 0, 1, ahead.astype(np.int64) - back)
        return self._chosen(lagged, forward, backward, ahead, back, towards)

    def _directed(self, lagged: CMIEstimate, forward: CMIEstimate, backward: CMIEstimate) -> CMIEstimate:
        """Join effects of earlier ticks with those within a tick, of which at most one direction was read."""
        ahead, back = np.isfinite(forward.cmi), np.isfinite(backward.cmi)
        towards = np.where(self._lags() > 0, 1, ahead.astype(np.int64) - back)
        return self._chosen(lagged, forward, backward, ahead, back, towards)

    def _chosen(
        self, lagged: CMIEstimate, forward: CMIEstimate, backward: CMIEstimate, ahead: NDArray[np.bool_],
        back: NDArray[np.bool_], directions: Positions,
    ) -> CMIEstimate:  # fmt: skip
        """Return the estimates of one direction where it is chosen, and the lagged ones elsewhere."""

        def chosen(one: Any, two: Any, other: Any) -> Any:
            return None if other is None else np.where(ahead, one, np.where(back, two, other))

        arrays = ("cmi", "std_error", "pointwise", "log_p", "log_q", "q_std_error", "mean_of_kl", "n_particles")
        parts = (forward, backward, lagged)
        return CMIEstimate(
            **{name: chosen(*(getattr(each, name) for each in parts)) for name in arrays},
            n_clamped=lagged.n_clamped,
            columns={name: chosen(*(each.columns[name] for each in parts)) for name in lagged.columns},
            counts=lagged.counts,
            lags=self._lags(),
            directions=directions,
        )

    def _lags(self) -> Positions:
        length = len(self.case.ids)
        effect = np.minimum(np.arange(length)[:, None] + 1 + np.arange(self.width), length - 1)
        lags: Positions = self.ticks[effect] - self.ticks[:, None]
        return lags


class _Sums:
    """Sums of the cells of several orders, by positions in the case (float64, ``[L, W]`` each)."""

    def __init__(self, length: int, width: int) -> None:
        self.shape = (length, width)
        self.count = np.zeros(self.shape, dtype=np.int64)
        self.p, self.q, self.cmi, self.std_error, self.q_std_error, self.mean_of_kl = (
            np.zeros(self.shape) for _ in range(6)
        )
        self.n_particles = np.full(self.shape, np.iinfo(np.int64).max)
        self.columns: dict[str, Floats] = {}
        self.counts: dict[str, int] = {}
        self.n_clamped = 0
        self.has_q_error = self.has_mean_of_kl = True

    def add(self, found: CMIEstimate, place: Positions, column: Positions, row: Positions, cell: Positions) -> None:
        to, at = (row, cell), (place, column)
        np.add.at(self.count, to, 1)
        np.add.at(self.p, to, np.exp(found.log_p[at]))
        np.add.at(self.q, to, np.exp(found.log_q[at]))
        np.add.at(self.cmi, to, found.cmi[at])
        np.add.at(self.std_error, to, found.std_error[at])
        self.has_q_error = found.q_std_error is not None
        self.has_mean_of_kl = found.mean_of_kl is not None
        if found.q_std_error is not None:
            np.add.at(self.q_std_error, to, found.q_std_error[at])
        if found.mean_of_kl is not None:
            np.add.at(self.mean_of_kl, to, found.mean_of_kl[at])
        for name, values in found.columns.items():
            np.add.at(self.columns.setdefault(name, np.zeros(self.shape)), to, values[at])
        for name, count in found.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        particles = np.broadcast_to(found.n_particles, found.cmi.shape)[at]
        np.minimum.at(self.n_particles, to, particles)
        self.n_clamped += found.n_clamped

    def means(self) -> CMIEstimate:
        """Return means over the orders; errors are added up, as if the orders shared their replacements."""
        n = np.where(self.count > 0, self.count, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_p, log_q = (clamp(np.log(total / n))[0] for total in (self.p, self.q))
            q_std_error = self.q_std_error / n if self.has_q_error else None
            cmi, std_error = self.cmi / n, self.std_error / n
            if q_std_error is not None:  # one divergence, of the mean probabilities
                cmi = bernoulli_kl(log_p, log_q)
                std_error = np.abs(slope_in_q(log_p, log_q)) * q_std_error
        return CMIEstimate(
            cmi=cmi,
            std_error=std_error,
            pointwise=log_p - log_q,
            log_p=log_p,
            log_q=log_q,
            q_std_error=q_std_error,
            mean_of_kl=self.mean_of_kl / n if self.has_mean_of_kl else None,
            n_particles=np.where(self.count > 0, self.n_particles, 2),
            n_clamped=self.n_clamped,
            columns={name: values / n for name, values in self.columns.items()},
            counts=self.counts,
        )
