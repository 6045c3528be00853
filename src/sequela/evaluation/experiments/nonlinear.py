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
    n_types = 20
    for seed in plan.seeds:
        for name in _WORLDS:
            world = make_world(name, n_types=n_types, seed=seed, **({"decay": 0.3} if "linear" in name else {}))
            new = world.sample(plan.pick(10, 40), 64, seed=seed + 1000)
            true = true_bands(world, new)
            entropy = world.entropy_rate(seed=seed + 2000, n_cases=100)
            trained = learn(world, plan.pick(2000, 20_000), 64, seed=seed + 1, max_steps=plan.pick(600, 15_000))
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
)
