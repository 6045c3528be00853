"""How many replacements does it take? Error and F1 over N for both statistics, with an exact density."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sequela.effects.thresholds import Fixed
from sequela.evaluation.compare import interval_coverage
from sequela.evaluation.experiments.common import DELTA, Experiment, Plan, Row, agreement, estimates, lines, true_bands
from sequela.worlds.catalogue import make_world


def rows(plan: Plan) -> Iterator[Row]:
    """The design is exact and so is the density: what is left is Monte Carlo error."""
    n_types = plan.pick("n_types", 100, 300)
    for seed in plan.seeds:
        world = make_world("linear", n_types=n_types, decay=0.5, seed=seed)
        new = world.sample(plan.pick("n_scored", 8, 20), 48, seed=seed + 1000)
        true, exact = true_bands(world, new), [world.truth(case.ids) for case in new]
        for particles in plan.pick("particles", (2, 4, 8, 16, 32, 64, 100), (2, 4, 8, 16, 32, 64, 128, 300)):
            for statistic in ("kl_of_mean", "mean_of_kl"):
                found = estimates(world, world, new, particles=particles, statistic=statistic, seed=seed)
                errors = np.concatenate([(f.cmi - e)[np.isfinite(e)] for f, e in zip(found, exact, strict=True)])
                row = {"statistic": statistic, "particles": particles, "seed": seed}
                row |= {"rmse_nats": float(np.sqrt((errors**2).mean())), "bias_nats": float(errors.mean())}
                row |= {
                    "coverage": interval_coverage(found, exact),
                    "coverage_edges": interval_coverage(found, exact, above=DELTA),
                }
                row |= agreement(found, true)
                yield row | {"f1_fixed": agreement(found, true, Fixed(DELTA))["f1"]}


EXPERIMENT = Experiment(
    name="particles",
    question="How many replacements a cause are enough, and which statistic errs less?",
    rows=rows,
    by=("statistic", "particles"),
    show=("rmse_nats", "bias_nats", "coverage", "coverage_edges", "f1", "f1_fixed"),
    figure=lambda frame: lines(
        frame, "particles", "rmse_nats", by="statistic", log_x=True, log_y=True, title="Error of the CMI, exact density"
    ),
)
