"""The inner loop: cases and a density in, estimates out, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density
from sequela.density.runtime.network_density import within_memory
from sequela.density.runtime.threads import right_threads
from sequela.effects.cmi import CMIEstimate
from sequela.effects.designs import (
    Cells,
    Problem,
    SingleCause,
    Staircase,
    default_proposal,
    make_design,
)
from sequela.effects.screening import TwoStages
from sequela.effects.settings import Settings
from sequela.effects.thresholds import EffectSize, Fixed
from sequela.errors import ConfigError
from sequela.events.sequences import Case, case_hash
from sequela.execution.memory import Allotment

if TYPE_CHECKING:
    pass


def grouped(
    cases: Iterator[tuple[Case, int]], settings: Settings, horizon: int, allotment: Allotment
) -> Iterator[list[tuple[Case, int]]]:
    """Group cases: about as many as fill one call, and no more than may be held."""
    batch: list[tuple[Case, int]] = []
    pairs = 0
    for case in cases:
        size = len(case[0].ids) * horizon
        full = pairs + size > allotment.n_band_cells or pairs * settings.particles > allotment.n_cells
        if batch and (full or len(batch) == settings.batch_size):
            yield batch
            batch, pairs = [], 0
        batch.append(case)
        pairs += size
    if batch:
        yield batch


def score_cases(
    density: Density, cases: Sequence[Case], settings: Settings, horizon: int, allotment: Allotment
) -> list[CMIEstimate]:
    """Estimate a batch of cases; each result depends on its own case, the settings and the seed alone."""
    if settings.design == "masked" and not density.knows_hidden:
        raise ConfigError(
            "the design 'masked' needs a density trained with hidden events (fit with hide > 0); "
            "use 'leave-one-out' for this one"
        )
    longest = max((len(case.ids) for case in cases), default=1)
    density = within_memory(density, allotment.model_bytes, longest=longest, horizon=horizon)
    with right_threads():
        return _score_cases(density, cases, settings, horizon, allotment)


def _score_cases(
    density: Density, cases: Sequence[Case], settings: Settings, horizon: int, allotment: Allotment
) -> list[CMIEstimate]:
    bands = [Band(case, horizon, settings) for case in cases]
    proposal = default_proposal(settings.design, settings.proposal)
    rule = settings.rule(density)
    waiting: list[tuple[int, Any, Branches]] = []
    n_cells = 0

    def flush() -> None:
        scores, answers = density.score_both([branches for _, _, branches in waiting])
        if settings.screening:
            more = [two.decide(*both) for (_, two, _), *both in zip(waiting, scores, answers, strict=True)]
            second = iter(density.score_branches_many([one for some in more for one in some]))
            for (index, two, _), own, some in zip(waiting, scores, more, strict=True):
                cells, n_particles = two.cells(own, list(islice(second, len(some))))
                bands[index].put(two.design.problem, cells, n_particles)
        else:
            for (index, design, _), own, answer in zip(waiting, scores, answers, strict=True):
                bands[index].put(design.problem, design.cells(own, answer), settings.particles)
        waiting.clear()

    size = max(1, allotment.n_cells // (settings.particles_for(density) * horizon))
    for index, case in enumerate(cases):
        key = case_hash(case.name, settings.seed)
        causes = np.arange(settings.context, len(case.ids) - 1)
        for low in range(0, len(causes), size):
            problem = Problem(
                density, case.ids, causes[low : low + size], horizon, settings.context, proposal,
                settings.particles, key, settings.statistic, case.times, settings.excludes_effect_type,
                settings.kept_components,
            )  # fmt: skip
            design: SingleCause | Staircase | TwoStages = make_design(settings.design, problem)
            if settings.screening:
                assert isinstance(design, SingleCause)
                assert isinstance(rule, EffectSize | Fixed)
                design = TwoStages(design, rule, settings.screening)
            branches = design.branches()
            if waiting and n_cells + branches.tails.size > allotment.n_cells:
                flush()
                n_cells = 0
            waiting.append((index, design, branches))
            n_cells += branches.tails.size
    if waiting:
        flush()
    return [band.estimate() for band in bands]


def too_late(case: Case, horizon: int, seconds: float | None) -> NDArray[np.bool_] | None:
    """Return which pairs lie further apart in time than ``seconds`` (bool, ``[L, m]``); None where that plays no part.

    Raises:
        ConfigError: The case has no times.
    """
    if seconds is None:
        return None
    if case.times is None:
        raise ConfigError("horizon_time needs times: name the time column (time=..., --time), or leave it out")
    effect = np.minimum(np.arange(len(case.ids))[:, None] + np.arange(1, horizon + 1), len(case.ids) - 1)
    return np.asarray(case.times[effect] - case.times[:, None] > seconds)


class Band:
    """Banded arrays of one sequence, filled chunk by chunk."""

    def __init__(self, case: Case, horizon: int, settings: Settings) -> None:
        length = len(case.ids)

        def empty() -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.full((length, horizon), np.nan)

        self.too_late = too_late(case, horizon, settings.horizon_seconds)

        self.cmi, self.std_error, self.log_p, self.log_q, self.q_std_error = (empty() for _ in range(5))
        self.mean_of_kl = None if settings.statistic == "kl_of_mean" else empty()
        self.has_q_error = settings.design != "staircase" and settings.statistic != "mean_of_kl"
        self.n_particles = np.full((length, horizon), settings.particles)
        self.n_clamped = 0

    def put(self, problem: Problem, cells: Cells, n_particles: int | NDArray[np.int64]) -> None:
        """Fill the rows of a problem's causes."""
        rows = slice(int(problem.causes[0]), int(problem.causes[-1]) + 1)
        for name in ("cmi", "std_error", "log_p", "log_q", "q_std_error", "mean_of_kl"):
            value = getattr(cells, name)
            if value is not None:
                getattr(self, name)[rows] = value
                if self.too_late is not None:
                    getattr(self, name)[rows][self.too_late[rows]] = np.nan
        self.n_particles[rows] = n_particles
        self.n_clamped += cells.n_clamped

    def estimate(self) -> CMIEstimate:
        """Return all rows."""
        return CMIEstimate(
            cmi=self.cmi,
            std_error=self.std_error,
            pointwise=self.log_p - self.log_q,
            log_p=self.log_p,
            log_q=self.log_q,
            q_std_error=self.q_std_error if self.has_q_error else None,
            mean_of_kl=self.mean_of_kl,
            n_particles=self.n_particles,
            n_clamped=self.n_clamped,
        )
