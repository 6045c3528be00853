"""Few particles for all causes, all of them only for causes that are not decided yet.

The few are a random part of the full budget's own draws, so a pair that gets the rest has the result of the full
budget (to rounding). One that does not has an interval, at a level that follows from the stated error rate, on one side
of the threshold. The rest is only run as far as the last effect that is not decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats
from sequela.effects.cmi import CMIEstimate
from sequela.effects.designs import Cells, SingleCause, single_branches
from sequela.effects.proposals import Draws, first_few
from sequela.effects.thresholds import EffectSize, Fixed, Threshold
from sequela.errors import ConfigError

FEWEST = 8
"""Below this many particles an interval says nothing."""


def check_screening(design: str, proposal: str, statistic: str, rule: Threshold) -> None:
    """Raise `ConfigError` where the two-stage rule does not apply."""
    if design != "atomic" or proposal != "uniform" or statistic != "kl_of_mean":
        raise ConfigError(
            "screening needs design 'atomic', proposal 'uniform' and statistic 'kl_of_mean'; got "
            f"'{design}', '{proposal}' and '{statistic}'"
        )
    if not isinstance(rule, EffectSize | Fixed):
        raise ConfigError("screening needs a threshold in nats: 'effect-size', 'fixed' or 'vocabulary'")


class Open(NamedTuple):
    """Causes (``[n]``, as rows of the problem) that are not decided, and how many tail steps they still need."""

    rows: NDArray[np.int64]
    n_steps: int


@dataclass
class TwoStages:
    """A design whose causes get their particles in two stages.

    Attributes:
        design: The design with all its draws.
        rule: The threshold.
        error: Share of pairs whose decision may differ from the full budget's.
    """

    design: SingleCause
    rule: EffectSize | Fixed
    error: float

    def __post_init__(self) -> None:
        problem, draws = self.design.problem, self.design.draws
        n_all = draws.types.shape[1]
        self.n_few = max(FEWEST, n_all // 4)
        self.worthwhile = self.n_few < n_all and bool((draws.variance > 0).all())
        if self.worthwhile:
            self.columns, self.few = first_few(draws, self.n_few, problem.causes, problem.key)

    def branches(self) -> Branches:
        """Return the branches of the first stage."""
        if not self.worthwhile:
            return self.design.branches()
        return single_branches(self.design.problem, self.design.problem.causes, self.few.types)

    def decide(self, scores: Floats, answer: Floats) -> list[Branches]:
        """Take the first stage's log-probabilities; return the branches of the second, by the steps they need."""
        self.first, self.open = answer, []
        if not self.worthwhile:
            self.found = self.design.cells(scores, answer)
            return []
        self.found = self.design.cells(scores, answer, self.few)
        estimate = CMIEstimate(
            self.found.cmi, self.found.std_error, self.found.log_p - self.found.log_q, self.found.log_p,
            self.found.log_q, self._guarded(answer), n_particles=self.n_few,
        )  # fmt: skip
        low, high = estimate.interval(1 - self.error)
        cut = self.rule.delta if isinstance(self.rule, EffectSize) else self.rule.tau
        with np.errstate(invalid="ignore"):
            straddles = (low <= cut) & (high >= cut)
        n_steps = (straddles * np.arange(1, straddles.shape[1] + 1)).max(axis=1, initial=0)  # to the last open effect
        self.open = [Open(np.flatnonzero(n_steps == steps), int(steps)) for steps in np.unique(n_steps[n_steps > 0])]
        return [self._second(one) for one in self.open]

    def cells(self, scores: Floats, answers: Sequence[Floats]) -> tuple[Cells, NDArray[np.int64]]:
        """Return the estimates, and how many particles each rests on (int64, ``[P, m]``)."""
        n_all, horizon = self.design.draws.types.shape[1], self.design.problem.horizon
        n_particles = np.full((len(self.design.problem.causes), horizon), self.n_few if self.worthwhile else n_all)
        for one, answer in zip(self.open, answers, strict=True):
            log_f = np.empty((len(one.rows), n_all, one.n_steps))
            first = self.first.reshape(-1, self.n_few, horizon)[one.rows, :, : one.n_steps]
            np.put_along_axis(log_f, self.columns[one.rows][..., None], first, axis=1)
            second = answer.reshape(len(one.rows), -1, one.n_steps)
            np.put_along_axis(log_f, self._rest(one.rows)[..., None], second, axis=1)
            full = self._part(one).cells(scores, log_f.reshape(-1, one.n_steps))
            for name in ("cmi", "std_error", "log_p", "log_q", "q_std_error"):
                getattr(self.found, name)[one.rows, : one.n_steps] = getattr(full, name)
            n_particles[one.rows, : one.n_steps] = n_all
        return self.found, n_particles

    def _second(self, one: Open) -> Branches:
        part = self._part(one)
        types = np.take_along_axis(part.draws.types, self._rest(one.rows), 1)
        return single_branches(part.problem, part.problem.causes, types)

    def _part(self, one: Open) -> SingleCause:
        """Return the full design for some of the causes and fewer steps."""
        draws = Draws(*(getattr(self.design.draws, name)[one.rows] for name in Draws._fields))
        causes = self.design.problem.causes[one.rows]
        return SingleCause("atomic", replace(self.design.problem, causes=causes, horizon=one.n_steps), draws=draws)

    def _rest(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the columns of the second stage for some causes (int64, ``[n, N - n_few]``)."""
        taken = np.zeros((len(rows), self.design.draws.types.shape[1]), dtype=bool)
        np.put_along_axis(taken, self.columns[rows], True, axis=1)
        return np.nonzero(~taken)[1].reshape(len(rows), -1)

    def _guarded(self, answer: Floats) -> Floats:
        """Return the standard error of q, as if one more particle lay as far from q as the farthest seen.

        A few particles can miss the few types that matter, and then agree too well.
        """
        assert self.found.q_std_error is not None
        q = np.exp(self.found.log_q)
        f = np.exp(answer).reshape(len(q), self.n_few, -1)
        unlike = np.abs(f - q[:, None]).max(axis=1)
        guarded: Floats = np.sqrt(self.found.q_std_error**2 + (unlike / (self.n_few + 1)) ** 2)
        return guarded
