"""How to discover: every setting of the verbs, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sequela.density.base import Density
from sequela.density.runtime.network_density import density_cost
from sequela.effects.contrasts import CONTRASTS, STATE_WEIGHTS
from sequela.effects.designs import (
    DESIGNS,
    PROPOSALS,
    STATISTICS,
    default_proposal,
)
from sequela.effects.screening import DEFAULT_ERROR, FEWEST_OF_ALL, check_screening, screening_applies
from sequela.effects.thresholds import EffectSize, Threshold, make_threshold
from sequela.errors import ConfigError, check_choice, check_range
from sequela.events.times import parse_duration
from sequela.evidence.edge_probability import Beliefs
from sequela.execution.memory import Allotment, allot, parse_bytes

if TYPE_CHECKING:
    from sequela.graphs.population import PopulationGraph

DEFAULT_HORIZON = 8
DEFAULT_PARTICLES = 32
DEFAULT_FDR = 0.05


@dataclass(frozen=True)
class Settings:
    """How to discover; see `discover` for what each argument does."""

    design: str = "atomic"
    proposal: str | None = None
    particles: int = DEFAULT_PARTICLES
    statistic: str = "kl_of_mean"
    exclude_effect_type: bool | None = None
    horizon: int | str | None = None
    horizon_time: str | float | None = None
    context: int = 0
    threshold: str | Threshold = "effect-size"
    delta: float = 0.05
    confidence_level: float = 0.95
    tau: float | None = None
    seed: int = 0
    batch_size: int | None = None
    memory_budget: str | float | None = None
    screening: float | str = "auto"
    population: PopulationGraph | None = None
    fdr: float | None = None
    kept_components: int = 1
    contrast: str | None = None
    state_weights: str = "even"

    def __post_init__(self) -> None:
        check_choice("design", self.design, DESIGNS)
        if self.proposal is not None:
            check_choice("proposal", self.proposal, PROPOSALS)
        check_choice("statistic", self.statistic, STATISTICS)
        check_range("particles", self.particles, low=2, whole=True)
        check_range("context", self.context, low=0, whole=True)
        check_range("seed", self.seed, whole=True)
        check_range("kept_components", self.kept_components, low=1, whole=True)
        if self.batch_size is not None:
            check_range("batch_size", self.batch_size, low=1, whole=True)
        if self.memory_budget is not None:
            parse_bytes(self.memory_budget)
        if isinstance(self.horizon, str):
            check_choice("horizon", self.horizon, ["full"])
        elif self.horizon is not None:
            check_range("horizon", self.horizon, low=1, whole=True)
        if self.horizon_time is not None:
            parse_duration("horizon_time", self.horizon_time)
        default_proposal(self.design, self.proposal)
        rule = make_threshold(
            self.threshold, n_types=2, delta=self.delta, confidence_level=self.confidence_level, tau=self.tau
        )
        if self.fdr is not None:
            check_range("fdr", self.fdr, low=0, high=1, above=True)
            if self.population is None:
                raise ConfigError(
                    "fdr needs a population, which says how likely each pair of event types is linked: make one with "
                    "discover_population (sequela population) and pass it (--population FOLDER)"
                )
        if self.population is not None and not isinstance(rule, EffectSize):
            raise ConfigError("a population goes with the threshold 'effect-size' (delta and fdr) only")
        self._check_contrast()
        self._check_screening(rule)

    def _check_contrast(self) -> None:
        check_choice("state_weights", self.state_weights, STATE_WEIGHTS)
        if self.contrast is None:
            return
        check_choice("contrast", self.contrast, CONTRASTS)
        if self.design != "atomic" or self.proposal == "siblings" or self.screening not in ("auto", 0):
            raise ConfigError(
                f"contrast='{self.contrast}' needs the design 'atomic', another proposal than 'siblings', and no "
                "screening: leave these out"
            )

    def _check_screening(self, rule: Threshold) -> None:
        if isinstance(self.screening, str):
            check_choice("screening", self.screening, ["auto"])
            return
        check_range("screening", self.screening, low=0, high=0.5)
        if self.screening:
            check_screening(self.design, default_proposal(self.design, self.proposal), self.statistic, rule)

    @property
    def excludes_effect_type(self) -> bool:
        """Whether replacements of the effect's own type are left out; as the population did, unless said."""
        if self.exclude_effect_type is None and self.population is not None:
            return bool(self.population.run.get("arguments", {}).get("exclude_effect_type", False))
        return bool(self.exclude_effect_type)

    @property
    def error_rate(self) -> float:
        """Highest expected share of false edges, where a population is given."""
        return DEFAULT_FDR if self.fdr is None else self.fdr

    def rule(self, density: Density) -> Threshold:
        """Return the threshold for a density."""
        return make_threshold(
            self.threshold,
            n_types=density.vocabulary.n_types,
            delta=self.delta,
            confidence_level=self.confidence_level,
            tau=self.tau,
        )

    def horizon_for(self, density: Density, longest: int) -> int:
        """Return the largest lag to test for sequences of at most ``longest`` events."""
        limits = [limit for limit in (density.max_tail, density.memory) if limit is not None]
        if self.horizon is None:
            return max(1, min([DEFAULT_HORIZON if density.memory is None else density.memory, *limits]))
        wanted = max(1, longest - 1) if self.horizon == "full" else int(self.horizon)
        if density.max_tail is not None and wanted > density.max_tail:
            raise ConfigError(
                f"horizon must be at most {density.max_tail} for this density (half its context); got {wanted}"
            )
        return wanted

    @cached_property
    def beliefs(self) -> Beliefs | None:
        """What the population says of each pair of types."""
        return None if self.population is None else Beliefs.of(self.population)

    @property
    def horizon_seconds(self) -> float | None:
        """Longest time between a cause and an effect that is tested, or None."""
        return None if self.horizon_time is None else parse_duration("horizon_time", self.horizon_time)

    def screening_error(self, density: Density, *, deciding: bool = True) -> float:
        """Return the share of pairs that may be decided otherwise than by all replacements; 0 for no screening.

        Args:
            density: What is asked.
            deciding: Whether only the decisions matter; otherwise ``"auto"`` is off.
        """
        if not isinstance(self.screening, str):
            return self.screening
        n_others = density.vocabulary.n_types - density.vocabulary.has_rare - 1
        applies = screening_applies(
            self.design, default_proposal(self.design, self.proposal), self.statistic, self.rule(density)
        )
        saves = FEWEST_OF_ALL <= self.particles < n_others and self.population is None and self.contrast is None
        return DEFAULT_ERROR if deciding and applies and saves else 0.0

    def particles_for(self, density: Density) -> int:
        """Return how many branches a cause has."""
        return 1 if self.design == "masked" else min(self.particles, density.vocabulary.n_types)

    def allotment(self, density: Density, horizon: int, longest: int) -> Allotment:
        """Return the sizes that the memory budget allows; `within_memory` makes the density keep to its part."""
        cost = density_cost(density, longest, horizon)
        return allot(
            n_types=density.vocabulary.n_types,
            step_bytes=cost.step_bytes,
            least_bytes=cost.least_bytes,
            most_bytes=cost.most_bytes,
            budget=self.memory_budget,
            particles=self.particles_for(density),
            horizon=horizon,
            longest=longest,
            draws_by_weight=self.design != "masked"
            and default_proposal(self.design, self.proposal) not in ("uniform", "siblings"),
        )

    def to_dict(self, density: Density) -> dict[str, Any]:
        """Return everything that decides the result as plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "proposal": default_proposal(self.design, self.proposal),
            "threshold": self.rule(density).to_dict(),
            "horizon_seconds": self.horizon_seconds,
            "exclude_effect_type": self.excludes_effect_type,
            "screening": self.screening_error(density),
        }
        if self.beliefs is None:
            del values["population"], values["fdr"]
        else:
            values |= {"population": self.beliefs.fingerprint, "fdr": self.error_rate}
        if self.contrast is None:
            del values["contrast"], values["state_weights"]
        if values["proposal"] != "siblings":
            del values["kept_components"]
        for decided in ("delta", "confidence_level", "tau", "batch_size", "memory_budget", "horizon_time"):
            del values[decided]
        return values


def make_settings(given: dict[str, Any]) -> Settings:
    """Return the settings given by name; raise `ConfigError` for a name that is none."""
    if "adaptive" in given:
        raise ConfigError("'adaptive' is called 'screening' (--screening) now: the share of pairs that may differ")
    for name in given:
        check_choice("setting", name, list(Settings.__dataclass_fields__))
    return Settings(**given)
