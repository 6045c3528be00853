"""What a design is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Density, Floats, Ids
from sequela.effects import proposals
from sequela.effects.proposals import Draws
from sequela.events.hierarchy import siblings
from sequela.events.sequences import Case, case_hash


@dataclass(frozen=True)
class DesignSettings:
    """How causes are intervened on.

    Attributes:
        proposal: One of `PROPOSALS`.
        n_particles: Replacements a cause.
        statistic: One of `STATISTICS`.
        seed: Of the random draws.
        exclude_effect_type: Whether replacements of the effect's own type count for nothing, in pairs of different
            types (designs that change the cause alone).
        kept_components: Leading components of a cause that the proposal ``"siblings"`` keeps.
    """

    proposal: str = "uniform"
    n_particles: int = 32
    statistic: str = "kl_of_mean"
    seed: int = 0
    exclude_effect_type: bool = False
    kept_components: int = 1


@dataclass(frozen=True)
class Problem:
    """Some causes of one sequence whose effects are asked for.

    Attributes:
        density: The frozen density; asked directly only for whole conditionals.
        case: The observed sequence.
        causes: Positions of the causes (int64, ``[P]``, each with at least one later event).
        horizon: Largest lag ``m``.
        settings: How to intervene.
        untested: Pairs of the sequence that are not asked for (bool, ``[L, m]``); None where all are.
    """

    density: Density
    case: Case
    causes: NDArray[np.int64]
    horizon: int
    settings: DesignSettings
    untested: NDArray[np.bool_] | None = None

    @property
    def ids(self) -> Ids:
        """Observed events (int32, ``[L]``)."""
        return self.case.ids

    @property
    def positions(self) -> NDArray[np.int64]:
        """Positions of the causes in the whole case, by which draws are keyed (int64, ``[P]``)."""
        return self.causes + self.case.first

    @property
    def key(self) -> int:
        """Key of the random draws of this case."""
        return case_hash(self.case.name, self.settings.seed)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which pairs are asked for: their effect lies within the sequence (bool, ``[P, m]``)."""
        after = self._after
        return after if self.untested is None else after & ~self.untested[self.causes]

    def wanted(self, rows: NDArray[np.int64], *, mediators: bool = False) -> NDArray[np.bool_] | None:
        """Return which steps of branches are asked for (bool, ``[K, m]``); None for all.

        Args:
            rows: The cause of each branch, as a row of `causes` (int64, ``[K]``).
            mediators: Whether the steps before an effect are needed too.
        """
        if self.untested is None:
            return None
        steps = self.inside
        if mediators:
            steps = np.logical_or.accumulate(steps[:, ::-1], axis=1)[:, ::-1]
        return steps[rows]

    @property
    def _after(self) -> NDArray[np.bool_]:
        after: NDArray[np.bool_] = self.causes[:, None] + np.arange(1, self.horizon + 1) < len(self.ids)
        return after

    @property
    def effects(self) -> Ids:
        """Event type of each effect (int32, ``[P, m]``; past the end that of the last event)."""
        place = self.causes[:, None] + np.arange(1, self.horizon + 1)
        types: Ids = self.ids[np.minimum(place, len(self.ids) - 1)]
        return types

    def observed(self, scores: Floats) -> Floats:
        """Return ``log P(x_q | x_<q)`` at cause and lag (float64, ``[P, m]``; NaN past the end) from ``[L]``."""
        place = np.minimum(self.causes[:, None] + np.arange(1, self.horizon + 1), len(scores) - 1)
        band: Floats = np.where(self._after, scores[place], np.nan)
        return band

    def branches(self, types: Ids, *, mediators: bool = False) -> Branches:
        """Return branches that put each type of ``[P, N]`` in the place of its cause and keep what follows.

        ``mediators`` is as for `wanted`.
        There are ``P * N`` of ``m`` steps.
        """
        place = self.causes[:, None] + np.arange(self.horizon)
        kept = self.ids[np.minimum(place, len(self.ids) - 1)]  # [P, m]
        tails = np.repeat(kept, types.shape[1], axis=0)
        tails[:, 0] = types.ravel()
        rows = np.repeat(np.arange(len(types)), types.shape[1])
        return Branches(self.ids, self.causes[rows], tails, self.case.times, self.wanted(rows, mediators=mediators))

    def draw(self, *, with_rare: bool = False) -> Draws:
        """Draw the replacements of each cause from the proposal; ``<rare>`` is one of them only if asked for."""
        settings, vocabulary = self.settings, self.density.vocabulary
        observed, n = self.ids[self.causes], settings.n_particles
        if settings.proposal == "siblings":
            groups = siblings(vocabulary, settings.kept_components)
            return proposals.draw_siblings(observed, self.positions, groups, n, self.key)
        if settings.proposal == "uniform":
            n_real = vocabulary.n_types - (vocabulary.rare_id is not None)
            return proposals.draw_uniform(observed, self.positions, n_real, n, self.key)
        weights = self.proposal_weights(self.causes, with_rare=with_rare)
        if weights.shape[1] < vocabulary.n_types:  # <rare> may be observed though it is never drawn
            weights = np.pad(weights, ((0, 0), (0, vocabulary.n_types - weights.shape[1])))
        return proposals.draw_weighted(observed, self.positions, weights, n, self.key)

    def proposal_weights(self, positions: NDArray[np.int64], *, with_rare: bool = False) -> Floats:
        """Return the proposal's mass of every type at positions (float64, ``[n, V]``; no ``<rare>`` unless asked)."""
        vocabulary = self.density.vocabulary
        keep = vocabulary.n_types - (vocabulary.rare_id is not None and not with_rare)
        if self.settings.proposal == "uniform":
            return np.full((len(positions), keep), 1.0 / keep)
        if self.settings.proposal == "unigram":
            weights = np.broadcast_to(vocabulary.frequencies[:keep], (len(positions), keep))
        else:
            weights = np.exp(self.density.conditional(self.ids, positions, self.case.times)[:, :keep])
        normal: Floats = weights / weights.sum(axis=1, keepdims=True)
        return normal


class Scores(NamedTuple):
    """What the density says: of the observed events (float64, ``[L]``), and of the branches (float64, ``[K, S]``)."""

    observed: Floats
    branches: Floats


@dataclass(frozen=True)
class Cells:
    """Estimates for the causes of a problem; float64 ``[P, m]`` each, NaN where there is no effect.

    Attributes:
        cmi: See `CMIEstimate`, as the next five.
        std_error: Standard error.
        log_p: With the cause as observed.
        log_q: With the cause intervened on.
        q_std_error: Standard error of ``q``, for designs that estimate ``q`` alone.
        mean_of_kl: The other statistic, when asked for.
        n_clamped: Log-probabilities that had to be clamped.
        n_particles: Replacements each pair rests on (int64, ``[P, m]``), where they differ.
        columns: Further estimates by name.
        counts: What was counted on the way, by name.
    """

    cmi: Floats
    std_error: Floats
    log_p: Floats
    log_q: Floats
    q_std_error: Floats | None
    mean_of_kl: Floats | None = None
    n_clamped: int = 0
    n_particles: NDArray[np.int64] | None = None
    columns: dict[str, Floats] | None = None
    counts: dict[str, int] | None = None


class Rough(NamedTuple):
    """Branches whose scores, and those of the observed events, may be rounded: `screening_density` is asked."""

    branches: Branches


class GivenWhat(NamedTuple):
    """Branches of which it is asked how their events went, given what acted: `StateLaw` is asked."""

    branches: Branches


Inquiry = Generator[Branches | Rough | GivenWhat, Scores, Cells]
"""A design at work on a problem: yields branches, is sent their scores, as often as it likes, and returns estimates."""

Design = Callable[[Problem], Inquiry]
"""An intervention design."""
