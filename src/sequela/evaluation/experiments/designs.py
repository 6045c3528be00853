"""Staircase, atomic, leave-one-out and masked by lag, with the exact density and a trained one, decayed and flat."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from sequela.evaluation.experiments.common import Experiment, Plan, Row, agreement, estimates, learn, lines, true_bands
from sequela.worlds.catalogue import make_world


def rows(plan: Plan) -> Iterator[Row]:
    """Truth is the same for all: the atomic definition of `docs/method.md`, section 6."""
    n_types = plan.pick("n_types", 20, 50)
    for seed in plan.seeds:
        for decay in (1.0, 0.2):
            world = make_world("linear", n_types=n_types, decay=decay, seed=seed)
            new = world.sample(plan.pick("n_scored", 10, 20), 64, seed=seed + 1000)
            true = true_bands(world, new)
            n_cases, steps = plan.pick("n_cases", 2000, 10_000), plan.pick("max_steps", 500, 4000)
            trained = learn(world, n_cases, 64, seed=seed + 1, max_steps=steps)
            for source, density in (("exact", world), ("trained", trained)):
                for design in ("atomic", "leave-one-out", "masked", "staircase"):
                    if design == "masked" and source == "exact":
                        continue  # a world does not average over a hidden event
                    found = estimates(density, world, new, design=design, particles=n_types + 1)
                    yield {"density": source, "decay": decay, "design": design, "seed": seed} | agreement(found, true)


def _by_lag(frame: pl.DataFrame) -> pl.DataFrame:
    flat = frame.filter((pl.col("density") == "exact") & (pl.col("decay") == 0.2))
    parts = [
        flat.select("design", pl.lit(lag).alias("lag"), pl.col(f"recall_lag_{lag}").alias("recall"))
        for lag in range(1, 7)
    ]
    return pl.concat(parts).filter(pl.col("recall").is_not_nan())


EXPERIMENT = Experiment(
    name="designs",
    question="What does each intervention design find, and at which lag does it lose causes?",
    rows=rows,
    by=("density", "decay", "design"),
    show=("precision", "recall", "f1", *(f"recall_lag_{lag}" for lag in range(1, 7))),
    figure=lambda frame: lines(
        _by_lag(frame), "lag", "recall", by="design", title="Recall by lag, exact density, flat world"
    ),
)
