"""Precision, recall and F1 over tau for each design, and where the label-free rules land."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from sequela.effects.thresholds import EffectSize, Fixed, Otsu, Percentile, Threshold, vocabulary
from sequela.evaluation.experiments.common import (
    DELTA,
    Experiment,
    Plan,
    Row,
    agreement,
    estimates,
    learn,
    lines,
    true_bands,
)
from sequela.worlds.catalogue import make_world


def rows(plan: Plan) -> Iterator[Row]:
    """One density a world; every rule on the same estimates."""
    n_types = plan.pick("n_types", 20, 50)
    for seed in plan.seeds:
        world = make_world("nonlinear", n_types=n_types, decay=0.5, seed=seed)
        new = world.sample(plan.pick("n_scored", 15, 30), 64, seed=seed + 1000)
        true = true_bands(world, new)
        n_cases, steps = plan.pick("n_cases", 2000, 10_000), plan.pick("max_steps", 1000, 4000)
        density = learn(world, n_cases, 64, seed=seed + 1, max_steps=steps, dropout=0.0)
        for design in ("atomic", "leave-one-out", "staircase"):
            found = estimates(density, world, new, design=design, particles=n_types + 1)
            for tau in np.geomspace(1e-5, 1.0, plan.pick("n_thresholds", 16, 31)):
                row = agreement(found, true, Fixed(float(tau)))
                yield {"design": design, "rule": "fixed", "tau": float(tau), "seed": seed} | row
            rules: dict[str, Threshold] = {
                "effect size (delta 0.05)": EffectSize(DELTA),
                "paper's printed 3e-5": Fixed(3e-5),
                "vocabulary (1/|X|)": vocabulary(1.0, n_types),
                "percentile 95": Percentile(95.0),
                "otsu": Otsu(),
            }
            for name, rule in rules.items():
                yield {"design": design, "rule": name, "tau": None, "seed": seed} | agreement(found, true, rule)


EXPERIMENT = Experiment(
    name="threshold",
    question="Which threshold is right, and which rule finds it without labels?",
    rows=rows,
    by=("design", "rule", "tau"),
    show=("precision", "recall", "f1"),
    figure=lambda frame: lines(
        frame.filter(pl.col("rule") == "fixed"), "tau", "f1", by="design", log_x=True, title="F1 over a fixed threshold"
    ),
)
