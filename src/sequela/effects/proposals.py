"""Random draws keyed by (seed, case, position): the same whatever else is computed, in whatever order.

Every sum over event types ``Σ_u w_u g(u)`` is estimated the same way: the observed type is taken exactly (its ``g`` is
known for free), all others are enumerated when there are few enough, and otherwise sampled without replacement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.events.hierarchy import Siblings

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Replacement types for some positions, and how they estimate ``Σ_u w_u g(u)``.

    The estimate is ``observed_weight * g(x) + Σ_n weight_n * g(type_n)``; its variance is
    ``Σ_n variance_n * (g_n - mean)²`` with the mean over the sampled types. All zero variances: exact.

    Attributes:
        types: Event ids (int32, ``[P, N]``).
        weight: Mass each stands for (float64, ``[P, N]``); 0 for padding.
        variance: Variance factor of each (float64, ``[P, N]``); 0 when it is there with certainty.
        observed_weight: Mass of the observed type (float64, ``[P]``).
    """

    types: NDArray[np.int32]
    weight: Floats
    variance: Floats
    observed_weight: Floats

    def of(self, rows: NDArray[np.int64]) -> Draws:
        """Return the draws of some positions, repeated where asked for."""
        return Draws(self.types[rows], self.weight[rows], self.variance[rows], self.observed_weight[rows])


def random_bits(key: int, *counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash a key and counters (broadcast together) to 64 random bits each.

    Source: the SplitMix64 finaliser (Steele, Lea and Flood 2014), applied once per counter.
    """
    state = np.asarray(key, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for counter in (np.zeros((), np.uint64), *counters):
            state = (state ^ counter) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state, dtype=np.uint64)


def random_unit(key: int, *counters: NDArray[np.uint64]) -> Floats:
    """Hash to numbers in ``(0, 1]``."""
    return ((random_bits(key, *counters) >> np.uint64(11)).astype(np.float64) + 1.0) / 2.0**53


def draw_uniform(
    observed: NDArray[np.int32], positions: NDArray[np.int64], n_types: int, n_particles: int, key: int
) -> Draws:
    """Draw replacements evenly from types ``0 … n_types - 1``.

    Args:
        observed: Observed type at each position (int32, ``[P]``); it may lie outside the range drawn from.
        positions: Positions (int64, ``[P]``), which key the draws.
        n_types: Types to draw from.
        n_particles: Types to draw; where there are no more than this beside the observed one, all are enumerated.
        key: Of the case and the seed.
    """
    inside = observed < n_types
    index, weight, variance = _even(
        n_types - inside, np.full(len(observed), n_types), min(n_particles, n_types), positions, key
    )
    types = index + (inside[:, None] & (index >= observed[:, None]))  # skip the observed type
    return Draws(np.minimum(types, n_types - 1).astype(np.int32), weight, variance, inside / n_types)


def draw_siblings(
    observed: NDArray[np.int32], positions: NDArray[np.int64], siblings: Siblings, n_particles: int, key: int
) -> Draws:
    """Draw replacements evenly from the types of the observed one's group; see `draw_uniform`.

    A type that is alone in its group has nothing to be compared with: its observed weight is NaN, and so is all that
    is estimated from it.
    """
    size = siblings.size[observed]
    n_others = size - 1  # [P]
    n_columns = max(1, min(n_particles, int(siblings.size.max()) - 1))  # the same for all chunks
    index, weight, variance = _even(n_others, size, n_columns, positions, key)
    index = np.minimum(index + (index >= siblings.place[observed][:, None]), n_others[:, None])  # skip the observed
    types = siblings.types[siblings.low[observed][:, None] + index]
    return Draws(types, weight, variance, np.where(n_others > 0, 1.0 / size, np.nan))


def _even(
    n_others: NDArray[np.int64], size: NDArray[np.int64], n_draws: int, positions: NDArray[np.int64], key: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Draw numbers below ``n_others`` for each position: all of them where there are no more than ``n_draws``.

    Args:
        n_others: Numbers to draw from (int64, ``[P]``).
        size: Types among which mass is shared, the observed one included where it is one of them (int64, ``[P]``).
        n_draws: Draws.
        positions: Positions (int64, ``[P]``), which key the draws.
        key: Of the case and the seed.

    Returns:
        Numbers (int64, ``[P, n_draws]``), their weight and variance factor (see `Draws`); weight 0 pads.
    """
    index = np.broadcast_to(np.arange(n_draws), (len(n_others), n_draws)).copy()
    weight = np.where(index < n_others[:, None], 1.0 / size[:, None], 0.0)
    variance = np.zeros_like(weight)
    sampled = n_others > n_draws
    if sampled.any():
        others, mass = n_others[sampled], (n_others / size)[sampled]
        index[sampled] = _distinct(others, n_draws, positions[sampled], key)
        weight[sampled] = (mass / n_draws)[:, None]
        factor = mass**2 * (1 - n_draws / others) / (n_draws * max(1, n_draws - 1))
        variance[sampled] = factor[:, None]
    return index, weight, variance


def _distinct(n_others: NDArray[np.int64], n_draws: int, positions: NDArray[np.int64], key: int) -> NDArray[np.int64]:
    """Draw ``n_draws`` different numbers below ``n_others`` for each position (Floyd's algorithm, Bentley 1987)."""
    chosen = np.full((len(positions), n_draws), -1, dtype=np.int64)
    top = n_others[:, None] - n_draws + np.arange(n_draws)  # [P, n_draws]
    bits = random_bits(key, positions.astype(np.uint64)[:, None], np.arange(n_draws, dtype=np.uint64))
    number = (bits % (top + 1).astype(np.uint64)).astype(np.int64)
    for draw in range(n_draws):
        taken = (chosen[:, :draw] == number[:, draw, None]).any(axis=1)
        chosen[:, draw] = np.where(taken, top[:, draw], number[:, draw])
    return chosen


def draw_weighted(
    observed: NDArray[np.int32], positions: NDArray[np.int64], weights: Floats, n_particles: int, key: int
) -> Draws:
    """Draw replacements in proportion to weights, the heavy ones with certainty.

    Source: priority sampling (Duffield, Lund and Thorup 2007), normalised to the known total mass.

    Args:
        observed: Observed type at each position (int32, ``[P]``).
        positions: Positions (int64, ``[P]``), which key the draws.
        weights: Mass of every type (float64, ``[P, V]`` or ``[V]``, rows sum to 1).
        n_particles: Types to draw; all are enumerated when there are no more than this.
        key: Of the case and the seed.
    """
    rows = np.arange(len(observed))
    others = np.array(np.broadcast_to(weights, (len(observed), weights.shape[-1])), dtype=np.float64)
    observed_weight = others[rows, observed].copy()
    others[rows, observed] = 0.0
    n_types = others.shape[1]
    if n_particles >= n_types - 1:
        index = np.broadcast_to(np.arange(n_types - 1), (len(rows), n_types - 1))
        types = index + (index >= observed[:, None])
        weight = np.take_along_axis(others, types, axis=1)
        return Draws(types.astype(np.int32), weight, np.zeros_like(weight), observed_weight)
    unit = random_unit(key, positions.astype(np.uint64)[:, None], np.arange(n_types, dtype=np.uint64)[None, :])
    priority = others / unit
    best = np.argpartition(-priority, n_particles, axis=1)[:, : n_particles + 1]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(priority, best, 1), axis=1, kind="stable"), 1)
    threshold = np.take_along_axis(priority, best[:, -1:], 1)  # [P, 1]
    types = best[:, :-1]
    own = np.take_along_axis(others, types, 1)
    weight = np.where(own > 0, np.maximum(own, threshold), 0.0)
    total = weight.sum(axis=1, keepdims=True)
    scale = np.divide(1.0 - observed_weight[:, None], total, out=np.zeros_like(total), where=total > 0)
    variance = threshold * np.maximum(0.0, threshold - own) * scale**2 * (own > 0)
    variance *= n_particles / max(1, n_particles - 1)
    return Draws(types.astype(np.int32), weight * scale, variance, observed_weight)


def shuffled(draws: Draws, positions: NDArray[np.int64], key: int) -> Draws:
    """Put even draws (`draw_uniform`) in a random order, so that the first few are an even sample of their own."""
    column = np.arange(draws.types.shape[1], dtype=np.uint64)[None, :]
    order = np.argsort(random_bits(key ^ 0xF1E5, positions.astype(np.uint64)[:, None], column), axis=1)
    types, weight, variance, observed_weight = draws
    return Draws(
        np.take_along_axis(types, order, 1),
        np.take_along_axis(weight, order, 1),
        np.take_along_axis(variance, order, 1),
        observed_weight,
    )


def first_few(draws: Draws, n_few: int) -> Draws:
    """Return the first of `shuffled` even draws with weights and variances of their own.

    A random part of a sample without replacement is a sample without replacement.
    """
    n_all = draws.types.shape[1]
    if n_few == n_all:
        return draws
    mass = draws.weight.sum(axis=1, keepdims=True)  # of all types but the observed
    # The full sample's factor is mass² (1 - N / others) / (N (N - 1)): solve for N / others.
    share = 1 - draws.variance[:, :1] * n_all * max(1, n_all - 1) / mass**2
    factor = mass**2 * (1 - share * n_few / n_all) / (n_few * max(1, n_few - 1))
    shape = (len(mass), n_few)
    weight, variance = np.broadcast_to(mass / n_few, shape), np.broadcast_to(factor, shape)
    return Draws(draws.types[:, :n_few], weight, variance, draws.observed_weight)
