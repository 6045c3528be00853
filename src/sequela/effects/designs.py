"""Intervention designs: which branches to score for some causes, and what (p, q) they give (METHOD section 3).

``p`` is the probability of the observed effect with the cause as observed, ``q`` with the cause intervened on.

| design | what happens to the cause | what happens to the events between |
|---|---|---|
| atomic | replaced by a draw from the proposal | kept |
| leave-one-out | summed out under the density | kept, and taken as evidence about the cause |
| masked | hidden from a density trained with hidden events | kept |
| staircase | replaced by noise | replaced by noise, for p and q |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids
from sequela.effects import proposals as drawing
from sequela.effects.cmi import bernoulli_kl, clamp, slope_in_p, slope_in_q, with_observed
from sequela.effects.proposals import Draws
from sequela.errors import ConfigError
from sequela.events.hierarchy import siblings

DESIGNS = ("atomic", "leave-one-out", "masked", "staircase")
PROPOSALS = ("uniform", "unigram", "model", "siblings")
STATISTICS = ("kl_of_mean", "mean_of_kl", "both")


@dataclass(frozen=True)
class Problem:
    """One chunk of causes of one sequence.

    Attributes:
        density: The frozen density; asked here only for whole conditionals.
        ids: Observed events (int32, ``[L]``).
        causes: Positions of the causes (int64, ``[P]``, consecutive, each with at least one later event).
        horizon: Largest lag ``m``.
        context: Leading positions that are never causes.
        proposal: One of `PROPOSALS`.
        n_particles: Replacements a cause.
        key: Of the random draws of this case.
        statistic: One of `STATISTICS`.
        times: Seconds of the events (float64, ``[L]``), for a density that uses them.
        exclude_effect_type: Whether replacements of the effect's own type count for nothing, in pairs of different
            types (designs that change the cause alone).
        kept_components: Leading components of a cause that the proposal ``"siblings"`` keeps.
    """

    density: Density
    ids: Ids
    causes: NDArray[np.int64]
    horizon: int
    context: int
    proposal: str
    n_particles: int
    key: int
    statistic: str = "kl_of_mean"
    times: Floats | None = None
    exclude_effect_type: bool = False
    kept_components: int = 1


@dataclass(frozen=True)
class Cells:
    """Estimates for the causes of a problem; float64 ``[P, m]`` each, NaN where there is no effect."""

    cmi: Floats
    std_error: Floats
    log_p: Floats
    log_q: Floats
    q_std_error: Floats | None
    mean_of_kl: Floats | None
    n_clamped: int


class SingleCause:
    """Designs that change the cause alone: atomic, leave-one-out and masked."""

    def __init__(self, design: str, problem: Problem, *, draws: Draws | None = None) -> None:
        self.problem = problem
        self.weighs_mediators = design == "leave-one-out"
        if draws is not None:
            self.draws = draws
        elif design == "masked":
            shape = (len(problem.causes), 1)
            hidden = np.full(shape, problem.density.vocabulary.hidden_id, np.int32)
            self.draws = Draws(hidden, np.ones(shape), np.zeros(shape), np.zeros(shape[0]))
        else:
            self.draws = _draw(problem, with_rare=self.weighs_mediators)

    def branches(self) -> Branches:
        """Branch at each cause: the replacement, then the observed events (``P * N`` branches of ``m`` steps)."""
        return single_branches(self.problem, self.problem.causes, self.draws.types)

    def cells(self, scores: Floats, branch_scores: Floats, draws: Draws | None = None) -> Cells:
        """Turn log-probabilities (``[L]`` observed, ``[P * N, m]`` branches) into estimates."""
        types, weight, variance, observed_weight = draws or self.draws
        log_p = observed_band(scores, self.problem)  # [P, m]
        log_f = branch_scores.reshape(*types.shape, self.problem.horizon)  # [P, N, m]
        log_p, n_clamped_p = clamp(log_p)
        log_f, n_clamped_f = clamp(log_f)
        weight, variance = weight[..., None], variance[..., None]  # [P, N, 1], or [P, N, m]
        if self.problem.exclude_effect_type:
            kept = self._kept(types)
            weight, variance = weight * kept, variance * kept
        with np.errstate(divide="ignore"):
            log_weight = np.log(weight) + np.zeros_like(log_f)  # [P, N, m]
            log_own = np.log(observed_weight)[:, None] + np.zeros_like(log_p)  # [P, m]
        if self.weighs_mediators:
            # Evidence of the events between about the cause: what each replacement gave them.
            log_weight[..., 1:] += np.cumsum(log_f, axis=2)[..., :-1]
            log_own[:, 1:] += np.cumsum(log_p, axis=1)[:, :-1]
        top = np.maximum(log_weight.max(axis=1), log_own)
        mass, own = np.exp(log_weight - top[:, None]), np.exp(log_own - top)
        total = own + mass.sum(axis=1)
        f, p = np.exp(log_f), np.exp(log_p)
        q = (own * p + (mass * f).sum(axis=1)) / total
        log_q, n_clamped_q = clamp(np.log(q))
        n_clamped = n_clamped_p + n_clamped_f + n_clamped_q

        q_error = self._error(mass, total, weight, variance, f - q[:, None])
        cmi = bernoulli_kl(log_p, log_q)
        std_error = np.abs(slope_in_q(log_p, log_q)) * q_error
        other = None
        if self.problem.statistic != "kl_of_mean":
            each = bernoulli_kl(log_p[:, None], log_f)  # the observed type itself diverges by 0
            other = (mass * each).sum(axis=1) / total
            if self.problem.statistic == "mean_of_kl":
                error = self._error(mass, total, weight, variance, each - other[:, None])
                return Cells(other, error, log_p, log_q, None, other, n_clamped)
        n = types.shape[1]
        unseen = variance.sum(axis=1) * (n - 1) / n / np.maximum(weight.sum(axis=1), 1e-150) ** 2  # [P, 1 or m]
        q_error = with_observed(q_error, p - q, unseen, n)
        return Cells(cmi, std_error, log_p, log_q, q_error, other, n_clamped)

    @staticmethod
    def _error(mass: Floats, total: Floats, weight: Floats, variance: Floats, deviation: Floats) -> Floats:
        """Standard error of a ratio of weighted sums, by linearisation."""
        with np.errstate(divide="ignore", invalid="ignore"):
            tilt = np.where(weight > 0, mass / weight, 0.0) / total[:, None]
        residual = tilt * deviation  # [P, N, m]
        share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        centred = residual - (share * residual).sum(axis=1, keepdims=True)
        error: Floats = np.sqrt((variance * centred**2).sum(axis=1))
        return error

    def _kept(self, types: Ids) -> NDArray[np.bool_]:
        """Return which replacements count at each lag (``[P, N, m]``): not those of the effect's own type."""
        problem = self.problem
        place = problem.causes[:, None] + 1 + np.arange(problem.horizon)
        effect = problem.ids[np.minimum(place, len(problem.ids) - 1)]  # [P, m]
        own = effect == problem.ids[problem.causes][:, None]
        kept: NDArray[np.bool_] = (types[..., None] != effect[:, None]) | own[:, None]
        return kept


def single_branches(problem: Problem, causes: NDArray[np.int64], types: Ids) -> Branches:
    """Return branches that put each type of ``[n, N]`` in the place of its cause (``[n]``) and keep the rest."""
    place = causes[:, None] + np.arange(problem.horizon)
    observed = problem.ids[np.minimum(place, len(problem.ids) - 1)]  # [n, m]
    tails = np.repeat(observed, types.shape[1], axis=0)
    tails[:, 0] = types.ravel()
    return Branches(problem.ids, np.repeat(causes, types.shape[1]), tails, problem.times)


class Staircase:
    """Row ``r`` keeps everything before position ``r`` and has noise from there on; a cause is the step between rows.

    One noise vector over positions per particle, shared by all rows. When all noise vectors that a row can see are no
    more than the particles, they are enumerated: position ``t`` takes digit ``t mod m`` of the vector's number.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows = np.append(problem.causes, problem.causes[-1] + 1)
        place = np.arange(self.rows[0], min(len(problem.ids), self.rows[-1] + problem.horizon))
        weights = _proposal_weights(problem, place, with_rare=False)
        n_types = weights.shape[1]
        n_vectors = n_types**problem.horizon if problem.horizon * np.log2(n_types) < 40 else np.inf
        self.exact = n_vectors <= problem.n_particles
        if self.exact:
            number = np.arange(int(n_vectors))[:, None]
            self.noise = (number // n_types ** (place % problem.horizon)[None, :]) % n_types  # [N, places]
            # Mass of a vector for one row: the product of its digits' masses over the positions the row can see.
            digit_mass = np.ones((len(self.rows), len(number)))
            for i, row in enumerate(self.rows):
                for step in range(problem.horizon):
                    if row + step < len(problem.ids):
                        offset = row + step - problem.causes[0]
                        digit_mass[i] *= weights[offset, self.noise[:, offset]]
            self.row_weight = digit_mass / digit_mass.sum(axis=1, keepdims=True)
        else:
            unit = drawing.random_unit(
                problem.key,
                place.astype(np.uint64)[None, :],
                np.arange(problem.n_particles, dtype=np.uint64)[:, None],
            )
            cumulative = np.cumsum(weights, axis=1)
            self.noise = np.stack(
                [np.searchsorted(cumulative[i], unit[:, i] * cumulative[i, -1]) for i in range(len(place))],
                axis=1,
            )
            self.noise = np.minimum(self.noise, n_types - 1)
            self.row_weight = np.full((len(self.rows), problem.n_particles), 1.0 / problem.n_particles)

    def branches(self) -> Branches:
        """One branch a row and particle: noise from the row's position on."""
        ids, rows = self.problem.ids, self.rows
        place = rows[:, None] + np.arange(self.problem.horizon) - self.problem.causes[0]  # [R, m]
        tails = self.noise[:, np.minimum(place, self.noise.shape[1] - 1)]  # [N, R, m]
        tails = np.ascontiguousarray(tails.transpose(1, 0, 2)).reshape(-1, self.problem.horizon)
        return Branches(ids, np.repeat(rows, self.noise.shape[0]), tails.astype(np.int32), self.problem.times)

    def cells(self, scores: Floats, branch_scores: Floats) -> Cells:
        """Turn log-probabilities into estimates; see `SingleCause.cells`."""
        n_particles, horizon, n_causes = self.noise.shape[0], self.problem.horizon, len(self.problem.causes)
        rows, n_clamped = clamp(branch_scores.reshape(-1, n_particles, horizon))
        log_q_each = rows[:n_causes]  # [P, N, m]
        # With the cause kept, its neighbour sees no noise; later effects read the next row, one step earlier.
        log_p_each = np.full_like(log_q_each, np.nan)
        log_p_each[:, :, 0] = clamp(observed_band(scores, self.problem)[:, :1])[0]
        log_p_each[:, :, 1:] = rows[1:, :, :-1]
        weight_q, weight_p = self.row_weight[:n_causes, :, None], self.row_weight[1:, :, None]
        p_each, q_each = np.exp(log_p_each), np.exp(log_q_each)
        p, q = (weight_p * p_each).sum(axis=1), (weight_q * q_each).sum(axis=1)
        log_p, log_q = clamp(np.log(p))[0], clamp(np.log(q))[0]
        gradient = (
            slope_in_p(log_p, log_q)[:, None] * (p_each - p[:, None])
            + slope_in_q(log_p, log_q)[:, None] * (q_each - q[:, None])
        )  # fmt: skip
        cmi = bernoulli_kl(log_p, log_q)
        std_error = self._error(gradient)
        other = None
        if self.problem.statistic != "kl_of_mean":
            each = bernoulli_kl(log_p_each, log_q_each)
            other = (weight_q * each).sum(axis=1)
            if self.problem.statistic == "mean_of_kl":
                cmi, std_error = other, self._error(each - other[:, None])
        return Cells(cmi, std_error, log_p, log_q, None, other, n_clamped)

    def _error(self, deviation: Floats) -> Floats:
        n = deviation.shape[1]
        squares: Floats = (deviation**2).sum(axis=1)
        return np.where(np.isnan(squares), np.nan, 0.0) if self.exact else np.sqrt(squares / (n * max(1, n - 1)))


def make_design(design: str, problem: Problem) -> SingleCause | Staircase:
    """Return the design by its name (one of `DESIGNS`)."""
    return Staircase(problem) if design == "staircase" else SingleCause(design, problem)


def default_proposal(design: str, proposal: str | None) -> str:
    """Return the proposal to use; raise `ConfigError` for one that the design has no use for."""
    if design in ("leave-one-out", "masked"):
        if proposal not in (None, "model"):
            raise ConfigError(
                f"the design '{design}' sums the cause out under the density itself; proposal must be 'model' or left "
                f"out, got {proposal!r}"
            )
        return "model"
    if proposal == "siblings" and design != "atomic":
        raise ConfigError(f"the proposal 'siblings' goes with the design 'atomic' only; got '{design}'")
    return proposal or "uniform"


def observed_band(scores: Floats, problem: Problem) -> Floats:
    """Return ``log P(x_q | x_<q)`` at cause and lag (float64, ``[P, m]``; NaN past the end)."""
    effect = problem.causes[:, None] + 1 + np.arange(problem.horizon)
    inside = effect < len(scores)
    band: Floats = np.where(inside, scores[np.minimum(effect, len(scores) - 1)], np.nan)
    return band


def _draw(problem: Problem, *, with_rare: bool) -> Draws:
    observed = problem.ids[problem.causes]
    vocabulary = problem.density.vocabulary
    if problem.proposal == "siblings":
        groups = siblings(vocabulary, problem.kept_components)
        return drawing.draw_siblings(observed, problem.causes, groups, problem.n_particles, problem.key)
    if problem.proposal == "uniform":
        n_real = vocabulary.n_types - (vocabulary.rare_id is not None)
        return drawing.draw_uniform(observed, problem.causes, n_real, problem.n_particles, problem.key)
    weights = _proposal_weights(problem, problem.causes, with_rare=with_rare)
    if weights.shape[1] < vocabulary.n_types:  # <rare> may be observed though it is never drawn
        weights = np.pad(weights, ((0, 0), (0, vocabulary.n_types - weights.shape[1])))
    return drawing.draw_weighted(observed, problem.causes, weights, problem.n_particles, problem.key)


def _proposal_weights(problem: Problem, positions: NDArray[np.int64], *, with_rare: bool) -> Floats:
    """Return the proposal's mass of every type at positions (float64, ``[n, V]``; ``<rare>`` left out unless asked)."""
    vocabulary = problem.density.vocabulary
    keep = vocabulary.n_types - (vocabulary.rare_id is not None and not with_rare)
    if problem.proposal == "uniform":
        return np.full((len(positions), keep), 1.0 / keep)
    if problem.proposal == "unigram":
        weights = np.broadcast_to(vocabulary.frequencies[:keep], (len(positions), keep))
    else:
        weights = np.exp(problem.density.conditional(problem.ids, positions, problem.times)[:, :keep])
    normal: Floats = weights / weights.sum(axis=1, keepdims=True)
    return normal
