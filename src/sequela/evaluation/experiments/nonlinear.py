"""Mechanisms that are not additive: nonlinear, multiplicative, threshold (open question 1)."""

from __future__ import annotations

from collections.abc import Iterator

from sequela.evaluation.experiments.common import (
    Experiment,
    Plan,
    Row,
    agreement,
    bars,
    estimates,
    learn,
    oracle_score,
    true_bands,
)
from sequela.worlds.catalogue import make_world

_WORLDS = ("linear", "nonlinear", "multiplicative", "threshold")


def rows(plan: Plan) -> Iterator[Row]:
    """The same sizes for all, so that what differs is the mechanism."""
    n_types, n_scored = 20, plan.pick("n_scored", 10, 40)
    n_cases, steps = plan.pick("n_cases", 2000, 10_000), plan.pick("max_steps", 600, 4000)
    for seed in plan.seeds:
        for name in _WORLDS:
            world = make_world(name, n_types=n_types, seed=seed, **({"decay": 0.3} if "linear" in name else {}))
            new = world.sample(n_scored, 64, seed=seed + 1000)
            true = true_bands(world, new)
            entropy = world.entropy_rate(seed=seed + 2000, n_cases=100)
            trained = learn(world, n_cases, 64, seed=seed + 1, max_steps=steps)
            for source, density in (("exact", world), ("trained", trained)):
                found = estimates(density, world, new, particles=n_types + 1)
                row: Row = {"world": name, "density": source, "seed": seed}
                yield row | {"eps": oracle_score(density, world, new, entropy)} | agreement(found, true)


EXPERIMENT = Experiment(
    name="nonlinear",
    question="Does it work when causes act together or only from the k-th time on?",
    rows=rows,
    by=("world", "density"),
    show=("eps", "precision", "recall", "f1"),
    figure=lambda frame: bars(frame, "world", "f1", by="density", title="F1 by mechanism"),
    quick_seeds=1,
)
