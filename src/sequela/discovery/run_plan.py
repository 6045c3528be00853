"""What `run` would cost on this machine, from a few seconds of each stage."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sequela.arguments import public
from sequela.density.base import Density
from sequela.density.registry import trained_backbone
from sequela.density.runtime.devices import choose_device
from sequela.density.training.fit import fit
from sequela.density.training.recipe import Recipe, split_for_training, training_config
from sequela.density.training.size import has_time
from sequela.discovery.arguments import RUN
from sequela.discovery.knowledge import check_asked
from sequela.discovery.plan import duration, plan_discovery
from sequela.discovery.population import discover_population
from sequela.discovery.run_folder import asks_of_states
from sequela.effects.knowledge import Knowledge
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.progress import Reporter, reporter

_FEW, _MORE = 5, 25
"""Training steps of the two short runs whose difference tells the time of a step."""
_SECONDS = 2.0
_LEAST_FOLD_STEPS = 100


@dataclass(frozen=True)
class RunPlan:
    """What a run would cost.

    Attributes:
        n_cases: Cases.
        n_events: Events.
        n_steps: Training steps of the density, at most: it stops where it no longer gains.
        seconds: Expected time of each stage; the page takes a few seconds more.
    """

    n_cases: int
    n_events: int
    n_steps: int
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan as text."""
        stages = [f"{stage:12}about {duration(seconds)}" for stage, seconds in self.seconds.items()]
        total = f"{'together':12}about {duration(sum(self.seconds.values()))} (training often stops earlier)"
        return [f"log         {self.n_cases:,} cases, {self.n_events:,} events", *stages, total]


@public(RUN)
def plan_run(
    log: EventLog,
    *,
    backbone: str = "window",
    min_count: int = 2,
    memory: int | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    delta: float = 0.05,
    fdr: float = 0.05,
    control: str = "each",
    horizon: int | str | None = None,
    horizon_time: str | float | None = None,
    causes: str | None = None,
    effects: str | None = None,
    particles: int = 16,
    folds: int = 5,
    knowledge: Knowledge | str | Path | None = None,
    fast: bool = False,
    progress: bool | Reporter = True,
) -> RunPlan:
    """Work out about how long `run` with the same arguments would take, from some seconds of it on this machine.

    Args:
        log: Event log.

    Returns:
        The time of each stage.

    Raises:
        ConfigError: An argument is not allowed.
        VocabularyError: The log has fewer than two event types.
        LogFormatError: The log is too short.

    Example:
        >>> from sequela import read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> found = plan_run(read_log(world.to_log(world.sample(30, 8, seed=1))), max_steps=10, progress=False)
        >>> list(found.seconds)
        ['train', 'folds', 'population', 'discover']
    """
    check_asked(log, causes, effects)
    tell = reporter(progress)
    tell.say("measuring some steps of each stage")
    chosen: dict[str, Any] = {
        "backbone": backbone,
        "min_count": min_count,
        "memory": memory,
        "seed": seed,
        "device": device,
    }
    times = []
    for steps in (_FEW, _MORE):
        started = time.perf_counter()
        density = fit(log, max_steps=steps, progress=False, **chosen)
        times.append(time.perf_counter() - started)
    a_step = max(times[1] - times[0], 1e-4) / (_MORE - _FEW)
    n_steps = _n_steps(log, density, max_steps, device)
    chooses = trained_backbone(backbone).chooses_width and has_time(max_steps)
    seconds = {"train": times[0] + (2.3 if chooses else 1) * n_steps * a_step}  # trying sizes takes longer
    question: dict[str, Any] = {"delta": delta, "horizon": horizon, "horizon_time": horizon_time, "seed": seed}
    question |= {"particles": particles, "knowledge": knowledge, "causes": causes, "effects": effects}
    if not fast and log.n_cases >= 2 * folds and not asks_of_states(log):
        own = min(n_steps, max(_LEAST_FOLD_STEPS, n_steps // folds))
        seconds["folds"] = (folds - 1) * (times[0] + own * a_step)
        weighing = _population_seconds(density, log, question | {"particles": max(2, particles // 2)})
        seconds["population"] = weighing * (folds - 1) / folds
    weighed: dict[str, Any] = {"screening": 0} if "folds" in seconds else {}
    seconds["discover"] = plan_discovery(density, log, **question, **weighed).seconds or 0.0
    return RunPlan(log.n_cases, log.n_events, n_steps, {name: round(value, 1) for name, value in seconds.items()})


def _n_steps(log: EventLog, density: Density, max_steps: int | None, device: str | None) -> int:
    """Return how many steps the training of a log takes at most."""
    recipe = Recipe.of_info(density.info)
    train_set = split_for_training(SequenceSet.from_log(log, density.vocabulary), recipe.seed)[0]
    config = training_config(
        trained_backbone(recipe.backbone), train_set, recipe.memory, density.vocabulary.n_types, max_steps=max_steps,
        batch_size=None, learning_rate=None, patience=1, seed=recipe.seed, precision="float32",
        device=choose_device(device),
    )  # fmt: skip
    return config.max_steps


def _population_seconds(density: Density, log: EventLog, question: dict[str, Any]) -> float:
    """Weigh more and more cases until that takes two seconds, and scale up by events."""
    names = np.random.default_rng(0).permutation(log.case_names).tolist()
    n_cases = 8
    while True:
        some = log.cases(names[:n_cases])
        started = time.perf_counter()
        discover_population(density, some, cases="all", progress=False, **question)
        seconds = time.perf_counter() - started
        if seconds > _SECONDS or n_cases >= len(names):
            return seconds * log.n_events / some.n_events
        n_cases *= 4
