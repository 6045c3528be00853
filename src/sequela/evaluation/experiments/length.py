"""Time and memory over the length of a sequence, full (every later event is an effect) and sparse (a horizon)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sequela.discovery.discover import estimate
from sequela.evaluation.experiments.common import Experiment, Plan, Row, learn, lines, measured
from sequela.events.sequences import Case
from sequela.worlds.catalogue import make_world

_HORIZON = 8
_ALL_SEEDS = 1024
"""Longer sequences are measured with the first seed only."""


def rows(plan: Plan) -> Iterator[Row]:
    """One small window density; what it learnt does not matter for the cost."""
    for seed in plan.seeds:
        world = make_world("linear", n_types=30, seed=seed)
        density = learn(world, 300, 64, seed=seed, max_steps=50, width=64)
        for variant, longest in (("sparse", plan.pick("sparse", 1024, 4096)), ("full", plan.pick("full", 256, 4096))):
            n_events = 32
            while n_events <= (longest if seed == plan.seeds[0] else min(longest, _ALL_SEEDS)):
                ids = np.random.default_rng(seed).integers(30, size=n_events).astype(np.int32)
                with measured() as cost:
                    estimate(
                        density, Case("a", ids, None), horizon=_HORIZON if variant == "sparse" else "full", particles=8
                    )
                row = {"variant": variant, "length": n_events, "seed": seed}
                yield row | {"seconds": cost.seconds, "peak_mb": cost.peak_bytes / 1e6}
                n_events *= 2


EXPERIMENT = Experiment(
    name="length",
    question="How do time and memory grow with the length of a sequence?",
    rows=rows,
    by=("variant", "length"),
    show=("seconds", "peak_mb"),
    figure=lambda frame: lines(
        frame, "length", "seconds", by="variant", log_x=True, log_y=True, title="Seconds a sequence over its length"
    ),
)
