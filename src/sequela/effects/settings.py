"""How to discover: every setting with its type, constraint, default and meaning, as one checked record.

The record is the table: the verbs' keywords, their docstrings and the options of the command line are held to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sequela.arguments import (
    FLAG,
    PATH,
    TEXT,
    Choice,
    Either,
    Kind,
    Number,
    Parsed,
    plain_number,
    setting,
    table_of,
)
from sequela.errors import ConfigError

if TYPE_CHECKING:
    from sequela.density.base import Density
    from sequela.effects.knowledge import Knowledge, PairLimits
    from sequela.effects.thresholds import Threshold
    from sequela.execution.memory import Allotment

DEFAULT_HORIZON = 8
DEFAULT_PARTICLES = 32
DEFAULT_FDR = 0.05

_QUESTION, _EDGES, _RUN = "The question", "What counts as an edge", "How it runs"


@dataclass(frozen=True)
class Settings:
    """How to discover, as plain values; see `discover` for what each does.

    Raises:
        ConfigError: A value is not allowed, alone or together with the others.
    """

    design: str = setting(
        "atomic",
        Choice("sequela.effects.designs:DESIGNS"),
        "How a cause is intervened on: atomic, leave-one-out, masked or staircase.",
        more='``"atomic"`` replaces the cause and keeps the rest; ``"leave-one-out"`` sums the cause out under the '
        'density; ``"masked"`` hides it (needs a density trained with hidden events; cheapest); ``"staircase"`` is the '
        "paper's: the cause and all between are replaced by noise, so that causes further back are lost.",
        panel=_QUESTION,
    )
    proposal: str | None = setting(
        None,
        Choice("sequela.effects.designs:PROPOSALS"),
        "What replaces a cause: uniform (default), unigram, model or siblings.",
        more='``"unigram"`` draws by frequency, ``"model"`` by the density; ``"siblings"`` takes the types that share '
        "the first component(s) with the cause (same component, other code), evenly: for event types with components "
        'and the design ``"atomic"``; a cause without siblings is not tested.',
        panel=_QUESTION,
    )
    kept_components: int = setting(
        1,
        Number(1, whole=True),
        "Leading components of the cause that its siblings share: 1 is same component, other code.",
        panel=_QUESTION,
    )
    contrast: str | None = setting(
        None,
        Choice("sequela.effects.contrasts:CONTRASTS"),
        "For types whose last column is a state: presence (anything else instead) or state (another state).",
        more="Both are computed in one pass and are columns of the edges; the one that is named decides which pairs "
        'are edges. A cause of one observed state has no state contrast (not a number). For the design ``"atomic"``. '
        "By default state where the log of the density was read with a state column, and otherwise neither.",
        panel=_QUESTION,
    )
    state_weights: str = setting(
        "even",
        Choice("sequela.effects.contrasts:STATE_WEIGHTS"),
        "With contrast: states weigh alike (even), or as the model finds them likely there (model).",
        panel=_QUESTION,
    )
    particles: int = setting(
        DEFAULT_PARTICLES,
        Number(2, whole=True),
        "Replacements a cause: more is slower and more exact.",
        more="With as many as event types, all types are enumerated.",
        panel=_QUESTION,
    )
    statistic: str = setting(
        "kl_of_mean",
        Choice("sequela.effects.designs:STATISTICS"),
        "What is averaged over replacements: kl_of_mean, mean_of_kl, both, or kl_of_median.",
        more='``"kl_of_mean"`` is the paper\'s formula; ``"mean_of_kl"`` is larger and noisier; ``"kl_of_median"`` '
        "compares with the median replacement, which one type that acts strongly does not move.",
        panel=_QUESTION,
    )
    exclude_effect_type: bool | None = setting(
        None,
        FLAG,
        "Leave replacements of the effect's own type out.",
        more="Otherwise an effect that brings itself about makes every other cause look like one that prevents it. Not "
        "in pairs of equal types, nor in staircases. By default that is done in `discover_population`, and here where "
        "its result is the ``population``.",
        panel=_QUESTION,
        flags="--exclude-effect-type/--keep-effect-type",
    )
    horizon: int | str | None = setting(
        None,
        Either((Number(1, whole=True), Choice(("full",)))),
        "Largest lag in events, or 'full'; by default the model's memory, or 8 if it has none.",
        more="Where ties have no order it counts time stamps.",
        panel=_QUESTION,
    )
    horizon_time: str | float | None = setting(
        None,
        Parsed("seconds above 0, or text like '90s', '10m', '2h', '1d'", "sequela.events.times:parse_duration", True),
        "Longest time between cause and effect, as 90s, 10m, 2h; needs times.",
        more="Pairs further apart are not tested; ``horizon`` holds as well.",
        panel=_QUESTION,
    )
    context: int = setting(0, Number(0, whole=True), "Leading events that are never causes.", panel=_QUESTION)
    causes: str | None = setting(
        None,
        TEXT,
        "Only causes of these event types: a pattern with * and ?, or 'column = pattern'.",
        more="Others are not tested (`sequela.events.patterns`).",
        panel=_QUESTION,
    )
    effects: str | None = setting(
        None,
        TEXT,
        "Only effects of these event types: a pattern as of causes, such as '*ERROR*'.",
        more="Others are not tested.",
        panel=_QUESTION,
    )
    knowledge: Knowledge | None = setting(
        None,
        Either((PATH, Kind("what read_knowledge gives", "sequela.effects.knowledge:Knowledge"))),
        "What is known beside the log: a file of pairs that are allowed, forbidden or required (TOML, CSV, Parquet).",
        more="Excluded pairs are not scored, are no hypotheses, and are said to be excluded; see "
        "`sequela.discovery.knowledge.read_knowledge`.",
        panel=_QUESTION,
    )
    threshold: str | Any = setting(
        "effect-size",
        Either((Choice("sequela.effects.thresholds:RULES"), Kind("a rule", has=("edges", "to_dict")))),
        "When a pair is an edge: effect-size, fixed, vocabulary, percentile or otsu.",
        panel=_EDGES,
    )
    delta: float = setting(0.05, Number(0), "Smallest effect of interest, in nats.", panel=_EDGES)
    confidence_level: float = setting(
        0.95,
        Number(0.5, 1),
        "One-sided confidence that an edge's effect exceeds delta, as far as Monte Carlo error goes.",
        panel=_EDGES,
    )
    tau: float | None = setting(None, Number(0), "For the thresholds fixed and vocabulary.", panel=_EDGES)
    population: str | None = setting(
        None,
        Kind("a population graph (discover_population, load_population)", "sequela.graphs.population:PopulationGraph"),
        "Evidence for each pair of event types (`sequela population`): edges are weighed by it.",
        more="A population graph of the same kind of cases. Edges then have a ``confidence`` from their own effect and "
        "from what the population says of their types, see `sequela.evidence.edge_probability`.",
        panel=_EDGES,
    )
    fdr: float | None = setting(
        None,
        Number(0, 1, above=True),
        "With a population: highest expected share of false edges (0.05).",
        more="``confidence_level`` then plays no part.",
        panel=_EDGES,
    )
    seed: int = setting(0, Number(whole=True), "Same seed, same result.", panel=_RUN)
    screening: float | str = setting(
        "auto",
        Either((Number(0, 0.5), Choice(("auto",)))),
        "A few particles first, more where needed: share of pairs that may differ, auto, or 0.",
        more="Pairs get more particles only while these do not decide whether they are edges. "
        '``"auto"`` is 0.005 where it can be done and saves something (design ``"atomic"``, proposal ``"uniform"``, a '
        "threshold in nats, 16 particles or more, and more event types than particles; no population), and 0 "
        "elsewhere, and in `estimate`.",
        panel=_RUN,
    )
    batch_size: int | None = setting(
        None,
        Number(1, whole=True),
        "Most cases scored together; changes neither the result nor, much, the speed.",
        panel=_RUN,
    )
    memory_budget: str | float | None = setting(
        None,
        Parsed("bytes, or text like '500MB' or '2GiB'", "sequela.execution.memory:parse_bytes"),
        "Most memory above model and log, as 2GB; by default a quarter of what is free, at most 2 GiB.",
        more="Does not change the result.",
        panel=_RUN,
    )

    def __post_init__(self) -> None:
        for name, argument in TABLE.items():
            if name != "population":  # here the fingerprint of one
                argument.refuse(name, getattr(self, name))
                object.__setattr__(self, name, plain_number(argument, getattr(self, name)))
        from sequela.effects.designs import default_proposal
        from sequela.effects.thresholds import EffectSize

        proposal = default_proposal(self.design, self.proposal)
        rule = self._rule(2)
        if self.fdr is not None and self.population is None:
            raise ConfigError(
                "fdr needs a population, which says how likely each pair of event types is linked: make one with "
                "discover_population (sequela population) and pass it (--population FOLDER)"
            )
        if self.population is not None and not isinstance(rule, EffectSize):
            raise ConfigError("a population goes with the threshold 'effect-size' (delta and fdr) only")
        screens = bool(self.screening) and self.screening != "auto"
        if self.contrast is not None and (self.design != "atomic" or proposal == "siblings" or screens):
            raise ConfigError(
                f"contrast='{self.contrast}' needs the design 'atomic', another proposal than 'siblings', and no "
                "screening: leave these out"
            )
        if screens:
            from sequela.effects.screening import check_screening

            check_screening(self.design, proposal, self.statistic, rule)

    def limits(self, density: Density) -> PairLimits | None:
        """Return which pairs of the density's event types are tested; None for all."""
        from sequela.effects.knowledge import asked, both

        columns = dict(density.info.get("log", {}).get("columns", {})).get("event", ())
        return both(self.known_limits(density), asked(density.vocabulary.names, columns, self.causes, self.effects))

    def known_limits(self, density: Density) -> PairLimits | None:
        """Return which pairs knowledge leaves, whatever causes and effects are asked for.

        These are bet on. Evidence for a pair of no interest, as for an effect at a neighbour, may explain another away.
        """
        return None if self.knowledge is None else self.knowledge.limits(density.vocabulary.names)

    @property
    def excludes_effect_type(self) -> bool:
        """Whether replacements of the effect's own type are left out."""
        return bool(self.exclude_effect_type)

    @property
    def error_rate(self) -> float:
        """Highest expected share of false edges, where a population is given."""
        return DEFAULT_FDR if self.fdr is None else self.fdr

    def rule(self, density: Density) -> Threshold:
        """Return the threshold for a density."""
        return self._rule(density.vocabulary.n_types)

    def _rule(self, n_types: int) -> Threshold:
        from sequela.effects.thresholds import make_threshold

        return make_threshold(
            self.threshold, n_types=n_types, delta=self.delta, confidence_level=self.confidence_level, tau=self.tau
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

    @property
    def horizon_seconds(self) -> float | None:
        """Longest time between a cause and an effect that is tested, or None."""
        from sequela.events.times import parse_duration

        return None if self.horizon_time is None else parse_duration("horizon_time", self.horizon_time)

    def screening_error(self, density: Density, *, deciding: bool = True) -> float:
        """Return the share of pairs that may be decided otherwise than by all replacements; 0 for no screening.

        Args:
            density: What is asked.
            deciding: Whether only the decisions matter; otherwise ``"auto"`` is off.
        """
        if not isinstance(self.screening, str):
            return self.screening
        from sequela.effects.designs import default_proposal
        from sequela.effects.screening import DEFAULT_ERROR, FEWEST_OF_ALL, screening_applies

        n_others = density.vocabulary.n_types - density.vocabulary.has_rare - 1
        applies = screening_applies(
            self.design, default_proposal(self.design, self.proposal), self.statistic, self.rule(density)
        )
        saves = FEWEST_OF_ALL <= self.particles < n_others and self.population is None and self.contrast is None
        return DEFAULT_ERROR if deciding and applies and saves else 0.0

    def screening_precision(self, density: Density) -> str:
        """Return the numbers that decide pairs far from the threshold: those of the density, or ``"bfloat16"``."""
        from sequela.density.runtime.network_density import runtime_of
        from sequela.density.runtime.precision import screening_density
        from sequela.effects.screening import Rule
        from sequela.effects.thresholds import EffectSize, Fixed

        rule = self.rule(density)
        error = self.screening_error(density)
        rounds = error and isinstance(rule, EffectSize | Fixed) and Rule(rule, error).may_round(density)
        return runtime_of(screening_density(density) if rounds else density).precision

    def particles_for(self, density: Density) -> int:
        """Return how many branches a cause has at most."""
        if self.design == "masked":
            return 1
        return min(self.particles, density.vocabulary.n_types) * (1 if self.contrast is None else 2)

    def allotment(self, density: Density, horizon: int, longest: int) -> Allotment:
        """Return the sizes that the memory budget allows; `within_memory` makes the density keep to its part."""
        from sequela.density.runtime.network_density import density_cost
        from sequela.effects.designs import default_proposal
        from sequela.execution.memory import allot

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
        from sequela.effects.designs import default_proposal

        values = {name: getattr(self, name) for name in TABLE} | {
            "proposal": default_proposal(self.design, self.proposal),
            "threshold": self.rule(density).to_dict(),
            "horizon_seconds": self.horizon_seconds,
            "exclude_effect_type": self.excludes_effect_type,
            "screening": self.screening_error(density),
        }
        if self.population is None:
            del values["population"], values["fdr"]
        else:
            values["fdr"] = self.error_rate
        if self.contrast is None:
            del values["contrast"], values["state_weights"]
        if values["proposal"] != "siblings":
            del values["kept_components"]
        for name in ("causes", "effects", "knowledge"):
            if getattr(self, name) is None:
                del values[name]
        if self.knowledge is not None:
            values["knowledge"] = self.knowledge.fingerprint
        for decided in ("delta", "confidence_level", "tau", "batch_size", "memory_budget", "horizon_time"):
            del values[decided]
        return values


TABLE = table_of(Settings)
"""The declared arguments, by name, in the order of the record."""
