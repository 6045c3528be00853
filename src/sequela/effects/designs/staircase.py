"""The paper's design: everything from a row on is noise, and a cause is the step between two rows.

One noise vector over positions per particle, shared by all rows. When all noise vectors that a row can see are no more
than the particles, they are enumerated: position ``t`` takes digit ``t mod m`` of the vector's number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats
from sequela.effects.cmi import bernoulli_kl, clamp, slope_in_p, slope_in_q
from sequela.effects.designs.problem import Cells, Inquiry, Problem
from sequela.effects.proposals import random_unit


@dataclass(frozen=True)
class Noise:
    """What stands at every position from the first row on.

    Attributes:
        rows: Row ``r`` keeps everything before position ``r`` (int64, ``[R]``, sorted): each cause, and one after it.
        types: Noise from the first row's position on (int64, ``[N, places]``).
        weight: Mass of each vector for each row (float64, ``[R, N]``).
        exact: Whether all vectors are enumerated.
    """

    rows: NDArray[np.int64]
    types: NDArray[np.int64]
    weight: Floats
    exact: bool


def staircase(problem: Problem) -> Inquiry:
    """Replace the cause, and all between it and the effect, by noise."""
    noise = draw_noise(problem)
    place = noise.rows[:, None] + np.arange(problem.horizon) - noise.rows[0]  # [R, m]
    tails = noise.types[:, np.minimum(place, noise.types.shape[1] - 1)]  # [N, R, m]
    tails = np.ascontiguousarray(tails.transpose(1, 0, 2)).reshape(-1, problem.horizon)
    starts = np.repeat(noise.rows, len(noise.types))
    scores = yield Branches(problem.ids, starts, tails.astype(np.int32), problem.case.times)
    return _steps(problem, noise, problem.observed(scores.observed), scores.branches)


def draw_noise(problem: Problem) -> Noise:
    """Draw noise, or enumerate it."""
    rows = np.union1d(problem.causes, problem.causes + 1)
    place = np.arange(rows[0], min(len(problem.ids), rows[-1] + problem.horizon))
    weights = problem.proposal_weights(place)
    n_types, n_particles = weights.shape[1], problem.settings.n_particles
    n_vectors = n_types**problem.horizon if problem.horizon * np.log2(n_types) < 40 else np.inf
    if n_vectors <= n_particles:
        number = np.arange(int(n_vectors))[:, None]
        digit = (place + problem.case.first) % problem.horizon
        types = (number // n_types**digit) % n_types  # [N, places]
        # Mass of a vector for one row: the product of its digits' masses over the positions the row can see.
        mass = np.ones((len(rows), len(number)))
        for i, row in enumerate(rows):
            for step in range(min(problem.horizon, len(problem.ids) - int(row))):
                mass[i] *= weights[row + step - rows[0], types[:, row + step - rows[0]]]
        return Noise(rows, types, mass / mass.sum(axis=1, keepdims=True), exact=True)
    particle = np.arange(n_particles, dtype=np.uint64)[:, None]
    unit = random_unit(problem.key, (place + problem.case.first).astype(np.uint64)[None, :], particle)
    cumulative = np.cumsum(weights, axis=1)
    types = np.stack(
        [np.searchsorted(cumulative[i], unit[:, i] * cumulative[i, -1]) for i in range(len(place))], axis=1
    )
    even = np.full((len(rows), n_particles), 1.0 / n_particles)
    return Noise(rows, np.minimum(types, n_types - 1), even, exact=False)


def _steps(problem: Problem, noise: Noise, observed: Floats, branch_scores: Floats) -> Cells:
    """Compare neighbouring rows: with the cause kept, and with it replaced."""
    statistic = problem.settings.statistic
    own, after = np.searchsorted(noise.rows, problem.causes), np.searchsorted(noise.rows, problem.causes + 1)
    rows, n_clamped = clamp(branch_scores.reshape(-1, len(noise.types), problem.horizon))
    log_q_each = rows[own]  # [P, N, m]
    # With the cause kept, its neighbour sees no noise; later effects read the next row, one step earlier.
    log_p_each = np.full_like(log_q_each, np.nan)
    log_p_each[:, :, 0] = clamp(observed[:, :1])[0]
    log_p_each[:, :, 1:] = rows[after, :, :-1]
    weight_q, weight_p = noise.weight[own, :, None], noise.weight[after, :, None]
    p_each, q_each = np.exp(log_p_each), np.exp(log_q_each)
    p, q = (weight_p * p_each).sum(axis=1), (weight_q * q_each).sum(axis=1)
    log_p, log_q = clamp(np.log(p))[0], clamp(np.log(q))[0]
    gradient = (
        slope_in_p(log_p, log_q)[:, None] * (p_each - p[:, None])
        + slope_in_q(log_p, log_q)[:, None] * (q_each - q[:, None])
    )  # fmt: skip
    cmi = bernoulli_kl(log_p, log_q)
    std_error = _mean_error(gradient, exact=noise.exact)
    other = None
    if statistic != "kl_of_mean":
        each = bernoulli_kl(log_p_each, log_q_each)
        other = (weight_q * each).sum(axis=1)
        if statistic == "mean_of_kl":
            cmi, std_error = other, _mean_error(each - other[:, None], exact=noise.exact)
    return Cells(cmi, std_error, log_p, log_q, None, other, n_clamped)


def _mean_error(deviation: Floats, *, exact: bool) -> Floats:
    n = deviation.shape[1]
    squares: Floats = (deviation**2).sum(axis=1)
    return np.where(np.isnan(squares), np.nan, 0.0) if exact else np.sqrt(squares / (n * max(1, n - 1)))
