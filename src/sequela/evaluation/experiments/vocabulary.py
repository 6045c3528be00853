"""F1, time and memory from 100 to 29,100 event types, with the exact density: design and estimator, no model."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from sequela.evaluation.experiments.common import (
    Experiment,
    Plan,
    Row,
    agreement,
    estimates,
    lines,
    measured,
    true_bands,
)
from sequela.worlds.softmax import SoftmaxWorld

_PARTICLES = 32


def rows(plan: Plan) -> Iterator[Row]:
    """The same number of links a type at every size, and the same scale of weights."""
    n_scored = plan.pick("n_scored", 3, 10)
    for seed in plan.seeds:
        for n_types in plan.pick("n_types", (100, 300, 1000, 3000), (100, 300, 1000, 3000, 10_000, 29_100)):
            tracemalloc.start()  # numpy tells it every array; resident memory would hide what is used again
            try:
                world = SoftmaxWorld.random(n_types, sparsity=1 - min(100, n_types // 10) / n_types, seed=seed)
                new = world.sample(n_scored, 64, seed=seed + 1000)
                estimates(world, world, new.take([0]), particles=_PARTICLES, seed=seed)
                peak_bytes = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            with measured() as cost:
                found = estimates(world, world, new, particles=_PARTICLES, seed=seed)
            row = {"n_types": n_types, "seed": seed, "seconds_a_case": cost.seconds / new.n_cases}
            row |= {"peak_mb": peak_bytes / 1e6, "redundancy": world.redundancy(seed=seed, n_cases=4)}
            yield row | agreement(found, true_bands(world, new))


EXPERIMENT = Experiment(
    name="vocabulary",
    question="Does it stay right and affordable as event types grow to 29,100?",
    rows=rows,
    by=("n_types",),
    show=("precision", "recall", "f1", "seconds_a_case", "peak_mb", "redundancy"),
    figure=lambda frame: lines(
        frame, "n_types", "f1", log_x=True, title="F1 over event types, exact density, 32 particles"
    ),
)
