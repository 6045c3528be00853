"""Causes far back: inside the density's memory they are found, beyond it they cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from sequela.evaluation.experiments.common import Experiment, Plan, Row, agreement, estimates, learn, lines, true_bands
from sequela.worlds.catalogue import make_world


def rows(plan: Plan) -> Iterator[Row]:
    """Every cause acts at one lag; the horizon, and for a trained density the memory, is the same throughout."""
    horizon = plan.pick("horizon", 16, 64)
    lags = plan.pick("lags", (1, 8, 16, 24), (1, 8, 32, 64, 96))
    n_scored, length = plan.pick("n_scored", 8, 10), plan.pick("length", 48, 200)
    n_cases, steps = plan.pick("n_cases", 1000, 5000), plan.pick("max_steps", 400, 2000)
    for seed in plan.seeds:
        for lag in lags:
            world = make_world("long_range", n_types=15, lag=lag, seed=seed)
            new = world.sample(n_scored, length, seed=seed + 1000)
            true = true_bands(world, new)
            found = estimates(world, world, new, particles=15, horizon=horizon)
            yield {"density": "exact", "lag": lag, "horizon": horizon, "seed": seed} | agreement(found, true)
            density = learn(world, n_cases, length, seed=seed + 1, memory=horizon, max_steps=steps)
            found = estimates(density, world, new, particles=16, horizon=horizon)
            yield {"density": "trained", "lag": lag, "horizon": horizon, "seed": seed} | agreement(found, true)


EXPERIMENT = Experiment(
    name="memory",
    question="Are causes far back found, and what happens beyond the horizon?",
    rows=rows,
    by=("density", "lag", "horizon"),
    show=("precision", "recall", "f1"),
    figure=lambda frame: lines(frame, "lag", "recall", by="density", title="Recall of causes at one lag"),
)
