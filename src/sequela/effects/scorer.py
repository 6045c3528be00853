"""The scheduler of branches: cases and a density in, estimates out, in bounded memory.

Cases are cut into problems; the design of a problem asks for branches, once or in stages; the branches of many problems
are scored together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats
from sequela.density.runtime.network_density import within_memory
from sequela.density.runtime.precision import screening_density
from sequela.density.runtime.threads import right_threads
from sequela.effects.cmi import CMIEstimate
from sequela.effects.contrasts import contrasts, state_groups
from sequela.effects.designs import (
    DESIGNS,
    Cells,
    Design,
    DesignSettings,
    GivenWhat,
    Inquiry,
    Problem,
    Rough,
    Scores,
    default_proposal,
)
from sequela.effects.knowledge import PairLimits
from sequela.effects.screening import screened
from sequela.effects.settings import Settings
from sequela.effects.state_law import StateLaw
from sequela.effects.ties import Order, Precedence, TiedCase
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.execution.memory import Allotment


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
    density: Density,
    cases: Sequence[Case],
    settings: Settings,
    horizon: int,
    allotment: Allotment,
    *,
    deciding: bool = False,
    precedence: Precedence | None = None,
    causes: Sequence[range] | None = None,
) -> list[CMIEstimate]:
    """Estimate a batch of cases; each result depends on its own case, the settings and the seed alone.

    Args:
        density: A trained density, or a world.
        cases: Cases.
        settings: How.
        horizon: Largest lag.
        allotment: Sizes that the memory budget allows.
        deciding: Whether only the decisions matter (is it an edge?): screening ``"auto"`` is then on.
            Cases with ties are not screened: what decides is a mean over orders.
        precedence: Which types are known to cause which, to order the events of a tick.
        causes: Places to test in each case (see `sequela.effects.stretches`); None for all. Others are NaN.
    """
    if settings.design == "masked" and not density.knows_hidden:
        raise ConfigError(
            "the design 'masked' needs a density trained with hidden events (fit with hide > 0); "
            "use 'leave-one-out' for this one"
        )
    longest = max((len(case.ids) for case in cases), default=1)
    density = within_memory(density, allotment.model_bytes, longest=longest, horizon=horizon)
    design, limits = design_of(density, settings, deciding=deciding), settings.limits(density)
    plain = [index for index, case in enumerate(cases) if case.ticks is None]
    tied = [index for index, case in enumerate(cases) if case.ticks is not None]
    with right_threads():
        asked = [range(len(case.ids)) for case in cases] if causes is None else causes
        some = [cases[index] for index in plain]
        places = [
            np.arange(max(asked[index].start, settings.context - case.first), min(asked[index].stop, len(case.ids) - 1))
            for index, case in zip(plain, some, strict=True)
        ]
        found = _score_ordered(density, some, design, settings, horizon, allotment, limits, places)
        some, wanted = [cases[index] for index in tied], [asked[index] for index in tied]
        found += _score_tied(density, some, settings, horizon, allotment, limits, precedence, wanted)
    by_index = dict(zip(plain + tied, found, strict=True))
    return [by_index[index] for index in range(len(cases))]


def _score_tied(
    density: Density,
    cases: Sequence[Case],
    settings: Settings,
    horizon: int,
    allotment: Allotment,
    limits: PairLimits | None,
    precedence: Precedence | None,
    causes: Sequence[range],
) -> list[CMIEstimate]:
    """Estimate cases with ties: all orders of all of them, as many at a time as may be held."""
    furthest = [limit for limit in (density.memory, density.max_tail) if limit is not None]
    tied = [
        TiedCase(
            case,
            horizon=horizon,
            context=settings.context,
            seed=settings.seed,
            limit=min(furthest, default=None),
            precedence=precedence,
            limits=limits,
            causes=wanted,
        )
        for case, wanted in zip(cases, causes, strict=True)
    ]
    reach = max((one.reach for one in tied), default=1)
    waiting: list[tuple[TiedCase, Order]] = []
    design = design_of(density, replace(settings, screening=0.0))

    def flush() -> None:
        orders = [order for _, order in waiting]
        causes = [order.causes for order in orders]
        some = [order.case for order in orders]
        found = _score_ordered(density, some, design, settings, reach, allotment, limits, causes)
        for (one, order), estimate in zip(waiting, found, strict=True):
            one.add(order, estimate)
        waiting.clear()

    n_held = 0
    for one in tied:
        for order in one.orders():
            size = len(order.case.ids) * reach
            if waiting and n_held + size > allotment.n_band_cells:
                flush()
                n_held = 0
            waiting.append((one, order))
            n_held += size
    if waiting:
        flush()
    return [one.estimate() for one in tied]


def _score_ordered(
    density: Density,
    cases: Sequence[Case],
    design: Design,
    settings: Settings,
    horizon: int,
    allotment: Allotment,
    limits: PairLimits | None,
    causes: Sequence[NDArray[np.int64]],
) -> list[CMIEstimate]:
    """Estimate cases whose events are in order; ``causes`` are the places to test in each."""
    asked = design_settings(settings)
    bands = [Band(case, horizon, settings, limits) for case in cases]
    a_cause = settings.particles_for(density) * horizon
    size = max(1, allotment.n_cells // a_cause)
    waiting: list[tuple[Band, Problem]] = []
    n_cells = 0
    for band, places in zip(bands, causes, strict=True):
        chosen = places
        if band.excluded is not None:
            inside = np.arange(1, horizon + 1) < (len(band.case.ids) - chosen)[:, None]
            chosen = chosen[(inside & ~band.excluded[chosen]).any(axis=1)]
        for low in range(0, len(chosen), size):
            some = chosen[low : low + size]
            problem = Problem(density, band.case, some, horizon, asked, band.excluded)
            if waiting and n_cells + len(problem.causes) * a_cause > allotment.n_cells:
                _fill(waiting, design)
                waiting, n_cells = [], 0
            waiting.append((band, problem))
            n_cells += len(problem.causes) * a_cause
    _fill(waiting, design)
    return [band.estimate() for band in bands]


def design_settings(settings: Settings) -> DesignSettings:
    """Return what a design needs to know of the settings."""
    return DesignSettings(
        proposal=default_proposal(settings.design, settings.proposal),
        n_particles=settings.particles,
        statistic=settings.statistic,
        seed=settings.seed,
        exclude_effect_type=settings.excludes_effect_type,
        kept_components=settings.kept_components,
    )


def design_of(density: Density, settings: Settings, *, deciding: bool = False) -> Design:
    """Return the design that the settings name: of both contrasts, or in stages, where they ask for that.

    Args:
        density: What is asked.
        settings: How.
        deciding: See `score_cases`.
    """
    if settings.contrast is not None:
        return contrasts(settings.contrast, state_weights=settings.state_weights)
    share = settings.screening_error(density, deciding=deciding)
    return screened(settings.rule(density), share) if share else DESIGNS[settings.design]


def _fill(waiting: Sequence[tuple[Band, Problem]], design: Design) -> None:
    for (band, problem), cells in zip(waiting, answer([one for _, one in waiting], design), strict=True):
        band.put(problem, cells)


def answer(problems: Sequence[Problem], design: Design) -> list[Cells]:
    """Answer problems of one density, scoring their branches together, stage by stage.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world, case = SoftmaxWorld.random(4, horizon=2, seed=0), Case("a", np.array([0, 1, 2], np.int32), None)
        >>> problem = Problem(world, case, np.arange(2), 2, DesignSettings(n_particles=3))
        >>> (cells,) = answer([problem], DESIGNS["atomic"])
        >>> cells.cmi.shape
        (2, 2)
    """
    if not problems:
        return []
    density = problems[0].density
    exact, rough = _Scorer(density), _Scorer(screening_density(density))
    states: _Scorer | None = None
    inquiries = [design(problem) for problem in problems]
    asked = {number: next(inquiry) for number, inquiry in enumerate(inquiries)}
    found: dict[int, Cells] = {}
    while asked:
        exactly = {number: one for number, one in asked.items() if isinstance(one, Branches)}
        roughly = {number: one.branches for number, one in asked.items() if isinstance(one, Rough)}
        scores = exact.score(exactly) | rough.score(roughly)
        if given := {number: one.branches for number, one in asked.items() if isinstance(one, GivenWhat)}:
            states = states or _Scorer(StateLaw(density, state_groups(density.vocabulary)))
            scores |= states.score(given)
        asked = _ask_again(inquiries, scores, found)
    return [found[number] for number in range(len(problems))]


class _Scorer:
    """Scores branches, and once each the observed events of their sequences."""

    def __init__(self, density: Density) -> None:
        self.density = density
        self.observed: dict[int, Floats] = {}

    def score(self, asked: dict[int, Branches]) -> dict[int, Scores]:
        """Score the branches of some problems, by their numbers."""
        first = {number: one for number, one in asked.items() if number not in self.observed}
        again = {number: one for number, one in asked.items() if number in self.observed}
        scores: dict[int, Floats] = {}
        if first:
            observed, found = self.density.score_both(list(first.values()))
            self.observed |= zip(first, observed, strict=True)
            scores |= zip(first, found, strict=True)
        if again:
            scores |= zip(again, self.density.score_branches_many(list(again.values())), strict=True)
        return {number: Scores(self.observed[number], own) for number, own in scores.items()}


def _ask_again(
    inquiries: Sequence[Inquiry], scores: dict[int, Scores], found: dict[int, Cells]
) -> dict[int, Branches | Rough | GivenWhat]:
    """Hand out scores; return what is asked for next, and put the estimates of those that are done in ``found``."""
    asked = {}
    for number, own in scores.items():
        try:
            asked[number] = inquiries[number].send(own)
        except StopIteration as done:
            found[number] = done.value
    return asked


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

    def __init__(self, case: Case, horizon: int, settings: Settings, limits: PairLimits | None = None) -> None:
        self.case = case
        self.shape = (len(case.ids), horizon)
        self.excluded = None if limits is None else limits.untested(case, horizon)
        late = too_late(case, horizon, settings.horizon_seconds)
        known = [mask for mask in (late, self.excluded) if mask is not None]
        self.untested = np.logical_or.reduce(known) if known else None
        self.arrays: dict[str, Floats] = {}
        self.columns: dict[str, Floats] = {}
        self.n_particles = np.full(self.shape, settings.particles)
        self.n_clamped = 0
        self.counts: dict[str, int] = {}
        self.has_q_error = True

    def put(self, problem: Problem, cells: Cells) -> None:
        """Fill the rows of a problem's causes."""
        rows = problem.causes
        for name in _ARRAYS:
            self._put(self.arrays, name, rows, getattr(cells, name))
        for name, value in (cells.columns or {}).items():
            self._put(self.columns, name, rows, value)
        if cells.n_particles is not None:
            self.n_particles[rows] = cells.n_particles
        self.n_clamped += cells.n_clamped
        self.has_q_error &= cells.q_std_error is not None
        for name, count in (cells.counts or {}).items():
            self.counts[name] = self.counts.get(name, 0) + count

    def _put(self, arrays: dict[str, Floats], name: str, rows: NDArray[np.int64], value: Floats | None) -> None:
        if value is not None:
            array = arrays.setdefault(name, np.full(self.shape, np.nan))
            array[rows] = value if self.untested is None else np.where(self.untested[rows], np.nan, value)

    def estimate(self) -> CMIEstimate:
        """Return all rows."""
        known = {name: self.arrays.get(name, np.full(self.shape, np.nan)) for name in _ARRAYS[:5]}
        log_p, log_q = known["log_p"], known["log_q"]
        return CMIEstimate(
            cmi=known["cmi"],
            std_error=known["std_error"],
            pointwise=log_p - log_q,
            log_p=log_p,
            log_q=log_q,
            q_std_error=known["q_std_error"] if self.has_q_error else None,
            mean_of_kl=self.arrays.get("mean_of_kl"),
            n_particles=self.n_particles,
            n_clamped=self.n_clamped,
            columns=self.columns,
            counts=self.counts,
        )


_ARRAYS = ("cmi", "std_error", "log_p", "log_q", "q_std_error", "mean_of_kl")
