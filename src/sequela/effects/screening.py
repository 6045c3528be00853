"""A few replacements for all pairs, more for those that are not decided, all for those that still are not.

Each stage scores only the pairs of positions (cause, effect) that are still open. The few are a random part of the full
budget's own draws, so a pair that gets all of them has the result of the full budget (to rounding). A pair stops as
soon as it is decided: *edge* when the lower bound of its effect is above the threshold, *no edge* when the upper bound
is below. A few replacements that agree can miss the types that matter. So where one of the few, in this place or
further from the same effect, made the effect clearly less likely, the upper bound must stay below the threshold even if
one more replacement made the effect impossible.

The bounds' levels follow from the share of pairs whose decision may differ from the full budget's. Most pairs are far
from the threshold, so that share is far below the error of one close pair: the factors were chosen on worlds that no
published number rests on (`benchmarks/screening.py` measures on others).

Where the processor is fast with 16-bit numbers the stages are computed in them, and pairs near the threshold then get
all replacements in float32 (`NEAR_NATS`).

Some causes, chosen by a hash, get all replacements anyway. How many of their pairs would have been decided otherwise is
counted: the estimate of the error that every run reports.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids
from sequela.density.runtime.precision import screening_density
from sequela.effects.cmi import CMIEstimate, bernoulli_kl, clamp
from sequela.effects.designs import Cells, Design, Inquiry, Problem, Rough, Scores
from sequela.effects.designs.single_cause import atomic, mean_effect
from sequela.effects.proposals import Draws, first_few, random_bits, shuffled
from sequela.effects.thresholds import EffectSize, Fixed, Threshold
from sequela.errors import ConfigError

FEW = 3
"""Replacements of the first stage; each later stage has twice as many as the one before, the last all."""
FEWEST_OF_ALL = 16
"""With fewer replacements than this in all, stages save nothing."""
DEFAULT_ERROR = 0.005
"""Share of pairs that may be decided otherwise, when nothing is said."""
_LEVELS: dict[type, tuple[float, float]] = {EffectSize: (20.0, 0.02), Fixed: (10.0, 10.0)}
"""Error levels of one "no" and of one "yes", as multiples of the share of pairs. The effect-size rule wants the lower
bound of all replacements above its cut: a pair near the cut is no edge by that rule, and must not become one early."""
_LOOSEST = 0.25
"""Most of either."""
_FELL = 0.9
"""Factor below which a replacement makes an effect clearly less likely."""
NEAR_NATS = 0.005
"""Pairs whose lower bound is as near as this to the threshold are asked in float32 where the others were not. Measured:
near the threshold bfloat16 moves an effect by at most 0.001 nats."""
_LEAST_CUT = 4 * NEAR_NATS
"""With a lower threshold than this nearly all pairs would be near."""
_AUDITED = 128
"""One of so many causes gets all replacements, to count how often the stages err."""
COUNTS = ("n_replacements", "n_pairs_stopped_early", "n_pairs_audited", "n_pairs_decided_otherwise")
"""Of an estimate's `counts`: pairs times replacements scored; pairs decided by fewer than all; pairs that were given
all to count errors, and how many of these would have been decided otherwise."""


def screening_applies(design: str, proposal: str, statistic: str, rule: Threshold) -> bool:
    """Return whether pairs can be decided in stages: what is estimated is one mean over even draws, cut in nats."""
    known = design == "atomic" and proposal == "uniform" and statistic == "kl_of_mean"
    return known and isinstance(rule, EffectSize | Fixed)


def check_screening(design: str, proposal: str, statistic: str, rule: Threshold) -> None:
    """Raise `ConfigError` where pairs cannot be decided in stages."""
    if not screening_applies(design, proposal, statistic, rule):
        raise ConfigError(
            "screening needs design 'atomic', proposal 'uniform', statistic 'kl_of_mean' and a threshold in nats "
            f"('effect-size', 'fixed' or 'vocabulary'); got '{design}', '{proposal}', '{statistic}' and "
            f"'{type(rule).__name__}': leave screening as 'auto', or set it to 0"
        )


def stage_sizes(n_particles: int) -> list[int]:
    """Return how many replacements a pair has after each stage.

    Example:
        >>> stage_sizes(32), stage_sizes(8)
        ([3, 8, 16, 32], [8])
    """
    sizes = [n_particles]
    while n_particles >= FEWEST_OF_ALL and sizes[0] > 2 * FEW + 2:
        sizes.insert(0, sizes[0] // 2)
    return [FEW, *sizes] if n_particles >= FEWEST_OF_ALL else sizes


@dataclass(frozen=True)
class Rule:
    """When a pair is decided.

    Attributes:
        threshold: Decides when all replacements are known.
        error: Share of pairs whose decision may differ from that.
    """

    threshold: EffectSize | Fixed
    error: float

    @property
    def cut(self) -> float:
        """The threshold in nats."""
        return self.threshold.delta if isinstance(self.threshold, EffectSize) else self.threshold.tau

    def may_round(self, density: Density) -> bool:
        """Return whether pairs far from the threshold are decided by 16-bit numbers."""
        return self.cut >= _LEAST_CUT and screening_density(density) is not density

    def near(self, cells: Cells, n: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs are so near the threshold that 16-bit numbers must not decide them (bool, ``[pairs]``).

        Args:
            cells: Their estimates (``[pairs, 1]``).
            n: Replacements that each rests on (``[pairs]``).
        """
        lower = cells.cmi[:, 0]
        if isinstance(self.threshold, EffectSize):
            level = _two_sided(self.threshold.confidence_level)
            lower = _estimate(cells, n[:, None], slice(None)).interval(level)[0][:, 0]
        near: NDArray[np.bool_] = np.abs(lower - self.cut) < NEAR_NATS
        return near

    def decided(self, cells: Cells, n: int, doubtful: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which pairs are surely no edges, and which surely are (bool, ``[pairs]`` each).

        Args:
            cells: Their estimates so far (``[pairs, 1]``).
            n: Replacements these rest on.
            doubtful: Pairs whose few replacements may have been drawn badly (bool, ``[pairs]``).
        """
        no, yes = (1 - min(_LOOSEST, factor * self.error) for factor in _LEVELS[type(self.threshold)])
        cut = self.cut
        if isinstance(self.threshold, EffectSize):
            yes = max(yes, self.threshold.confidence_level)
        surely_not, surely = (np.zeros(len(doubtful), dtype=bool) for _ in range(2))
        under = cells.cmi[:, 0] < cut
        below, above = _estimate(cells, n, under), _estimate(cells, n, ~under)
        impossible = bernoulli_kl(below.log_p, clamp(below.log_q + np.log(n / (n + 1)))[0])[:, 0]
        surely_not[under] = (
            np.maximum(below.interval(_two_sided(no))[1][:, 0], np.where(doubtful[under], impossible, 0.0)) < cut
        )
        surely[~under] = above.interval(_two_sided(yes))[0][:, 0] > cut
        return surely_not, surely


def _two_sided(level: float) -> float:
    return max(2 * level - 1, 1e-12)


def screened(threshold: Threshold, error: float) -> Design:
    """Return the design ``"atomic"`` that asks in stages.

    Args:
        threshold: What decides.
        error: Share of pairs whose decision may differ from the full budget's.
    """
    assert isinstance(threshold, EffectSize | Fixed)
    rule = Rule(threshold, error)

    def design(problem: Problem) -> Inquiry:
        sizes, vocabulary = stage_sizes(problem.settings.n_particles), problem.density.vocabulary
        n_others = vocabulary.n_types - vocabulary.has_rare - 1
        if len(sizes) == 1 or sizes[-1] >= n_others:  # nothing is saved where all types are enumerated
            return (yield from atomic(problem))
        return (yield from _in_stages(problem, sizes, rule))

    return design


def _in_stages(asked: Problem, sizes: Sequence[int], rule: Rule) -> Inquiry:
    """Ask for the pairs that are open, stage by stage.

    The first stage takes in the causes just before those of the problem: what they tell of its effects must not depend
    on how a case is cut into problems.
    """
    early = np.arange(max(0, asked.causes[0] - asked.horizon + 1), asked.causes[0])
    problem = replace(asked, causes=np.concatenate([early, asked.causes]))
    rounds = rule.may_round(problem.density)
    ask = Rough if rounds else _as_they_are
    draws = shuffled(problem.draw(), problem.positions, problem.key)
    row, column = np.nonzero(problem.inside & (problem.causes[:, None] + np.arange(problem.horizon) >= asked.causes[0]))
    scores = yield ask(_branches(problem, draws.types[:, : sizes[0]], row, column))
    log_p = problem.observed(scores.observed)[row, column]
    log_f = _picked(scores.branches, row, column, sizes[0])
    doubtful = _doubtful(problem, row, column, log_f.min(axis=1) < log_p + np.log(_FELL))

    own = row >= len(early)
    row, column, log_p, log_f, doubtful = row[own], column[own], log_p[own], log_f[own], doubtful[own]
    audited = random_bits(problem.key ^ 0xA0D17, problem.positions.astype(np.uint64))[row] % np.uint64(_AUDITED) == 0
    first = np.full(len(row), -1)  # what the stages decided: 0, 1, or -1 for not yet
    stopped = np.full(len(row), sizes[-1])
    result = _Result(len(row))
    still = np.arange(len(row))
    for size, following in zip(sizes, [*sizes[1:], 0], strict=True):
        cells = _cells(problem, first_few(draws, size), row[still], column[still], log_p[still], log_f)
        result.put(still, cells)
        if not following:
            break
        no, yes = rule.decided(cells, size, doubtful[still])
        new = first[still] < 0
        first[still] = np.where(new & (no | yes), yes, first[still])
        go = (first[still] < 0) | audited[still]
        stopped[still[~go]] = size
        still, log_f = still[go], log_f[go]
        scores = yield ask(_branches(problem, draws.types[:, size:following], row[still], column[still]))
        log_f = np.concatenate([log_f, _picked(scores.branches, row[still], column[still], following - size)], axis=1)
    n_scored = int(stopped.sum())
    if rounds:
        near = np.flatnonzero(rule.near(result.cells(), stopped))
        yield from _asked_exactly(problem, draws, row, column, near, result)
        stopped[near] = sizes[-1]
        n_scored += len(near) * sizes[-1]
    final = rule.threshold.edges(_estimate(result.cells(), sizes[-1], audited))[:, 0]
    otherwise = (first[audited] >= 0) & (first[audited] != final)
    counted = (n_scored, (stopped < sizes[-1]).sum(), audited.sum(), otherwise.sum())
    return result.banded(asked.inside, stopped, dict(zip(COUNTS, map(int, counted), strict=True)))


def _as_they_are(branches: Branches) -> Branches:
    return branches


def _asked_exactly(
    problem: Problem,
    draws: Draws,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    near: NDArray[np.int64],
    result: _Result,
) -> Generator[Branches | Rough, Scores, None]:
    """Estimate pairs by all replacements, in float32."""
    if not len(near):
        return
    row, column, n = row[near], column[near], draws.types.shape[1]
    scores = yield _branches(problem, draws.types, row, column)
    log_p = problem.observed(scores.observed)[row, column]
    log_f = _picked(scores.branches, row, column, n)
    result.put(near, _cells(problem, first_few(draws, n), row, column, log_p, log_f))


def _doubtful(
    problem: Problem, row: NDArray[np.int64], column: NDArray[np.int64], fell: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return for each pair whether the effect fell in it, or in a pair of the same effect and a larger lag."""
    effect = problem.causes[row] + column - problem.causes[0]
    seen = np.zeros((int(effect.max(initial=0)) + 1, problem.horizon), dtype=bool)
    seen[effect, column] = fell
    seen = np.logical_or.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
    found: NDArray[np.bool_] = seen[effect, column]
    return found


def _branches(problem: Problem, types: Ids, row: NDArray[np.int64], column: NDArray[np.int64]) -> Branches:
    """Return the branches of the causes that have open pairs, with the steps that these need."""
    wanted = np.zeros((len(problem.causes), problem.horizon), dtype=bool)
    wanted[row, column] = True
    rows = np.flatnonzero(wanted.any(axis=1))
    n_steps = int(column.max(initial=0)) + 1
    n = types.shape[1]
    place = problem.causes[rows][:, None] + np.arange(n_steps)
    tails = np.repeat(problem.ids[np.minimum(place, len(problem.ids) - 1)], n, axis=0)
    tails[:, 0] = types[rows].ravel()
    return Branches(
        problem.ids, np.repeat(problem.causes[rows], n), tails, problem.case.times,
        np.repeat(wanted[rows, :n_steps], n, axis=0),
    )  # fmt: skip


def _picked(scores: Floats, row: NDArray[np.int64], column: NDArray[np.int64], n: int) -> Floats:
    """Return the log-probabilities of the open pairs (float64, ``[pairs, n]``)."""
    _, place = np.unique(row, return_inverse=True)
    picked: Floats = scores.reshape(-1, n, scores.shape[1])[place, :, column]
    return picked


def _cells(
    problem: Problem, draws: Draws, row: NDArray[np.int64], column: NDArray[np.int64], log_p: Floats, log_f: Floats
) -> Cells:
    """Return the estimates of pairs, each as a cause of its own with one lag (``[pairs, 1]``)."""
    own = draws.of(row)
    kept = None
    if problem.settings.exclude_effect_type:
        effect = problem.effects[row, column][:, None]
        cause = problem.ids[problem.causes[row]][:, None]
        kept = ((own.types != effect) | (effect == cause))[..., None]
    return mean_effect(own, log_p[:, None], log_f[..., None], kept=kept)


_ARRAYS = ("cmi", "std_error", "log_p", "log_q", "q_std_error")


class _Result:
    """Estimates of pairs so far.

    Attributes:
        values: A row for each of `_ARRAYS` (float64, ``[5, pairs]``).
        n_clamped: Most log-probabilities that were clamped in one stage.
    """

    def __init__(self, n_pairs: int) -> None:
        self.values = np.full((len(_ARRAYS), n_pairs), np.nan)
        self.n_clamped = 0

    def put(self, where: NDArray[np.int64], cells: Cells) -> None:
        for row, name in zip(self.values, _ARRAYS, strict=True):
            row[where] = getattr(cells, name)[:, 0]
        self.n_clamped = max(self.n_clamped, cells.n_clamped)

    def cells(self) -> Cells:
        cmi, std_error, log_p, log_q, q_std_error = self.values[:, :, None]
        return Cells(cmi, std_error, log_p, log_q, q_std_error)

    def banded(self, inside: NDArray[np.bool_], n_particles: NDArray[np.int64], counts: dict[str, int]) -> Cells:
        """Return the estimates at cause and lag (``[P, m]``)."""
        bands = np.full((len(_ARRAYS), *inside.shape), np.nan)
        bands[:, inside] = self.values
        particles = np.full(inside.shape, n_particles.max(initial=2))
        particles[inside] = n_particles
        cmi, std_error, log_p, log_q, q_std_error = bands
        return Cells(
            cmi, std_error, log_p, log_q, q_std_error, n_clamped=self.n_clamped, n_particles=particles, counts=counts
        )


def _estimate(cells: Cells, n: int | NDArray[np.int64], where: NDArray[np.bool_] | slice) -> CMIEstimate:
    """Return the estimates of some pairs, which rest on ``n`` replacements."""
    assert cells.q_std_error is not None
    log_p, log_q = cells.log_p[where], cells.log_q[where]
    return CMIEstimate(
        cells.cmi[where], cells.std_error[where], log_p - log_q, log_p, log_q, cells.q_std_error[where], n_particles=n
    )
