"""A log with events added, lost, or without its mediators: the robustness appendix of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sequela.density.training.fit import fit
from sequela.discovery.discover import discover_log
from sequela.evaluation.compare import evaluate_edges
from sequela.evaluation.experiments.common import DELTA, Experiment, Plan, Row, chance, lines
from sequela.events.log import read_log
from sequela.worlds.observed import NoisyWorld
from sequela.worlds.softmax import SoftmaxWorld

_COLUMNS: dict[str, Any] = {"case": "case", "event": "event", "time": "time"}


def rows(plan: Plan) -> Iterator[Row]:
    """Training and scored cases are spoilt alike; lost mediators are bridged in the truth."""
    n_types, rates = plan.pick("n_types", 20, 40), plan.pick("rates", (0.1, 0.3), (0.1, 0.2, 0.4))
    for seed in plan.seeds:
        base = SoftmaxWorld.random(n_types, decay=0.5, seed=seed)
        clean = _score(plan, NoisyWorld(base, insert=0.0, delete=0.0), seed)
        for kind in ("insert", "delete", "drop_mediators"):
            yield {"kind": kind, "rate": 0.0, "seed": seed} | clean
            for rate in rates:
                world = NoisyWorld(base, **({"insert": 0.0, "delete": 0.0} | {kind: rate}))
                yield {"kind": kind, "rate": rate, "seed": seed} | _score(plan, world, seed)


def _score(plan: Plan, world: NoisyWorld, seed: int) -> Row:
    n_cases, steps = plan.pick("n_cases", 1000, 10_000), plan.pick("max_steps", 250, 2500)
    past = world.simulate(n_cases, 48, seed=seed + 1, with_truth=False)
    new = world.simulate(plan.pick("n_scored", 10, 30), 48, seed=seed + 1000, delta=DELTA)
    density = fit(read_log(past.log, **_COLUMNS), seed=seed, max_steps=steps, progress=False)
    particles = world.vocabulary.n_types + 1
    log = read_log(new.log, **_COLUMNS)
    found = discover_log(density, log, particles=particles, horizon=world.memory, progress=False)
    result = evaluate_edges(found.edges, new.truth)
    n_pairs = found.run.counts.n_pairs_tested
    return {
        "precision": result.pooled.precision,
        "recall": result.pooled.recall,
        "f1": result.pooled.f1,
        "f1_low": result.f1_interval[0],
        "f1_high": result.f1_interval[1],
        "mean_f1": result.mean_f1,
        "links_f1": result.links.f1,
        "mean_lag": float(np.mean(new.truth["lag"].to_numpy())) if new.truth.height else np.nan,
        **chance(result.pooled.n_true, result.pooled.n_predicted, n_pairs),
    }


EXPERIMENT = Experiment(
    name="noise",
    question="How much noise does it take?",
    rows=rows,
    by=("kind", "rate"),
    show=("precision", "recall", "f1", "links_f1", "mean_lag"),
    figure=lambda frame: lines(frame, "rate", "f1", by="kind", title="F1 over the rate of noise"),
    quick_seeds=1,
)
