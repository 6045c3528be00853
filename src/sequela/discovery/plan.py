"""What a discovery will cost, before it runs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sequela.arguments import public
from sequela.density.base import Density
from sequela.density.runtime.network_density import density_cost
from sequela.discovery.arguments import VERBS, chosen
from sequela.discovery.discover import iter_batches
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.knowledge import Knowledge
from sequela.effects.settings import Settings
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.execution.memory import format_bytes
from sequela.graphs.run_record import Counts

if TYPE_CHECKING:
    from sequela.effects.thresholds import Threshold
    from sequela.graphs.population import PopulationGraph

CALIBRATION_SECONDS = 2.0
_LONGEST = 2_000
"""Events of a case that the calibration looks at."""


@dataclass(frozen=True)
class Plan:
    """The cost of discovering a log.

    Attributes:
        n_cases: Cases.
        n_events: Events.
        n_pairs: Pairs of positions that will be tested.
        n_excluded: Pairs of positions within the horizon that knowledge, or the causes and effects asked for, leave
            out.
        n_branches: Branches to score; with screening at most.
        n_steps: Model steps: tail steps of all branches and events of all prefixes; with screening at most.
        flops: Floating-point operations of these steps, attention left out; None when the density cannot tell.
        peak_bytes: Most memory above the loaded density and log.
        budget_bytes: What the run may use.
        seconds: Expected time from a calibration on the same machine; None when it was not asked for.
        replacements_a_pair: With screening, how many replacements a pair took in the calibration; None without.
        decided_otherwise: Share of the audited pairs of the calibration that screening would have decided otherwise
            than all replacements do; None where none was audited.
        reruns: Whether each branch is scored by running its whole past again (`Density.reruns`); a step then costs
            that of the past as well.
    """

    n_cases: int
    n_events: int
    n_pairs: int
    n_branches: int
    n_steps: int
    flops: float | None
    peak_bytes: int
    budget_bytes: int
    seconds: float | None = None
    replacements_a_pair: float | None = None
    decided_otherwise: float | None = None
    reruns: bool = False
    n_excluded: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan as text."""
        flops = "unknown" if self.flops is None else f"{self.flops:.2g} floating-point operations"
        found = [
            f"cases     {self.n_cases:,} ({self.n_events:,} events)",
            f"pairs     {self.n_pairs:,} of positions to test",
            f"branches  {self.n_branches:,} at most",
            f"steps     {self.n_steps:,} of the model ({flops})",
            f"memory    {format_bytes(self.peak_bytes)} at most above the model and the log "
            f"(memory_budget {format_bytes(self.budget_bytes)})",
        ]
        if self.n_excluded:
            share = self.n_excluded / (self.n_excluded + self.n_pairs)
            found.insert(2, f"excluded  {self.n_excluded:,} more pairs are not tested ({share:.0%} of all saved)")
        if self.reruns:
            found.append("scoring   runs whole sequences again for every branch (exact, slow)")
        if self.replacements_a_pair is not None:
            found.append(
                f"screening {self.replacements_a_pair:.1f} replacements a pair in a sample" + self._otherwise()
            )
        return found + ([] if self.seconds is None else [f"time      about {duration(self.seconds)}"])

    def _otherwise(self) -> str:
        share = self.decided_otherwise
        return "" if share is None else f"; {share:.2%} of audited pairs decided otherwise"


@public(VERBS)
def plan_discovery(
    density: Density,
    log: EventLog | SequenceSet,
    *,
    calibrate: bool = True,
    design: str = "atomic",
    proposal: str | None = None,
    kept_components: int = 1,
    contrast: str | None = None,
    state_weights: str = "even",
    particles: int = 32,
    statistic: str = "kl_of_mean",
    exclude_effect_type: bool | None = None,
    horizon: int | str | None = None,
    horizon_time: str | float | None = None,
    context: int = 0,
    causes: str | None = None,
    effects: str | None = None,
    knowledge: Knowledge | str | Path | None = None,
    threshold: str | Threshold = "effect-size",
    delta: float = 0.05,
    confidence_level: float = 0.95,
    tau: float | None = None,
    population: PopulationGraph | None = None,
    fdr: float | None = None,
    seed: int = 0,
    screening: float | str = "auto",
    batch_size: int | None = None,
    memory_budget: str | float | None = None,
) -> Plan:
    """Work out what `discover_log` with the same arguments would cost.

    Args:
        density: A trained density, or a world.
        log: Event log.

    Returns:
        What it would cost.

    Raises:
        ConfigError: An argument is not allowed.
        OutOfMemoryBudgetError: It would not fit its memory budget.

    Example:
        >>> from sequela import read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> plan_discovery(world, read_log(world.to_log(world.sample(3, 6, seed=1))), calibrate=False).n_pairs
        27
    """
    settings, _ = chosen(locals())
    sequences = log if isinstance(log, SequenceSet) else encode_log(density, log)
    longest = longest_case(sequences)
    horizon = settings.horizon_for(density, longest)
    allotment = settings.allotment(density, horizon, longest)
    pairs, branches, steps = case_costs(density, sequences, settings, horizon)
    n_steps, step_flops = int(steps.sum()), density_cost(density, longest, horizon).step_flops
    seconds, counts = None, Counts()
    if calibrate and n_steps:
        seconds, counts = _calibrated(density, sequences, n_steps, settings, horizon)
    tested, audited = counts.n_pairs_tested, counts.n_pairs_audited
    return Plan(
        n_cases=sequences.n_cases,
        n_events=sequences.n_events,
        n_pairs=int(pairs.sum()),
        n_branches=int(branches.sum()),
        n_steps=n_steps,
        flops=None if step_flops is None else step_flops * n_steps,
        peak_bytes=allotment.peak_bytes,
        budget_bytes=allotment.budget_bytes,
        seconds=seconds,
        replacements_a_pair=counts.n_replacements / tested if counts.n_replacements else None,
        decided_otherwise=counts.n_pairs_decided_otherwise / audited if audited else None,
        reruns=density.reruns,
        n_excluded=int(_in_reach(sequences.lengths, settings, horizon).sum() - pairs.sum()),
    )


def case_costs(
    density: Density, sequences: SequenceSet, settings: Settings, horizon: int
) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the pairs, branches and model steps of cases (int64, ``[n]`` each).

    A step of a density with finite memory is a window, and windows of excluded pairs are left out; others take every
    step up to the last effect of a cause.
    """
    lengths, limits = sequences.lengths, settings.limits(density)
    n_causes = np.maximum(0, lengths - 1 - settings.context)
    pairs = steps = _in_reach(lengths, settings, horizon)
    if limits is not None:
        found = np.zeros((len(lengths), 3), np.int64)  # causes, pairs, steps
        for number, case in enumerate(sequences):
            tested = ~limits.untested(case, horizon)
            tested &= np.arange(1, horizon + 1) < (len(case.ids) - np.arange(len(case.ids)))[:, None]
            tested = tested[settings.context :]
            last = np.where(tested.any(axis=1), horizon - tested[:, ::-1].argmax(axis=1), 0)
            found[number] = tested.any(axis=1).sum(), tested.sum(), last.sum()
        n_causes, pairs, steps = found.T
        steps = pairs if density.memory is not None and settings.design in ("atomic", "masked") else steps
    particles = settings.particles_for(density)
    rows = n_causes + (n_causes > 0) if settings.design == "staircase" else n_causes
    return pairs, rows * particles, steps * particles + lengths


def _in_reach(
    lengths: np.ndarray[Any, np.dtype[np.int64]], settings: Settings, horizon: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the pairs of positions of each case within the horizon (int64, ``[n]``)."""
    n_causes = np.maximum(0, lengths - 1 - settings.context)
    # The last causes have fewer effects: of n causes, min(n, m) have 1, 2, … of them.
    short = np.minimum(n_causes, horizon)
    pairs: np.ndarray[Any, np.dtype[np.int64]] = short * (short + 1) // 2 + (n_causes - short) * horizon
    return pairs


def _calibrated(
    density: Density, sequences: SequenceSet, n_steps: int, settings: Settings, horizon: int
) -> tuple[float, Counts]:
    """Discover cases in random order for two seconds; return the time, scaled up by model steps, and counts.

    Of a long case the beginning stands for the whole.
    """
    order = np.random.default_rng(0).permutation(sequences.n_cases)[:20_000]
    sample = sequences.take(order, longest=_LONGEST + settings.context)
    longest, steps = longest_case(sample), case_costs(density, sample, settings, horizon)[2]
    next(iter_batches(density, sample.take([0]), settings, longest))  # warm up
    counts, started = Counts(), time.perf_counter()
    for batch in iter_batches(density, sample, settings, longest):
        for graph in batch:
            counts.add(graph)
        if time.perf_counter() - started > CALIBRATION_SECONDS:
            break
    seconds = time.perf_counter() - started
    done = max(1, int(steps[: counts.n_cases].sum()))
    return seconds * n_steps / done, counts


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
