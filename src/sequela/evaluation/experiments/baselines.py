"""All baselines on all worlds, each by its own label-free cut and, as a ceiling, by the best cut on labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sequela.density.base import Ids
from sequela.evaluation.attribution import InputTimesGradient, ShapleySampling
from sequela.evaluation.baselines import (
    AdjacentPairs,
    AdjacentPMI,
    Bools,
    LaggedLift,
    Method,
    NeuralGranger,
    NGramGranger,
    Ours,
    RandomScores,
)
from sequela.evaluation.experiments.common import Experiment, Plan, Row, agreement, bars, learn, translate, true_bands
from sequela.evaluation.metrics import auroc, average_precision, best_f1
from sequela.worlds.catalogue import make_world

_WORLDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("linear, decayed", "linear", {"decay": 1.0}),
    ("linear, flat", "linear", {"decay": 0.0}),
    ("nonlinear", "nonlinear", {"decay": 0.3}),
    ("multiplicative", "multiplicative", {}),
    ("threshold", "threshold", {}),
    ("long range", "long_range", {"lag": 6}),
    ("confounded", "confounded", {}),
    ("diagnostic log", "diagnostic_log", {}),
)


def rows(plan: Plan) -> Iterator[Row]:
    """The density is trained once a world and shared by the methods that need one."""
    n_types = plan.pick(15, 30)
    for seed in plan.seeds:
        for label, name, options in _WORLDS if plan.full else _WORLDS[1::2]:
            world = make_world(name, n_types=n_types, seed=seed, **options)
            past = world.sample(plan.pick(1000, 10_000), 48, seed=seed + 1)
            new = world.sample(plan.pick(5, 30), 48, seed=seed + 1000)
            true, horizon = true_bands(world, new), world.horizon
            density = learn(
                world, past.n_cases, 48, seed=seed + 1, memory=max(8, horizon), max_steps=plan.pick(500, 8000)
            )
            own = [translate(density, world, case).ids for case in new]
            methods: list[tuple[Method, Sequence[Ids]]] = [
                (Ours(density, particles=n_types + 1), own),
                (NeuralGranger(density), own),
                (InputTimesGradient(density), own),
                (ShapleySampling(density), own),
            ]
            observed = [case.ids for case in new]
            counting: tuple[Method, ...] = (
                AdjacentPairs(),
                AdjacentPMI(past, n_types),
                LaggedLift(past, n_types, horizon),
                NGramGranger(past, n_types, horizon),
                RandomScores(seed, float(np.concatenate(true).mean())),
                Ours(world, particles=n_types),
            )
            methods += [(method, observed) for method in counting]
            for method, cases in methods:
                row: Row = {"world": label, "method": method.name, "seed": seed}
                if isinstance(method, Ours) and cases is observed:
                    row["method"] += ", exact density"
                yield row | _judge(method, cases, true, horizon)


def _judge(method: Method, cases: Sequence[Ids], true: Sequence[Bools], horizon: int) -> Row:
    scores = np.concatenate([method.scores(ids, horizon) for ids in cases])
    tested = ~np.isnan(scores)
    labels = np.concatenate(true)[tested]
    row = agreement([method.edges(ids, horizon) for ids in cases], true)
    return row | {
        "best_f1": best_f1(scores[tested], labels).f1,
        "auroc": auroc(scores[tested], labels),
        "average_precision": average_precision(scores[tested], labels),
    }


EXPERIMENT = Experiment(
    name="baselines",
    question="Does it beat what is simpler?",
    rows=rows,
    by=("world", "method"),
    show=("precision", "recall", "f1", "best_f1", "auroc", "average_precision"),
    figure=lambda frame: bars(frame, "world", "f1", by="method", title="F1 without labels"),
)
