"""As training goes on, the oracle score falls and F1 rises: where does identification break down?

The paper's first check (train until eps is about 0.05) and last (vary the training).
"""

from __future__ import annotations

from collections.abc import Iterator

from sequela.evaluation.experiments.common import (
    Experiment,
    Plan,
    Row,
    agreement,
    estimates,
    learn,
    lines,
    oracle_score,
    true_bands,
)
from sequela.worlds.catalogue import make_world


def rows(plan: Plan) -> Iterator[Row]:
    """One density for each number of training steps."""
    n_types = plan.pick("n_types", 20, 50)
    n_cases = plan.pick("n_cases", 2000, 10_000)
    for seed in plan.seeds:
        for decay in (1.0, 0.2):
            world = make_world("nonlinear", n_types=n_types, decay=decay, seed=seed)
            new = world.sample(plan.pick("n_scored", 15, 30), 64, seed=seed + 1000)
            true = true_bands(world, new)
            entropy = world.entropy_rate(seed=seed + 2000, n_cases=200)
            for steps in plan.pick("steps", (20, 60, 200, 1000), (20, 60, 200, 1000, 4000)):
                density = learn(
                    world, n_cases, 64, seed=seed + 1, max_steps=steps, patience=1000, hide=0.0, dropout=0.0
                )
                found = estimates(density, world, new, particles=n_types + 1)
                eps = oracle_score(density, world, new, entropy)
                yield {"decay": decay, "steps": steps, "seed": seed, "eps": eps} | agreement(found, true)


EXPERIMENT = Experiment(
    name="oracle-score",
    question="How does F1 depend on how near the density is to the process (eps)?",
    rows=rows,
    by=("decay", "steps"),
    show=("eps", "precision", "recall", "f1"),
    figure=lambda frame: lines(frame, "eps", "f1", by="decay", log_x=True, title="F1 against the oracle score"),
    quick_seeds=1,
)
