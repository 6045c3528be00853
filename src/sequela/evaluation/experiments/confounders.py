"""Something outside the log drives two event types: how many links are found that are no causes (open question 3)?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sequela.effects.thresholds import EffectSize
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
from sequela.worlds.confounded import ConfoundedWorld


def rows(plan: Plan) -> Iterator[Row]:
    """From no hidden trigger to strong ones; the same real links underneath."""
    n_types = plan.pick("n_types", 15, 40)
    for seed in plan.seeds:
        for strength in plan.pick("strengths", (0.0, 2.0, 4.0), (0.0, 1.0, 2.0, 3.0, 4.0)):
            world = ConfoundedWorld.random(n_types, strength=strength, seed=seed)
            new = world.sample(plan.pick("n_scored", 5, 20), 48, seed=seed + 1000)
            true = true_bands(world, new)
            n_cases, steps = plan.pick("n_cases", 1500, 10_000), plan.pick("max_steps", 600, 3000)
            trained = learn(world, n_cases, 48, seed=seed + 1, max_steps=steps)
            pairs = {(int(a), int(b)) for a, b in world.pairs}
            for source, density in (("exact", world), ("trained", trained)):
                found = estimates(density, world, new, particles=n_types + 1)
                row: Row = {"strength": strength, "density": source, "seed": seed} | agreement(found, true)
                spurious, n_chances = 0, 0
                for case, one, real in zip(new, found, true, strict=True):
                    edges = EffectSize(DELTA).edges(one)
                    for cause in range(len(case.ids) - world.delay):
                        effect = cause + world.delay
                        if (int(case.ids[cause]), int(case.ids[effect])) in pairs and not real[cause, world.delay - 1]:
                            n_chances += 1
                            spurious += int(edges[cause, world.delay - 1])
                row |= {"n_hidden_pairs": n_chances, "spurious_share": spurious / n_chances if n_chances else np.nan}
                yield row


EXPERIMENT = Experiment(
    name="confounders",
    question="How many false links does an unobserved common cause make?",
    rows=rows,
    by=("density", "strength"),
    show=("precision", "recall", "f1", "spurious_share", "n_hidden_pairs"),
    figure=lambda frame: lines(
        frame, "strength", "spurious_share", by="density", title="Share of confounded pairs that are called causes"
    ),
)
