"""Designs that change the cause alone: atomic, leave-one-out and masked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Floats, Ids
from sequela.effects.cmi import bernoulli_kl, clamp, slope_in_q, with_observed
from sequela.effects.designs.problem import Cells, Inquiry, Problem
from sequela.effects.proposals import Draws


def atomic(problem: Problem) -> Inquiry:
    """Replace the cause by draws from the proposal, keep the rest."""
    draws = problem.draw()
    scores = yield problem.branches(draws.types)
    return replaced(problem, draws, problem.observed(scores.observed), scores.branches)


def leave_one_out(problem: Problem) -> Inquiry:
    """Sum the cause out under the density, given the events between cause and effect."""
    draws = problem.draw(with_rare=True)
    scores = yield problem.branches(draws.types, mediators=True)
    log_p = problem.observed(scores.observed)
    return replaced(problem, draws, log_p, scores.branches, weigh_mediators=True)


def masked(problem: Problem) -> Inquiry:
    """Hide the cause from a density that knows hidden events."""
    shape = (len(problem.causes), 1)
    hidden = np.full(shape, problem.density.vocabulary.hidden_id, np.int32)
    draws = Draws(hidden, np.ones(shape), np.zeros(shape), np.zeros(shape[0]))
    scores = yield problem.branches(draws.types)
    return replaced(problem, draws, problem.observed(scores.observed), scores.branches)


def replaced(
    problem: Problem,
    draws: Draws,
    log_p: Floats,
    branch_scores: Floats,
    *,
    weigh_mediators: bool = False,
    statistic: str | None = None,
) -> Cells:
    """Turn log-probabilities with the causes replaced into estimates.

    Args:
        problem: What is asked.
        draws: The replacements.
        log_p: Log-probability of each effect as observed (float64, ``[P, m]``).
        branch_scores: The same for each replacement (float64, ``[P * N, m]``).
        weigh_mediators: Weigh each replacement by how likely it makes the events between.
        statistic: One of `STATISTICS`, by default the problem's.
    """
    statistic = statistic or problem.settings.statistic
    kept = kept_draws(draws.types, problem.effects, problem) if problem.settings.exclude_effect_type else None
    log_f = branch_scores.reshape(*draws.types.shape, problem.horizon)  # [P, N, m]
    return mean_effect(draws, log_p, log_f, statistic=statistic, kept=kept, weigh_mediators=weigh_mediators)


def kept_draws(types: Ids, effects: Ids, problem: Problem) -> NDArray[np.bool_]:
    """Return which replacements count at each lag (bool, ``[P, N, m]``): not those of the effect's own type."""
    own = effects == problem.ids[problem.causes][:, None]
    kept: NDArray[np.bool_] = (types[..., None] != effects[:, None]) | own[:, None]
    return kept


def mean_effect(
    draws: Draws,
    log_p: Floats,
    log_f: Floats,
    *,
    statistic: str = "kl_of_mean",
    kept: NDArray[np.bool_] | None = None,
    weigh_mediators: bool = False,
) -> Cells:
    """Compare an effect as observed with its weighted mean over replacements of the cause.

    Args:
        draws: Replacements of each cause (``[P, N]``).
        log_p: Log-probability of each effect as observed (float64, ``[P, m]``; NaN where there is none).
        log_f: The same for each replacement (float64, ``[P, N, m]``).
        statistic: One of `STATISTICS`.
        kept: Which replacements count (bool, ``[P, N, m]``); all by default.
        weigh_mediators: Weigh each replacement by how likely it makes the events before the effect.

    Returns:
        Estimates (``[P, m]``).
    """
    types, weight, variance, observed_weight = draws
    log_p, n_clamped_p = clamp(log_p)
    log_f, n_clamped_f = clamp(log_f)
    weight, variance = weight[..., None], variance[..., None]  # [P, N, 1], or [P, N, m]
    if kept is not None:
        weight, variance = weight * kept, variance * kept
    with np.errstate(divide="ignore"):
        log_weight = np.log(weight) + np.zeros_like(log_f)  # [P, N, m]
        log_own = np.log(observed_weight)[:, None] + np.zeros_like(log_p)  # [P, m]
    if weigh_mediators:
        # Evidence of the events between about the cause: what each replacement gave them.
        log_weight[..., 1:] += np.cumsum(log_f, axis=2)[..., :-1]
        log_own[:, 1:] += np.cumsum(log_p, axis=1)[:, :-1]
    top = np.maximum(log_weight.max(axis=1), log_own)
    mass, own = np.exp(log_weight - top[:, None]), np.exp(log_own - top)
    total = own + mass.sum(axis=1)
    f, p = np.exp(log_f), np.exp(log_p)
    if statistic == "kl_of_median":
        each, masses = np.concatenate([f, p[:, None]], axis=1), np.concatenate([mass, own[:, None]], axis=1)
        return _median_effect(log_p, each, masses, variance)
    q = (own * p + (mass * f).sum(axis=1)) / total
    log_q, n_clamped_q = clamp(np.log(q))
    n_clamped = n_clamped_p + n_clamped_f + n_clamped_q

    q_error = _ratio_error(mass, total, weight, variance, f - q[:, None])
    cmi = bernoulli_kl(log_p, log_q)
    std_error = np.abs(slope_in_q(log_p, log_q)) * q_error
    other = None
    if statistic != "kl_of_mean":
        each = bernoulli_kl(log_p[:, None], log_f)  # the observed type itself diverges by 0
        other = (mass * each).sum(axis=1) / total
        if statistic == "mean_of_kl":
            error = _ratio_error(mass, total, weight, variance, each - other[:, None])
            return Cells(other, error, log_p, log_q, None, other, n_clamped)
    n = types.shape[1]
    unseen = variance.sum(axis=1) * (n - 1) / n / np.maximum(weight.sum(axis=1), 1e-150) ** 2  # [P, 1 or m]
    q_error = with_observed(q_error, p - q, unseen, n)
    return Cells(cmi, std_error, log_p, log_q, q_error, other, n_clamped)


def _median_effect(log_p: Floats, f: Floats, mass: Floats, variance: Floats) -> Cells:
    """Compare an effect as observed with its median over replacements and the observed type, the last of ``[P, N, m]``.

    Standard error: that of a sample median of a normal law, 1.2533 standard deviations (from the quartiles) over the
    root of the draws, times the factor for draws without replacement.
    """
    f = np.where(mass > 0, f, np.inf)  # what pads comes last
    order = np.argsort(f, axis=1)
    values, share = np.take_along_axis(f, order, 1), np.take_along_axis(mass, order, 1)
    cumulative = np.cumsum(share, axis=1) / share.sum(axis=1, keepdims=True)
    q = _quantile(values, cumulative, 0.5)
    spread = (_quantile(values, cumulative, 0.75) - _quantile(values, cumulative, 0.25)) / 1.349
    n = max(1, f.shape[1] - 1)
    # Each draw of an even sample has variance mass² (1 - N / others) / (N (N - 1)).
    unseen = variance.sum(axis=1) * (n - 1)  # about 1 - N / others, 0 where all are enumerated
    q_error = np.where(unseen > 0, 1.2533 * spread * np.sqrt(np.maximum(unseen, 0.0) / n), 0.0)
    log_q, n_clamped = clamp(np.log(q))
    cmi = bernoulli_kl(log_p, log_q)
    return Cells(cmi, np.abs(slope_in_q(log_p, log_q)) * q_error, log_p, log_q, q_error, None, n_clamped)


def _quantile(values: Floats, cumulative: Floats, level: float) -> Floats:
    """Return the lowest sorted value whose cumulative share exceeds a level; where one meets it, halfway on."""
    met = np.abs(cumulative - level) < 1e-9
    first = np.argmax(cumulative > level + 1e-9, axis=1)[:, None]
    upper = np.take_along_axis(values, first, 1)[:, 0]
    lower = np.take_along_axis(values, np.maximum(first - 1, 0), 1)[:, 0]
    quantile: Floats = np.where(met.any(axis=1), (lower + upper) / 2, upper)
    return np.where(np.isnan(cumulative[:, -1]), np.nan, quantile)


def _ratio_error(mass: Floats, total: Floats, weight: Floats, variance: Floats, deviation: Floats) -> Floats:
    """Return the standard error of a ratio of weighted sums, by linearisation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        tilt = np.where(weight > 0, mass / weight, 0.0) / total[:, None]
    residual = tilt * deviation  # [P, N, m]
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    centred = residual - (share * residual).sum(axis=1, keepdims=True)
    error: Floats = np.sqrt((variance * centred**2).sum(axis=1))
    return error
